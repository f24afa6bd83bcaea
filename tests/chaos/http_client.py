"""A client of the OpenAI API that streams answers and writes down how each stream ended."""

import asyncio
import json

import httpx

from tests.chaos.asks import Ask
from tests.chaos.recorder import Recorder
from tests.helpers.services import ADMIN_KEY, Gateway

ANSWER_SECONDS = 120.0


async def ask_over_http(ask: Ask, gateways: list[Gateway], gateway: int, model: str, recorder: Recorder) -> None:
    """Ask once; what was refused or broken off stays so."""
    recorder.add("ask", **ask.row(), gateway=gateway)
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    try:
        async with (
            asyncio.timeout(ANSWER_SECONDS),
            httpx.AsyncClient(
                base_url=gateways[gateway].url, headers=headers, timeout=ANSWER_SECONDS, verify=False
            ) as client,
            client.stream("POST", "/v1/chat/completions", json=ask.body(model)) as response,
        ):
            if response.status_code != 200:
                await response.aread()
                recorder.add("status", ask=ask.name, status=response.status_code, body=response.json())
                return
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    data = line.removeprefix("data: ")
                    recorder.add("chunk", ask=ask.name, chunk=data if data == "[DONE]" else json.loads(data))
    except (httpx.TransportError, OSError, TimeoutError) as error:
        recorder.add("broke", ask=ask.name, reason=type(error).__name__)
        # A dead gateway refuses at once; asking it without pause would be a load of its own.
        await asyncio.sleep(0.3)
