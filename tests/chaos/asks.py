"""What a client asks for: kinds of requests, their parameters, and prompts that name themselves."""

import random
from dataclasses import dataclass, field
from typing import Any, Literal

AskKind = Literal["greedy", "sampled", "stop", "cancel", "cut", "v1", "v1-n2", "v1-schema"]
#: Kinds that go over the WebSocket.
SOCKET_KINDS: tuple[AskKind, ...] = ("greedy", "sampled", "stop", "cancel", "cut")
HTTP_KINDS: tuple[AskKind, ...] = ("v1", "v1-n2", "v1-schema")
#: Kinds that may fail with a retryable error when their worker is lost.
MAY_FAIL: frozenset[AskKind] = frozenset({"v1-n2", "v1-schema"})
SCHEMA = {
    "type": "object",
    "properties": {name: {"type": "string", "minLength": 12} for name in ("first", "second", "third")},
    "required": ["first", "second", "third"],
    "additionalProperties": False,
}
_WORDS = ("river", "stone", "lamp", "copper", "winter", "seven", "garden", "letter", "engine", "harbour")


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. Its prompt begins with `[name]`, by which the engines' logs tell whose tokens they are."""

    name: str
    kind: AskKind
    content: str
    max_new_tokens: int
    temperature: float
    stop: tuple[str, ...] = ()
    cancel_after: int | None = None
    """Deltas after which it is cancelled."""
    cuts: frozenset[int] = field(default_factory=frozenset)
    """Deltas after which the client loses its connection by itself."""

    def row(self) -> dict[str, Any]:
        """Return what the checker needs to know of it."""
        return {
            "ask": self.name,
            "kind": self.kind,
            "max_new_tokens": self.max_new_tokens,
            "stop": self.stop,
            "cancels": self.cancel_after is not None,
        }

    def params(self) -> dict[str, Any]:
        """Return the parameters of a socket's frame."""
        return {
            "temperature": self.temperature,
            "max_new_tokens": self.max_new_tokens,
            "stop": self.stop,
            "repetition_penalty": 1.0,
        }

    def body(self, model: str) -> dict[str, Any]:
        """Return the body of a chat completion."""
        extra: dict[str, Any] = {}
        if self.kind == "v1-n2":
            extra["n"] = 2
        if self.kind == "v1-schema":
            extra["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
        return {
            "model": model,
            "messages": [{"role": "user", "content": self.content}],
            "stream": True,
            "temperature": self.temperature,
            "max_tokens": self.max_new_tokens,
            **extra,
        }


@dataclass(frozen=True, slots=True)
class AskSizes:
    """Bounds of prompts, in words, and of answers, in tokens."""

    prompt_words: tuple[int, int]
    new_tokens: tuple[int, int]


def make_ask(name: str, kind: AskKind, dice: random.Random, sizes: AskSizes) -> Ask:
    """Return a request of a kind; all of it follows from the dice."""
    words = dice.choices(_WORDS, k=dice.randint(*sizes.prompt_words))
    most = dice.randint(*sizes.new_tokens)
    return Ask(
        name=name,
        kind=kind,
        content=f"[{name}] Tell a long story with: {' '.join(words)}.",
        max_new_tokens=400 if kind == "v1-schema" else most,
        temperature=0.0 if kind in ("greedy", "cut") or dice.random() < 0.3 else 0.8,
        stop=("q", "xy") if kind == "stop" else (),
        cancel_after=dice.randint(0, most // 2) if kind == "cancel" else None,
        cuts=frozenset(dice.sample(range(most), k=min(3, most))) if kind == "cut" else frozenset(),
    )
