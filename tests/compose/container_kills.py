"""Containers that are killed at random, one at a time; order, ways and pauses follow from a seed."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from tests.chaos.recorder import Recorder
from tests.compose.compose_project import ComposeProject

#: A crash is answered by the engine, which starts the container again; what `docker kill` ended is started by hand.
Way = Literal["crash", "docker kill"]
#: How often each service comes.
WEIGHTS = {"inference-cpu": 4, "gateway": 3, "redis": 2, "proxy": 1}
_MEAN_PAUSE_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class ContainerKill:
    """After a pause one container of a service is killed; by `docker kill` it is away for a while."""

    service: str
    way: Way
    pause_seconds: float
    away_seconds: float


def plan_container_kills(count: int, seed: int) -> list[ContainerKill]:
    """Return the kills; every service comes once where there are enough of them."""
    dice = random.Random(f"containers {seed}")
    services = list(WEIGHTS)[:count]
    services += dice.choices(list(WEIGHTS), list(WEIGHTS.values()), k=count - len(services))
    dice.shuffle(services)
    ways: tuple[Way, ...] = ("crash", "docker kill")
    return [
        ContainerKill(service, dice.choice(ways), dice.uniform(0.5, 2 * _MEAN_PAUSE_SECONDS), dice.uniform(0.2, 2))
        for service in services
    ]


async def kill_containers(project: ComposeProject, plan: list[ContainerKill], recorder: Recorder, seed: int) -> None:
    """Let every kill happen, and wait until all is healthy again."""
    dice = random.Random(f"victims {seed}")
    for number, kill in enumerate(plan, start=1):
        await asyncio.sleep(kill.pause_seconds)
        victim = dice.choice(await asyncio.to_thread(project.containers, kill.service))
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} kill {number}/{len(plan)}: {kill.service} by {kill.way}\n")
        recorder.add("kill", kind=kill.service, way=kill.way, container=victim)
        if kill.way == "crash":
            await asyncio.to_thread(project.crash, victim)
            continue
        await asyncio.to_thread(project.kill, victim)
        await asyncio.sleep(kill.away_seconds)
        await asyncio.to_thread(project.start, victim)
    await asyncio.to_thread(project.bring_up)


def summary(plan: list[ContainerKill]) -> str:
    """Return what was killed how often."""
    counts = Counter(f"{kill.service} by {kill.way}" for kill in plan)
    return f"{len(plan)} kills: " + ", ".join(f"{count} × {what}" for what, count in sorted(counts.items()))
