"""What every peer of a comparison is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from shared.schemas.bench import PeerFigures, PeerRound


class BenchPeer(ABC):
    """A loaded model without the platform around it."""

    #: Of the libraries that do the work.
    versions: dict[str, str]

    @abstractmethod
    async def run(self, asked: PeerRound) -> PeerFigures:
        """Run the prompts of a round; the time counts from the first to the last token of all."""
