"""What a worker's metrics endpoint answers to scrapers, and to whatever else finds its port."""

import asyncio

import httpx
import pytest

from inference_worker.metrics_endpoint import serve_metrics
from shared.errors import InvalidRequest
from tests.helpers.redis_server import free_port


async def raw_answer(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    writer.write_eof()
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


async def test_only_metrics_can_be_asked_for() -> None:
    port = free_port()
    async with (
        serve_metrics(lambda: b"one 1\n", host="127.0.0.1", port=port),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        found = await client.get("/metrics?name=one")
        assert (found.status_code, found.text) == (200, "one 1\n")
        assert found.headers["content-type"].startswith("text/plain")
        assert (await client.get("/")).status_code == 404
        refused = await client.post("/metrics", content=b"x")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET")


async def test_nonsense_is_hung_up_on_and_the_next_scrape_is_answered() -> None:
    port = free_port()
    async with serve_metrics(lambda: b"one 1\n", host="127.0.0.1", port=port):
        assert await raw_answer(port, b"GET /metrics") == b""
        assert await raw_answer(port, b"\x16\x03\x01" * 30_000) == b""
        assert (await raw_answer(port, b"GET /metrics HTTP/1.1\r\n\r\n")).endswith(b"one 1\n")


async def test_a_port_in_use_is_a_clear_message() -> None:
    port = free_port()
    async with serve_metrics(lambda: b"", host="127.0.0.1", port=port):
        with pytest.raises(InvalidRequest, match="OVCHAT_METRICS_PORT"):
            async with serve_metrics(lambda: b"", host="127.0.0.1", port=port):
                pass
