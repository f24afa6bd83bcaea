"""A chat as a document: the branch that it stands on, from the first question to the newest answer."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.chats import tree
from shared.schemas.chats import Chat, StoredMessage


def as_json(chat: Chat) -> str:
    """Return the chat with the messages of its branch only."""
    return chat.model_copy(update={"messages": _branch(chat)}).model_dump_json(indent=2) + "\n"


def as_markdown(chat: Chat) -> str:
    """Return the branch with roles as headings and, under each answer, where it came from."""
    parts = [f"# {_one_line(chat.title) or 'Chat'}", f"{chat.chat_id} · {_time(chat.created_ms)}"]
    if chat.system:
        parts += ["## System", chat.system]
    for message in _branch(chat):
        parts += [f"## {message.role.capitalize()}", message.content]
        if message.error is not None:
            parts.append(f"> failed: {_one_line(message.error.message)}")
        if message.provenance is not None:
            parts.append(f"> {_origin(message)}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _branch(chat: Chat) -> tuple[StoredMessage, ...]:
    return tree.branch({message.message_id: message for message in chat.messages}, chat.leaf_message_id)


def _origin(message: StoredMessage) -> str:
    origin = message.provenance
    assert origin is not None
    facts = [f"{origin.model}:{origin.variant}"]
    if origin.device:
        facts.append(f"on {origin.device}, worker {origin.worker_id}")
    sampling = origin.params.model_dump(exclude={"seed"}, exclude_defaults=True)
    sampling = {"temperature": origin.params.temperature, **sampling}
    facts.append(", ".join(f"{name} {value}" for name, value in sampling.items()))
    if origin.seed is not None:
        facts.append(f"seed {origin.seed}")
    if origin.usage is not None:
        facts.append(f"{origin.usage.prompt_tokens} + {origin.usage.completion_tokens} tokens")
    if origin.timings is not None:
        first = origin.timings.first_token_ms
        facts.append(f"{origin.timings.total_ms:.0f} ms" + ("" if first is None else f", first token {first:.0f} ms"))
    facts.append(message.finish_reason or message.status)
    facts.append(_time(message.created_ms))
    return " · ".join(facts)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _time(created_ms: int) -> str:
    return datetime.fromtimestamp(created_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
