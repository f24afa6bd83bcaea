"""Stored chats over HTTP: made, listed, searched, changed, branched, exported, deleted."""

import json
from uuid import uuid4

import httpx
import pytest
import redis

from shared import keys
from shared.schemas.chats import Chat
from tests.helpers.pool import Pool
from tests.helpers.services import Gateway, wait_until
from tests.helpers.sockets import Frame, Socket, answer_text, assert_whole

pytestmark = pytest.mark.connected
ENDS = ("generation.finished", "generation.failed")
SHORT = {"max_new_tokens": 8}


async def ask(gateway: Gateway, content: str, **fields: object) -> list[Frame]:
    async with Socket(gateway.socket_url) as socket:
        await socket.chat("sample", content, **fields)
        frames = await socket.receive_until(*ENDS, "error")
    assert_whole(frames)
    return frames


async def regenerate(gateway: Gateway, chat_id: str, message_id: str) -> list[Frame]:
    async with Socket(gateway.socket_url) as socket:
        await socket.send(
            {"type": "chat.regenerate", "request_id": uuid4().hex, "chat_id": chat_id, "message_id": message_id}
        )
        frames = await socket.receive_until(*ENDS, "error")
    assert_whole(frames)
    return frames


def stored(gateway: Gateway, chat_id: str) -> Chat:
    with gateway.client() as client:
        response = client.get(f"/api/v1/chats/{chat_id}")
    assert response.status_code == 200, response.text
    return Chat.model_validate_json(response.content)


def refused(response: httpx.Response, status: int, code: str) -> dict[str, str]:
    assert response.status_code == status, response.text
    error: dict[str, str] = response.json()["error"]
    assert error["code"] == code
    return error


async def test_a_chat_is_made_named_by_its_first_question_and_read_back(gateway: Gateway) -> None:
    with gateway.client() as client:
        made = client.post("/api/v1/chats", json={})
        assert made.status_code == 201
        chat_id = made.json()["chat_id"]
    assert (made.json()["title"], made.json()["messages"], made.json()["leaf_message_id"]) == ("", [], None)
    frames = await ask(gateway, "What is it?\nSay more.", chat_id=chat_id, params=SHORT)
    chat = stored(gateway, chat_id)
    assert chat.title == "What is it?"
    assert chat.model == "sample"
    assert chat.leaf_message_id == frames[0]["message_id"]
    question, answer = chat.messages
    assert (question.role, question.content, question.parent_message_id) == ("user", "What is it?\nSay more.", None)
    assert (answer.role, answer.content, answer.parent_message_id) == (
        "assistant",
        answer_text(frames),
        question.message_id,
    )
    assert answer.status == "done", "what the socket was told to be ended is read as ended"


async def test_an_answer_tells_where_it_came_from(gateway: Gateway) -> None:
    frames = await ask(gateway, "origin", params={"max_new_tokens": 8, "temperature": 0.7})
    started, end = next(f for f in frames if f["type"] == "generation.started"), frames[-1]
    origin = stored(gateway, frames[0]["chat_id"]).messages[1].provenance
    assert origin is not None
    assert (origin.model, origin.variant, origin.device) == ("sample", "int4", "CPU")
    assert origin.worker_id == started["worker_id"]
    assert (origin.params.temperature, origin.params.max_new_tokens, origin.params.seed) == (0.7, 8, None)
    assert origin.usage is not None
    assert origin.usage.model_dump(exclude_unset=True) == end["usage"]
    assert origin.timings is not None
    assert origin.timings.model_dump() == end["timings"]
    assert origin.seed is not None
    fixed = {"max_new_tokens": 8, "temperature": 0.7, "seed": origin.seed}
    same = await ask(gateway, "origin", params=fixed)
    assert answer_text(same) == answer_text(frames), "the seed that is told is the one that was used"
    again = await regenerate(gateway, frames[0]["chat_id"], frames[0]["message_id"])
    assert answer_text(again) != answer_text(frames), "a seed that nobody asked for is drawn anew"
    greedy = await ask(gateway, "origin", params={**SHORT, "temperature": 0})
    origin = stored(gateway, greedy[0]["chat_id"]).messages[1].provenance
    assert origin is not None
    assert origin.seed is None


