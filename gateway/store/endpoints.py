"""``/api/v1/store``: what takes space in the model store, and whether its files are whole; admins only."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from gateway.dependencies import AdminDep, StateDep, require_admin
from shared.schemas.store import CollectionRequest, StoreRun, VerificationRequest

router = APIRouter(prefix="/api/v1/store", tags=["store"], dependencies=[Depends(require_admin)])


@router.post("/gc", status_code=202)
async def collect_leftovers(request: CollectionRequest, state: StateDep, admin: AdminDep) -> StoreRun:
    """Find what nobody needs in the model store and beside it, and remove it where `free` says so."""
    run = await state.store_runs.start("gc", free=request.free)
    await state.audit.record(admin, "store.collected" if request.free else "store.searched", run.run_id)
    return run


@router.post("/verify", status_code=202)
async def verify_variants(request: VerificationRequest, state: StateDep, admin: AdminDep) -> StoreRun:
    """Compare published variants with the hashes of their manifests; every byte is read."""
    run = await state.store_runs.start("verify", model=request.model)
    await state.audit.record(admin, "store.verified", run.run_id, request.model or "everything")
    return run


@router.get("/runs/{run_id}")
async def get_run(run_id: str, state: StateDep) -> StoreRun:
    """Show how far a run is and what it has found."""
    return await state.store_runs.get(run_id)
