"""A candidate, loaded and measured in a process of its own."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from pydantic import BaseModel, ValidationError

from gateway.client.line_process import LineProcess
from shared.errors import Unavailable
from shared.schemas.engine_config import EngineConfig
from shared.schemas.tuning import (
    TUNING_LINE,
    Agreement,
    CandidateFailed,
    CandidateReady,
    Compare,
    Continuations,
    Continue,
    MeasureRound,
    RoundFigures,
)

#: Run by name: the gateway's package imports nothing of the inference worker's.
_MODULE = "inference_worker.tuning"

Line = TypeVar("Line", bound=BaseModel)


class CandidateProcess:
    """``async with CandidateProcess(…) as candidate`` loads the variant.

    Raises:
        Unavailable: on entering and from each call; the variant cannot be loaded or computed so, with the reason.
    """

    facts: CandidateReady

    def __init__(self, label: str, config: EngineConfig, *, store: Path, variant: str, device: str) -> None:
        arguments = ("--store", str(store), "--variant", variant, "--device", device)
        config_json = config.model_dump_json(exclude_none=True)
        self._process = LineProcess(label, _MODULE, (*arguments, "--config", config_json))

    async def __aenter__(self) -> Self:
        await self._process.start()
        try:
            self.facts = await self._line(CandidateReady)
        except BaseException:
            await self._process.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._process.close()

    async def measure(self, number: int) -> RoundFigures:
        """Run one round."""
        return await self._ask(MeasureRound(number=number), RoundFigures)

    async def continuations(self, tokens: int) -> tuple[tuple[int, ...], ...]:
        """Return what follows the fixed texts, greedily."""
        return (await self._ask(Continue(tokens=tokens), Continuations)).token_ids

    async def agreement(self, continuations: tuple[tuple[int, ...], ...]) -> float:
        """Return the share of these tokens that it says, too."""
        return (await self._ask(Compare(continuations=continuations), Agreement)).share

    async def _ask(self, command: BaseModel, kind: type[Line]) -> Line:
        await self._process.send(command)
        return await self._line(kind)

    async def _line(self, kind: type[Line]) -> Line:
        text = await self._process.receive()
        try:
            line = TUNING_LINE.validate_json(text)
        except ValidationError:
            raise await self._process.loss() from None
        if isinstance(line, CandidateFailed):
            raise Unavailable(line.message)
        if not isinstance(line, kind):
            raise Unavailable("the candidate's process answered out of turn")
        return line
