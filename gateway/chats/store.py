"""Chats in the state Redis: each a tree of messages with a leaf where the talk goes on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import cast

from shared import keys
from shared.errors import ChatNotFound
from shared.ids import user_message_id
from shared.redis_client import AsyncRedis
from shared.schemas.chats import Provenance, StoredMessage
from shared.schemas.generation import ChatTurn
from shared.scripts import load_script

#: Written where the script puts the parent's id, which only it knows for sure. It is the first text of this kind in
#: the JSON, because the parent's field stands before the content, and the id before it is our own.
_PARENT = "@PARENT"
TITLE_LENGTH = 60


@dataclass(frozen=True, slots=True)
class NewTurn:
    """A question and its answer-to-be; ``content`` is None where an existing question is answered again."""

    generation_id: str
    chat_id: str
    is_new_chat: bool
    parent_message_id: str | None
    content: str | None
    system: str | None
    provenance: Provenance


class ChatStore:
    """Reads and writes chats."""

    def __init__(self, state: AsyncRedis) -> None:
        self._redis = state
        self._append_turn = load_script(state, "append_turn")

    async def append_turn(self, user: str, turn: NewTurn) -> str | None:
        """Store a turn; storing it twice stores it once.

        Returns:
            None, or the id of the answer that is in the way, because it counts as running; then nothing was stored.

        Raises:
            ChatNotFound: the chat is not this user's, or the parent is not in it.
        """
        now_ms = int(time.time() * 1000)
        question = answer = ""
        if turn.content is not None:
            question = StoredMessage(
                message_id=user_message_id(turn.generation_id),
                parent_message_id=_PARENT,
                role="user",
                content=turn.content,
                created_ms=now_ms,
            ).model_dump_json()
        answer = StoredMessage(
            message_id=turn.generation_id,
            parent_message_id=_PARENT,
            role="assistant",
            content="",
            status="running",
            created_ms=now_ms,
            provenance=turn.provenance,
        ).model_dump_json()
        outcome = cast(
            list[bytes],
            await self._append_turn(
                args=[
                    turn.chat_id,
                    user,
                    turn.generation_id,
                    turn.parent_message_id or "",
                    user_message_id(turn.generation_id),
                    question,
                    answer,
                    (turn.content or "").strip().split("\n", 1)[0][:TITLE_LENGTH],
                    turn.system or "",
                    turn.provenance.model,
                    now_ms,
                    "1" if turn.is_new_chat else "0",
                ]
            ),
        )
        if outcome[0] == b"not_found":
            raise ChatNotFound("There is no such chat of yours, or no such message in it.", param="chat_id")
        return outcome[1].decode() if outcome[0] == b"busy" else None

    async def message(self, user: str, chat_id: str, message_id: str) -> StoredMessage:
        """Return one message.

        Raises:
            ChatNotFound: it is not there or not this user's.
        """
        owner, raw = await self._owner_and_message(chat_id, message_id)
        if owner != user or raw is None:
            raise ChatNotFound("There is no such chat of yours, or no such message in it.", param="message_id")
        return StoredMessage.model_validate_json(raw)

    async def branch(self, chat_id: str, message_id: str) -> tuple[ChatTurn, ...]:
        """Return the turns from the root to a message, the system prompt first.

        A question whose answer came to nothing is left out together with it: most chat templates refuse two turns of
        one role in a row.
        """
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hget(keys.chat(chat_id), "system")
            pipeline.hgetall(keys.chat_messages(chat_id))
            system, raw = await pipeline.execute()
        messages = {name.decode(): value for name, value in cast(dict[bytes, bytes], raw).items()}
        nodes: list[StoredMessage] = []
        cursor: str | None = message_id
        while cursor is not None and cursor in messages:
            node = StoredMessage.model_validate_json(messages[cursor])
            nodes.append(node)
            cursor = node.parent_message_id
        turns: list[ChatTurn] = []
        for node in reversed(nodes):
            if node.role == "assistant" and not node.content:
                turns.pop()
            else:
                turns.append(ChatTurn(role=node.role, content=node.content))
        if system:
            turns.insert(0, ChatTurn(role="system", content=cast(bytes, system).decode()))
        return tuple(turns)

    async def find_message(self, chat_id: str, message_id: str) -> StoredMessage | None:
        """Return one message whoever owns it; None where the chat was deleted."""
        raw = await self._redis.hget(keys.chat_messages(chat_id), message_id)
        return None if raw is None else StoredMessage.model_validate_json(raw)

    async def replace_message(self, chat_id: str, message: StoredMessage) -> None:
        """Write a message anew, such as an answer that has ended."""
        await self._redis.hset(keys.chat_messages(chat_id), message.message_id, message.model_dump_json())

    async def _owner_and_message(self, chat_id: str, message_id: str) -> tuple[str | None, bytes | None]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hget(keys.chat(chat_id), "user")
            pipeline.hget(keys.chat_messages(chat_id), message_id)
            owner, raw = await pipeline.execute()
        return (None if owner is None else owner.decode()), raw
