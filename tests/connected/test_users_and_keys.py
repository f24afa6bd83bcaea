"""Users and their keys: made, used, revoked; sessions, forgery, guessing; the first admin's key; the audit log."""

import asyncio
import base64
import hashlib
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import websockets

from shared import keys
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import ADMIN_KEY, Gateway, wait_until

pytestmark = pytest.mark.connected
CSRF = {"X-Requested-With": "ovchat"}


@pytest.fixture(scope="module")
def gateways(session_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Gateway]]:
    """Two gateways on one Redis."""
    with redis.Redis.from_url(session_redis.url) as client:
        client.flushall()
    folder = tmp_path_factory.mktemp("users")
    environment = {"OVCHAT_REDIS_URL": session_redis.url, "OVCHAT_DATA_DIR": str(folder)}
    both = [Gateway(environment, folder / f"{name}.log").start() for name in ("one", "two")]
    for one in both:
        wait_until(one.is_ready, what="gateway ready")
    yield both
    for one in both:
        one.stop()


@pytest.fixture
def gateway(gateways: list[Gateway]) -> Gateway:
    return gateways[0]


def make_key(gateway: Gateway, user: str, **fields: object) -> dict[str, Any]:
    with gateway.client() as admin:
        response = admin.post("/api/v1/keys", json={"user": user, **fields})
    assert response.status_code == 201, response.text
    created: dict[str, Any] = response.json()
    return created


def status(gateway: Gateway, key: str, path: str = "/api/v1/session") -> int:
    with gateway.client(key=key) as client:
        return client.get(path).status_code


def sign_in(client: httpx.Client, key: str) -> httpx.Response:
    return client.post("/api/v1/session", json={"key": key})


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
        for name in database.keys("*"):
            dumped = database.dump(name)
            assert isinstance(dumped, bytes)
            assert created["key"].encode() not in dumped
            assert ADMIN_KEY.encode() not in dumped
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


async def test_signing_out_ends_the_sockets_of_the_session(gateways: list[Gateway]) -> None:
    with gateways[0].client(key=None) as page:
        sign_in(page, ADMIN_KEY)
        headers = {"Cookie": f"ovchat_session={page.cookies['ovchat_session']}", "Origin": gateways[1].url}
        async with websockets.connect(gateways[1].socket_url, additional_headers=headers) as socket:
            await socket.recv()
            assert page.delete("/api/v1/session", headers=CSRF).status_code == 204
            async with asyncio.timeout(2):
                with pytest.raises(websockets.ConnectionClosed):
                    await socket.recv()
        assert page.get("/api/v1/session").status_code == 401


def test_a_session_is_a_cookie_that_no_script_reads(gateways: list[Gateway], session_redis: RedisServer) -> None:
    with gateways[0].client(key=None) as page, redis.Redis.from_url(session_redis.url) as database:
        response = sign_in(page, ADMIN_KEY)
        assert response.json() == {"user": "admin", "role": "admin"}
        cookie = response.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
        assert "Secure" not in cookie
        behind_tls = {"X-Forwarded-Proto": "https"}
        secure = httpx.post(f"{gateways[0].url}/api/v1/session", json={"key": ADMIN_KEY}, headers=behind_tls)
        assert "Secure" in secure.headers["set-cookie"]
        token = page.cookies["ovchat_session"]
        assert not [name for name in database.keys("*session*") if token.encode() in name]
        assert page.get("/api/v1/session").json() == {"user": "admin", "role": "admin"}
        # The other gateway knows it too.
        other = httpx.get(f"{gateways[1].url}/api/v1/session", headers={"Cookie": f"ovchat_session={token}"})
        assert other.status_code == 200
        assert sign_in(page, "wrong").status_code == 401


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 403),
        ({"X-Requested-With": "XMLHttpRequest"}, 403),
        ({**CSRF, "Origin": "http://evil.example"}, 403),
        ({**CSRF, "Origin": "null"}, 403),
        (CSRF, 201),
        ({**CSRF, "Origin": "HERE"}, 201),
    ],
)
def test_a_change_by_cookie_comes_from_the_page_only(gateway: Gateway, headers: dict[str, str], expected: int) -> None:
    """The accident: an admin opens another site, whose form makes a key with the admin's cookie."""
    headers = {name: gateway.url if value == "HERE" else value for name, value in headers.items()}
    with gateway.client(key=None) as page:
        sign_in(page, ADMIN_KEY)
        response = page.post("/api/v1/keys", json={"user": "forged"}, headers=headers)
        assert response.status_code == expected, response.text
        assert page.get("/api/v1/keys", headers={"Origin": "http://evil.example"}).status_code == 200


