"""``/api/v1/chats``: a user's own chats."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response

from gateway.chats.export import as_json, as_markdown
from gateway.dependencies import PrincipalDep, StateDep
from shared.schemas.chats import Chat, ChatChange, ChatCreation, ChatList

router = APIRouter(prefix="/api/v1/chats", tags=["chats"])

ChatId = Annotated[str, Path(min_length=1, max_length=128)]


@router.get("")
async def list_chats(
    state: StateDep,
    principal: PrincipalDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(pattern=r"^[0-9]{1,15}[.][A-Za-z0-9_-]{1,128}$")] = None,
    search: Annotated[str | None, Query(max_length=200)] = None,
) -> ChatList:
    """List your chats, the newest first; ``search`` is a piece of the title."""
    return await state.chat_listing.page(principal.user, limit=limit, cursor=cursor, search=search)


@router.post("", status_code=201)
async def create_chat(creation: ChatCreation, state: StateDep, principal: PrincipalDep) -> Chat:
    """Make a chat without messages; its first ``chat.send`` names it where no title is given."""
    return await state.chats.create(principal.user, creation)


@router.get("/{chat_id}")
async def get_chat(chat_id: ChatId, state: StateDep, principal: PrincipalDep) -> Chat:
    """Return a chat with its whole message tree."""
    chat = await state.chats.chat(principal.user, chat_id)
    # An answer whose end nobody has stored yet is stored now, so that what is read here is never older than what a
    # socket was told.
    running = [message.message_id for message in chat.messages if message.status == "running"]
    settled = [await state.finalizer.settle(chat_id, generation_id) for generation_id in running]
    return await state.chats.chat(principal.user, chat_id) if any(settled) else chat


@router.patch("/{chat_id}")
async def change_chat(chat_id: ChatId, change: ChatChange, state: StateDep, principal: PrincipalDep) -> Chat:
    """Rename a chat, give it a system prompt, parameters or a model, or go to another branch."""
    await state.chats.change(principal.user, chat_id, change)
    return await state.chats.chat(principal.user, chat_id)


@router.delete("/{chat_id}", status_code=204)
async def delete_chat(chat_id: ChatId, state: StateDep, principal: PrincipalDep) -> None:
    """Delete a chat; what it still generates is cancelled."""
    for generation_id in await state.chats.delete(principal.user, chat_id):
        await state.queue.cancel(generation_id, principal.user)


@router.get("/{chat_id}/export", response_class=Response)
async def export_chat(
    chat_id: ChatId,
    state: StateDep,
    principal: PrincipalDep,
    format_: Annotated[Literal["json", "markdown"], Query(alias="format")] = "json",
) -> Response:
    """Return the branch that the chat stands on, as a file."""
    chat = await get_chat(chat_id, state, principal)
    is_json = format_ == "json"
    return Response(
        as_json(chat) if is_json else as_markdown(chat),
        media_type="application/json" if is_json else "text/markdown; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{chat.chat_id}.{"json" if is_json else "md"}"',
            "X-Content-Type-Options": "nosniff",
        },
    )
