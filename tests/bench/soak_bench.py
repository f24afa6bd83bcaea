"""Half an hour of mixed load with a load or an unload every minute: what grows, what fails, what is taken for lost.

`python -m tests.bench.soak_bench [--minutes 30]` prints JSON: per long-lived process its resident memory after the
first minutes and at the end, generations by their end, and how many answers moved to another replica, which nothing
here gives a reason for.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from statistics import median

import httpx
import psutil

from tests.bench.demo_services import demo_services
from tests.helpers.demo_store import MODEL
from tests.helpers.services import ADMIN_KEY, Gateway
from tests.helpers.sockets import Socket

PINNED, GUEST = f"{MODEL}:int4", f"{MODEL}:int8"
CLIENTS = 24
SETTLED_MINUTES = 5.0
#: Blocks of 32 tokens: what 16 answers need, and as much again for what is kept.
KV_BLOCKS = 700
_SAMPLE_SECONDS = 10.0
_ENDS = ("generation.finished", "generation.failed", "error")
#: What tells the processes apart, the more telling first.
_KINDS = {
    f"--name={PINNED}": "replica",
    "template_child": "template child",
    "inference_worker": "agent",
    "converter_worker": "converter",
    "redis-server": "redis",
    "gateway": "gateway",
}


class Soak:
    """Clients that ask in every way there is, until the time is over."""

    def __init__(self, gateway: Gateway, minutes: float, seed: int) -> None:
        self._gateway = gateway
        self._minutes = minutes
        self._dice = random.Random(seed)
        self._begin = time.monotonic()
        self.ends: Counter[str] = Counter()
        self.moved = 0
        self.memory: dict[str, list[tuple[float, int]]] = {}

    @property
    def minutes(self) -> float:
        """How long it has run."""
        return (time.monotonic() - self._begin) / 60

    async def run(self) -> None:
        """Load, change what is loaded, and look at the memory."""
        await self._bound_cache()
        async with (
            httpx.AsyncClient(
                base_url=self._gateway.url, headers={"Authorization": f"Bearer {ADMIN_KEY}"}, timeout=300
            ) as http,
            asyncio.TaskGroup() as tasks,
        ):
            for number in range(CLIENTS):
                tasks.create_task(self._client(number, http))
            tasks.create_task(self._change_replicas(http))
            tasks.create_task(self._watch_memory())

    async def _bound_cache(self) -> None:
        """Give the replicas a KV cache that is full within minutes: until then it grows, as it should."""
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        async with httpx.AsyncClient(base_url=self._gateway.url, headers=headers) as http:
            for variant in ("int4", "int8"):
                answer = await http.put(f"/api/v1/models/{MODEL}/{variant}/engine", json={"num_kv_blocks": KV_BLOCKS})
                answer.raise_for_status()

    async def _client(self, number: int, http: httpx.AsyncClient) -> None:
        while self.minutes < self._minutes:
            if number % 3 == 0:
                await self._complete(http)
            else:
                await self._chat(http)

    async def _chat(self, http: httpx.AsyncClient) -> None:
        """Two turns, the second of which is cancelled now and then; the chat is deleted, or Redis would grow."""
        async with Socket(self._gateway.socket_url) as socket:
            chat_id = None
            for turn in range(2):
                params = {"temperature": 0.8, "max_new_tokens": self._dice.randint(16, 96)}
                await socket.chat(PINNED, self._question(), chat_id=chat_id, params=params)
                frames = await socket.receive_until("generation.started", *_ENDS, seconds=300)
                chat_id = frames[0].get("chat_id", chat_id)
                if turn and self._dice.random() < 0.2:
                    generation_id = frames[0]["generation_id"]
                    await socket.send({"type": "generation.cancel", "generation_id": generation_id})
                if frames[-1]["type"] not in _ENDS:
                    frames += await socket.receive_until(*_ENDS, seconds=300)
                self.moved += sum(frame["type"] == "generation.resumed" for frame in frames)
                end = frames[-1]
                self.ends[end.get("finish_reason") or end["error"]["code"]] += 1
            if chat_id is not None:
                await http.delete(f"/api/v1/chats/{chat_id}")

    async def _complete(self, http: httpx.AsyncClient) -> None:
        body = {
            "model": PINNED if self._dice.random() < 0.8 else GUEST,
            "messages": [{"role": "user", "content": self._question()}],
            "max_tokens": self._dice.randint(16, 96),
            "stream": True,
        }
        try:
            async with http.stream("POST", "/v1/chat/completions", json=body) as response:
                lines = [line async for line in response.aiter_lines() if line]
        except httpx.TransportError as error:
            self.ends[f"sse {type(error).__name__}"] += 1
            return
        self.ends["sse" if lines and lines[-1] == "data: [DONE]" else f"sse {response.status_code} broken"] += 1

    async def _change_replicas(self, http: httpx.AsyncClient) -> None:
        """Pin one variant; load another in one minute and end it in the next."""
        pin = await http.put(f"/api/v1/models/{MODEL}/int4/placement", json={"replicas": 1})
        pin.raise_for_status()
        wants = True
        while self.minutes < self._minutes:
            if wants:
                await http.post("/api/v1/replicas", json={"model": GUEST})
            else:
                workers = (await http.get("/api/v1/workers")).json()["data"]
                await http.delete(f"/api/v1/replicas/{workers[0]['worker_id']}/{MODEL}/int8")
            wants = not wants
            await asyncio.sleep(min(60.0, max(0.0, (self._minutes - self.minutes) * 60)))

    async def _watch_memory(self) -> None:
        while self.minutes < self._minutes:
            for kind, resident_bytes in _processes():
                self.memory.setdefault(kind, []).append((self.minutes, resident_bytes))
            sys.stderr.write(f"\r{self.minutes:5.1f} min  {self.ends.total():6} generations  moved {self.moved}  ")
            sys.stderr.flush()
            await asyncio.sleep(_SAMPLE_SECONDS)

    def _question(self) -> str:
        words = self._dice.choices(["river", "stone", "cloud", "engine", "harbour", "lantern"], k=250)
        return f"Continue this: {' '.join(words)}"


def _processes() -> Iterator[tuple[str, int]]:
    for process in psutil.Process().children(recursive=True):
        try:
            line = " ".join(process.cmdline())
            kind = next((name for mark, name in _KINDS.items() if mark in line), None)
            if kind is not None and f"--name={GUEST}" not in line:
                yield kind, process.memory_info().rss
        except psutil.NoSuchProcess:
            continue


def growth(samples: list[tuple[float, int]], settled_minutes: float) -> dict[str, object]:
    """Return resident MB after the first minutes and in the last, and the growth between them in percent."""
    end = samples[-1][0]
    first = [size for minute, size in samples if settled_minutes <= minute <= settled_minutes + 1] or [samples[0][1]]
    last = [size for minute, size in samples if minute >= end - 1]
    before, after = median(first), median(last)
    return {
        "settled_mb": round(before / 1e6, 1),
        "end_mb": round(after / 1e6, 1),
        "growth_percent": round((after / before - 1) * 100, 2),
        "mb_every_five_minutes": [
            round(size / 1e6, 1) for minute, size in samples if minute % 5 < _SAMPLE_SECONDS / 60
        ],
    }


def main() -> None:
    """Run and print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    settings = {
        "OVCHAT_KV_CACHE_BYTES": str(1 << 30),
        "OVCHAT_MAX_SEQUENCES": "16",
        "OVCHAT_JOURNAL_TTL_SECONDS": "30",
        "OVCHAT_REQUESTS_PER_MINUTE": "0",
    }
    with demo_services(settings) as gateway:
        soak = Soak(gateway, arguments.minutes, arguments.seed)
        asyncio.run(soak.run())
    settled = min(SETTLED_MINUTES, arguments.minutes / 2)
    report = {
        "minutes": arguments.minutes,
        "generations": dict(soak.ends),
        "moved_answers": soak.moved,
        "memory": {kind: growth(samples, settled) for kind, samples in sorted(soak.memory.items())},
    }
    print(json.dumps(report, indent=2))  # noqa: T201 - it is what the benchmark is for.


if __name__ == "__main__":
    main()
