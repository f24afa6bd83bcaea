"""``/api/v1/workers`` and ``/api/v1/replicas``: admins only."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from gateway.dependencies import AdminDep, StateDep, require_admin
from gateway.generations.routing import choose_hosts
from gateway.principal import Principal
from gateway.state import GatewayState
from shared.errors import Conflict, WorkerNotFound
from shared.schemas.common import StrictMessage
from shared.schemas.workers import Drain, LoadVariant, ReplicaInfo, UnloadVariant, WorkerInfo

router = APIRouter(prefix="/api/v1", tags=["workers"], dependencies=[Depends(require_admin)])


class WorkerList(BaseModel):
    """Every living worker, oldest first."""

    data: list[WorkerInfo]


class ReplicaView(BaseModel):
    """A loaded variant and where it runs."""

    worker_id: str
    device: str
    replica: ReplicaInfo


class ReplicaList(BaseModel):
    """Every replica of every living worker."""

    data: list[ReplicaView]


@router.get("/workers")
async def list_workers(state: StateDep) -> WorkerList:
    """List the living inference workers with their replicas."""
    return WorkerList(data=[worker.info for worker in await state.registry.workers()])


@router.get("/replicas")
async def list_replicas(state: StateDep) -> ReplicaList:
    """List the replicas of all workers."""
    return ReplicaList(
        data=[
            ReplicaView(worker_id=worker.info.worker_id, device=worker.info.device, replica=replica)
            for worker in await state.registry.workers()
            for replica in worker.info.replicas
        ]
    )


class ReplicaWish(StrictMessage):
    """A variant to be loaded now."""

    model: str = Field(description="``model`` or ``model:variant``.")
    worker_id: str | None = Field(None, description="Where; the worker with most room where not given.")


class WorkerOrder(BaseModel):
    """What a worker was told."""

    worker_id: str
    variant: str | None = None
    order: Literal["load", "unload", "drain"]


@router.post("/replicas", status_code=202)
async def load_replica(wish: ReplicaWish, state: StateDep, admin: AdminDep) -> WorkerOrder:
    """Load a published variant without anybody asking for it."""
    name = (await state.models.resolve(wish.model)).key
    workers = await state.registry.workers()
    hosts = (wish.worker_id,) if wish.worker_id else choose_hosts(name, workers, len(workers))
    if not hosts:
        raise Conflict(f"Every worker has {name} loaded, or there is no worker.", param="model")
    return await _order(state, admin, hosts[0], LoadVariant(variant=name), name)


@router.delete("/replicas/{worker_id}/{model}/{variant}", status_code=202)
async def unload_replica(worker_id: str, model: str, variant: str, state: StateDep, admin: AdminDep) -> WorkerOrder:
    """End a replica once it is idle; it is loaded again when it is asked for."""
    name = f"{model}:{variant}"
    return await _order(state, admin, worker_id, UnloadVariant(variant=name), name)


@router.post("/workers/{worker_id}/drain", status_code=202)
async def drain_worker(worker_id: str, state: StateDep, admin: AdminDep) -> WorkerOrder:
    """Let a worker take nothing new and finish what it has, before its host is taken away."""
    return await _order(state, admin, worker_id, Drain(), None)


async def _order(
    state: GatewayState,
    admin: Principal,
    worker_id: str,
    command: LoadVariant | UnloadVariant | Drain,
    variant: str | None,
) -> WorkerOrder:
    if all(worker.info.worker_id != worker_id for worker in await state.registry.workers()):
        raise WorkerNotFound(f"There is no living worker {worker_id}.", param="worker_id")
    await state.registry.send(worker_id, command)
    await state.audit.record(admin, f"worker.{command.kind}", worker_id, variant or "")
    return WorkerOrder(worker_id=worker_id, variant=variant, order=command.kind)
