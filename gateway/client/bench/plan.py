"""What ``ovchat bench`` was asked for, checked."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gateway.client.bench.load import Step
from gateway.client.bench.load_shapes import Bound, ClosedLoop, OpenLoop
from gateway.client.bench.prompts import FilePrompts, MadeUpPrompts, Prompts
from shared.errors import InvalidRequest

Api = Literal["ws", "openai"]
Peer = Literal["optimum", "in-process"]
PEERS: tuple[Peer, ...] = ("optimum", "in-process")
#: Requests of a step where neither a number nor a time is given.
_REQUESTS_PER_CLIENT = 4
_OPEN_LOOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """One call of the command.

    Attributes:
        concurrency: clients of each closed step; empty for open loops.
        rates: requests per second of each open step.
        sockets: connections of the open steps.
        prompt_tokens: about how long the made-up questions shall be; None leaves them short.
        peers: what the platform is compared with, and ``rounds`` how often.
    """

    model: str
    api: Api
    concurrency: tuple[int, ...]
    rates: tuple[float, ...]
    bound: Bound
    sockets: int
    max_new_tokens: int
    warmup: int
    prompt_tokens: int | None
    prompts_file: Path | None
    seed: int
    peers: tuple[Peer, ...]
    rounds: int
    run: str

    def prompts(self) -> Prompts:
        """Return the questions. Raises InvalidRequest for a file that has none."""
        return FilePrompts(self.prompts_file) if self.prompts_file is not None else MadeUpPrompts(self.run)

    def prompts_label(self) -> str:
        """Say in words what is asked."""
        if self.prompts_file is not None:
            return f"prompts of {self.prompts_file.name}"
        length = "short prompts" if self.prompt_tokens is None else f"prompts of about {self.prompt_tokens:,} tokens"
        return f"{length}, answers of at most {self.max_new_tokens:,} tokens"

    def steps(self) -> list[Step]:
        """Return the steps in order."""
        if self.rates:
            bound = self.bound
            if bound.requests is None and bound.seconds is None:
                bound = Bound(seconds=_OPEN_LOOP_SECONDS)
            return [
                Step(OpenLoop(rate, bound, places=self.sockets, seed=self.seed), rate_per_second=rate)
                for rate in self.rates
            ]
        return [Step(ClosedLoop(clients, self._closed_bound(clients)), clients) for clients in self.concurrency]

    def _closed_bound(self, clients: int) -> Bound:
        if self.peers:
            return Bound(requests=clients)
        if self.bound.requests is None and self.bound.seconds is None:
            return Bound(requests=_REQUESTS_PER_CLIENT * clients)
        return self.bound


def new_run() -> str:
    """Return a name that the prompts of this run have and no other's."""
    return uuid.uuid4().hex[:8]


def parsed_numbers(text: str, option: str) -> tuple[float, ...]:
    """Read a list such as ``1,8,32``.

    Raises:
        InvalidRequest: it is none, or a number is not above 0.
    """
    try:
        numbers = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        numbers = ()
    if not numbers or not all(0 < number < 1e6 for number in numbers):
        raise InvalidRequest(f"{option} {text!r} is no list of numbers above 0, such as 1,8,32", param=option)
    return numbers


def parsed_peers(text: str) -> tuple[Peer, ...]:
    """Read a list such as ``optimum,in-process``.

    Raises:
        InvalidRequest: a name is none of these.
    """
    named = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [name for name in named if name not in PEERS]
    if unknown or not named:
        wanted = ", ".join(PEERS)
        raise InvalidRequest(f"--compare {unknown[0] if unknown else text!r}: wanted are {wanted}", param="--compare")
    return tuple(peer for peer in PEERS if peer in named)
