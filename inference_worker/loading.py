"""What a replica is started with: the variant's checked files, its text side, and the engine's specification."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference_worker.engine import EngineSpec
from inference_worker.engine_choice import choose_engine
from inference_worker.host_cores import CoreShare
from inference_worker.memory import default_kv_cache_bytes
from inference_worker.memory_need import MemoryNeed, memory_need, sample_memory_need
from inference_worker.text.variant_text import BYTE_EOS_TOKEN_ID, BYTE_LETTER_IDS, VariantText
from inference_worker.variant_files import read_json
from shared.errors import VariantCorrupt, VariantNotPublished
from shared.model_store import ModelStore
from shared.schemas.models import WeightFormat
from shared.settings import InferenceSettings

#: Options of the sample engine, where a test's variant brings some.
_SAMPLE_OPTIONS_NAME = "sample_engine.json"
#: Among them, but for the worker: the memory that the variant claims.
_SAMPLE_MEMORY = "memory_bytes"


@dataclass(frozen=True, slots=True)
class VariantAssets:
    """Read once for each load, off the event loop."""

    text: VariantText
    spec: EngineSpec


def read_memory_need(variant: str, *, settings: InferenceSettings, store: ModelStore) -> MemoryNeed:
    """Return what a replica of a variant will need, from its manifest alone.

    Raises:
        VariantNotPublished: the store has no such variant.
        VariantCorrupt: its manifest or its options cannot be read.
    """
    model, _, name = variant.partition(":")
    try:
        manifest = store.manifest(model, name)
    except VariantNotPublished:
        if settings.engine != "sample":
            raise
        return sample_memory_need(None)
    if settings.engine == "sample":
        declared = _sample_options(store.variant_dir(model, name), variant).get(_SAMPLE_MEMORY)
        return sample_memory_need(declared if isinstance(declared, int) else None)
    return memory_need(weights_bytes=manifest.weights_bytes, kv_cache_bytes=_kv_cache_bytes(settings))


def read_assets(
    variant: str, *, settings: InferenceSettings, store: ModelStore, cores: CoreShare, step_tokens: int | None
) -> VariantAssets:
    """Check the variant's files and read what text needs; `step_tokens` is an earlier load's step size.

    Raises:
        VariantNotPublished: the store has no such variant.
        VariantCorrupt: its files are not those of the manifest, or cannot be read.
    """
    model, _, name = variant.partition(":")
    folder = store.variant_dir(model, name)
    try:
        manifest = store.check(model, name)
    except VariantNotPublished:
        if settings.engine != "sample":
            raise
        spec = _spec(settings, "sample", folder, cores, None, _byte_level_options(settings), {})
        return VariantAssets(VariantText.byte_level(), spec)
    options: dict[str, object] = {}
    if settings.engine == "sample":
        declared = _sample_options(folder, variant)
        declared.pop(_SAMPLE_MEMORY, None)
        options = {"tokens_per_second": settings.sample_tokens_per_second, **declared}
    properties = plugin_properties(settings.device, manifest.weight_format, cores)
    engine = choose_engine(settings.engine, model_type=manifest.model_type, device=settings.device)
    spec = _spec(settings, engine, folder, cores, step_tokens, options, properties)
    return VariantAssets(VariantText.from_folder(folder), spec)


def plugin_properties(device: str, weight_format: WeightFormat, cores: CoreShare) -> dict[str, str]:
    """Return what the device's plugin is told beside the engine's own choices.

    A CPU with bfloat16 computes in it by default, which rounds fp16 weights to fewer digits: the demo model then
    answers worse in fp16 than in int4. Whoever serves fp16 wants its precision.

    A replica's threads are pinned from the first core on. Two agents would pin theirs to the same ones.
    """
    if device != "CPU":
        return {}
    properties = {} if cores.alone else {"ENABLE_CPU_PINNING": "NO"}
    if weight_format == "fp16":
        properties["INFERENCE_PRECISION_HINT"] = "f32"
    return properties


def _sample_options(folder: Path, variant: str) -> dict[str, Any]:
    try:
        return read_json(folder / _SAMPLE_OPTIONS_NAME)
    except ValueError as error:
        raise VariantCorrupt(f"{_SAMPLE_OPTIONS_NAME} of {variant} cannot be read.") from error


def _kv_cache_bytes(settings: InferenceSettings) -> int:
    return settings.kv_cache_bytes or default_kv_cache_bytes(settings.max_replicas)


def _byte_level_options(settings: InferenceSettings) -> dict[str, object]:
    return {
        "tokens_per_second": settings.sample_tokens_per_second,
        "eos_token_id": BYTE_EOS_TOKEN_ID,
        "first_token_id": BYTE_LETTER_IDS.start,
        "vocab_size": BYTE_LETTER_IDS.stop,
        "context_length": 8192,
    }


def _spec(
    settings: InferenceSettings,
    engine: str,
    folder: Path,
    cores: CoreShare,
    step_tokens: int | None,
    options: dict[str, object],
    properties: dict[str, str],
) -> EngineSpec:
    return EngineSpec(
        engine=engine,
        model_dir=folder.absolute(),
        device=settings.device,
        slots=settings.max_sequences,
        threads=cores.threads,
        kv_cache_bytes=_kv_cache_bytes(settings),
        step_target_ms=settings.step_target_ms,
        max_num_batched_tokens=step_tokens,
        prefix_caching=settings.prefix_caching,
        properties=properties,
        options=options,
    )
