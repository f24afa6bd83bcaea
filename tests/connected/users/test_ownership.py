"""What is a user's own: others can neither see nor touch it, and it ends with the user."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.helpers.accounts import make_key, sign_in, status
from tests.helpers.database import everything_in
from tests.helpers.pool import Pool
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import Gateway, wait_until
from tests.helpers.sockets import Socket
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected
ENDS = ("generation.finished", "generation.failed")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """A pool on a Redis of its own, in which nothing else is; its journals are forgotten at once."""
    folder = tmp_path_factory.mktemp("ownership")
    server = RedisServer(folder / "redis").start()
    pool = Pool(folder, server.url)
    publish_sample_variant(pool.store_path, server.url)
    try:
        pool.gateway({"OVCHAT_JOURNAL_TTL_SECONDS": "1"})
        pool.worker()
        yield pool
    finally:
        pool.stop()
        server.stop()


@pytest.fixture
def gateway(pool: Pool) -> Gateway:
    return pool.gateways[0]


def refusal(frames: list[dict[str, Any]]) -> str:
    code: str = frames[-1]["error"]["code"]
    return code


async def test_another_users_ids_open_nothing(gateway: Gateway) -> None:
    """The accident: a chat's or a generation's id is in a log or a shared link, and whoever has it reads along."""
    ann, bob = make_key(gateway, "ann")["key"], make_key(gateway, "bob")["key"]
    async with (
        Socket(gateway.socket_url, key=ann, user="ann") as anns,
        Socket(gateway.socket_url, key=bob, user="bob") as bobs,
    ):
        await anns.chat("sample", "mine", params={"max_new_tokens": 400})
        queued = (await anns.receive_until("generation.queued"))[-1]
        chat_id, generation_id = queued["chat_id"], queued["generation_id"]
        for frame, code in (
            ({"type": "generation.cancel", "generation_id": generation_id}, "generation_not_found"),
            ({"type": "generation.resume", "generation_id": generation_id, "after_seq": 0}, "generation_not_found"),
            (
                {"type": "chat.regenerate", "request_id": "r", "chat_id": chat_id, "message_id": generation_id},
                "chat_not_found",
            ),
        ):
            await bobs.send(frame)
            assert refusal(await bobs.receive_until("error")) == code
        await bobs.chat("sample", "let me in", chat_id=chat_id)
        assert refusal(await bobs.receive_until("error")) == "chat_not_found"
        with gateway.client(key=bob) as client:
            path = f"/api/v1/chats/{chat_id}"
            answers = [
                client.get(path),
                client.patch(path, json={"title": "taken"}),
                client.get(f"{path}/export"),
                client.delete(path),
            ]
            assert [(answer.status_code, answer.json()["error"]["code"]) for answer in answers] == [
                (404, "chat_not_found")
            ] * 4
            assert client.get("/api/v1/chats").json()["data"] == []
        # Not an admin either: chats are their users' own.
        with gateway.client() as admin:
            assert admin.get(f"/api/v1/chats/{chat_id}").status_code == 404
        await anns.send({"type": "generation.cancel", "generation_id": generation_id})
        assert (await anns.receive_until(*ENDS))[-1]["finish_reason"] == "cancelled"


async def test_nothing_of_an_erased_user_is_left(gateway: Gateway, pool: Pool) -> None:
    """The accident: somebody who asked to be forgotten is still in a chat, an index, a count or a session."""
    gone, stays = make_key(gateway, "zacharias", name="zacharias-phone"), make_key(gateway, "yvonne")["key"]
    key = gone["key"]
    async with Socket(gateway.socket_url, key=stays, user="yvonne") as socket:
        await socket.chat("sample", "stays-here", params={"max_new_tokens": 4})
        await socket.receive_until(*ENDS)
    with gateway.client(key=None) as page, gateway.client() as admin, redis.Redis.from_url(pool.redis_url) as database:
        sign_in(page, key)
        async with Socket(gateway.socket_url, key=key, user="zacharias") as socket:
            await socket.chat("sample", "erase-me", params={"max_new_tokens": 4})
            await socket.receive_until(*ENDS)
            await socket.chat("sample", "erase-me too", params={"max_new_tokens": 5000})
            await socket.receive_until("generation.delta")
            assert any("erase-me" in text for text in everything_in(database).values())
            assert admin.delete("/api/v1/users/zacharias").status_code == 204
        assert (status(gateway, key), page.get("/api/v1/session").status_code) == (401, 401)
        assert "zacharias" not in json.dumps([admin.get(f"/api/v1/{what}").json() for what in ("keys", "users")])
        assert admin.delete("/api/v1/users/zacharias").status_code == 404

        def left() -> list[str]:
            # A request's id is remembered for a day, with the user's name and no content; the log of what admins did
            # says who was erased.
            allowed = ("ovchat:{pool}:request:zacharias:", "ovchat:{users}:audit")
            return [
                name
                for name, text in everything_in(database).items()
                if ("zacharias" in name + text or "erase-me" in text) and not name.startswith(allowed)
            ]

        wait_until(lambda: left() == [], seconds=15, what="nothing left")
        assert any("stays-here" in text for text in everything_in(database).values())
        (newest,) = admin.get("/api/v1/audit", params={"limit": 1}).json()["data"]
        assert (newest["action"], newest["target"]) == ("user.erased", "zacharias")
    # The name may be given again, to somebody who begins with nothing.
    with gateway.client(key=make_key(gateway, "zacharias")["key"]) as client:
        assert client.get("/api/v1/chats").json()["data"] == []
