"""Chats that go on while something is done to the platform, and the comparison of what each of them got.

The clients and the rules of the protocol are those of `make chaos`.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.asks import AskKind, AskSizes, make_ask
from tests.chaos.checker import Heard, what_was_heard
from tests.chaos.live_view import LiveView
from tests.chaos.recorder import Recorder, read_rows
from tests.chaos.socket_answers import check_client, check_order
from tests.chaos.socket_client import SocketClient
from tests.chaos.verdict import Verdict, difference
from tests.compose.platform_client import MODEL, PlatformClient

CHATS = 20
#: Some clients lose their connection by themselves, too.
KINDS: tuple[AskKind, ...] = ("greedy", "sampled", "cut")
SIZES = AskSizes((5, 60), (150, 300))
#: Every answer must have ended this long after nothing is done any more.
LAST_ANSWERS_SECONDS = 240.0


@dataclass(slots=True)
class Comparison:
    """What was compared, and what did not agree."""

    chats: int = 0
    deltas: int = 0
    characters: int = 0
    resumed: int = 0
    connections_lost: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()))
        return (
            f"{self.chats} answers ({ends}), {self.deltas:,} deltas of {self.characters:,} characters compared three "
            f"ways, {self.connections_lost} lost connections, {self.resumed} answers moved to another worker, "
            f"{len(self.problems)} problems"
        )


async def chats_while(
    work: Callable[[Recorder], Coroutine[None, None, None]], client: PlatformClient, folder: Path, seed: int
) -> Comparison:
    """Have 20 clients ask one thing after the other while `work` is done; compare every answer afterwards.

    Args:
        work: what is done meanwhile; it may note it in the recorder.
        client: reaches the platform.
        folder: gets the record of every frame.
        seed: requests follow from it, their timing does not.
    """
    rows = folder / "rows.jsonl"
    recorder = Recorder(rows)
    over = asyncio.Event()
    try:
        async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as group:
            for number in range(CHATS):
                group.create_task(_ask_until(over, client, recorder, f"s{seed}c{number}"))
            await work(recorder)
            over.set()
            limit.reschedule(asyncio.get_running_loop().time() + LAST_ANSWERS_SECONDS)
    finally:
        recorder.close()
    comparison = Comparison()
    for heard in what_was_heard(read_rows(rows)):
        await _compare(heard, client, comparison)
    return comparison


async def _ask_until(over: asyncio.Event, client: PlatformClient, recorder: Recorder, name: str) -> None:
    dice = random.Random(name)
    socket = SocketClient(name, [client.socket_url], MODEL, LiveView(), recorder, dice, key=client.key)
    asked = 0
    try:
        while not asked or not over.is_set():
            asked += 1
            await socket.ask(make_ask(f"{name}n{asked}", dice.choice(KINDS), dice, SIZES))
    finally:
        await socket.leave()


async def _compare(heard: Heard, client: PlatformClient, comparison: Comparison) -> None:
    """Hold what one client got against the protocol, the stored chat, and what a resume from the beginning gives."""
    verdict = Verdict(heard.ask["ask"], heard.ask["kind"])
    frames = [row["frame"] for row in heard.frames]
    check_order(verdict, frames)
    check_client(verdict, heard.own)
    end = frames[-1] if frames else {"type": "nothing"}
    deltas = [(frame["seq"], frame["text"]) for frame in frames if frame["type"] == "generation.delta"]
    text = "".join(piece for _, piece in deltas)
    if end["type"] != "generation.finished":
        verdict.blame(f"its last frame is {end}")
    else:
        replayed = await client.resume(end["generation_id"])
        if replayed != deltas:
            verdict.blame(f"a resume gives {difference(''.join(piece for _, piece in replayed), text)}")
        messages = client.ended_chat(frames[0]["chat_id"])["messages"]
        [stored] = [message["content"] for message in messages if message["message_id"] == end["generation_id"]]
        if stored != text:
            verdict.blame(f"stored is {difference(stored, text)}")
    comparison.chats += 1
    comparison.deltas += len(deltas)
    comparison.characters += len(text)
    comparison.resumed += verdict.resumed > 0
    comparison.connections_lost += sum(row["what"] == "broke" for row in heard.own)
    comparison.ends[str(end.get("finish_reason", end["type"]))] += 1
    comparison.problems += verdict.violations
