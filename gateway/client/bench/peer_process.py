"""What the platform is compared with, as a child process that is spoken to in lines of JSON."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from gateway.client.bench.prompts import Question
from gateway.client.line_process import LineProcess
from shared.errors import Unavailable
from shared.schemas.bench import PEER_LINE, PeerChat, PeerFailed, PeerFigures, PeerReady, PeerRound

#: Run by name: the gateway's package imports nothing of the inference worker's.
_MODULE = "inference_worker.bench"


class PeerProcess:
    """``async with PeerProcess(…) as peer`` loads the model; rounds are run one after the other.

    Raises:
        Unavailable: on entering and from each round; the model cannot be loaded here, with what is missing.
    """

    def __init__(self, name: str, *, store: Path, model: str, variant: str, device: str) -> None:
        self.name = name
        self.versions: dict[str, str] = {}
        arguments = (name, "--store", str(store), "--model", model, "--variant", variant, "--device", device)
        self._process = LineProcess(f"--compare {name}", _MODULE, arguments)

    async def __aenter__(self) -> Self:
        await self._process.start()
        try:
            ready = await self._line()
        except BaseException:
            await self._process.close()
            raise
        if isinstance(ready, PeerReady):
            self.versions = ready.versions
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._process.close()

    async def run(self, questions: list[Question], max_new_tokens: int) -> PeerFigures:
        """Run the questions of one round."""
        chats = tuple(PeerChat(content=question.content, system=question.system) for question in questions)
        await self._process.send(PeerRound(chats=chats, max_new_tokens=max_new_tokens))
        figures = await self._line()
        if not isinstance(figures, PeerFigures):
            raise Unavailable(f"--compare {self.name} answered out of turn")
        return figures

    async def _line(self) -> PeerReady | PeerFigures:
        text = await self._process.receive()
        try:
            line = PEER_LINE.validate_json(text)
        except ValidationError:
            raise await self._process.loss() from None
        if isinstance(line, PeerFailed):
            raise Unavailable(f"--compare {self.name}: {line.message}")
        return line
