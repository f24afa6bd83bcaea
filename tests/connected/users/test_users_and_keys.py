"""Users' keys: made, used, revoked; what admins did."""

import asyncio
import hashlib
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
import websockets

from shared import keys
from tests.helpers.accounts import make_key, run_ovchat, sign_in, status
from tests.helpers.database import everything_in
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import ADMIN_KEY, Gateway, wait_until

pytestmark = pytest.mark.connected


def test_a_key_is_shown_once_and_kept_as_a_hash(gateway: Gateway, session_redis: RedisServer) -> None:
    limits = {"max_concurrent": 3, "tokens_per_day": 0, "weight": 2.5}
    created = make_key(gateway, "ann", name="laptop", limits=limits)
    assert re.fullmatch(r"ovk-[\w-]{43}", created["key"])
    assert created["limits"] == {"requests_per_minute": None, **limits}
    with gateway.client() as admin, redis.Redis.from_url(session_redis.url) as database:
        listed = admin.get("/api/v1/keys")
        assert created["key"] not in listed.text
        (record,) = [one for one in listed.json()["data"] if one["key_id"] == created["key_id"]]
        told = [record[field] for field in ("user", "role", "name", "last_used_day")]
        assert told == ["ann", "user", "laptop", None]
        assert status(gateway, created["key"]) == 200
        (record,) = [one for one in admin.get("/api/v1/keys").json()["data"] if one["key_id"] == created["key_id"]]
        assert record["last_used_day"]
        held = everything_in(database)
        assert [name for name, text in held.items() if created["key"] in text or ADMIN_KEY in text] == []
        assert database.hexists(keys.API_KEYS, hashlib.sha256(created["key"].encode()).hexdigest())
    assert created["key"] not in gateway.output


def test_a_revoked_key_ends_everywhere_within_a_second(gateways: list[Gateway]) -> None:
    """The accident: a key that was given away is revoked, and another gateway goes on letting it in."""
    created = make_key(gateways[0], "ben")
    assert [status(one, created["key"]) for one in gateways] == [200, 200]
    with gateways[0].client() as admin:
        assert admin.delete(f"/api/v1/keys/{created['key_id']}").status_code == 204
        began = time.monotonic()
        assert status(gateways[0], created["key"]) == 401
        wait_until(lambda: status(gateways[1], created["key"]) == 401, seconds=1.0 - (time.monotonic() - began))
        (record,) = [one for one in admin.get("/api/v1/keys").json()["data"] if one["key_id"] == created["key_id"]]
        assert record["revoked"] is True
        assert admin.delete("/api/v1/keys/key_none").status_code == 404


async def test_open_sockets_end_with_their_key(gateways: list[Gateway]) -> None:
    """The accident: a revoked user chats on over the socket that was open already."""
    created = make_key(gateways[0], "cid")
    with gateways[1].client(key=None) as page:
        assert sign_in(page, created["key"]).status_code == 200
        cookie = f"ovchat_session={page.cookies['ovchat_session']}"
    by_header = {"Authorization": f"Bearer {created['key']}"}
    by_cookie = {"Cookie": cookie, "Origin": gateways[1].url}
    sockets = [
        await websockets.connect(gateways[1].socket_url, additional_headers=headers)
        for headers in (by_header, by_cookie)
    ]
    for socket in sockets:
        assert "cid" in str(await socket.recv())
    with gateways[0].client() as admin:
        admin.delete(f"/api/v1/keys/{created['key_id']}")
    for socket in sockets:
        async with asyncio.timeout(2):
            with pytest.raises(websockets.ConnectionClosed):
                await socket.recv()
        assert socket.close_code == 1008


def test_admins_leave_a_trace(gateway: Gateway) -> None:
    created = make_key(gateway, "gus", role="admin")
    with gateway.client(key=created["key"]) as admin:
        job = admin.post("/api/v1/conversions", json={"source_model": "org/traced", "variants": ["int8"]}).json()
        admin.delete(f"/api/v1/conversions/{job['conversion_id']}")
        newest = admin.get("/api/v1/audit", params={"limit": 2}).json()
        events = [(one["user"], one["key_id"], one["action"], one["target"]) for one in newest["data"]]
        gus = ("gus", created["key_id"])
        assert events == [
            (*gus, "conversion.cancelled", job["conversion_id"]),
            (*gus, "conversion.submitted", job["conversion_id"]),
        ]
        older = admin.get("/api/v1/audit", params={"limit": 1, "cursor": newest["next_cursor"]}).json()["data"]
        assert [(one["user"], one["action"], one["target"]) for one in older] == [
            ("admin", "key.created", created["key_id"])
        ]
    assert '"admin_action"' in gateway.output


@pytest.mark.parametrize(
    "wish",
    [{}, {"user": "a b"}, {"user": "a:b"}, {"user": "x", "role": "root"}, {"user": "x", "limits": {"weight": 0}}],
)
def test_a_bad_wish_for_a_key_is_refused(gateway: Gateway, wish: dict[str, object]) -> None:
    with gateway.client() as admin:
        assert admin.post("/api/v1/keys", json=wish).status_code == 400


def test_many_keys_at_once_are_all_good(gateways: list[Gateway]) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda number: make_key(gateways[number % 2], f"many{number}")["key"], range(16)))
    assert {status(gateways[0], key) for key in made} == {200}


def test_the_command_line_makes_lists_and_ends_keys(gateway: Gateway) -> None:
    access = {"OVCHAT_URL": gateway.url, "OVCHAT_API_KEY": ADMIN_KEY, "COLUMNS": "200"}
    made = run_ovchat("keys", "create", "hal", "--name", "desk", "--tokens-per-day", "1000", **access)
    key = made.stdout.strip()
    assert status(gateway, key) == 200
    assert key not in made.stderr
    (record,) = [one for one in json.loads(run_ovchat("keys", "--json", **access).stdout) if one["user"] == "hal"]
    assert (record["name"], record["limits"]["tokens_per_day"]) == ("desk", 1000)
    assert record["key_id"] in run_ovchat("keys", **access).stdout
    assert run_ovchat("keys", "revoke", record["key_id"], **access).returncode == 0
    assert status(gateway, key) == 401
    as_user = run_ovchat("keys", **{**access, "OVCHAT_API_KEY": make_key(gateway, "ida")["key"]})
    assert (as_user.returncode, as_user.stderr) == (1, "ovchat: Only an admin may do this.\n")
    assert run_ovchat("keys", "create", "x", "--role", "root", **access).returncode == 2
