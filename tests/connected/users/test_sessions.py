"""Signing in: the page's cookie, forged requests, sockets, guessing."""

import asyncio
import base64
from pathlib import Path

import httpx
import pytest
import redis
import websockets

from gateway.users.sessions import MOST_SESSIONS, SessionStore
from shared import keys
from shared.redis_client import AsyncRedis
from tests.helpers.accounts import CSRF, make_key, sign_in, status
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import ADMIN_KEY, Gateway

pytestmark = pytest.mark.connected


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


async def test_a_script_that_signs_in_and_never_out_fills_no_memory(transport: AsyncRedis) -> None:
    """The accident: a health check signs in every second, and the database that is never evicted grows for a week."""
    store = SessionStore(transport)
    tokens = [await store.create("ann", "digest of her key") for _ in range(MOST_SESSIONS + 2)]
    fresh = SessionStore(transport)
    assert [await fresh.key_digest(token) for token in tokens[:3]] == [None, None, "digest of her key"]
    assert await fresh.key_digest(tokens[-1]) == "digest of her key"
    assert await transport.zcard(keys.user_sessions("ann")) == MOST_SESSIONS
    await store.end("ann", tokens[-1])
    await store.end_all("ann")
    assert not await transport.keys("ovchat:{users}:session*")


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


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://["},
        {"Origin": "\xff"},
        {"Authorization": "Bearer \xff"},
        {"Authorization": "Bearer"},
        {"Cookie": "ovchat_session=\xff; ="},
        {"Sec-WebSocket-Protocol": "bearer.\xff"},
        {"Sec-WebSocket-Protocol": "bearer.A"},
        {"Sec-WebSocket-Protocol": "bearer.____"},
    ],
)
def test_headers_of_no_sense_are_refused(gateway: Gateway, headers: dict[str, str]) -> None:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    for method, path in (("GET", "/api/v1/session"), ("POST", "/api/v1/session"), ("DELETE", "/api/v1/session")):
        response = httpx.request(method, gateway.url + path, headers=encoded, json=None if method == "GET" else {})
        assert response.status_code in (400, 401, 403), response.text


def test_a_text_that_is_none_is_refused(gateway: Gateway) -> None:
    body = b'{"key": "\\ud800", "user": "\\ud800"}'
    with gateway.client() as client:
        for path in ("/api/v1/session", "/api/v1/keys"):
            response = client.post(path, content=body, headers={"Content-Type": "application/json"})
            assert response.status_code == 400, response.text
        assert client.post("/api/v1/session", json={"key": "schlüssel"}).status_code == 401
        for cursor in ("0-0", "99999999999999999999-0", "x"):
            assert client.get("/api/v1/audit", params={"cursor": cursor}).status_code == 400
        assert client.get("/api/v1/audit", params={"cursor": "1-0"}).json() == {"data": [], "next_cursor": None}


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
