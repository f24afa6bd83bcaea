"""``/api/v1/workers`` and ``/api/v1/replicas``: admins only."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from gateway.dependencies import StateDep, require_admin
from shared.schemas.workers import ReplicaInfo, WorkerInfo

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
