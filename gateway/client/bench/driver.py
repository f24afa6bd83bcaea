"""What a load asks over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from gateway.client.bench.prompts import Question
from gateway.client.bench.sample import Sample


@dataclass(frozen=True, slots=True)
class Wish:
    """What every request of a load asks for: greedy answers, so that two runs do the same work."""

    model: str
    max_new_tokens: int


class Driver(ABC):
    """One of the gateway's interfaces, seen as "ask and fill the sample"."""

    #: Chats that the gateway has stored for this load.
    chat_ids: list[str]

    @abstractmethod
    async def open(self, places: int) -> None:
        """Have at least so many connections open.

        Raises:
            PlatformError: the gateway is not there, or refuses the key.
        """

    @abstractmethod
    async def ask(self, place: int, question: Question, wish: Wish, sample: Sample) -> None:
        """Ask and write what comes into the sample as it comes; a failure is written there, not raised."""

    @abstractmethod
    async def close(self) -> None:
        """Cancel what is open and close the connections."""