def test_another_site_cannot_sign_a_browser_in(gateway: Gateway) -> None:
    with gateway.client(key=None) as page:
        response = page.post("/api/v1/session", json={"key": ADMIN_KEY}, headers={"Origin": "http://evil.example"})
        assert response.status_code == 403
        assert "set-cookie" not in response.headers


@pytest.mark.parametrize("origin", [None, "http://evil.example", "null"])
async def test_a_socket_by_cookie_comes_from_the_page_only(gateway: Gateway, origin: str | None) -> None:
    """The accident: another site opens the socket with the visitor's cookie and reads along."""
    with gateway.client(key=None) as page:
        sign_in(page, ADMIN_KEY)
        headers = {"Cookie": f"ovchat_session={page.cookies['ovchat_session']}"}
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(
            gateway.socket_url, additional_headers=headers | ({"Origin": origin} if origin else {})
        )
    assert refused.value.response.status_code == 403
    async with websockets.connect(gateway.socket_url, additional_headers={**headers, "Origin": gateway.url}) as socket:
        assert "session.ready" in str(await socket.recv())


async def test_a_socket_takes_the_key_as_a_subprotocol(gateway: Gateway) -> None:
    name = "bearer." + base64.urlsafe_b64encode(ADMIN_KEY.encode()).decode().rstrip("=")
    async with websockets.connect(gateway.socket_url, subprotocols=["ovchat", name]) as socket:  # type: ignore[list-item]
        assert socket.subprotocol == "ovchat"
    with pytest.raises(websockets.InvalidStatus):
        await websockets.connect(gateway.socket_url, subprotocols=["ovchat", "bearer.d3Jvbmc"])  # type: ignore[list-item]


def test_guessing_is_slowed_down_and_locks_no_real_key_out(tmp_path: Path) -> None:
    """The accident: somebody tries keys as fast as the gateway answers; or their attempts lock a whole office out."""
    server = RedisServer(tmp_path / "redis").start()
    environment = {
        "OVCHAT_REDIS_URL": server.url,
        "OVCHAT_DATA_DIR": str(tmp_path),
        "OVCHAT_SIGN_IN_FAILURES_PER_MINUTE": "5",
    }
    guarded = Gateway(environment, tmp_path / "log").start_ready()
    try:
        created = make_key(guarded, "dan")
        guesses = [status(guarded, f"guess-{number}") for number in range(12)]
        # The count begins anew with each minute.
        assert guesses.count(401) in range(5, 11)
        assert guesses[-1] == 429
        with guarded.client(key="guess-again") as client:
            refused = client.get("/api/v1/models")
            assert 1 <= int(refused.headers["retry-after"]) <= 60
            assert refused.json()["error"]["code"] == "rate_limit_exceeded"
            assert sign_in(client, "guess-once-more").status_code == 429
        # What can be guessed is not even looked at; what cannot goes on.
        assert status(guarded, ADMIN_KEY) == 429
        assert status(guarded, created["key"]) == 200
        assert status(guarded, "ovk-" + "x" * 43) == 429
    finally:
        guarded.stop()
        server.stop()


