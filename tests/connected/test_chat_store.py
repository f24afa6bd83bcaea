"""The chat store by itself: what belongs to whom, and what is left of a user who is erased."""

import pytest

from gateway.chats.listing import ChatListing
from gateway.chats.store import ChatStore, NewTurn
from shared import keys
from shared.errors import ChatNotFound
from shared.redis_client import AsyncRedis
from shared.schemas.chats import Chat, ChatChange, ChatCreation, Provenance
from shared.schemas.generation import GenerationParams

pytestmark = pytest.mark.connected


def turn(generation_id: str, chat_id: str) -> NewTurn:
    provenance = Provenance(model="m", variant="int4", params=GenerationParams())
    return NewTurn(generation_id, chat_id, False, None, "hello", None, provenance)


@pytest.fixture
def store(transport: AsyncRedis) -> ChatStore:
    return ChatStore(transport)


async def test_another_s_chat_is_as_one_that_is_not_there(store: ChatStore, transport: AsyncRedis) -> None:
    hers = await store.create("ann", ChatCreation(title="hers"))
    await store.append_turn("ann", turn("gen_1", hers.chat_id))
    refusals = []
    for user in ("bob", "ann"):
        chat_id = hers.chat_id if user == "bob" else "chat_unknown"
        for call in (
            store.chat(user, chat_id),
            store.change(user, chat_id, ChatChange(title="mine")),
            store.delete(user, chat_id),
            store.params(user, chat_id),
            store.message(user, chat_id, "gen_1"),
            store.append_turn(user, turn("gen_2", chat_id)),
        ):
            with pytest.raises(ChatNotFound) as refusal:
                await call
            refusals.append(str(refusal.value))
    assert len(set(refusals)) == 1, "the refusal does not tell whether the chat exists"
    assert (await store.chat("ann", hers.chat_id)).title == "hers"
    listing = ChatListing(transport)
    assert (await listing.page("bob", limit=10)).data == ()
    assert [chat.title for chat in (await listing.page("ann", limit=10)).data] == ["hers"]


async def test_nothing_is_left_of_an_erased_user(store: ChatStore, transport: AsyncRedis) -> None:
    chats: list[Chat] = [await store.create("ann", ChatCreation(title=f"{n}")) for n in range(250)]
    his = await store.create("bob", ChatCreation(title="his"))
    await store.append_turn("ann", turn("gen_1", chats[3].chat_id))
    late = await store.message("ann", chats[3].chat_id, "gen_1")
    assert await store.erase_user("ann") == ("gen_1",)
    await store.replace_message(chats[3].chat_id, late)
    assert await transport.dbsize() == 2
    assert await transport.exists(keys.chat(his.chat_id), keys.chats_of("bob")) == 2


async def test_one_turn_is_stored_once_and_a_running_branch_is_busy(store: ChatStore) -> None:
    chat = await store.create("ann", ChatCreation())
    for _ in range(2):
        assert await store.append_turn("ann", turn("gen_1", chat.chat_id)) is None
    assert await store.append_turn("ann", turn("gen_2", chat.chat_id)) == "gen_1"
    assert len((await store.chat("ann", chat.chat_id)).messages) == 2
