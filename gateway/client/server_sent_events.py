"""Server-sent events: the lines of a response as events."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass


@dataclass(frozen=True)
class ServerSentEvent:
    """One event; ``id`` is the last one that the stream named, as a reconnection has to send it."""

    event: str
    data: str
    id: str | None


async def events_of(lines: AsyncIterable[str]) -> AsyncIterator[ServerSentEvent]:
    """Yield the events; one that the stream's end cut off is dropped, as the standard says."""
    event, data, last_id = "message", list[str](), None
    async for raw in lines:
        line = raw.rstrip("\r\n")
        if not line:
            if data:
                yield ServerSentEvent(event, "\n".join(data), last_id)
            event, data = "message", []
            continue
        # A line that begins with a colon is a comment: the heartbeat.
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            event = value
        elif field == "id":
            last_id = value