def test_two_first_starts_make_one_first_key(tmp_path: Path) -> None:
    """The accident: two gateways with folders of their own start together on an empty Redis and let two keys in."""
    server = RedisServer(tmp_path / "redis").start()
    folders = [tmp_path / name for name in ("one", "two", "three")]
    started = []
    try:
        for folder in folders:
            folder.mkdir()
            environment = {"OVCHAT_REDIS_URL": server.url, "OVCHAT_DATA_DIR": str(folder)}
            started.append(Gateway(environment, folder / "log", gives_admin_key=False).start())
        for one in started:
            wait_until(one.is_ready, what="gateway ready")
        made = [(folder / "admin.key").read_text().strip() for folder in folders]
        assert len(set(made)) == 3
        answers = [[status(one, key) for one in started] for key in made]
        assert sorted(answers) == [[200, 200, 200], [401, 401, 401], [401, 401, 401]]
        for one, answer in zip(started, answers, strict=True):
            wait_until(lambda one=one, answer=answer: ("first_key_is_another" in one.output) == (answer[0] == 401))  # type: ignore[misc]
            assert not any(key in one.output for key in made)
        # The operator's own key takes the first one's place: the way to change it, and the way back in.
        given = Gateway({"OVCHAT_REDIS_URL": server.url, "OVCHAT_DATA_DIR": str(folders[0])}, tmp_path / "given.log")
        started.append(given.start_ready())
        wait_until(lambda: status(started[0], ADMIN_KEY) == 200)
        assert [status(given, key) for key in made] == [401, 401, 401]
    finally:
        for one in started:
            one.stop()
        server.stop()


def test_the_first_key_may_be_revoked_but_not_the_last_way_in(tmp_path: Path) -> None:
    """The accident: an admin revokes the only admin's key, or a restart brings a revoked key back to life."""
    server = RedisServer(tmp_path / "redis").start()
    environment = {"OVCHAT_REDIS_URL": server.url, "OVCHAT_DATA_DIR": str(tmp_path)}
    gateway = Gateway(environment, tmp_path / "log").start_ready()
    try:
        make_key(gateway, "eve")
        with gateway.client() as admin:
            refused = admin.delete("/api/v1/keys/first")
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
        other = make_key(gateway, "fay", role="admin")["key"]
        with gateway.client(key=other) as admin:
            assert admin.delete("/api/v1/keys/first").status_code == 204
        assert status(gateway, ADMIN_KEY) == 401
        gateway.stop()
        gateway.start_ready()
        assert (status(gateway, ADMIN_KEY), status(gateway, other)) == (401, 200)
    finally:
        gateway.stop()
        server.stop()


def test_redis_that_lost_everything_knows_the_first_key_again(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis").start()
    gateway = Gateway(
        {"OVCHAT_REDIS_URL": server.url, "OVCHAT_DATA_DIR": str(tmp_path)}, tmp_path / "log"
    ).start_ready()
    try:
        assert status(gateway, ADMIN_KEY) == 200
        with redis.Redis.from_url(server.url) as database:
            database.flushall()
        wait_until(lambda: status(gateway, ADMIN_KEY) == 200)
    finally:
        gateway.stop()
        server.stop()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gateway.example"])
def test_no_authentication_is_refused_where_others_can_come(tmp_path: Path, host: str) -> None:
    """The accident: a switch for one's own machine opens the platform to the network."""
    environment = {"OVCHAT_AUTH": "off", "OVCHAT_HOST": host, "OVCHAT_DATA_DIR": str(tmp_path)}
    gateway = Gateway(environment, tmp_path / "log").start()
    assert gateway.process is not None
    assert gateway.process.wait(20) == 2
    assert "OVCHAT_AUTH=off" in gateway.output


async def test_without_authentication_this_machine_is_the_admin(session_redis: RedisServer, tmp_path: Path) -> None:
    """Other sites that the person visits are not: neither by their origin nor by a name that leads here."""
    environment = {"OVCHAT_AUTH": "off", "OVCHAT_REDIS_URL": session_redis.url, "OVCHAT_DATA_DIR": str(tmp_path)}
    gateway = Gateway(environment, tmp_path / "log").start_ready()
    try:
        with gateway.client(key=None) as client:
            assert client.get("/api/v1/session").json() == {"user": "admin", "role": "admin"}
            assert client.get("/api/v1/keys").status_code == 200
            assert client.get("/api/v1/keys", headers={"Origin": "http://evil.example"}).status_code == 403
            assert client.get("/api/v1/keys", headers={"Host": f"evil.example:{gateway.port}"}).status_code == 403
        async with websockets.connect(gateway.socket_url, origin=gateway.url) as socket:  # type: ignore[arg-type]
            assert "session.ready" in str(await socket.recv())
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(gateway.socket_url, origin="http://evil.example")  # type: ignore[arg-type]
    finally:
        gateway.stop()


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
