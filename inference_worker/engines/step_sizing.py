"""Chooses how many tokens one engine step may take on this host, from a few timed prefills."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: Tokens of the longest timed step; also the batch size with which the timed pipeline is built.
PROBE_TOKENS = 256
_SMALL_TOKENS = 32
_LONG_TOKENS = 1024
_LEAST_PREFILL_TOKENS = 16
_MOST_PREFILL_TOKENS = 2048
#: Contexts beyond this are not sized for: they would make every step tiny for prompts that are rare.
_SIZED_CONTEXT = 8192
#: A full step this slow belongs to a model for which a long timed prefill would take minutes.
_SLOW_STEP_MS = 1000.0

#: Prefills that many unseen tokens alone and returns the milliseconds of each step that it took.
TimedPrefill = Callable[[int], list[float]]


@dataclass(frozen=True, slots=True)
class StepCost:
    """Milliseconds of a step of n tokens at context position p: `fixed + n * (token + position * p)`."""

    fixed_ms: float
    token_ms: float
    position_ms: float


def measure_step_cost(prefill: TimedPrefill, context_length: int) -> StepCost:
    """Time small, full and (where the model is fast enough) long prefills.

    The better of two runs counts, because other processes of the host only ever make a run slower.
    """
    prefill(_SMALL_TOKENS)  # The first step of a pipeline also allocates memory and compiles kernels.
    small = min(prefill(_SMALL_TOKENS)[0] for _ in range(2))
    full = prefill(PROBE_TOKENS)[0]
    position_ms = 0.0
    if full < _SLOW_STEP_MS:
        full = min(full, prefill(PROBE_TOKENS)[0])
        long_tokens = min(_LONG_TOKENS, context_length - 2) // PROBE_TOKENS * PROBE_TOKENS
        if long_tokens > PROBE_TOKENS:
            last = min(prefill(long_tokens)[-1] for _ in range(2))
            position_ms = max(0.0, (last - full) / (PROBE_TOKENS * (long_tokens - PROBE_TOKENS)))
    token_ms = max(0.0, (full - small) / (PROBE_TOKENS - _SMALL_TOKENS))
    return StepCost(max(0.0, small - _SMALL_TOKENS * token_ms), token_ms, position_ms)


def tokens_per_step(cost: StepCost, *, target_ms: float, slots: int, context_length: int) -> int:
    """The largest step that takes `target_ms` half way into the context, so at most twice that at its end.

    Every slot decodes one token of a short context and the rest is one long prompt's. Prefill always gets some
    tokens: without them a busy replica would never begin a new answer.
    """
    position = min(context_length, _SIZED_CONTEXT) // 2
    left_ms = target_ms - cost.fixed_ms - slots * cost.token_ms
    per_token_ms = cost.token_ms + cost.position_ms * position
    prefill_tokens = int(left_ms / per_token_ms) if per_token_ms > 0 else _MOST_PREFILL_TOKENS
    return slots + max(_LEAST_PREFILL_TOKENS, min(prefill_tokens, _MOST_PREFILL_TOKENS))