async def test_parameters_and_system_prompt_belong_to_the_chat(gateway: Gateway, pool: Pool) -> None:
    def used(chat: Chat) -> dict[str, object]:
        origin = {m.message_id: m for m in chat.messages}[chat.leaf_message_id or ""].provenance
        assert origin is not None
        return origin.params.model_dump(exclude_defaults=True)

    first = await ask(gateway, "one", params={"max_new_tokens": 5, "top_k": 7}, system="Be short.")
    chat_id = first[0]["chat_id"]
    chat = stored(gateway, chat_id)
    assert chat.params is not None
    assert (chat.params.max_new_tokens, chat.system) == (5, "Be short.")
    await ask(gateway, "two", chat_id=chat_id)
    assert used(stored(gateway, chat_id)) == {"max_new_tokens": 5, "top_k": 7}
    await ask(gateway, "three", chat_id=chat_id, params={"max_new_tokens": 3})
    assert used(stored(gateway, chat_id)) == {"max_new_tokens": 3}, "a question's own parameters are its own"
    with gateway.client() as client:
        change = {"params": {"max_new_tokens": 4}, "system": None}
        changed = client.patch(f"/api/v1/chats/{chat_id}", json=change).json()
        assert (changed["params"]["max_new_tokens"], changed["system"]) == (4, None)
        fourth = await ask(gateway, "four", chat_id=chat_id)
        assert fourth[-1]["usage"]["completion_tokens"] == 4
        assert client.patch(f"/api/v1/chats/{chat_id}", json={"params": None}).json()["params"] is None
    await ask(gateway, "five", chat_id=chat_id)
    assert used(stored(gateway, chat_id)) == {}, "without the chat's, the page's defaults"
    with redis.Redis.from_url(pool.redis_url) as client:
        request = json.loads(client.get(keys.generation_request(fourth[0]["generation_id"])) or b"")
    assert request["messages"][0] == {**request["messages"][0], "role": "user", "content": "one"}


async def test_edit_regenerate_and_going_back_to_a_branch(gateway: Gateway, pool: Pool) -> None:
    first = await ask(gateway, "one", params=SHORT)
    chat_id, answer_one = first[0]["chat_id"], first[0]["message_id"]
    second = await ask(gateway, "two", chat_id=chat_id, params=SHORT)
    edited = await ask(gateway, "two, better", chat_id=chat_id, parent_message_id=answer_one, params=SHORT)
    again = await regenerate(gateway, chat_id, answer_one)
    rooted = await ask(gateway, "one, better", chat_id=chat_id, parent_message_id="root", params=SHORT)
    chat = stored(gateway, chat_id)
    parents = {message.message_id: message.parent_message_id for message in chat.messages}
    assert len(parents) == 9
    assert parents[second[0]["user_message_id"]] == parents[edited[0]["user_message_id"]] == answer_one
    assert parents[again[0]["message_id"]] == parents[answer_one] == first[0]["user_message_id"]
    assert parents[rooted[0]["user_message_id"]] is None
    assert chat.leaf_message_id == rooted[0]["message_id"]
    seen: set[str | None] = {None}
    for message in chat.messages:
        assert message.parent_message_id in seen, "a parent is told before its children"
        seen.add(message.message_id)

    with gateway.client() as client:
        path = f"/api/v1/chats/{chat_id}"
        moved = client.patch(path, json={"leaf_message_id": edited[0]["message_id"]})
        assert moved.json()["leaf_message_id"] == edited[0]["message_id"]
        question = {"leaf_message_id": first[0]["user_message_id"]}
        refused(client.patch(path, json=question), 400, "invalid_request")
        refused(client.patch(path, json={"leaf_message_id": "gen_x"}), 404, "chat_not_found")
    third = await ask(gateway, "three", chat_id=chat_id, params=SHORT)
    with redis.Redis.from_url(pool.redis_url) as database:
        request = json.loads(database.get(keys.generation_request(third[0]["generation_id"])) or b"")
    told = [turn["content"] for turn in request["messages"]]
    assert told == ["one", answer_text(first), "two, better", answer_text(edited), "three"]
    async with Socket(gateway.socket_url) as socket:
        await socket.chat("sample", "x", chat_id=chat_id, parent_message_id=first[0]["user_message_id"])
        assert (await socket.receive())["error"]["param"] == "parent_message_id"


