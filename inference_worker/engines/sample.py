"""An engine without a model: deterministic tokens at a set speed, for tests, load tests and chaos."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from inference_worker.engine import (
    Engine,
    EngineFigures,
    EngineInfo,
    EngineSpec,
    Finish,
    ProgressCallback,
    SamplingParams,
    TokenEvent,
    TokenLogprob,
)
from inference_worker.engines.prefix_cache import PrefixCache
from inference_worker.engines.sample_instance import minimal_instance
from inference_worker.variant_files import read_model_limits

_MASK = (1 << 64) - 1
_MOST_TOP_LOGPROBS = 20
_MULTIPLIER = 6364136223846793005


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """Behaviour of the sample engine.

    `tokens_per_second` is the speed of each sequence, 0 is as fast as the host reads. `prefill_tokens_per_second`
    delays the first token likewise. `eos_every` ends a sequence after that many tokens on average (0: never).
    `replay_token_ids` (or `replay_text`, which needs a `tokenizer.json` in the model folder) is what every sequence
    says instead of random tokens; a prompt that ends with the beginning of the replay is continued from there.
    `first_token_id` and `vocab_size` bound the ids. `kv_cache_tokens` ends sequences with `kv_cache_exhausted` when
    all of them together hold more (0: no bound). `preempt_after_tokens` makes each sequence miss one token's time once,
    as one does whose cache is taken away (0: never). `prefix_block_tokens` is the block size of a prefix cache that it
    pretends to have (0: none). An answer that follows a schema is the schema's minimal instance.
    For chaos: `fail_start` raises in `start`, `crash_after_tokens` kills
    the process and `hang_after_tokens` makes it hang in a step, both counted over all sequences, -1 for never.
    """

    tokens_per_second: float = 0.0
    prefill_tokens_per_second: float = 0.0
    start_seconds: float = 0.0
    eos_every: int = 0
    replay_token_ids: tuple[int, ...] = ()
    replay_text: str = ""
    first_token_id: int = 64
    vocab_size: int = 0
    context_length: int = 0
    eos_token_id: int | None = None
    kv_cache_tokens: int = 0
    preempt_after_tokens: int = 0
    prefix_block_tokens: int = 0
    fail_start: bool = False
    crash_after_tokens: int = -1
    hang_after_tokens: int = -1

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> SampleOptions:
        """Raises TypeError for an unknown option."""
        return cls(**{**values, "replay_token_ids": tuple(values.get("replay_token_ids", ()))})


@dataclass(slots=True)
class _Sequence:
    params: SamplingParams
    state: int
    """Rolling hash of prompt and answer, so that prompt + tokens continues exactly where another run was lost."""
    prompt_tokens: int
    replay: tuple[int, ...]
    replay_at: int
    due: float = 0.0
    admitted: bool = False
    preempted: bool = False
    cached_tokens: int | None = None
    generated: int = 0
    ends: frozenset[int] = field(default_factory=frozenset)


class SampleEngine(Engine):
    """Every sequence makes one token when it is due; a step is all tokens that are due at one moment."""

    def __init__(self, spec: EngineSpec) -> None:
        self._spec = spec
        self._options = SampleOptions.from_json(spec.options)
        self._sequences: dict[str, _Sequence] = {}
        self._replay: tuple[int, ...] = self._options.replay_token_ids
        self._eos: tuple[int, ...] = ()
        self._vocab_size = 0
        self._context_length = 0
        self._made = 0
        self._preemptions = 0
        self._prefixes: PrefixCache | None = None

    def start(self, report_progress: ProgressCallback | None = None) -> EngineInfo:
        options = self._options
        if options.start_seconds:
            time.sleep(options.start_seconds)
        if options.fail_start:
            raise RuntimeError("the sample engine was told to fail at start")
        limits = read_model_limits(self._spec.model_dir)
        self._eos = limits.eos_token_ids if options.eos_token_id is None else (options.eos_token_id,)
        self._context_length = options.context_length or limits.context_length
        self._vocab_size = max(options.vocab_size or limits.vocab_size or 32_000, options.first_token_id + 1)
        if options.prefix_block_tokens:
            blocks = self._spec.slots * self._context_length // options.prefix_block_tokens
            self._prefixes = PrefixCache(capacity_blocks=blocks, block_tokens=options.prefix_block_tokens)
        if options.replay_text:
            self._replay = self._encode(options.replay_text)
        if report_progress is not None:
            report_progress(1.0)
        return EngineInfo(
            engine="sample",
            slots=self._spec.slots,
            context_length=self._context_length,
            eos_token_ids=self._eos,
            most_top_logprobs=_MOST_TOP_LOGPROBS,
            versions={"sample": "1"},
        )

    def add(self, sequence_id: str, token_ids: Sequence[int], params: SamplingParams) -> None:
        if sequence_id in self._sequences:
            raise ValueError(f"sequence {sequence_id} is running")
        if not token_ids:
            raise ValueError("the prompt is empty")
        if len(token_ids) >= self._context_length:
            raise ValueError(f"the prompt of {len(token_ids)} tokens leaves no room in {self._context_length}")
        state = params.seed or 0 if params.temperature else 0
        for token_id in token_ids:
            state = _mix(state, token_id)
        structured = params.json_schema is not None
        replay = self._instance(params.json_schema) if params.json_schema is not None else self._replay
        self._sequences[sequence_id] = _Sequence(
            params=params,
            state=state,
            prompt_tokens=len(token_ids),
            replay=replay,
            replay_at=0 if structured else _overlap(token_ids, replay),
            ends=frozenset(params.stop_token_ids) | (frozenset() if params.ignore_eos else frozenset(self._eos)),
            cached_tokens=None if self._prefixes is None else self._prefixes.add(sequence_id, token_ids),
        )

    def abort(self, sequence_id: str) -> None:
        self._forget(sequence_id)

    def next_events(self, timeout: float) -> list[TokenEvent]:
        self._admit(time.monotonic())
        due = min((item.due for item in self._sequences.values() if item.admitted), default=None)
        while self._hangs():
            time.sleep(1.0)
        if due is None:
            time.sleep(timeout)
            return []
        now = time.monotonic()
        if due > now:
            time.sleep(min(timeout, due - now))
            now = time.monotonic()
        return [
            event
            for sequence_id, item in list(self._sequences.items())
            if item.admitted and item.due <= now
            for event in self._advance(sequence_id, item, now)
        ]

    def figures(self) -> EngineFigures:
        bound = self._options.kv_cache_tokens or self._spec.slots * self._context_length
        return EngineFigures(
            waiting=sum(not item.admitted for item in self._sequences.values()),
            kv_cache_usage=min(1.0, self._held_tokens() / bound),
            preemptions=self._preemptions,
        )

    def stop(self) -> None:
        self._sequences.clear()

    def _forget(self, sequence_id: str) -> None:
        if self._sequences.pop(sequence_id, None) is not None and self._prefixes is not None:
            self._prefixes.release(sequence_id)

    def _held_tokens(self) -> int:
        return sum(item.prompt_tokens + item.generated for item in self._sequences.values() if item.admitted)

    def _encode(self, text: str) -> tuple[int, ...]:
        from inference_worker.text.tokenizer import Tokenizer
        from inference_worker.text.variant_text import VariantText

        if (self._spec.model_dir / "tokenizer.json").exists():
            return Tokenizer.from_folder(self._spec.model_dir).encode(text)
        return VariantText.byte_level().tokenizer.encode(text)

    def _instance(self, json_schema: str) -> tuple[int, ...]:
        return self._encode(json.dumps(minimal_instance(json.loads(json_schema))))

    def _admit(self, now: float) -> None:
        free = self._spec.slots - sum(item.admitted for item in self._sequences.values())
        speed = self._options.prefill_tokens_per_second
        for item in self._sequences.values():
            if free <= 0:
                return
            if not item.admitted:
                free -= 1
                item.admitted = True
                item.due = now + (item.prompt_tokens / speed if speed else 0.0)

    def _hangs(self) -> bool:
        return 0 <= self._options.hang_after_tokens <= self._made

    def _advance(self, sequence_id: str, item: _Sequence, now: float) -> tuple[TokenEvent, ...]:
        """What a sequence that is due makes: an event, or none where it is preempted."""
        if 0 <= self._options.crash_after_tokens <= self._made:
            os.abort()
        if 0 < self._options.kv_cache_tokens < self._held_tokens():
            self._forget(sequence_id)
            return (TokenEvent(sequence_id, (), Finish.KV_CACHE_EXHAUSTED),)
        speed = self._options.tokens_per_second
        if not item.preempted and 0 < self._options.preempt_after_tokens <= item.generated:
            item.preempted = True
            item.due = now + (1 / speed if speed else 0.0)
            self._preemptions += 1
            return ()
        token_id = self._next_token(item)
        item.state = _mix(item.state, token_id)
        item.generated += 1
        self._made += 1
        # The next token counts from when this one was due, so that a late host does not slow the set speed.
        item.due = max(item.due + 1 / speed, now - 1.0) if speed else now
        finish = None
        if token_id in item.ends and item.generated > item.params.min_new_tokens:
            finish = Finish.STOP
        elif (
            item.generated >= item.params.max_new_tokens or item.prompt_tokens + item.generated >= self._context_length
        ):
            finish = Finish.LENGTH
        if self._prefixes is not None:
            self._prefixes.generated(sequence_id, (token_id,))
        if finish is not None:
            self._forget(sequence_id)
        wanted = item.params.top_logprobs
        scores = () if wanted is None else (_logprob(token_id, wanted),)
        cached_tokens = item.cached_tokens if item.generated == 1 else None
        return (TokenEvent(sequence_id, (token_id,), finish, scores, cached_tokens),)

    def _next_token(self, item: _Sequence) -> int:
        may_end = bool(self._eos) and not item.params.ignore_eos and item.generated >= item.params.min_new_tokens
        if item.replay:
            at, item.replay_at = item.replay_at, item.replay_at + 1
            if at < len(item.replay):
                return item.replay[at]
            if may_end:
                return self._eos[0]
            return item.replay[at % len(item.replay)]
        value = item.state >> 20
        if self._options.eos_every and may_end and value % self._options.eos_every == 0:
            return self._eos[0]
        first = self._options.first_token_id
        token_id = first + value % (self._vocab_size - first)
        return first if token_id in self._eos else token_id


def _logprob(token_id: int, top: int) -> TokenLogprob:
    """Made up, and the same for the same token: it is the likeliest, then come the ids before it."""
    logprob = -(token_id % 8) / 8
    return TokenLogprob(logprob, tuple((max(0, token_id - at), logprob - at) for at in range(top)))


def _mix(state: int, token_id: int) -> int:
    mixed = ((state ^ (token_id + 1)) * _MULTIPLIER + 1442695040888963407) & _MASK
    return mixed ^ (mixed >> 29)


def _overlap(token_ids: Sequence[int], replay: Sequence[int]) -> int:
    """How many tokens of the replay the prompt already ends with."""
    for length in range(min(len(replay), len(token_ids)), 0, -1):
        if list(token_ids[-length:]) == list(replay[:length]):
            return length
    return 0
