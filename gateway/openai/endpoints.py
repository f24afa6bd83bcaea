"""``/v1``: chat completions, completions, models."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gateway.dependencies import StandingDep, StateDep
from gateway.openai.answer_format import answer_format
from gateway.openai.answer_response import AnswerResponse
from gateway.openai.answer_shape import AnswerHead, AnswerShape, fingerprint
from gateway.openai.chat_fields import ChatCompletionFields
from gateway.openai.chat_shape import ChatShape
from gateway.openai.completion_fields import CompletionFields
from gateway.openai.completion_shape import CompletionShape
from gateway.openai.engine_requests import Asker, chat_generations, completion_generations
from gateway.openai.model_list import ServedModel, ServedModels, served_model, served_models
from gateway.openai.refusals import refuse_unsupported
from gateway.openai.request_id import request_id
from gateway.openai.running_generations import RunningGenerations
from gateway.openai.sampling_fields import SamplingFields
from gateway.principal import Standing
from gateway.state import GatewayState
from shared.log import get_logger
from shared.schemas.generation import GenerationRequest

_log = get_logger(__name__)
router = APIRouter(prefix="/v1", tags=["openai"])
#: What a request with `stream` gets instead of JSON, one event of it.
_EVENT = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
_ANSWERS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": _EVENT}}}}


@router.post("/chat/completions", responses=_ANSWERS)
async def create_chat_completion(
    fields: ChatCompletionFields, request: Request, state: StateDep, standing: StandingDep
) -> Response:
    """Answer a conversation, whole or as a stream of chunks."""
    refuse_unsupported(fields)
    variant = await state.models.resolve(fields.model)
    form = answer_format(fields, variant)
    generations = chat_generations(fields, Asker(standing.principal.user, variant, request_id(request)), form)
    shape = ChatShape(
        _head("chatcmpl", fields, generations, fingerprint(variant)),
        form,
        choices=len(generations),
        with_usage=fields.wants_usage_chunk,
        with_logprobs=bool(fields.logprobs),
    )
    return await _answer(state, standing, fields, generations, shape)


@router.post("/completions", responses=_ANSWERS)
async def create_completion(
    fields: CompletionFields, request: Request, state: StateDep, standing: StandingDep
) -> Response:
    """Continue a text as it stands, without a chat template."""
    refuse_unsupported(fields)
    variant = await state.models.resolve(fields.model)
    generations = completion_generations(fields, Asker(standing.principal.user, variant, request_id(request)))
    shape = CompletionShape(_head("cmpl", fields, generations, fingerprint(variant)), fields)
    return await _answer(state, standing, fields, generations, shape)


@router.get("/models")
async def list_models(state: StateDep) -> ServedModels:
    """List what can be asked: every model by its name alone, and every variant."""
    return ServedModels(data=served_models(await state.models.variants()))


@router.get("/models/{model_id:path}")
async def get_model(model_id: str, state: StateDep) -> ServedModel:
    """Return one model by any of its names: ``model``, ``model:variant``, an alias, a hub id."""
    return served_model(model_id, await state.models.resolve(model_id))


def _head(
    prefix: str, fields: SamplingFields, generations: Sequence[GenerationRequest], system_fingerprint: str
) -> AnswerHead:
    name = generations[0].generation_id.removeprefix("gen_")
    return AnswerHead(f"{prefix}-{name}", int(time.time()), fields.model, system_fingerprint)


async def _answer(
    state: GatewayState,
    standing: Standing,
    fields: SamplingFields,
    generations: Sequence[GenerationRequest],
    shape: AnswerShape,
) -> Response:
    running = RunningGenerations(state, standing, generations)
    await running.admit()
    _log.info(
        "completion_admitted",
        request_id=generations[0].request_id,
        generation_ids=[generation.generation_id for generation in generations],
        user=generations[0].user,
        end_user=fields.user,
    )
    return AnswerResponse(
        running,
        shape,
        stream=bool(fields.stream),
        with_usage=fields.wants_usage_chunk,
        keep_alive_seconds=state.settings.stream_keep_alive_seconds,
    )
