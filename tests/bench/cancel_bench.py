"""How soon a cancelled generation ends, in each state, and how soon its slot serves the next one.

`python -m tests.bench.cancel_bench` prints percentiles, in ms: from the client's ``generation.cancel`` to
``generation.finished``; from there to the start of a generation that waited for the slot; and the engine's steps.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

from gateway.client.bench.distribution import distribution
from tests.bench.demo_services import demo_services
from tests.helpers.demo_store import MODEL
from tests.helpers.services import Gateway
from tests.helpers.sockets import Frame, Socket

LONG_ANSWER = {"temperature": 0, "repetition_penalty": 1.0, "max_new_tokens": 2000}
SLOTS = 16
ENDS = ("generation.finished", "generation.failed", "error")


def percentiles(values: list[float]) -> dict[str, float] | None:
    """Return the figures in short, in milliseconds."""
    short = distribution(values, digits=1)
    return None if short is None else short.model_dump()


class Bench:
    """Holds a full pool and cancels one generation after another on it."""

    def __init__(self, gateway: Gateway, model: str) -> None:
        self._gateway = gateway
        self._model = model
        self._count = 0

    def _question(self, words: int) -> str:
        self._count += 1
        return f"Story {self._count}. " + "Tell me more about the long way home. " * words

    async def _open(self, words: int = 1) -> Socket:
        socket = await Socket(self._gateway.socket_url).__aenter__()
        await socket.chat(self._model, self._question(words), params=LONG_ANSWER)
        return socket

    async def _cancel(self, socket: Socket) -> float:
        generation_id = socket.frames[1]["generation_id"]
        started = time.perf_counter()
        await socket.send({"type": "generation.cancel", "generation_id": generation_id})
        end = (await socket.receive_until(*ENDS))[-1]
        assert end["finish_reason"] == "cancelled", end
        return (time.perf_counter() - started) * 1000

    async def fill(self, count: int) -> list[Socket]:
        """Open generations that decode."""
        sockets = [await self._open() for _ in range(count)]
        for socket in sockets:
            await socket.receive_until("generation.delta", seconds=180)
        return sockets

    async def in_queue(self) -> float:
        """Cancel a generation that waits, because every slot is taken."""
        socket = await self._open()
        await socket.receive_until("generation.queued")
        latency = await self._cancel(socket)
        await socket.connection.close()
        return latency

    async def in_prefill(self) -> float:
        """Cancel a generation whose long prompt is being worked on."""
        socket = await self._open(words=80)
        await socket.receive_until("generation.started")
        latency = await self._cancel(socket)
        assert not any(frame["type"] == "generation.delta" for frame in socket.frames)
        await socket.connection.close()
        return latency

    async def in_decode(self) -> float:
        """Cancel a generation in the middle of its answer."""
        (socket,) = await self.fill(1)
        latency = await self._cancel(socket)
        await socket.connection.close()
        return latency

    async def slot_after(self, running: list[Socket]) -> float:
        """Cancel a decoding generation of a full pool; return the time until the one that waited has started."""
        waiting = await self._open()
        await waiting.receive_until("generation.queued")
        victim = running.pop(0)
        await self._cancel(victim)
        ended = time.perf_counter()
        frames: list[Frame] = await waiting.receive_until("generation.started", seconds=60)
        assert frames
        await victim.connection.close()
        running.append(waiting)
        return (time.perf_counter() - ended) * 1000


async def measure(gateway: Gateway, model: str, count: int) -> dict[str, object]:
    """Run every state ``count`` times beside decoding generations."""
    bench = Bench(gateway, model)
    running = await bench.fill(SLOTS - 4)
    report: dict[str, object] = {}
    states: dict[str, Callable[[], Awaitable[float]]] = {
        "cancel_in_prefill_ms": bench.in_prefill,
        "cancel_in_decode_ms": bench.in_decode,
    }
    for name, one in states.items():
        report[name] = percentiles([await one() for _ in range(count)])
    running += await bench.fill(SLOTS - len(running))
    report["cancel_in_queue_ms"] = percentiles([await bench.in_queue() for _ in range(count)])
    report["slot_free_ms"] = percentiles([await bench.slot_after(running) for _ in range(count)])
    for socket in running:
        await socket.connection.close()
    return report


def main() -> None:
    """Measure and print as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--variant", default="int4")
    options = parser.parse_args()
    with demo_services({"OVCHAT_MAX_SEQUENCES": str(SLOTS)}) as gateway:
        report = asyncio.run(measure(gateway, f"{MODEL}:{options.variant}", options.count))
        with gateway.client() as client:
            (replica,) = client.get("/api/v1/workers").json()["data"][0]["replicas"]
        report["step_ms_p95"] = replica["step_ms"]
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
