"""A Redis at its memory limit: nothing dies, nothing is lost, and whoever makes room can come in and make it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.helpers.accounts import CSRF, make_key, sign_in
from tests.helpers.pool import Pool
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import ADMIN_KEY, Gateway, assert_error, wait_until
from tests.helpers.sockets import Socket, assert_whole
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected
ENDS = ("generation.finished", "generation.failed")
FILLER = "filler"
FILLER_BYTES = 32_000_000


@pytest.fixture
def pool(own_redis: RedisServer, tmp_path: Path) -> Iterator[Pool]:
    pool = Pool(tmp_path, own_redis.url)
    publish_sample_variant(pool.store_path, own_redis.url)
    try:
        pool.gateway()
        pool.worker()
        yield pool
    finally:
        pool.stop()


def assert_room_can_be_made(
    gateway: Gateway, *, chat_id: str, key_id: str, conversion_id: str, unused_key: str
) -> None:
    """Hold what an admin needs against a full Redis."""
    with gateway.client(key=None) as page:
        assert sign_in(page, ADMIN_KEY).status_code == 200
        page.headers.update(CSRF)
        assert chat_id in {chat["chat_id"] for chat in page.get("/api/v1/chats").json()["data"]}
        assert page.get(f"/api/v1/chats/{chat_id}").status_code == 200
        assert page.get("/api/v1/workers").status_code == 200
        assert page.delete(f"/api/v1/chats/{chat_id}").status_code == 204
        assert page.get(f"/api/v1/chats/{chat_id}").status_code == 404
        assert page.delete(f"/api/v1/keys/{key_id}").status_code == 204
        assert {key["key_id"]: key["revoked"] for key in page.get("/api/v1/keys").json()["data"]}[key_id]
        assert page.delete(f"/api/v1/conversions/{conversion_id}").json()["state"] == "cancelled"
        assert page.delete("/api/v1/users/bob").status_code == 204
        assert page.delete("/api/v1/session").status_code == 204
    with gateway.client(key=unused_key) as client:
        assert client.get("/api/v1/session").json()["user"] == "ann"


async def test_a_full_redis_kills_nobody_and_loses_no_delta(pool: Pool) -> None:
    """The accident: Redis reaches its limit, every worker ends with an error it does not wait for and its container
    loops, and the admin who would delete something gets a 500, because the key's use cannot be written down."""
    (gateway,), (worker,) = pool.gateways, pool.workers
    with gateway.client() as admin, redis.Redis.from_url(pool.redis_url) as database:
        chat_id = admin.post("/api/v1/chats", json={"title": "old"}).json()["chat_id"]
        revoked, unused = make_key(gateway, "bob"), make_key(gateway, "ann")
        conversion = admin.post("/api/v1/conversions", json={"source_model": "some/model", "variants": ["int4"]})
        async with Socket(gateway.socket_url) as socket, Socket(gateway.socket_url) as other:
            await socket.chat("sample", "through it", params={"max_new_tokens": 400})
            seen = await socket.receive_until("generation.delta")
            database.set(FILLER, bytes(FILLER_BYTES))
            database.config_set("maxmemory", FILLER_BYTES)
            wait_until(lambda: "redis_full" in worker.output, what="the worker notices")
            error = assert_error(admin.get("/readyz"), 503, "redis_full")
            assert "REDIS_MAXMEMORY" in error["message"]
            question = {"model": "sample", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
            assert_error(admin.post("/v1/chat/completions", json=question), 503, "redis_full")
            await other.chat("sample", "not now")
            assert (await other.receive())["error"]["code"] == "redis_full"
            assert_room_can_be_made(
                gateway,
                chat_id=chat_id,
                key_id=revoked["key_id"],
                conversion_id=conversion.json()["conversion_id"],
                unused_key=unused["key"],
            )
            database.delete(FILLER)
            seen += await socket.receive_until(*ENDS)
            assert_whole(seen)
            assert seen[-1]["usage"]["completion_tokens"] == 400
            assert "generation.resumed" not in {frame["type"] for frame in seen}
            await other.chat("sample", "now", params={"max_new_tokens": 5})
            assert (await other.receive_until(*ENDS))[-1]["type"] == "generation.finished"
        assert gateway.is_ready()
        assert worker.process is not None
        assert worker.process.poll() is None
        assert "worker_was_declared_lost" not in worker.output
