"""A user's chats, the newest first, a page at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

from shared import keys
from shared.errors import InvalidRequest
from shared.redis_client import AsyncRedis
from shared.schemas.chats import ChatList, ChatSummary

#: Chats that one look into Redis takes.
_CHUNK = 200
_FIELDS = ("title", "model", "created_ms")


class ChatListing:
    """Lists and searches a user's chats in the state Redis."""

    def __init__(self, state: AsyncRedis) -> None:
        self._redis = state

    async def page(self, user: str, *, limit: int, cursor: str | None = None, search: str | None = None) -> ChatList:
        """Return a page of the chats whose title has the searched text in it, upper and lower case being one.

        Args:
            user: whose chats.
            limit: most chats on the page.
            cursor: ``next_cursor`` of the page before. It names a place in time: chats that got a turn since then
                stand before it and are not told again.
            search: a piece of the title.

        Raises:
            InvalidRequest: the cursor is none of ours.
        """
        wanted = (search or "").casefold()
        found: list[ChatSummary] = []
        async for summary in self._newest_first(user, _parsed(cursor)):
            if wanted not in summary.title.casefold():
                continue
            if len(found) == limit:
                last = found[-1]
                return ChatList(data=tuple(found), next_cursor=f"{last.updated_ms}.{last.chat_id}")
            found.append(summary)
        return ChatList(data=tuple(found))

    async def _newest_first(self, user: str, after: tuple[int, str] | None) -> AsyncIterator[ChatSummary]:
        score: int | str = "+inf" if after is None else after[0]
        skipped = 0
        while True:
            raw = cast(
                list[tuple[bytes, float]],
                await self._redis.zrange(
                    keys.chats_of(user),
                    score,
                    "-inf",
                    desc=True,
                    byscore=True,
                    withscores=True,
                    offset=skipped,
                    num=_CHUNK,
                ),
            )
            skipped += len(raw)
            placed = [(int(updated_ms), chat_id.decode()) for chat_id, updated_ms in raw]
            for summary in await self._summaries([one for one in placed if after is None or one < after]):
                yield summary
            if len(raw) < _CHUNK:
                return

    async def _summaries(self, placed: list[tuple[int, str]]) -> list[ChatSummary]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for _, chat_id in placed:
                pipeline.hmget(keys.chat(chat_id), _FIELDS)
            rows = cast(list[list[bytes | None]], await pipeline.execute())
        summaries = []
        for (updated_ms, chat_id), (title, model, created_ms) in zip(placed, rows, strict=True):
            if created_ms is None:  # Deleted since the list was read.
                continue
            summaries.append(
                ChatSummary(
                    chat_id=chat_id,
                    title=(title or b"").decode(),
                    model=None if model is None else model.decode(),
                    created_ms=int(created_ms),
                    updated_ms=updated_ms,
                )
            )
        return summaries


def _parsed(cursor: str | None) -> tuple[int, str] | None:
    if cursor is None:
        return None
    updated_ms, _, chat_id = cursor.partition(".")
    if not (updated_ms.isascii() and updated_ms.isdecimal() and len(updated_ms) < 16 and chat_id):
        raise InvalidRequest("This cursor was not given by a page of chats.", param="cursor")
    return int(updated_ms), chat_id
