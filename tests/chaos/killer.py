"""Carries a plan out: finds a victim for each event, hits it, and brings it back."""

import asyncio
import random
from collections.abc import Callable, Coroutine

from tests.chaos.live_view import LiveView
from tests.chaos.plan import Kill
from tests.chaos.recorder import Recorder
from tests.chaos.scene import Scene, until
from tests.chaos.worker_handle import WorkerHandle
from tests.helpers.services import Gateway

#: Longest time that a victim of the wanted kind and phase is waited for.
VICTIM_SECONDS = 60.0
_BACK_SECONDS = 60.0
#: A hung replica is ended by its agent and loaded anew within this time.
_HANG_SECONDS = 90.0


class Killer:
    """One worker with the variant is always spared, so that every answer can go on."""

    def __init__(self, scene: Scene, view: LiveView, recorder: Recorder, seed: int) -> None:
        self._scene = scene
        self._view = view
        self._recorder = recorder
        self._dice = random.Random(f"victims {seed}")
        self._away: set[object] = set()
        self._returns: set[asyncio.Task[None]] = set()

    async def run(self, plan: list[Kill], say: Callable[[str], None]) -> None:
        """Let every event happen; returns once everything is back."""
        for number, kill in enumerate(plan, start=1):
            await asyncio.sleep(kill.pause_seconds)
            say(f"{number}/{len(plan)} {kill.kind} {kill.phase}")
            match kill.kind:
                case "gateway":
                    self._later(self._kill_gateway(kill, await self._spare_gateway()))
                case "redis":
                    await until(lambda: self._scene.redis not in self._away, _BACK_SECONDS, "Redis is back")
                    self._later(self._kill_redis(kill))
                case _:
                    self._hit(kill, await self._busy_worker(kill))
        await asyncio.gather(*self._returns)
        await until(
            lambda: any(worker.look().healthy for worker in self._scene.workers), _BACK_SECONDS, "a worker is back"
        )

    async def _busy_worker(self, kill: Kill) -> WorkerHandle:
        found: list[WorkerHandle] = []

        def look() -> bool:
            healthy = [worker for worker in self._scene.workers if worker.look().healthy]
            if len(healthy) > 1:
                found[:] = [worker for worker in healthy if self._view.busy(worker.worker_id, kill.phase)]
            return bool(found)

        await until(look, VICTIM_SECONDS, f"a victim for {kill}")
        return self._dice.choice(found)

    async def _spare_gateway(self) -> Gateway:
        def here() -> list[Gateway]:
            return [gateway for gateway in self._scene.gateways if gateway not in self._away]

        await until(lambda: len(here()) > 1, _BACK_SECONDS, "a second gateway")
        return self._dice.choice(here())

    def _hit(self, kill: Kill, worker: WorkerHandle) -> None:
        self._recorder.add(
            "kill",
            kind=kill.kind,
            phase=kill.phase,
            target=f"worker-{worker.number}",
            worker_id=worker.worker_id,
            pid=worker.replica_pid,
        )
        match kill.kind:
            case "replica":
                worker.kill_replica()
            case "hang":
                worker.hang_replica()
                self._later(self._after_hang(worker))
            case "agent":
                worker.kill()
                self._later(self._start_worker(kill, worker))
            case _:
                worker.stop(whole=self._dice.random() < 0.5)
                self._later(self._wake_worker(kill, worker))

    async def _start_worker(self, kill: Kill, worker: WorkerHandle) -> None:
        await asyncio.sleep(kill.away_seconds)
        worker.start()

    async def _wake_worker(self, kill: Kill, worker: WorkerHandle) -> None:
        await asyncio.sleep(kill.away_seconds)
        worker.go_on()
        self._recorder.add("back", target=f"worker-{worker.number}")

    async def _after_hang(self, worker: WorkerHandle) -> None:
        await until(lambda: worker.look().healthy or worker.worker_id == "", _HANG_SECONDS, "a hung replica is ended")

    async def _kill_gateway(self, kill: Kill, gateway: Gateway) -> None:
        self._away.add(gateway)
        number = self._scene.gateways.index(gateway)
        self._recorder.add("kill", kind="gateway", phase="any", target=f"gateway-{number}", gateway=number)
        gateway.kill()
        await asyncio.sleep(kill.away_seconds)
        gateway.start()
        async with asyncio.timeout(_BACK_SECONDS):
            while not await asyncio.to_thread(gateway.is_ready):  # noqa: ASYNC110 - it asks another process.
                await asyncio.sleep(0.1)
        self._away.discard(gateway)

    async def _kill_redis(self, kill: Kill) -> None:
        self._away.add(self._scene.redis)
        self._recorder.add("kill", kind="redis", phase="any", target="redis")
        self._scene.redis.kill()
        await asyncio.sleep(kill.away_seconds)
        self._scene.redis.start()
        self._recorder.add("back", target="redis")
        self._away.discard(self._scene.redis)

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._returns.add(task)
