"""One turn of a chat: the question goes out, the answer is shown as it comes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from gateway.client.connection import Connection
from gateway.client.generation import Generation
from gateway.client.terminal import AnswerScreen
from shared.errors import PlatformError, error_from_body
from shared.schemas.generation import (
    FinishReason,
    GenerationDelta,
    GenerationFailed,
    GenerationFinished,
    GenerationParams,
    GenerationResumed,
    GenerationStarted,
    Timings,
    Usage,
)
from shared.schemas.realtime import GenerationQueued, ModelLoading


@dataclass
class Answer:
    """What became of a question."""

    chat_id: str | None = None
    generation_id: str | None = None
    text: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    dropped_turns: int = 0


class ChatTurns:
    """The turns of one chat, one after the other."""

    def __init__(
        self, connection: Connection, model: str, *, system: str | None, params: GenerationParams, silent: bool = False
    ) -> None:
        self._connection = connection
        self._model = model
        self._system = system
        self._params = params
        self._silent = silent
        self._chat_id: str | None = None
        self._running: Generation | None = None
        self._cancelled = False
        self._given_up = False
        self._asking: asyncio.Task[object] | None = None
        self._screen = AnswerScreen(silent=silent)
        connection.on_lost = self._tell_loss

    async def ask(self, content: str) -> Answer:
        """Ask the next question and show its answer.

        Raises:
            PlatformError: the question was refused, or its answer failed.
        """
        self._cancelled = self._given_up = False
        answer, screen = Answer(), AnswerScreen(silent=self._silent)
        self._screen, self._asking = screen, asyncio.current_task()
        screen.status("sending")
        try:
            if self._connection.is_lost:
                self._tell_loss()
            self._running = generation = await self._connection.send(
                self._model,
                content,
                chat_id=self._chat_id,
                # The system prompt is a chat's first word; later turns go on from it.
                system=self._system if self._chat_id is None else None,
                params=self._params,
            )
            if self._cancelled:
                await generation.cancel()
            self._chat_id = generation.chat_id
            answer.chat_id, answer.generation_id = generation.chat_id, generation.generation_id
            await self._show(generation, answer, screen)
        except asyncio.CancelledError:
            if not self._given_up:
                raise
            answer.finish_reason = "cancelled"
            screen.end_line()
            screen.notice("given up")
        except PlatformError:
            screen.end_line()
            raise
        finally:
            if self._running is not None:
                # Where the gateway comes back to this client, an answer that nobody waits for is ended.
                self._running.cancel_wanted = True
            self._running = self._asking = None
            screen.clear_status()
        return answer

    async def cancel(self) -> None:
        """Stop the running answer; its turn ends with what has come.

        The end is the gateway's to tell. It is not waited for where the connection is lost, and not a second time.
        """
        if self._asking is None:
            return
        if self._cancelled or self._connection.is_lost:
            self._given_up = True
            self._asking.cancel()
            return
        self._cancelled = True
        if self._running is not None:
            await self._running.cancel()

    def _tell_loss(self) -> None:
        if self._asking is not None:
            self._screen.notice("connection lost, reconnecting; Ctrl-C gives up")

    async def _show(self, generation: Generation, answer: Answer, screen: AnswerScreen) -> None:
        async for event in generation:
            match event:
                case GenerationQueued():
                    screen.status(f"waiting, {event.position} before this one" if event.position else "waiting")
                case ModelLoading():
                    done = "" if event.progress is None else f" {event.progress:.0%}"
                    screen.status(f"loading {event.model}{done}")
                case GenerationStarted():
                    answer.dropped_turns = event.dropped_turns
                    screen.status(f"reading {event.prompt_tokens} tokens")
                case GenerationDelta():
                    if event.channel == "answer":
                        answer.text += event.text
                        screen.write(event.text)
                case GenerationResumed():
                    screen.status("another worker goes on")
                case GenerationFinished():
                    answer.finish_reason = event.finish_reason
                    answer.usage, answer.timings = event.usage, event.timings
                    screen.end(_note(answer))
                case GenerationFailed():
                    raise error_from_body(event.error)


def _note(answer: Answer) -> str | None:
    notes = []
    if answer.finish_reason == "cancelled":
        notes.append("cancelled")
    if answer.finish_reason == "length":
        notes.append("cut at the length limit; --max-new-tokens moves it")
    if answer.dropped_turns:
        notes.append(f"the {answer.dropped_turns} oldest turns did not fit into the model's context")
    return "; ".join(notes) or None
