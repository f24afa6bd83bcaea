"""The limits of a key that is in use are changed: on every gateway, in sockets that are open, from the command line."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.helpers.accounts import make_key, run_ovchat, status
from tests.helpers.pool import Pool
from tests.helpers.services import ADMIN_KEY, Gateway, wait_until
from tests.helpers.sockets import Socket

pytestmark = pytest.mark.connected
LONG = {"max_new_tokens": 400}


def change(gateway: Gateway, key_id: str, **limits: object) -> dict[str, Any]:
    with gateway.client() as admin:
        response = admin.patch(f"/api/v1/keys/{key_id}", json={"limits": limits})
    assert response.status_code == 200, response.text
    record: dict[str, Any] = response.json()
    return record


def test_what_is_named_changes_and_the_rest_stays(gateway: Gateway) -> None:
    key_id = make_key(gateway, "ann", limits={"max_concurrent": 3, "tokens_per_day": 10**12})["key_id"]
    changed = change(gateway, key_id, max_concurrent=None, weight=2)
    expected = {"max_concurrent": None, "requests_per_minute": None, "tokens_per_day": 10**12, "weight": 2.0}
    assert changed["limits"] == expected
    with gateway.client() as admin:
        assert changed in admin.get("/api/v1/keys").json()["data"]
        (newest,) = admin.get("/api/v1/audit", params={"limit": 1}).json()["data"]
        assert (newest["action"], newest["target"]) == ("key.limits_changed", key_id)
        assert newest["detail"] == "max_concurrent=default, weight=2.0"


@pytest.mark.parametrize(
    "wish",
    [{}, {"limits": {}}, {"limits": {"weight": None}}, {"limits": {"max_concurrent": -1}}, {"limits": {"speed": 1}}],
)
def test_a_change_of_no_sense_is_refused(gateway: Gateway, wish: dict[str, object]) -> None:
    key_id = make_key(gateway, "ben")["key_id"]
    with gateway.client() as admin:
        assert admin.patch(f"/api/v1/keys/{key_id}", json=wish).status_code == 400
        assert admin.patch("/api/v1/keys/key_none", json={"limits": {"weight": 1}}).status_code == 404
        admin.delete(f"/api/v1/keys/{key_id}")
        refused = admin.patch(f"/api/v1/keys/{key_id}", json={"limits": {"weight": 1}})
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")


def test_a_change_never_brings_a_revoked_key_back(gateway: Gateway) -> None:
    """The accident: one admin changes a key's limits while another revokes it, and the change writes it back whole."""
    for _ in range(5):
        created = make_key(gateway, "cyd")

        def tried(number: int, key_id: str = created["key_id"]) -> int:
            with gateway.client() as admin:
                if number == 4:
                    return admin.delete(f"/api/v1/keys/{key_id}").status_code
                return admin.patch(f"/api/v1/keys/{key_id}", json={"limits": {"weight": number + 1}}).status_code

        with ThreadPoolExecutor(8) as threads:
            assert set(threads.map(tried, range(8))) <= {200, 204, 409}
        assert status(gateway, created["key"]) == 401


async def test_an_open_socket_on_another_gateway_has_the_new_limits(pool: Pool, gateway: Gateway) -> None:
    """The accident: a user is given room, or loses it, and nothing changes until the page is reloaded."""
    other = pool.gateway()
    created = make_key(gateway, "dan", limits={"max_concurrent": 1})
    async with Socket(other.socket_url, key=created["key"], user="dan") as socket:
        await socket.chat("sample", "one", params=LONG)
        await socket.receive_until("generation.started")
        await socket.chat("sample", "two", params=LONG)
        assert (await socket.receive_until("error"))[-1]["error"]["code"] == "rate_limit_exceeded"
        change(gateway, created["key_id"], max_concurrent=2)
        async with asyncio.timeout(2):
            answered = ""
            while answered != "generation.queued":
                await socket.chat("sample", "two", params=LONG)
                answered = (await socket.receive_until("error", "generation.queued"))[-1]["type"]
        change(gateway, created["key_id"], max_concurrent=1)
        with other.client(key=created["key"]) as client:
            question = {"model": "sample", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
            wait_until(
                lambda: client.post("/v1/chat/completions", json=question).status_code == 429,
                seconds=2,
                what="the lower limit holds",
            )
    other.stop()


def test_the_command_changes_limits(gateway: Gateway) -> None:
    access = {"OVCHAT_URL": gateway.url, "OVCHAT_API_KEY": ADMIN_KEY, "COLUMNS": "200"}
    key_id = make_key(gateway, "eve", limits={"max_concurrent": 3})["key_id"]
    said = run_ovchat("keys", "limit", key_id, "--tokens-per-day", "5000", "--requests-per-minute", "0", **access)
    assert said.stdout == f"key {key_id}: 3 at once, unlimited a minute, 5000 tokens a day\n"
    assert "5000 tokens a day" in run_ovchat("keys", **access).stdout
    said = run_ovchat("keys", "limit", key_id, "--max-concurrent", "default", "--json", **access)
    limits = {"max_concurrent": None, "requests_per_minute": 0, "tokens_per_day": 5000, "weight": 1.0}
    assert json.loads(said.stdout)["limits"] == limits
    for wrong in ((), ("--tokens-per-day", "many"), ("--weight", "0")):
        assert run_ovchat("keys", "limit", key_id, *wrong, **access).returncode == 2
    assert run_ovchat("keys", "limit", "key_none", "--weight", "2", **access).returncode == 1
