"""How a variant's engine is configured: what an admin says, what tuning found, and where each value came from."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, JsonValue, model_validator

from shared.ids import NAME_PATTERN
from shared.schemas.common import WHOLE, Flag, Message, Number, StrictMessage
from shared.schemas.schema_rules import GIVEN, Schema, has, no, rules

TuningMode = Literal["latency", "throughput"]
#: Where a value came from, the weakest first; what the engine itself granted or measured is `engine`.
ConfigSource = Literal["host", "catalog", "tuning", "admin", "environment", "engine"]

_FLAG = "YES|NO"
_SIZE = "[0-9]{1,7}"
_CACHE_PRECISION = "f32|bf16|f16|u8|i8|u4|i4"
#: Properties of the device's plugin that may be set, and what they may be. None of them names a file.
PROPERTIES: dict[str, str] = {
    "INFERENCE_PRECISION_HINT": "f32|bf16|f16",
    "KV_CACHE_PRECISION": _CACHE_PRECISION,
    "KEY_CACHE_PRECISION": _CACHE_PRECISION,
    "VALUE_CACHE_PRECISION": _CACHE_PRECISION,
    "KEY_CACHE_GROUP_SIZE": _SIZE,
    "VALUE_CACHE_GROUP_SIZE": _SIZE,
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": _SIZE,
    "INFERENCE_NUM_THREADS": "[1-9][0-9]{0,3}",
    "ENABLE_CPU_PINNING": _FLAG,
    "ENABLE_HYPER_THREADING": _FLAG,
    "SCHEDULING_CORE_TYPE": "ANY_CORE|PCORE_ONLY|ECORE_ONLY",
    "PERFORMANCE_HINT": "LATENCY|THROUGHPUT|CUMULATIVE_THROUGHPUT",
    "EXECUTION_MODE_HINT": "PERFORMANCE|ACCURACY",
    "NUM_STREAMS": "AUTO|NUMA|[1-9][0-9]{0,2}",
    "GPU_ENABLE_SDPA_OPTIMIZATION": _FLAG,
    "MAX_PROMPT_LEN": _SIZE,
    "MIN_RESPONSE_LEN": _SIZE,
}
#: Pairs of fields of which a configuration names one at most; a later layer's one takes the place of the other.
EXCLUSIVE = (("kv_cache_bytes", "num_kv_blocks"), ("draft_model", "max_ngram_size"))

_VARIANT_PATTERN = f"{NAME_PATTERN[:-1]}:{NAME_PATTERN[1:]}"
_PROPERTIES_SCHEMA: dict[str, JsonValue] = {
    "properties": {name: {"type": "string", "pattern": f"^({values})$"} for name, values in PROPERTIES.items()},
    "additionalProperties": False,
}


def _neither_both() -> list[Schema]:
    return [no(has(**{first: GIVEN, second: GIVEN})) for first, second in EXCLUSIVE]


class EngineConfig(StrictMessage):
    """One layer of an engine's configuration; what is not set is left to the layers below."""

    model_config = ConfigDict(json_schema_extra=rules(*_neither_both()))

    kv_cache_bytes: Annotated[int, Field(strict=True, ge=1 << 20, le=1 << 50), WHOLE] | None = Field(
        None, description="Memory of the KV cache, in whole GiB and at least one."
    )
    num_kv_blocks: Annotated[int, Field(strict=True, ge=1, le=1 << 30), WHOLE] | None = Field(
        None, description="Blocks of the KV cache, in place of `kv_cache_bytes`."
    )
    max_sequences: Annotated[int, Field(strict=True, ge=1, le=4096), WHOLE] | None = Field(
        None, description="Generations that a replica works on at once."
    )
    max_num_batched_tokens: Annotated[int, Field(strict=True, ge=1, le=1 << 20), WHOLE] | None = Field(
        None, description="Tokens of one engine step; where not set, measured on the host when the variant is loaded."
    )
    prefix_caching: Flag | None = Field(None, description="Keep the KV cache of finished prompts for later turns.")
    dynamic_split_fuse: Flag | None = Field(
        None,
        description="Split long prompts over steps. False computes each in one, in which nobody else gets a token.",
    )
    draft_model: Annotated[str, Field(pattern=_VARIANT_PATTERN)] | None = Field(
        None,
        description="A smaller published `model:variant` of the same vocabulary that proposes tokens. Answers are then "
        "greedy only: requests with a temperature are refused.",
    )
    max_ngram_size: Annotated[int, Field(strict=True, ge=1, le=32), WHOLE] | None = Field(
        None, description="Proposes what followed the last so many tokens earlier in the text; not with `draft_model`."
    )
    num_assistant_tokens: Annotated[int, Field(strict=True, ge=1, le=32), WHOLE] | None = Field(
        None, description="Tokens that are proposed at a time, 3 where not set."
    )
    tuning: Literal["latency", "throughput", "off"] | None = Field(
        None,
        description="Which tuning of such a host is used: `throughput` where not set, the other where it is absent.",
    )
    properties: Annotated[dict[str, str], Field(json_schema_extra=_PROPERTIES_SCHEMA)] = Field(
        {}, description="Properties of the device's plugin."
    )

    @model_validator(mode="after")
    def _names_one_of_each_pair(self) -> Self:
        for first, second in EXCLUSIVE:
            if getattr(self, first) is not None and getattr(self, second) is not None:
                raise ValueError(f"{first} and {second} do not go together")
        return self

    @model_validator(mode="after")
    def _properties_are_known(self) -> Self:
        for name, value in self.properties.items():
            if name not in PROPERTIES:
                raise ValueError(f"the property {name} cannot be set; these can: {', '.join(PROPERTIES)}")
            if not re.fullmatch(PROPERTIES[name], value):
                raise ValueError(f"the property {name} is one of {PROPERTIES[name]}, not {value!r}")
        return self

    def values(self) -> dict[str, bool | int | str]:
        """Return all that is set, properties beside fields."""
        return {**self.model_dump(exclude_none=True, exclude={"properties"}), **self.properties}


