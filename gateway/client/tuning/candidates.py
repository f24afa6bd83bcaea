"""What is worth trying on a device, the most promising first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from shared.schemas.engine_config import PROPERTIES, EngineConfig
from shared.schemas.tuning import CandidateReady

STEP_TOKENS = "max_num_batched_tokens"
#: Names that ``--only`` may give.
TUNABLE = (*PROPERTIES, STEP_TOKENS)
#: Prefill tokens that a step has beside a token of every sequence, as replicas see to.
_LEAST_PREFILL_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Candidate:
    """A few values beside the defaults; `groups` are the names that it sets."""

    config: EngineConfig

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of what it sets."""
        return tuple(self.config.values())

    @property
    def label(self) -> str:
        """As it stands in the table."""
        return " ".join(f"{name}={value}" for name, value in self.config.values().items()) or "the default"


def candidates(facts: CandidateReady, *, device: str, only: tuple[str, ...] = ()) -> list[Candidate]:
    """Return what differs from the default in one value each."""
    found = [
        Candidate(EngineConfig(properties={name: value}))
        for name, value in (_cpu(facts) if device == "CPU" else _other(facts))
        if facts.properties.get(name) != value
    ]
    found += [Candidate(EngineConfig(max_num_batched_tokens=tokens)) for tokens in _step_sizes(facts)]
    return [candidate for candidate in found if not only or set(candidate.groups) <= set(only)]


def combined(parts: list[Candidate]) -> Candidate:
    """Return the candidate that sets what all of them set; a later one wins."""
    values: dict[str, object] = {}
    properties: dict[str, str] = {}
    for part in parts:
        values |= part.config.model_dump(exclude_none=True, exclude={"properties"})
        properties |= part.config.properties
    return Candidate(EngineConfig.model_validate({**values, "properties": properties}))


def _cpu(facts: CandidateReady) -> Iterator[tuple[str, str]]:
    half = {"BF16": "bf16", "FP16": "f16"}
    halves = [half[name] for name in facts.capabilities if name in half]
    for precision in ("f32", *halves):
        yield "INFERENCE_PRECISION_HINT", precision
    for precision in ("u8", "f16", *(name for name in halves if name == "bf16")):
        yield "KV_CACHE_PRECISION", precision
    for size in ("0", "32", "64", "128"):
        yield "DYNAMIC_QUANTIZATION_GROUP_SIZE", size
    yield "ENABLE_CPU_PINNING", "NO"
    yield "ENABLE_HYPER_THREADING", "NO"
    yield "PERFORMANCE_HINT", "THROUGHPUT"
    for threads in sorted({facts.threads // 2, facts.threads - 1} - {0}, reverse=True):
        yield "INFERENCE_NUM_THREADS", str(threads)


def _other(facts: CandidateReady) -> Iterator[tuple[str, str]]:
    yield "INFERENCE_PRECISION_HINT", "f32"
    for precision in ("u8", "f16"):
        yield "KV_CACHE_PRECISION", precision
    for size in ("0", "32", "64"):
        yield "DYNAMIC_QUANTIZATION_GROUP_SIZE", size
    yield "PERFORMANCE_HINT", "THROUGHPUT"


def _step_sizes(facts: CandidateReady) -> list[int]:
    tokens = facts.max_num_batched_tokens
    if not tokens:
        return []
    smallest = facts.slots + _LEAST_PREFILL_TOKENS
    return sorted({max(tokens // 2, smallest), tokens * 2} - {tokens}, reverse=True)
