"""What is counted for whom: tokens, generations and conversions per user and UTC day."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import redis
from typer.testing import CliRunner

from gateway.client.command_line import app
from gateway.usage.store import UsageStore
from shared import keys
from shared.redis_client import AsyncRedis
from tests.helpers.pool import Pool
from tests.helpers.services import ADMIN_KEY, Gateway, wait_until
from tests.helpers.sockets import Frame, Socket

pytestmark = pytest.mark.connected
ENDS = ("generation.finished", "generation.failed", "error")


def key_of(gateway: Gateway, user: str) -> str:
    with gateway.client() as admin:
        return str(admin.post("/api/v1/keys", json={"user": user}).json()["key"])


def usage(client: httpx.Client, **query: str) -> list[dict[str, Any]]:
    response = client.get("/api/v1/usage", params=query)
    assert response.status_code == 200, response.text
    data: list[dict[str, Any]] = response.json()["data"]
    return data


@pytest.fixture
def database(pool: Pool) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(pool.redis_url) as client:
        yield client


def settled(database: redis.Redis) -> None:
    """Return once no ended generation waits to be stored and counted."""
    wait_until(lambda: database.xlen(keys.FINISHED) == 0, what="everything counted")


async def test_tokens_are_counted_once_whatever_is_delivered(gateway: Gateway, database: redis.Redis) -> None:
    """The accident: a gateway dies after counting and before saying so, and the next one counts again."""
    key = key_of(gateway, "ann")
    ends: list[Frame] = []
    async with Socket(gateway.socket_url, key=key, user="ann") as socket:
        for length in (5, 12):
            await socket.chat("sample", "hi", params={"max_new_tokens": length})
            ends += (await socket.receive_until(*ENDS))[-1:]
        await socket.chat("sample", "hi", params={"max_new_tokens": 400})
        running = (await socket.receive_until("generation.delta"))[-1]["generation_id"]
        await socket.send({"type": "generation.cancel", "generation_id": running})
        ends += (await socket.receive_until(*ENDS))[-1:]
    settled(database)
    for end in ends:
        for _ in range(3):
            database.xadd(keys.FINISHED, {"g": end["generation_id"]})
    settled(database)
    with gateway.client(key=key) as client:
        (day,) = usage(client)
    assert day == {
        "user": "ann",
        "day": datetime.now(UTC).date().isoformat(),
        "prompt_tokens": sum(end["usage"]["prompt_tokens"] for end in ends),
        "cached_tokens": None,
        "completion_tokens": sum(end["usage"]["completion_tokens"] for end in ends),
        "generations": 3,
        "conversions": 0,
    }
    assert day["prompt_tokens"] > 0
    assert day["completion_tokens"] > 17


def test_conversions_are_counted_when_accepted(gateway: Gateway) -> None:
    request = {"source_model": "org/counted-model", "variants": ["int8"]}
    with gateway.client() as client:
        before = sum(day["conversions"] for day in usage(client, user="admin"))
        first, joined = (client.post("/api/v1/conversions", json=request).json() for _ in range(2))
        assert (first["joined"], joined["joined"]) == (False, True)
        client.post("/api/v1/conversions", json={**request, "variants": []})
        assert sum(day["conversions"] for day in usage(client, user="admin")) == before + 1
        client.delete(f"/api/v1/conversions/{first['conversion_id']}")


async def test_own_usage_for_users_and_all_for_admins(gateway: Gateway, database: redis.Redis) -> None:
    names = ("bob", "cyd")
    users = {name: key_of(gateway, name) for name in names}
    for name, key in users.items():
        async with Socket(gateway.socket_url, key=key, user=name) as socket:
            await socket.chat("sample", "hi", params={"max_new_tokens": 3})
            await socket.receive_until(*ENDS)
    settled(database)
    with gateway.client(key=users["bob"]) as bob, gateway.client() as admin:
        assert {day["user"] for day in usage(bob)} == {"bob"}
        assert usage(bob, user="bob") == usage(bob)
        refused = bob.get("/api/v1/usage", params={"user": "cyd"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")
        assert {*names} <= {day["user"] for day in usage(admin)}
        assert [day["user"] for day in usage(admin, user="cyd")] == ["cyd"]
        assert usage(admin, user="nobody") == []
        long_ago = datetime.now(UTC).date() - timedelta(days=100)
        assert usage(admin, **{"from": str(long_ago), "to": str(long_ago + timedelta(days=9))}) == []


@pytest.mark.parametrize(
    "query",
    [
        {"from": "yesterday"},
        {"from": "2026-02-02", "to": "2026-02-01"},
        {"from": "2020-01-01", "to": "2026-01-01"},
        {"to": "0001-01-05"},
    ],
)
def test_days_that_make_no_sense_are_refused(gateway: Gateway, query: dict[str, str]) -> None:
    with gateway.client() as client:
        response = client.get("/api/v1/usage", params=query)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")


def test_the_command_shows_it(gateway: Gateway) -> None:
    environment = {"OVCHAT_URL": gateway.url, "OVCHAT_API_KEY": ADMIN_KEY}
    shown = CliRunner().invoke(app, ["usage"], env=environment)
    assert shown.exit_code == 0, shown.output
    assert "prompt tokens" in shown.output
    assert "bob" in shown.output
    listed = CliRunner().invoke(app, ["usage", "--user", "cyd", "--json"], env=environment)
    assert '"user":"cyd"' in listed.output
    assert '"user":"bob"' not in listed.output
    assert CliRunner().invoke(app, ["usage", "--from", "yesterday"], env=environment).exit_code == 2


async def test_a_user_s_usage_is_forgotten_with_him(transport: AsyncRedis) -> None:
    store = UsageStore(transport)
    today = (await store.now()).date()
    assert await store.count_generation("g1", "ann", prompt_tokens=1, completion_tokens=2)
    assert not await store.count_generation("g1", "ann", prompt_tokens=1, completion_tokens=2)
    assert await store.count_generation("g2", "bob", prompt_tokens=1, completion_tokens=2)
    assert await store.tokens_of_today("ann") == 3
    await store.erase("ann")
    assert [day.user for day in await store.days(today, today)] == ["bob"]
    assert await store.tokens_of_today("ann") == 0
