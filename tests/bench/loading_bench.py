"""Whether answers stand still while another model is loaded.

`python -m tests.bench.loading_bench` lets four chats answer and has another variant loaded beside them again and again.
It prints as JSON the time between two pieces of an answer while nothing is loaded and while something is.
"""

import argparse
import asyncio
import json
import time

import httpx

from gateway.client.bench.distribution import distribution
from tests.bench.demo_services import demo_services
from tests.helpers.demo_store import MODEL
from tests.helpers.services import ADMIN_KEY, Gateway
from tests.helpers.sockets import Socket

NAME, GUEST = f"{MODEL}:int4", f"{MODEL}:int8"
CHATS = 4
QUIET_SECONDS = 8.0


class Bench:
    """Gaps between pieces of answers, by whether something was being loaded."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._is_loading = False
        self._over = False
        self.gaps_ms: dict[bool, list[float]] = {False: [], True: []}
        self.load_seconds: list[float] = []

    async def run(self, loads: int) -> None:
        """Answer all the time; load and end the other variant so often."""
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        async with (
            httpx.AsyncClient(base_url=self._gateway.url, headers=headers, timeout=60) as http,
            asyncio.TaskGroup() as tasks,
        ):
            for _ in range(CHATS):
                tasks.create_task(self._answer())
            for _ in range(loads):
                await asyncio.sleep(QUIET_SECONDS)
                await self._load(http)
            self._over = True

    async def _load(self, http: httpx.AsyncClient) -> None:
        begin = time.perf_counter()
        self._is_loading = True
        answer = await http.post("/api/v1/replicas", json={"model": GUEST})
        worker_id = answer.json()["worker_id"]
        await self._until(http, present=True)
        self._is_loading = False
        self.load_seconds.append(round(time.perf_counter() - begin, 1))
        await http.delete(f"/api/v1/replicas/{worker_id}/{MODEL}/int8")
        await self._until(http, present=False)

    async def _until(self, http: httpx.AsyncClient, *, present: bool) -> None:
        while True:
            views = (await http.get("/api/v1/replicas")).json()["data"]
            states = [view["replica"]["state"] for view in views if view["replica"]["variant"] == "int8"]
            if states == (["ready"] if present else []):
                return
            await asyncio.sleep(0.1)

    async def _answer(self) -> None:
        while not self._over:
            async with Socket(self._gateway.socket_url) as socket:
                await socket.chat(NAME, "Tell me a long story.", params={"temperature": 0.8, "max_new_tokens": 400})
                await socket.receive_until("generation.delta", seconds=120)
                last = time.perf_counter()
                while (await socket.receive(seconds=120))["type"] == "generation.delta":
                    now = time.perf_counter()
                    self.gaps_ms[self._is_loading].append((now - last) * 1000)
                    last = now


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loads", type=int, default=4)
    arguments = parser.parse_args()
    with demo_services({"OVCHAT_PRELOAD_MODELS": NAME}) as gateway:
        bench = Bench(gateway)
        asyncio.run(bench.run(arguments.loads))
    told = {loading: distribution(gaps, digits=1) for loading, gaps in bench.gaps_ms.items()}
    report = {
        "between_tokens_ms": {
            ("while_loading" if loading else "else"): figures.model_dump() if figures else None
            for loading, figures in told.items()
        },
        "load_seconds": bench.load_seconds,
    }
    print(json.dumps(report, indent=2))  # noqa: T201 - it is what the benchmark is for.


if __name__ == "__main__":
    main()
