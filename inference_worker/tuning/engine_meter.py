"""Measures a started engine by its contract alone."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from inference_worker.engine import Engine, EngineInfo, SamplingParams
from shared.schemas.tuning import RoundFigures

MANY_CHATS = 16
_ONE_CHAT_TOKENS = 32
_MANY_CHATS_TOKENS = 16
_SHORT_PROMPT_TOKENS = 24
_LONG_PROMPT_TOKENS = 1000
#: Ids below are often special tokens.
_FIRST_TOKEN_ID = 300


@dataclass(slots=True)
class _Run:
    """Sequences that ran together; times are seconds since they were added."""

    token_ids: dict[str, list[int]] = field(default_factory=dict)
    first_seconds: float = 0.0
    seconds: float = 0.0
    longest_step_seconds: float = 0.0

    @property
    def tokens(self) -> int:
        return sum(map(len, self.token_ids.values()))


class EngineMeter:
    """Prompts are random token ids that no cache knows; the same round has the same ones on every engine."""

    def __init__(self, engine: Engine, info: EngineInfo, *, vocab_size: int) -> None:
        self._engine = engine
        self._vocab_size = max(vocab_size, 2 * _FIRST_TOKEN_ID)
        self.prompt_tokens = min(_LONG_PROMPT_TOKENS, info.context_length - _ONE_CHAT_TOKENS)
        self._added = 0

    def measure(self, number: int) -> RoundFigures:
        """Time one chat alone, many at once, and the first token of a long prompt."""
        draw = random.Random(number)
        one = self._run([self._prompt(draw, _SHORT_PROMPT_TOKENS)], _ONE_CHAT_TOKENS)
        many = self._run([self._prompt(draw, _SHORT_PROMPT_TOKENS) for _ in range(MANY_CHATS)], _MANY_CHATS_TOKENS)
        long = self._run([self._prompt(draw, self.prompt_tokens)], 1)
        return RoundFigures(
            one_chat_tokens_per_second=(one.tokens - 1) / (one.seconds - one.first_seconds),
            many_chats_tokens_per_second=many.tokens / many.seconds,
            first_token_ms=1000 * long.first_seconds,
            longest_step_ms=1000 * long.longest_step_seconds,
        )

    def continuations(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
        """Return what the model says greedily after each prompt."""
        return list(self._run(prompts, tokens).token_ids.values())

    def agreement(self, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]) -> float:
        """Return the share of tokens that the model says, too, after the prompt and the tokens before them."""
        # One after the other: a batch rounds differently, and its sequences begin alike.
        same = [
            list(self._run([[*prompt, *said[:at]]], 1).token_ids.values()) == [[token_id]]
            for prompt, said in zip(prompts, continuations, strict=True)
            for at, token_id in enumerate(said)
        ]
        return sum(same) / len(same) if same else 1.0

    def _prompt(self, draw: random.Random, tokens: int) -> list[int]:
        return [draw.randrange(_FIRST_TOKEN_ID, self._vocab_size) for _ in range(tokens)]

    def _run(self, prompts: Sequence[Sequence[int]], tokens: int) -> _Run:
        run = _Run()
        begun = time.perf_counter()
        for prompt in prompts:
            self._added += 1
            run.token_ids[str(self._added)] = []
            self._engine.add(str(self._added), prompt, SamplingParams(tokens, ignore_eos=True))
        open_ids = set(run.token_ids)
        before = begun
        while open_ids:
            events = self._engine.next_events(0.05)
            now = time.perf_counter()
            run.longest_step_seconds = max(run.longest_step_seconds, now - before)
            before = now
            for event in events:
                run.first_seconds = run.first_seconds or now - begun
                run.token_ids[event.sequence_id].extend(event.token_ids)
                if event.finish is not None:
                    if event.finish.is_error:
                        raise RuntimeError(f"the engine ended a sequence with {event.finish}")
                    open_ids.discard(event.sequence_id)
        run.seconds = time.perf_counter() - begun
        return run
