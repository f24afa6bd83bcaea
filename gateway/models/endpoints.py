"""``/api/v1/models``."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from gateway.dependencies import AdminDep, StateDep
from gateway.state import GatewayState
from shared.errors import Conflict, VariantNotPublished
from shared.schemas.common import StrictMessage
from shared.schemas.models import Name, Placement, VariantRecord

router = APIRouter(prefix="/api/v1/models", tags=["models"])


class ModelView(BaseModel):
    """A model with its published variants."""

    model: str
    default_variant: str = Field(description="What the model's name alone stands for.")
    chosen_variant: str | None = Field(None, description="The default that an admin chose, where one did.")
    languages: tuple[str, ...]
    variants: tuple[VariantRecord, ...]
    placements: dict[str, Placement] = Field({}, description="By variant, what admins want loaded.")


class ModelList(BaseModel):
    """Every published model."""

    data: list[ModelView]


class DefaultWish(StrictMessage):
    """What a model's name alone is to stand for."""

    variant: Name | None = Field(description="A published variant; null leaves the choice to the platform again.")


class ModelDefault(BaseModel):
    """What a model's name alone stands for."""

    model: str
    default_variant: str
    chosen_variant: str | None


class VariantDeletion(BaseModel):
    """A deletion that the converter worker was asked for."""

    model: str
    variant: str
    state: str = "deleting"


class MeasurementWish(BaseModel):
    """A quality card that a converter worker was asked for."""

    model: str
    variant: str
    state: str = "wanted"


@router.get("")
async def list_models(state: StateDep) -> ModelList:
    """List the published variants by model."""
    published = await state.models.variants()
    placements = await state.placements.all()
    views = []
    for model, records in published.items():
        entry = state.catalog.find(model)
        default_variant = await state.models.default_variant(model, records)
        chosen = await state.models.chosen_variant(model)
        views.append(
            ModelView(
                model=model,
                default_variant=default_variant,
                chosen_variant=chosen if chosen == default_variant else None,
                languages=entry.languages if entry else (),
                variants=records,
                placements={record.variant: placements[record.key] for record in records if record.key in placements},
            )
        )
    return ModelList(data=views)


@router.put("/{model}/default")
async def choose_default(model: str, wish: DefaultWish, state: StateDep, admin: AdminDep) -> ModelDefault:
    """Choose the variant that the model's name alone stands for, from the next request on."""
    records = (await state.models.variants()).get(model, ())
    if not records or wish.variant not in (None, *(record.variant for record in records)):
        name = model if wish.variant is None else f"{model}:{wish.variant}"
        raise VariantNotPublished(f"{name} is not published.", param="variant")
    await state.models.choose_default(model, wish.variant)
    await state.audit.record(admin, "model.default_chosen", model, wish.variant or "by the platform")
    return ModelDefault(
        model=model,
        default_variant=await state.models.default_variant(model, records),
        chosen_variant=wish.variant,
    )


@router.put("/{model}/{variant}/placement")
async def place_variant(model: str, variant: str, wish: Placement, state: StateDep, admin: AdminDep) -> Placement:
    """Keep a published variant loaded on so many workers, or pin it; a placement with neither takes both back."""
    if await state.models.find(model, variant) is None:
        raise VariantNotPublished(f"{model}:{variant} is not published.", param="variant")
    await state.placements.set(f"{model}:{variant}", wish)
    await state.audit.record(
        admin, "variant.placed", f"{model}:{variant}", f"{wish.replicas} replicas" + ", pinned" * wish.pinned
    )
    return wish


@router.post("/{model}/{variant}/quality", status_code=202)
async def measure_quality(model: str, variant: str, state: StateDep, admin: AdminDep) -> MeasurementWish:
    """Have a variant compared with FP16 in the background, anew where it was: `quality` of the variant shows it."""
    if await state.models.find(model, variant) is None:
        raise VariantNotPublished(f"{model}:{variant} is not published.", param="variant")
    await state.models.want_quality(model, variant)
    await state.audit.record(admin, "variant.measured", f"{model}:{variant}")
    return MeasurementWish(model=model, variant=variant)


@router.delete("/{model}/{variant}", status_code=202)
async def delete_variant(
    model: str, variant: str, state: StateDep, admin: AdminDep, force: bool = False
) -> VariantDeletion:
    """Delete a published variant and what admins set of it; refused while replicas serve it, unless forced."""
    record = await state.models.find(model, variant)
    if record is None:
        raise VariantNotPublished(f"{model}:{variant} is not published.", param="variant")
    if not force and (workers := await _workers_with(state, record.key)):
        raise Conflict(f"{record.key} is loaded on {' and '.join(workers)}. Add ?force=true to delete it anyway.")
    await state.conversion_tasks.delete_variant(model, variant, record.created_at)
    await state.audit.record(admin, "variant.deleted", f"{model}:{variant}", "by force" if force else "")
    return VariantDeletion(model=model, variant=variant)


async def _workers_with(state: GatewayState, key: str) -> list[str]:
    workers = [worker.info for worker in await state.registry.workers()]
    return [worker.worker_id for worker in workers if any(replica.key == key for replica in worker.replicas)]
