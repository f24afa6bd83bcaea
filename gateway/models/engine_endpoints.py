"""``/api/v1/models/{model}/{variant}/engine`` and its tunings: admins only."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from gateway.dependencies import AdminDep, StateDep, require_admin
from gateway.state import GatewayState
from shared.errors import VariantNotPublished
from shared.schemas.engine_config import EngineConfig, Tuning

router = APIRouter(prefix="/api/v1/models/{model}/{variant}", tags=["models"], dependencies=[Depends(require_admin)])


class EngineView(BaseModel):
    """What is stored of a variant's engine; ``GET /api/v1/replicas`` shows what each replica runs with."""

    model: str
    variant: str
    config: EngineConfig = Field(description="The admin's layer: above host defaults, catalogue and tuning.")
    tunings: tuple[Tuning, ...]
    takes_effect: Literal["at the next load"] = "at the next load"


@router.get("/engine")
async def get_engine(model: str, variant: str, state: StateDep) -> EngineView:
    """Show how admins configured a variant's engine, and what tuning found for it."""
    return await _view(model, variant, state)


@router.put("/engine")
async def configure_engine(
    model: str, variant: str, config: EngineConfig, state: StateDep, admin: AdminDep
) -> EngineView:
    """Configure a variant's engine, in place of what was configured; ``{}`` takes it back. Loaded ones go on."""
    name = await _published(model, variant, state)
    if config.draft_model is not None:
        draft, _, draft_variant = config.draft_model.partition(":")
        await _published(draft, draft_variant, state, param="draft_model")
    await state.engines.set_config(name, config)
    await state.audit.record(admin, "variant.configured", name, config.model_dump_json(exclude_defaults=True))
    return await _view(model, variant, state)


@router.put("/tuning")
async def store_tuning(model: str, variant: str, tuning: Tuning, state: StateDep, admin: AdminDep) -> EngineView:
    """Keep the best configuration that was measured for one device, kind of host and mode; `ovchat tune` does this."""
    name = await _published(model, variant, state)
    await state.engines.set_tuning(name, tuning)
    await state.audit.record(admin, "variant.tuned", name, tuning.key)
    return await _view(model, variant, state)


async def _published(model: str, variant: str, state: GatewayState, *, param: str = "variant") -> str:
    if await state.models.find(model, variant) is None:
        raise VariantNotPublished(f"{model}:{variant} is not published.", param=param)
    return f"{model}:{variant}"


async def _view(model: str, variant: str, state: GatewayState) -> EngineView:
    stored = await state.engines.find(await _published(model, variant, state))
    return EngineView(model=model, variant=variant, config=stored.config, tunings=stored.tunings)
