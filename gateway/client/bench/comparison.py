"""The same prompts through the platform and through its peers, in turn, round by round."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.client.bench.distribution import distribution
from gateway.client.bench.load import Load, Step
from gateway.client.bench.peer_process import PeerProcess
from gateway.client.bench.report import ComparisonReport, PeerReport
from gateway.client.bench.sample import Sample
from gateway.client.bench.step_report import first_token_ms, per_token_ms, step_report
from shared.schemas.bench import PeerFigures


@dataclass(slots=True)
class Comparison:
    """One number of prompts at once; rounds that were not ended by all are left out."""

    step: Step
    peers: Sequence[PeerProcess]
    served: list[Sequence[Sample]] = field(default_factory=list)
    figures: list[list[PeerFigures]] = field(default_factory=list)

    async def run(self, load: Load, *, rounds: int, max_new_tokens: int) -> None:
        """Measure. A round asks each of its prompts once of everybody, and no prompt of another round."""
        for number in range(rounds):
            samples, questions = await load.run_asked(self.step)
            figures = []
            for peer in self.peers:
                print(f"round {number + 1} of {rounds}: {peer.name}", file=sys.stderr, flush=True)
                figures.append(await peer.run(questions, max_new_tokens))
            self.served.append(samples)
            self.figures.append(figures)

    def report(self) -> ComparisonReport:
        """Return medians of the rounds and of their ratios.

        Raises:
            statistics.StatisticsError: no round has ended.
        """
        served = [
            step_report(samples, started_at=0, clock=0, concurrency=self.step.concurrency).output_tokens_per_second
            for samples in self.served
        ]
        return ComparisonReport(
            concurrency=self.step.shape.places,
            tokens_per_second=tuple(served),
            median_tokens_per_second=statistics.median(served),
            first_token_ms=distribution(ms for samples in self.served for ms in first_token_ms(samples)),
            per_token_ms=distribution(ms for samples in self.served for ms in per_token_ms(samples)),
            peers=tuple(self._peer(at, peer, served) for at, peer in enumerate(self.peers)),
        )

    def _peer(self, at: int, peer: PeerProcess, served: list[float]) -> PeerReport:
        rounds = [figures[at] for figures in self.figures]
        speeds = [figures.tokens / figures.seconds for figures in rounds]
        return PeerReport(
            name=peer.name,
            versions=peer.versions,
            tokens_per_second=tuple(round(speed, 3) for speed in speeds),
            median_tokens_per_second=round(statistics.median(speeds), 3),
            ratio=round(statistics.median(ours / its for ours, its in zip(served, speeds, strict=True)), 4),
            first_token_ms=distribution(ms for figures in rounds for ms in figures.first_token_ms),
            per_token_ms=distribution(ms for figures in rounds for ms in figures.per_token_ms),
            same_prompts=all(
                sorted(figures.prompt_tokens) == sorted(sample.prompt_tokens or 0 for sample in samples)
                for figures, samples in zip(rounds, self.served, strict=True)
            ),
        )