class TuningFigures(StrictMessage):
    """What one candidate of a tuning did: medians, and how they compare with the default's of the same rounds."""

    one_chat_tokens_per_second: Annotated[Number, Field(ge=0)]
    many_chats_tokens_per_second: Annotated[Number, Field(ge=0)]
    first_token_ms: Annotated[Number, Field(ge=0, description="Of a prompt of 1,000 tokens, or what the context has.")]
    one_chat_ratio: Annotated[Number, Field(ge=0)] = 1.0
    many_chats_ratio: Annotated[Number, Field(ge=0)] = 1.0
    first_token_ratio: Annotated[Number, Field(ge=0)] = 1.0


class Tuning(StrictMessage):
    """The best configuration that was measured for a variant on one kind of host; empty where it is the default."""

    device: Annotated[str, Field(min_length=1, max_length=100, description="OpenVINO's name, as in CPU or GPU.1.")]
    host_kind: Annotated[
        str, Field(min_length=1, max_length=200, description="The device's full name, and a CPU's threads.")
    ]
    mode: TuningMode
    config: EngineConfig = EngineConfig()
    figures: TuningFigures | None = None
    measured_at: Annotated[str, Field(max_length=40, description="UTC, ISO 8601.")] = ""

    @property
    def key(self) -> str:
        """One tuning is kept for each of these."""
        return f"{device_kind(self.device)}|{self.mode}|{self.host_kind}"


class VariantEngine(Message):
    """What is stored of a variant's engine; workers read it when they load the variant."""

    config: EngineConfig = EngineConfig()
    tunings: tuple[Tuning, ...] = ()


class EngineSettingView(Message):
    """One value that a replica runs with."""

    value: bool | int | str
    source: ConfigSource


def device_kind(device: str) -> str:
    """Return ``GPU`` for ``GPU.1`` and ``AUTO`` for ``AUTO:GPU,CPU``."""
    return device.partition(":")[0].partition(".")[0]
