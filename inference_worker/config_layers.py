"""The layers of a variant's engine configuration on this worker, the weakest first."""

from __future__ import annotations

from collections.abc import Iterable

from inference_worker.engine_layers import Layer
from inference_worker.host_cores import CoreShare
from inference_worker.memory import default_kv_cache_bytes
from shared.catalog import CatalogEntry
from shared.schemas.engine_config import EngineConfig, Tuning, TuningMode, VariantEngine, device_kind
from shared.schemas.models import WeightFormat
from shared.settings import InferenceSettings

#: Meta devices, which hand a model to one of the devices that they name, or of all.
_META = frozenset({"AUTO", "HETERO", "MULTI", "BATCH"})
#: What is measured on threads that have the host for themselves means nothing where agents share it.
_ALONE_ONLY = frozenset({"ENABLE_CPU_PINNING"})


def host_kind(device: str, full_name: str, threads: int) -> str:
    """Name the kind of host that a tuning holds for: the device's model, and on a CPU the threads of a replica."""
    return f"{full_name}, {threads} threads" if device_kind(device) == "CPU" else full_name


def config_layers(
    *,
    settings: InferenceSettings,
    weight_format: WeightFormat,
    cores: CoreShare,
    entry: CatalogEntry | None,
    present_devices: Iterable[str],
    stored: VariantEngine,
    kind: str,
) -> list[Layer]:
    """Return host defaults, catalogue facts, the tuning, the admin's word, and what the environment sets explicitly.

    Args:
        settings: of the worker; what nobody set is a host default, what somebody set is the environment's.
        weight_format: of the variant.
        cores: the replica's share of the host.
        entry: the model's entry of the catalogue.
        present_devices: what OpenVINO sees here, for devices that choose among them.
        stored: the admin's configuration, and the tunings of all kinds of hosts.
        kind: this kind of host, as :func:`host_kind` names it.
    """
    return [
        Layer("host", _host_defaults(settings, weight_format, cores)),
        Layer("catalog", EngineConfig(properties=_catalog_facts(settings.device, entry, present_devices))),
        Layer("tuning", _tuned(settings.device, stored, kind, cores)),
        Layer("admin", stored.config),
        Layer("environment", _explicit(settings)),
    ]


def choose_tuning(tunings: Iterable[Tuning], *, device: str, kind: str, wanted: TuningMode) -> Tuning | None:
    """Return the tuning of this kind of host in the wanted mode, else in the other one, else none."""
    fitting = {
        tuning.mode: tuning
        for tuning in tunings
        if device_kind(tuning.device) == device_kind(device) and tuning.host_kind == kind
    }
    return fitting.get(wanted) or next(iter(fitting.values()), None)


def _host_defaults(settings: InferenceSettings, weight_format: WeightFormat, cores: CoreShare) -> EngineConfig:
    return EngineConfig(
        kv_cache_bytes=default_kv_cache_bytes(settings.max_replicas),
        max_sequences=type(settings).model_fields["max_sequences"].default,
        prefix_caching=True,
        dynamic_split_fuse=True,
        properties=_host_properties(settings.device, weight_format, cores),
    )


def _host_properties(device: str, weight_format: WeightFormat, cores: CoreShare) -> dict[str, str]:
    """Return what the device's plugin is told beside its own defaults.

    A CPU with bfloat16 computes in it by default, which rounds fp16 weights to fewer digits: the demo model then
    answers worse in fp16 than in int4. Whoever serves fp16 wants its precision.

    A replica's threads are pinned from the first core on. Two agents would pin theirs to the same ones.
    """
    if device != "CPU":
        return {}
    properties = {"INFERENCE_NUM_THREADS": str(cores.threads)}
    if not cores.alone:
        properties["ENABLE_CPU_PINNING"] = "NO"
    if weight_format == "fp16":
        properties["INFERENCE_PRECISION_HINT"] = "f32"
    return properties


def _catalog_facts(device: str, entry: CatalogEntry | None, present_devices: Iterable[str]) -> dict[str, str]:
    if entry is None:
        return {}
    kinds = {device_kind(device)}
    if kinds & _META:
        parts = [part.strip() for part in device.partition(":")[2].split(",") if part.strip()]
        kinds |= {device_kind(part) for part in parts or present_devices}
    return {name: value for kind in sorted(kinds) for name, value in entry.runtime.get(kind, {}).items()}


def _tuned(device: str, stored: VariantEngine, kind: str, cores: CoreShare) -> EngineConfig:
    wanted = stored.config.tuning or "throughput"
    if wanted == "off":
        return EngineConfig()
    tuning = choose_tuning(stored.tunings, device=device, kind=kind, wanted=wanted)
    if tuning is None:
        return EngineConfig()
    properties = {
        name: value for name, value in tuning.config.properties.items() if cores.alone or name not in _ALONE_ONLY
    }
    return tuning.config.model_copy(update={"properties": properties})


def _explicit(settings: InferenceSettings) -> EngineConfig:
    given = settings.model_fields_set
    threads = settings.inference_threads if settings.device == "CPU" else None
    return EngineConfig(
        kv_cache_bytes=settings.kv_cache_bytes,
        max_sequences=settings.max_sequences if "max_sequences" in given else None,
        prefix_caching=settings.prefix_caching if "prefix_caching" in given else None,
        properties={"INFERENCE_NUM_THREADS": str(threads)} if threads is not None else {},
    )
