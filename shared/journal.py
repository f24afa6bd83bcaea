"""The journal of a generation: written by the worker that has it, watched by gateways, read by the finalizer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import orjson
import pydantic_core

from shared import keys
from shared.redis_client import AsyncRedis
from shared.schemas.common import Message
from shared.schemas.generation import GenerationDelta
from shared.scripts import load_script

EntryKind = Literal["started", "delta", "held", "resumed", "finished", "failed"]
#: Kinds that end a generation.
TERMINAL_KINDS: frozenset[EntryKind] = frozenset({"finished", "failed"})


def encode_frame(frame: Message) -> bytes:
    """Return the JSON of a frame as it goes to clients: encoded once, by the writer, and passed on unparsed."""
    # Most frames are deltas, few have log probabilities: the others do not carry the name of what they lack.
    absent = {"logprobs"} if isinstance(frame, GenerationDelta) and frame.logprobs is None else None
    # orjson would leave each frame, however short, the four kilobytes in which it began to write it.
    return pydantic_core.to_json(frame, exclude=absent, inf_nan_mode="null")


class Attempt(NamedTuple):
    """One worker's try at a generation: who writes into its journal, until a next one does."""

    generation_id: str
    number: int


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry to be appended.

    Attributes:
        seq: number of the last delta, this one included.
        token_ids: tokens that the engine gave since the last entry, also those whose text is held back.
        frame: JSON that clients get; empty for ``held``.
    """

    generation_id: str
    attempt: int
    kind: EntryKind
    seq: int
    token_ids: Sequence[int]
    frame: bytes


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """An entry that was read back; ``n`` numbers the frames of a generation from 1 without a gap."""

    n: int
    attempt: int
    kind: EntryKind
    seq: int
    token_ids: tuple[int, ...]
    frame: bytes


RawEntry = tuple[bytes, dict[bytes, bytes] | list[bytes]]


def parse_entry(raw: RawEntry) -> JournalEntry:
    """Return an entry from its Redis form, whether it came from a command or from a script."""
    entry_id, fields = raw
    named = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
    return JournalEntry(
        n=int(entry_id.partition(b"-")[0]),
        attempt=int(named[b"a"]),
        kind=cast(EntryKind, named[b"k"].decode()),
        seq=int(named[b"s"]),
        token_ids=tuple(orjson.loads(named[b"t"])),
        frame=named[b"f"],
    )


class Journal:
    """Appends to and reads from the journals on the transport Redis."""

    def __init__(self, transport: AsyncRedis) -> None:
        self._redis = transport
        self._append = load_script(transport, "append")
        self._watch = load_script(transport, "watch")

    async def append(
        self, worker_id: str, entries: Sequence[NewEntry], numbers: Iterable[int] | None = None
    ) -> frozenset[Attempt]:
        """Append one step's entries in one call; return the attempts that may not write any more.

        With their numbers among those of their attempts, from 1, those that are there already are not written again.
        """
        arguments: list[bytes | str | int] = [worker_id]
        for entry, number in zip(entries, numbers or (0 for _ in entries), strict=True):
            arguments += (
                entry.generation_id,
                entry.attempt,
                number,
                entry.kind,
                entry.seq,
                orjson.dumps(list(entry.token_ids)),
                entry.frame,
            )
        if len(arguments) == 1:
            return frozenset()
        refused = cast(list[bytes], await self._append(args=arguments))
        return frozenset(
            Attempt(generation_id.decode(), int(number))
            for generation_id, number in zip(refused[::2], refused[1::2], strict=True)
        )

    async def watch(self, generation_id: str, gateway_id: str, after_n: int = 0) -> tuple[JournalEntry, ...] | None:
        """Subscribe a gateway and return the entries after frame ``after_n``; None where it is unknown or expired."""
        raw = cast(list[RawEntry] | None, await self._watch(args=[generation_id, gateway_id, after_n]))
        return None if raw is None else tuple(parse_entry(entry) for entry in raw)

    async def user(self, generation_id: str) -> str | None:
        """Return whose generation it is; None where it is unknown or expired."""
        raw = cast(bytes | None, await self._redis.hget(keys.generation_state(generation_id), "user"))
        return None if raw is None else raw.decode()

    async def unwatch(self, generation_id: str, gateway_id: str) -> None:
        """Stop relaying a generation to a gateway."""
        await self._redis.srem(keys.watchers(generation_id), gateway_id)

    async def read(self, generation_id: str) -> tuple[JournalEntry, ...]:
        """Return every entry of a journal."""
        raw = cast(list[RawEntry], await self._redis.xrange(keys.journal(generation_id)))
        return tuple(parse_entry(entry) for entry in raw)

    async def expire(self, generation_id: str, seconds: int) -> None:
        """Let an ended generation be forgotten after a time."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for key in (
                keys.generation_state(generation_id),
                keys.generation_request(generation_id),
                keys.journal(generation_id),
                keys.watchers(generation_id),
            ):
                pipeline.expire(key, seconds)
            await pipeline.execute()