async def test_export_is_the_branch_that_is_shown(gateway: Gateway) -> None:
    first = await ask(gateway, "one", params=SHORT, system="Be kind.")
    chat_id = first[0]["chat_id"]
    other = await ask(gateway, "elsewhere", chat_id=chat_id, parent_message_id="root", params=SHORT)
    with gateway.client() as client:
        path = f"/api/v1/chats/{chat_id}"
        client.patch(path, json={"leaf_message_id": first[0]["message_id"], "title": "Über alles"})
        exported = client.get(f"{path}/export")
        assert exported.headers["content-disposition"] == f'attachment; filename="{chat_id}.json"'
        chat = Chat.model_validate_json(exported.content)
        assert [message.message_id for message in chat.messages] == [
            first[0]["user_message_id"],
            first[0]["message_id"],
        ]
        text = client.get(f"{path}/export", params={"format": "markdown"})
        assert text.headers["content-type"] == "text/markdown; charset=utf-8"
        assert client.get(f"{path}/export", params={"format": "pdf"}).status_code == 400
    lines = text.text.splitlines()
    assert lines[0] == "# Über alles"
    assert [line for line in lines if line.startswith("## ")] == ["## System", "## User", "## Assistant"]
    assert answer_text(first) in text.text
    assert other[0]["message_id"] not in text.text
    origin = lines[-1]
    for fact in ("sample:int4", "on CPU", "max_new_tokens 8", "seed ", " ms", "length"):
        assert fact in origin


@pytest.fixture
def empty_list(pool: Pool) -> None:
    with redis.Redis.from_url(pool.redis_url) as client:
        client.delete(keys.chats_of("admin"))


@pytest.mark.usefixtures("empty_list")
async def test_the_list_is_paged_newest_first_and_searched(gateway: Gateway, pool: Pool) -> None:
    with gateway.client() as client:
        made = [client.post("/api/v1/chats", json={"title": f"Chat {n} ÄPFEL"}).json()["chat_id"] for n in range(7)]
        # The accident: chats of one millisecond are told twice or not at all where a page ends among them.
        with redis.Redis.from_url(pool.redis_url) as database:
            database.zadd(keys.chats_of("admin"), dict.fromkeys(made[1:6], 5_000))
            database.zadd(keys.chats_of("admin"), {made[0]: 4_000})
        told: list[str] = []
        cursor = None
        while True:
            page = client.get("/api/v1/chats", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
            told += [chat["chat_id"] for chat in page["data"]]
            assert len(page["data"]) <= 2
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert told == [made[6], *sorted(made[1:6], reverse=True), made[0]]
        await ask(gateway, "to the front", chat_id=made[0], params=SHORT)
        front = client.get("/api/v1/chats", params={"limit": 1}).json()["data"][0]
        assert (front["chat_id"], front["title"], front["model"]) == (made[0], "Chat 0 ÄPFEL", "sample")
        for search, count in (("äpfel", 7), ("chat 3", 1), ("3 Ä", 1), ("pears", 0), ("%_*", 0)):
            found = client.get("/api/v1/chats", params={"search": search}).json()
            assert len(found["data"]) == count, search
            assert found["next_cursor"] is None
        refused(client.get("/api/v1/chats", params={"cursor": "x"}), 400, "invalid_request")
        refused(client.get("/api/v1/chats", params={"limit": 0}), 400, "invalid_request")


async def test_a_chat_is_renamed_and_deleted_with_what_runs_in_it(gateway: Gateway, pool: Pool) -> None:
    async with Socket(gateway.socket_url) as socket:
        await socket.chat("sample", "long", params={"max_new_tokens": 400})
        frames = await socket.receive_until("generation.delta")
        chat_id = frames[0]["chat_id"]
        with gateway.client() as client:
            path = f"/api/v1/chats/{chat_id}"
            assert client.patch(path, json={"title": "Renamed"}).json()["title"] == "Renamed"
            for wrong in ({"title": ""}, {"titel": "x"}, {"title": None}, {"params": {"top_k": -1}}):
                refused(client.patch(path, json=wrong), 400, "invalid_request")
            assert client.get(path).json()["messages"][1]["status"] == "running"
            assert client.delete(path).status_code == 204
            end = (await socket.receive_until(*ENDS))[-1]
            assert end["finish_reason"] == "cancelled"
            for method, address in (("GET", path), ("DELETE", path), ("PATCH", path), ("GET", f"{path}/export")):
                body = {"title": "x"} if method == "PATCH" else None
                refused(client.request(method, address, json=body), 404, "chat_not_found")
            assert chat_id not in {chat["chat_id"] for chat in client.get("/api/v1/chats").json()["data"]}
        await socket.chat("sample", "more", chat_id=chat_id)
        assert (await socket.receive())["error"]["code"] == "chat_not_found"
    # The accident: the answer's end is stored after the deletion and leaves a piece of the chat behind.
    with redis.Redis.from_url(pool.redis_url) as database:
        wait_until(lambda: database.xlen(keys.FINISHED) == 0, what="the end is looked at")
        assert database.exists(keys.chat(chat_id), keys.chat_messages(chat_id)) == 0
