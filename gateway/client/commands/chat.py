"""``ovchat chat``: talk to a model in the terminal."""

from __future__ import annotations

import re
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.client.exits import FAILURE, INTERRUPTED, USAGE, fail, told_failures

if TYPE_CHECKING:
    from gateway.client.answer import Answer, ChatTurns
    from gateway.client.background_loop import BackgroundLoop
    from shared.schemas.generation import GenerationParams

_LEAVE = frozenset({"/exit", "/quit"})


def chat(
    model: Annotated[str, typer.Argument(help="Model, or model:variant, as `ovchat models` lists it.")],
    message: Annotated[
        str | None, typer.Option("--message", "-m", help="Ask this, print the answer, exit; - reads standard input.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="System prompt of the chat.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 to 2; 0 is greedy. Default 0.1.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Default 1.0.")] = None,
    top_k: Annotated[int | None, typer.Option(help="0 is off. Default 50.")] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="Default 1.1.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Longest answer. Default 256.")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes sampling repeatable.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="With --message: print the answer as JSON.")] = False,
) -> None:
    """Chat with a model: answers stream in, and each question knows the ones before it.

    Ctrl-C cancels the answer and not the program; Ctrl-D or /exit leaves.
    """
    if json_ and message is None:
        fail("--json needs --message", code=USAGE)
    with told_failures():
        from shared.schemas.generation import GenerationParams

        asked = {
            "temperature": temperature,
            "top_p": top_p,
            "top_k": top_k,
            "repetition_penalty": repetition_penalty,
            "max_new_tokens": max_new_tokens,
            "seed": seed,
        }
        params = GenerationParams.model_validate({name: value for name, value in asked.items() if value is not None})
        content = sys.stdin.read() if message == "-" else message
        if content is not None and not content.strip():
            fail("the message is empty", code=USAGE)
        raise typer.Exit(_chat(model, content, system, params, json_=json_))


def _chat(model: str, content: str | None, system: str | None, params: GenerationParams, *, json_: bool) -> int:
    from gateway.client.answer import ChatTurns
    from gateway.client.background_loop import BackgroundLoop
    from gateway.client.session import connection

    with BackgroundLoop() as loop:
        socket = connection()
        loop.run(socket.__aenter__())
        turns = ChatTurns(socket, model, system=system, params=params, silent=json_)
        try:
            return _converse(loop, turns, model) if content is None else _answer_once(loop, turns, content, json_=json_)
        finally:
            loop.run(socket.__aexit__(None, None, None))


def _answer_once(loop: BackgroundLoop, turns: ChatTurns, content: str, *, json_: bool) -> int:
    answer = _ask(loop, turns, content)
    if json_:
        import json
        from dataclasses import asdict

        print(json.dumps(asdict(answer), default=lambda part: part.model_dump(), ensure_ascii=False))
    return INTERRUPTED if answer.finish_reason == "cancelled" else 0


def _converse(loop: BackgroundLoop, turns: ChatTurns, model: str) -> int:
    from shared.errors import PlatformError, Unavailable

    interactive = sys.stdin.isatty()
    if interactive:
        # Importing it gives input() line editing and a history.
        import readline  # noqa: F401

        print(f"{model}: Ctrl-C cancels an answer, Ctrl-D or /exit leaves", file=sys.stderr)
    failed = False
    while True:
        try:
            line = input("> " if interactive else "")
        except EOFError:
            if interactive:
                print()
            # A script that pipes its questions in learns whether each was answered.
            return FAILURE if failed and not interactive else 0
        except KeyboardInterrupt:
            print("\n(Ctrl-D or /exit leaves)", file=sys.stderr)
            continue
        if line.strip() in _LEAVE:
            return 0
        if not line.strip():
            continue
        if re.fullmatch(r"/[a-z]*", line.split()[0]):
            print(f"no command {line.split()[0]}; there are /exit and /quit", file=sys.stderr)
            continue
        try:
            _ask(loop, turns, line)
        except PlatformError as error:
            failed = True
            print(f"ovchat: {error.message}", file=sys.stderr)
            if isinstance(error, Unavailable) and not interactive:
                return FAILURE


def _ask(loop: BackgroundLoop, turns: ChatTurns, content: str) -> Answer:
    """Wait for the answer; each Ctrl-C meanwhile asks for its end, and the end is waited for."""

    def cancel(_number: int, _frame: object) -> None:
        loop.start(turns.cancel())

    # A handler and no KeyboardInterrupt, which could come between the start and the wait and end the program.
    before = signal.signal(signal.SIGINT, cancel)
    try:
        return loop.start(turns.ask(content)).result()
    finally:
        signal.signal(signal.SIGINT, before)
