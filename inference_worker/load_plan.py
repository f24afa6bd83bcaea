"""What a replica is to be started with, and the memory that it will need, decided before anything is loaded."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from inference_worker.config_layers import config_layers, host_kind
from inference_worker.engine_choice import choose_engine
from inference_worker.engine_layers import EffectiveConfig, merge
from inference_worker.host_cores import CoreShare, HostCores
from inference_worker.memory_need import MemoryNeed, kv_block_bytes, memory_need, sample_memory_need
from inference_worker.redis_patience import until_answered
from inference_worker.variant_files import json_object
from shared import keys
from shared.catalog import Catalog, CatalogEntry
from shared.errors import LoadFailed, VariantCorrupt, VariantNotPublished
from shared.model_store import ModelStore
from shared.redis_client import AsyncRedis
from shared.schemas.engine_config import EngineConfig, VariantEngine
from shared.schemas.models import Manifest
from shared.settings import InferenceSettings

#: Options of the sample engine, where a test's variant brings some.
_SAMPLE_OPTIONS_NAME = "sample_engine.json"
#: Among them, but for the worker: the memory that the variant claims.
SAMPLE_MEMORY = "memory_bytes"


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """The engine by name, its configuration with the sources, the cores and memory, and what kind of host this is.

    `files` are the variants whose files it takes: its own and its draft model's, or none where the sample engine serves
    a name that stands for no files.
    """

    variant: str
    engine: str
    effective: EffectiveConfig
    cores: CoreShare
    need: MemoryNeed
    host_kind: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanningGround:
    """What does not change while a worker lives. `device_name` is the device's full name."""

    settings: InferenceSettings
    store: ModelStore
    catalog: Catalog
    device_name: str
    present_devices: tuple[str, ...]


class LoadPlanner:
    """Plans loads with what admins and tunings say of a variant at the moment."""

    def __init__(self, ground: PlanningGround, transport: AsyncRedis, cores: HostCores) -> None:
        self._ground = ground
        self._redis = transport
        self._cores = cores

    async def plan(self, variant: str) -> LoadPlan:
        """Plan one load. Waits for Redis; raises what :func:`plan_load` raises."""
        stored = await until_answered("engine configuration", lambda: self._stored(variant))
        cores = await self._cores.share()
        return await asyncio.to_thread(plan_load, variant, self._ground, stored, cores)

    async def _stored(self, variant: str) -> VariantEngine:
        raw = cast(bytes | None, await self._redis.hget(keys.VARIANT_ENGINES, variant))
        return VariantEngine() if raw is None else VariantEngine.model_validate_json(raw)


def plan_load(variant: str, ground: PlanningGround, stored: VariantEngine, cores: CoreShare) -> LoadPlan:
    """Merge the layers of a variant's configuration and count the memory that it takes; reads its manifest only.

    Raises:
        VariantNotPublished: the store has no such variant.
        VariantCorrupt: its manifest or its options cannot be read.
        LoadFailed: the configuration asks for what the engine cannot do here.
    """
    settings = ground.settings
    manifest = _manifest(variant, ground)
    kind = host_kind(settings.device, ground.device_name, cores.threads)
    effective = merge(
        config_layers(
            settings=settings,
            weight_format=manifest.weight_format if manifest else "int8",
            cores=cores,
            entry=_entry(ground.catalog, manifest),
            present_devices=ground.present_devices,
            stored=stored,
            kind=kind,
        )
    )
    model_type = manifest.model_type if manifest else ""
    engine = choose_engine(
        settings.engine,
        model_type=model_type,
        device=settings.device,
        checked=manifest.engine if manifest else None,
    )
    _check_speculation(variant, effective.config, engine)
    need = _sample_need(variant, ground) if engine == "sample" else _need(variant, ground, manifest, effective.config)
    if int(effective.config.properties.get("INFERENCE_NUM_THREADS", cores.threads)) > len(cores.cores):
        # By somebody's word there are more threads than cores: held there, they would stand in each other's way.
        cores = replace(cores, cores=())
    files = (variant, effective.config.draft_model) if manifest else ()
    return LoadPlan(variant, engine, effective, cores, need, kind, tuple(name for name in files if name is not None))


def variant_folder(store: ModelStore, variant: str) -> Path:
    """Return where ``model:variant`` stands. Raises VariantNotPublished for what is no name."""
    model, _, name = variant.partition(":")
    return store.variant_dir(model, name)


def sample_options(store: ModelStore, variant: str) -> dict[str, Any]:
    """Return the sample engine's options of a variant. Raises VariantCorrupt where they cannot be read."""
    try:
        return _read_json(store, variant, _SAMPLE_OPTIONS_NAME)
    except ValueError as error:
        raise VariantCorrupt(f"{_SAMPLE_OPTIONS_NAME} of {variant} cannot be read.") from error


def _read_json(store: ModelStore, variant: str, file: str) -> dict[str, Any]:
    """A variant's JSON file, which may be elsewhere still: what is planned may never be loaded."""
    model, _, name = variant.partition(":")
    return json_object(store.read_file(model, name, file), file)


def _manifest(variant: str, ground: PlanningGround) -> Manifest | None:
    """The manifest; none where the sample engine serves a variant that does not exist."""
    model, _, name = variant.partition(":")
    try:
        return ground.store.manifest(model, name)
    except VariantNotPublished:
        if ground.settings.engine != "sample":
            raise
        return None


def _entry(catalog: Catalog, manifest: Manifest | None) -> CatalogEntry | None:
    if manifest is None:
        return None
    return catalog.find_published(manifest.source_model, manifest.model)


def _check_speculation(variant: str, config: EngineConfig, engine: str) -> None:
    wanted = "draft_model" if config.draft_model else "max_ngram_size" if config.max_ngram_size else None
    if wanted is not None and engine != "continuous_batching":
        raise LoadFailed(
            f"{variant} is configured with {wanted}, which the engine {engine} cannot do. "
            "Only continuous_batching proposes tokens; reset it with `ovchat models engine`."
        )


def _sample_need(variant: str, ground: PlanningGround) -> MemoryNeed:
    declared = sample_options(ground.store, variant).get(SAMPLE_MEMORY)
    return sample_memory_need(declared if isinstance(declared, int) else None)


def _need(variant: str, ground: PlanningGround, manifest: Manifest | None, config: EngineConfig) -> MemoryNeed:
    assert manifest is not None, "only the sample engine serves what is not published"
    weights = manifest.weights_bytes
    if config.draft_model is not None:
        weights += _draft_bytes(variant, config.draft_model, ground.store)
    return memory_need(weights_bytes=weights, kv_cache_bytes=_cache_bytes(variant, ground.store, config))


def _draft_bytes(variant: str, draft: str, store: ModelStore) -> int:
    model, _, name = draft.partition(":")
    try:
        return store.manifest(model, name).weights_bytes
    except VariantNotPublished:
        raise LoadFailed(f"The draft model {draft} of {variant} is not published on this worker's store.") from None


def _cache_bytes(variant: str, store: ModelStore, config: EngineConfig) -> int:
    if config.num_kv_blocks is None:
        return config.kv_cache_bytes or 0
    try:
        wide = config.properties.get("KV_CACHE_PRECISION") == "f32"
        block = kv_block_bytes(_read_json(store, variant, "config.json"), value_bytes=4 if wide else 2)
    except (ValueError, KeyError, TypeError) as error:
        raise LoadFailed(
            f"{variant} is configured with num_kv_blocks, and its files do not say how large a block is. "
            "Set kv_cache_bytes instead."
        ) from error
    return config.num_kv_blocks * block
