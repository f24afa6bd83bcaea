"""Lines of JSON between ``ovchat bench --compare`` and the process that runs the same prompts without the platform."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from shared.schemas.common import Message


class PeerChat(Message):
    """One prompt: a chat's first message."""

    content: str
    system: str | None = None


class PeerRound(Message):
    """Run these prompts, all that the peer can at once, greedily."""

    chats: tuple[PeerChat, ...]
    max_new_tokens: int


class PeerReady(Message):
    """The model is loaded."""

    type: Literal["ready"] = "ready"
    versions: dict[str, str]


class PeerFigures(Message):
    """What a round took. Times to the first token and for each further one stand for the prompts that told them."""

    type: Literal["figures"] = "figures"
    seconds: float
    tokens: int
    prompt_tokens: tuple[int, ...]
    first_token_ms: tuple[float, ...] = ()
    per_token_ms: tuple[float, ...] = ()


class PeerFailed(Message):
    """The peer ends, because of this."""

    type: Literal["failed"] = "failed"
    message: str


PeerLine = Annotated[PeerReady | PeerFigures | PeerFailed, Field(discriminator="type")]
PEER_LINE: TypeAdapter[PeerLine] = TypeAdapter(PeerLine)
