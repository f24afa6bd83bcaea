"""``/api/v1/conversions``: admins only, since a job tells of the converter's folders and of models to come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from gateway.conversions.waiting import with_reasons
from gateway.dependencies import AdminDep, StandingDep, StateDep, require_admin
from gateway.principal import Principal, Standing
from gateway.state import GatewayState
from shared.schemas.conversion import ConversionJob, ConversionRequest, ImportRequest

router = APIRouter(prefix="/api/v1/conversions", tags=["conversions"], dependencies=[Depends(require_admin)])

imports = APIRouter(prefix="/api/v1/imports", tags=["conversions"], dependencies=[Depends(require_admin)])

#: As Redis names a stream's entries.
_EVENT_ID = r"^[0-9]{1,15}(-[0-9]{1,15})?$"
#: One event of the stream; its data is a :class:`~shared.schemas.conversion.ConversionEvent`.
_EVENT = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "event": {"const": "conversion"}, "data": {"type": "string"}},
    "required": ["id", "event", "data"],
}


class AcceptedConversion(ConversionJob):
    """A job as it was accepted; ``joined`` where the same was running already."""

    joined: bool = False


class ConversionList(BaseModel):
    """The newest jobs, newest first."""

    data: list[ConversionJob]


@router.post("", status_code=202)
async def submit_conversion(request: ConversionRequest, state: StateDep, admin: AdminDep) -> AcceptedConversion:
    """Accept a conversion job, or join the running one that makes the same."""
    return await _submit(request, state, admin)


@imports.post("", status_code=202)
async def submit_import(request: ImportRequest, state: StateDep, admin: AdminDep) -> AcceptedConversion:
    """Accept a job that verifies ready-made OpenVINO IR and publishes it as it is; it is one of the conversions."""
    return await _submit(request, state, admin)


async def _submit(
    request: ConversionRequest | ImportRequest, state: GatewayState, admin: Principal
) -> AcceptedConversion:
    job, joined = await state.conversions.submit(request, admin.user)
    if not joined:
        await state.usage.count_conversion(job.conversion_id, admin.user)
    what = "import" if job.plan.kind == "import" else "conversion"
    detail = f"{job.plan.model} from {job.plan.source_model}"
    await state.audit.record(
        admin,
        f"{what}.joined" if joined else f"{what}.submitted",
        job.conversion_id,
        f"{detail} with its own code" if job.plan.trust_remote_code else detail,
    )
    (told,) = await with_reasons(state.transport, [job])
    return AcceptedConversion(**told.model_dump(), joined=joined)


@router.get("")
async def list_conversions(state: StateDep, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> ConversionList:
    """List the newest jobs."""
    return ConversionList(data=await with_reasons(state.transport, await state.conversions.recent(limit)))


@router.get("/{conversion_id}")
async def get_conversion(conversion_id: str, state: StateDep) -> ConversionJob:
    """Return one job."""
    (job,) = await with_reasons(state.transport, [await state.conversions.get(conversion_id)])
    return job


@router.delete("/{conversion_id}", status_code=202)
async def cancel_conversion(conversion_id: str, state: StateDep, admin: AdminDep) -> ConversionJob:
    """Cancel a job; one that has ended stays as it is."""
    job = await state.conversions.cancel(conversion_id)
    await state.audit.record(admin, "conversion.cancelled", conversion_id, job.plan.model)
    return job


@router.get(
    "/{conversion_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": _EVENT}}}},
)
async def follow_conversion(
    conversion_id: str,
    state: StateDep,
    standing: StandingDep,
    last_event_id: Annotated[str, Header(pattern=_EVENT_ID, description="Goes on after this event.")] = "0",
) -> StreamingResponse:
    """Stream the job's events (SSE) until it or the key ends; ``Last-Event-ID`` goes on after an event."""
    await state.conversions.get(conversion_id)
    return StreamingResponse(
        _frames(state, standing, conversion_id, last_event_id),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


async def _frames(state: GatewayState, standing: Standing, conversion_id: str, after: str) -> AsyncIterator[str]:
    """Yield the SSE text; ends early when the gateway drains or the key ends, and the client comes back if it may."""
    events = state.conversions.follow(conversion_id, after)
    interruptions = [asyncio.ensure_future(event.wait()) for event in (state.draining, standing.ended)]
    following = None
    try:
        while True:
            following = asyncio.ensure_future(anext(events))
            await asyncio.wait({following, *interruptions}, return_when=asyncio.FIRST_COMPLETED)
            if any(interruption.done() for interruption in interruptions):
                return
            try:
                step = following.result()
            except StopAsyncIteration:
                return
            if step is None:
                yield ": waiting\n\n"
            else:
                entry_id, event = step
                yield f"id: {entry_id}\nevent: conversion\ndata: {event.model_dump_json()}\n\n"
    finally:
        # Who has left must not hold a connection to Redis that waits for the next event.
        for waiting in (*interruptions, following):
            if waiting is not None:
                waiting.cancel()
