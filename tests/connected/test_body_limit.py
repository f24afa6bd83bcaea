"""How much a request's body may have, whatever way it is sent."""

import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from gateway.body_limit import LINGER_SECONDS
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import ADMIN_KEY, Gateway

pytestmark = pytest.mark.connected
LIMIT = 100_000
PIECE = b" " * 10_000
#: More than the buffers between two sockets hold, so that a connection closed too early is seen as a reset.
FAR_TOO_MANY = 2_000


@pytest.fixture(scope="module")
def gateway(session_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    settings = {
        "OVCHAT_REDIS_URL": session_redis.url,
        "OVCHAT_DATA_DIR": str(folder),
        "OVCHAT_MAX_BODY_BYTES": str(LIMIT),
    }
    gateway = Gateway(settings, folder / "gateway.log").start_ready()
    yield gateway
    gateway.stop()
    assert "Exception in ASGI application" not in gateway.output


@pytest.fixture
def client(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.client() as client:
        yield client


def pieces(count: int) -> Iterator[bytes]:
    return (PIECE for _ in range(count))


def assert_refused(response: httpx.Response) -> None:
    assert response.status_code == 413, response.text
    assert response.headers["connection"] == "close"
    error = response.json()["error"]
    assert error["code"] == "request_too_large"
    assert error["type"] == "invalid_request_error"
    assert str(LIMIT) in error["message"]


@pytest.mark.parametrize("count", [LIMIT // len(PIECE) + 1, FAR_TOO_MANY])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/markdown", "/api/v1/session"])
def test_a_body_that_tells_its_length_is_refused(client: httpx.Client, path: str, count: int) -> None:
    assert_refused(client.post(path, content=PIECE * count))


@pytest.mark.parametrize("count", [LIMIT // len(PIECE) + 1, FAR_TOO_MANY])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/markdown", "/api/v1/session"])
def test_a_body_in_chunks_is_counted(client: httpx.Client, path: str, count: int) -> None:
    response = client.post(path, content=pieces(count), headers={"Content-Type": "application/json"})
    assert response.request.headers["transfer-encoding"] == "chunked"
    assert_refused(response)
    assert ("x-request-id" in response.headers) == path.startswith("/v1/")


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_of_the_limit_is_taken(client: httpx.Client, is_chunked: bool) -> None:
    body = json.dumps({"text": "*x*"}).encode().ljust(LIMIT)
    halves = iter((body[:50_000], body[50_000:]))
    response = client.post(
        "/api/v1/markdown",
        content=halves if is_chunked else body,
        headers={"Content-Type": "application/json"},
    )
    assert response.status_code == 200, response.text
    assert client.post("/api/v1/markdown", content=body + b" ").status_code == 413


def opened(gateway: Gateway, *headers: str) -> socket.socket:
    """Return a connection on which a request's head was sent."""
    connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
    head = ("POST /v1/completions HTTP/1.1", "Host: localhost", f"Authorization: Bearer {ADMIN_KEY}", *headers)
    connection.sendall("\r\n".join((*head, "", "")).encode())
    return connection


def test_a_client_that_asks_first_need_not_send(gateway: Gateway) -> None:
    """What curl does with large bodies: it waits for the answer to `Expect`."""
    with opened(gateway, f"Content-Length: {LIMIT + 1}", "Expect: 100-continue") as connection:
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_body_without_an_end_is_cut_off(gateway: Gateway, client: httpx.Client) -> None:
    """Whoever goes on sending after the refusal must not keep the connection."""
    began = time.monotonic()
    with opened(gateway, "Transfer-Encoding: chunked") as connection:
        while time.monotonic() - began < LINGER_SECONDS + 10:
            try:
                connection.sendall(b"%x\r\n%b\r\n" % (len(PIECE), PIECE))
            except ConnectionError:
                break
        else:
            pytest.fail("the gateway still reads")
    assert client.get("/livez").status_code == 200
