"""A chat's message tree: its branches and the order in which it is told."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping

from shared.schemas.chats import StoredMessage
from shared.schemas.generation import ChatTurn


def branch(messages: Mapping[str, StoredMessage], leaf_message_id: str | None) -> tuple[StoredMessage, ...]:
    """Return the messages from the root to a leaf."""
    nodes: list[StoredMessage] = []
    cursor = leaf_message_id
    while cursor is not None and cursor in messages:
        nodes.append(messages[cursor])
        cursor = messages[cursor].parent_message_id
    return tuple(reversed(nodes))


def turns(nodes: Iterable[StoredMessage], system: str | None) -> tuple[ChatTurn, ...]:
    """Return a branch as the turns of a prompt, the system prompt first.

    A question whose answer came to nothing is left out together with it: most chat templates refuse two turns of one
    role in a row.
    """
    told: list[ChatTurn] = []
    for node in nodes:
        if node.role == "assistant" and not node.content:
            told.pop()
        else:
            told.append(ChatTurn(role=node.role, content=node.content))
    if system:
        told.insert(0, ChatTurn(role="system", content=system))
    return tuple(told)


def in_order(messages: Mapping[str, StoredMessage]) -> tuple[StoredMessage, ...]:
    """Return all messages, parents before their children, else by their age; clocks of gateways may differ."""
    children: dict[str | None, list[StoredMessage]] = defaultdict(list)
    for message in messages.values():
        children[message.parent_message_id].append(message)
    told: list[StoredMessage] = []
    pending = [(root.created_ms, root.message_id) for root in children[None]]
    heapq.heapify(pending)
    while pending:
        _, message_id = heapq.heappop(pending)
        told.append(messages[message_id])
        for child in children[message_id]:
            heapq.heappush(pending, (child.created_ms, child.message_id))
    return tuple(told)
