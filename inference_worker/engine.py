"""The contract between a replica process and whatever computes tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


class EngineError(RuntimeError):
    """An engine cannot start for a reason that its operator can mend; the message says how."""


class Finish(StrEnum):
    """Why an engine ended a sequence: the first two are ordinary ends, the others are error codes."""

    STOP = "stop"
    LENGTH = "length"
    KV_CACHE_EXHAUSTED = "kv_cache_exhausted"
    ENGINE_REJECTED = "engine_rejected"

    @property
    def is_error(self) -> bool:
        return self not in (Finish.STOP, Finish.LENGTH)


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How one sequence is sampled. `temperature` 0 means greedy, `top_k` 0 means no limit, `seed` None means random.

    `max_new_tokens` counts generated tokens, the ending token included. `stop_token_ids` end the sequence beside the
    model's own end tokens; `ignore_eos` switches the model's own ones off. `top_logprobs` asks for each token's log
    probability and that many alternatives. The answer follows `json_schema`, a JSON text that was checked.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    min_new_tokens: int = 0
    top_logprobs: int | None = None
    json_schema: str | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError("max_new_tokens must be at least 1")


@dataclass(frozen=True, slots=True)
class Speculation:
    """Proposes `tokens` cheaply, which are then checked together.

    A draft model in `draft_dir` proposes them, or what followed the last `max_ngram_size` tokens earlier in the text
    does. One of the two is set.
    """

    tokens: int
    draft_dir: Path | None = None
    max_ngram_size: int | None = None


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What to load and with what limits; plain values, so that it can cross a process boundary as JSON.

    `threads` 0 leaves the number to the runtime. The process is held to `cores`, where there are any.
    `kv_cache_bytes` caps the memory of attention states, or `num_kv_blocks` does where it is set. Without
    `dynamic_split_fuse` a prompt is computed in one step.
    `step_target_ms` is what one step should take with every slot busy; the engine sizes its steps on the host for it,
    unless `max_num_batched_tokens` says the size (in tokens) that an earlier start found.
    `properties` go to the device plugin; `options` are the engine's own.
    """

    engine: str
    model_dir: Path
    device: str = "CPU"
    slots: int = 32
    threads: int = 0
    cores: tuple[int, ...] = ()
    kv_cache_bytes: int = 1 << 30
    num_kv_blocks: int | None = None
    step_target_ms: float = 120.0
    max_num_batched_tokens: int | None = None
    prefix_caching: bool = True
    dynamic_split_fuse: bool = True
    speculation: Speculation | None = None
    properties: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        values = {**asdict(self), "model_dir": str(self.model_dir)}
        if self.speculation is not None and self.speculation.draft_dir is not None:
            values["speculation"]["draft_dir"] = str(self.speculation.draft_dir)
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> EngineSpec:
        speculation = values.get("speculation")
        if speculation is not None:
            draft_dir = speculation["draft_dir"]
            speculation = Speculation(**{**speculation, "draft_dir": None if draft_dir is None else Path(draft_dir)})
        model_dir, cores = Path(values["model_dir"]), tuple(values["cores"])
        return cls(**{**values, "model_dir": model_dir, "cores": cores, "speculation": speculation})


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """What an engine knows of its own state, for metrics. None: it cannot tell.

    `waiting` are added sequences that the last step did not compute. `kv_cache_usage` is the used part, 0–1.
    `preemptions` counts, since the start, running sequences that lost their cache and are computed again.
    """

    waiting: int = 0
    kv_cache_usage: float | None = None
    preemptions: int | None = None


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a started engine offers; the host never looks inside the engine for it.

    `context_length` counts prompt and answer tokens together. `max_num_batched_tokens` is the size of one step in
    tokens (0: the engine does not split prompts). `kv_cache_bytes` is what was granted, 0 if there is no cache.
    `most_top_logprobs` is how many alternatives to a token the engine can tell. `unsupported` names fields of
    `SamplingParams` that it cannot act on at all.
    """

    engine: str
    slots: int
    context_length: int
    eos_token_ids: tuple[int, ...]
    max_num_batched_tokens: int = 0
    kv_cache_bytes: int = 0
    most_top_logprobs: int = 0
    unsupported: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The model's own log probability of a token, before temperature, and of the likeliest (token id, value) pairs."""

    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """New tokens of one sequence; `finish` is set on its last event, whose `token_ids` may be empty.

    `logprobs` has one entry a token where the sequence asked for them, else none. `cached_tokens` is on a sequence's
    first event how much of its prompt was not computed again; None where the engine cannot tell, and on later events.
    """

    sequence_id: str
    token_ids: tuple[int, ...]
    finish: Finish | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    cached_tokens: int | None = None


ProgressCallback = Callable[[float], None]


class Engine(ABC):
    """Computes tokens for many sequences at once. Token ids in, token ids out; it knows no text and no Redis.

    One thread calls every method. Life: `start`, then any mix of `add`, `abort` and `next_events`, then `stop`.

    Promises of every engine:

    - `start` returns when the engine is ready, or raises and holds nothing that `stop` cannot free.
    - A sequence added gets at least one event, and exactly one with `finish`, unless it is aborted. A sequence that
      ends by an end token delivers that token as its last id; `max_new_tokens` is never exceeded.
    - After `abort` returned no event names the sequence, whether it waited, was in prefill or in decode, and its slot
      is free at the next step boundary. Aborting an unknown or ended id does nothing.
    - More sequences than slots may be added: they wait inside and lose nothing.
    - Memory that runs out is `Finish.KV_CACHE_EXHAUSTED`, never `Finish.STOP`.
    - The same prompt, parameters and seed give the same tokens while nothing else runs.
    - `stop` is idempotent, safe before `start` and after a failed `start`, and drops what still runs.
    """

    @abstractmethod
    def start(self, report_progress: ProgressCallback | None = None) -> EngineInfo:
        """Load and warm up; `report_progress` takes 0–1. Raises what the runtime raises."""

    @abstractmethod
    def add(self, sequence_id: str, token_ids: Sequence[int], params: SamplingParams) -> None:
        """Queue a sequence. Raises ValueError for an id that is running, an empty prompt or one without room."""

    @abstractmethod
    def abort(self, sequence_id: str) -> None:
        """End a sequence without an event."""

    @abstractmethod
    def next_events(self, timeout: float) -> list[TokenEvent]:
        """Run at most one step and return what it made, in the order added.

        An engine with nothing due may wait for it, at most `timeout` seconds, and returns an empty list. A step that
        is being computed is not cut short by `timeout`. An exception means that the engine is broken.
        """

    def figures(self) -> EngineFigures:
        """What is known now; cheap, and asked about once a second."""
        return EngineFigures()

    @abstractmethod
    def stop(self) -> None:
        """Free everything."""
