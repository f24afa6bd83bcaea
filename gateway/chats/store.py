"""Chats in the state Redis: each a tree of messages with a leaf where the talk goes on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import cast

import orjson

from gateway.chats import tree
from shared import keys
from shared.errors import ChatNotFound, InvalidRequest
from shared.ids import new_id, user_message_id
from shared.redis_client import AsyncRedis
from shared.schemas.chats import Chat, ChatChange, ChatCreation, Provenance, StoredMessage
from shared.schemas.generation import ChatTurn, GenerationParams
from shared.scripts import load_script

#: Written where the script puts the parent's id, which only it knows for sure. It is the first text of this kind in
#: the JSON, because the parent's field stands before the content, and the id before it is our own.
_PARENT = "@PARENT"
TITLE_LENGTH = 60


@dataclass(frozen=True, slots=True)
class NewTurn:
    """A question and its answer-to-be.

    Attributes:
        parent_message_id: the answer that the question follows; None is the chat's leaf, ``root`` the beginning.
        content: None where an existing question is answered again.
        system: the chat's new system prompt; None keeps it.
        first_params: what the chat keeps as its parameters where this is its first turn and it has none.
    """

    generation_id: str
    chat_id: str
    is_new_chat: bool
    parent_message_id: str | None
    content: str | None
    system: str | None
    provenance: Provenance
    first_params: GenerationParams | None = None


class ChatStore:
    """Reads and writes chats. A chat of somebody else is as one that is not there."""

    def __init__(self, state: AsyncRedis) -> None:
        self._redis = state
        self._append_turn = load_script(state, "append_turn")
        self._create = load_script(state, "create_chat")
        self._update = load_script(state, "update_chat")
        self._delete = load_script(state, "delete_chat")
        self._replace = load_script(state, "replace_message")

    async def create(self, user: str, creation: ChatCreation) -> Chat:
        """Make a chat without messages."""
        chat_id = new_id("chat")
        fields = {"title": creation.title or "", "model": creation.model, "system": creation.system}
        if creation.params is not None:
            fields["params"] = creation.params.model_dump_json()
        given = [part for name, value in fields.items() if value is not None for part in (name, value)]
        await self._create(args=[chat_id, user, _now_ms(), *given])
        return await self.chat(user, chat_id)

    async def chat(self, user: str, chat_id: str) -> Chat:
        """Return a chat with all its messages.

        Raises:
            ChatNotFound: it is not there or not this user's.
        """
        fields, messages = await self._read(chat_id)
        if fields.get("user") != user:
            raise _not_found()
        params = fields.get("params")
        return Chat(
            chat_id=chat_id,
            title=fields.get("title", ""),
            model=fields.get("model"),
            system=fields.get("system"),
            params=None if params is None else GenerationParams.model_validate_json(params),
            leaf_message_id=fields.get("leaf"),
            created_ms=int(fields["created_ms"]),
            updated_ms=int(fields["updated_ms"]),
            messages=tree.in_order(messages),
        )

    async def change(self, user: str, chat_id: str, change: ChatChange) -> None:
        """Change the fields that were given.

        Raises:
            ChatNotFound: the chat is not this user's, or the new leaf is not in it.
            InvalidRequest: the new leaf is a question.
        """
        fields: dict[str, str | None] = {
            name: cast(str | None, getattr(change, name))
            for name in change.model_fields_set & {"title", "model", "system"}
        }
        if "params" in change.model_fields_set:
            fields["params"] = None if change.params is None else change.params.model_dump_json()
        if change.leaf_message_id:
            fields["leaf"] = change.leaf_message_id
        outcome = cast(bytes, await self._update(args=[chat_id, user, orjson.dumps(fields)]))
        if outcome == b"not_answer":
            raise InvalidRequest("A chat goes on from an answer, not from a question.", param="leaf_message_id")
        if outcome != b"ok":
            raise _not_found("leaf_message_id" if outcome == b"no_message" else "chat_id")

    async def delete(self, user: str, chat_id: str) -> tuple[str, ...]:
        """Delete a chat; return the ids of its generations that counted as running.

        Raises:
            ChatNotFound: it is not there or not this user's.
        """
        outcome = cast(list[bytes], await self._delete(args=[chat_id, user]))
        if outcome[0] != b"ok":
            raise _not_found()
        return tuple(generation_id.decode() for generation_id in outcome[1:])

    async def erase_user(self, user: str) -> tuple[str, ...]:
        """Delete every chat of a user; return the ids of the generations that counted as running."""
        running: list[str] = []
        while chats := cast(list[bytes], await self._redis.zrange(keys.chats_of(user), 0, 99)):
            for chat_id in chats:
                # The script takes an id off the list in any case, so this ends.
                outcome = cast(list[bytes], await self._delete(args=[chat_id, user]))
                running += (generation_id.decode() for generation_id in outcome[1:])
        return tuple(running)

    async def params(self, user: str, chat_id: str) -> GenerationParams | None:
        """Return a chat's own parameters; None where it has none.

        Raises:
            ChatNotFound: the chat is not this user's.
        """
        owner, raw = cast(list[bytes | None], await self._redis.hmget(keys.chat(chat_id), ["user", "params"]))
        if owner is None or owner.decode() != user:
            raise _not_found()
        return None if raw is None else GenerationParams.model_validate_json(raw)

    async def append_turn(self, user: str, turn: NewTurn) -> str | None:
        """Store a turn; storing it twice stores it once.

        Returns:
            None, or the id of the answer that is in the way, because it counts as running; then nothing was stored.

        Raises:
            ChatNotFound: the chat is not this user's, or the parent is not in it.
            InvalidRequest: the question would follow a question.
        """
        now_ms = _now_ms()
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
                    turn.first_params.model_dump_json() if turn.first_params else "",
                ]
            ),
        )
        if outcome[0] == b"not_found":
            raise _not_found()
        if outcome[0] == b"not_answer":
            raise InvalidRequest(
                "A question follows an answer; `root` begins the chat anew.", param="parent_message_id"
            )
        return outcome[1].decode() if outcome[0] == b"busy" else None

    async def message(self, user: str, chat_id: str, message_id: str) -> StoredMessage:
        """Return one message.

        Raises:
            ChatNotFound: it is not there or not this user's.
        """
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hget(keys.chat(chat_id), "user")
            pipeline.hget(keys.chat_messages(chat_id), message_id)
            owner, raw = cast(list[bytes | None], await pipeline.execute())
        if owner is None or owner.decode() != user or raw is None:
            raise _not_found("message_id")
        return StoredMessage.model_validate_json(raw)

    async def branch(self, chat_id: str, message_id: str) -> tuple[ChatTurn, ...]:
        """Return the turns of a prompt from the root to a message, the system prompt first."""
        fields, messages = await self._read(chat_id)
        return tree.turns(tree.branch(messages, message_id), fields.get("system"))

    async def find_message(self, chat_id: str, message_id: str) -> StoredMessage | None:
        """Return one message whoever owns it; None where the chat was deleted."""
        raw = await self._redis.hget(keys.chat_messages(chat_id), message_id)
        return None if raw is None else StoredMessage.model_validate_json(raw)

    async def replace_message(self, chat_id: str, message: StoredMessage) -> None:
        """Write a message anew, such as an answer that has ended; nothing where its chat was deleted."""
        await self._replace(args=[chat_id, message.message_id, message.model_dump_json()])

    async def _read(self, chat_id: str) -> tuple[dict[str, str], dict[str, StoredMessage]]:
        # No transaction: a full Redis would refuse it.
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hgetall(keys.chat(chat_id))
            pipeline.hgetall(keys.chat_messages(chat_id))
            fields, messages = cast(list[dict[bytes, bytes]], await pipeline.execute())
        return (
            {name.decode(): value.decode() for name, value in fields.items()},
            {name.decode(): StoredMessage.model_validate_json(value) for name, value in messages.items()},
        )


def _now_ms() -> int:
    return int(time.time() * 1000)


def _not_found(param: str = "chat_id") -> ChatNotFound:
    return ChatNotFound("There is no such chat of yours, or no such message in it.", param=param)
