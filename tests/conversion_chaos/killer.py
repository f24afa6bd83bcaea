"""Carries a plan out: finds a victim for each event, hits it, and brings it back."""

import contextlib
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable

import psutil

from tests.conversion_chaos.plan import Kill
from tests.conversion_chaos.scene import Scene
from tests.helpers.sample_bed import family_of, signal_all
from tests.helpers.services import Service

#: Longest time that a victim is waited for.
_VICTIM_SECONDS = 30.0
#: One stage is hit less often than the platform takes for a stage that kills its converters.
_MOST_HITS = 2


class Killer:
    """One event at a time; what is hit comes back while the next ones happen."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self._scene = scene
        self._dice = random.Random(f"victims {seed}")
        self._away: set[object] = set()
        self._returns: list[threading.Timer] = []
        self._hits: Counter[tuple[str, str | None]] = Counter()
        self.done: Counter[str] = Counter()

    def run(self, plan: list[Kill], say: Callable[[str], None], feed: Callable[[], None]) -> None:
        """Let every event happen; `feed` is called often, to keep the queue filled. Returns once everything is back."""
        for number, kill in enumerate(plan, start=1):
            until = time.monotonic() + kill.pause_seconds
            while time.monotonic() < until:
                feed()
                time.sleep(0.02)
            say(f"{number}/{len(plan)} {kill.kind}{' whole' if kill.whole else ''}")
            self._hit(kill, feed)
            self.done[kill.kind] += 1
        for timer in self._returns:
            timer.join()

    def _hit(self, kill: Kill, feed: Callable[[], None]) -> None:
        if kill.kind == "redis":
            self._wait_for(lambda: self._scene.redis_server not in self._away, feed)
            self._away.add(self._scene.redis_server)
            self._scene.redis_server.kill()
            self._later(kill, self._scene.redis_server, self._scene.redis_server.start)
            return
        found: list[tuple[Service, int]] = []

        def look() -> bool:
            found[:] = [
                (converter, child)
                for converter in self._scene.converters
                if converter not in self._away
                for child in _stage_children(converter)
            ]
            # A converter without a stage is a victim too, but where a child is wanted.
            if not found and kill.kind != "child" and self._dice.random() < 0.05:
                found[:] = [(converter, 0) for converter in self._scene.converters if converter not in self._away]
            return bool(found) and self._is_fair()

        self._wait_for(look, feed)
        converter, child = self._dice.choice(found)
        if kill.kind == "child":
            signal_all([child], signal.SIGKILL)
            return
        self._away.add(converter)
        family = _family(converter) if kill.whole else [converter.pid]
        if kill.kind == "stop":
            signal_all(family, signal.SIGSTOP)
            self._later(kill, converter, lambda: signal_all(family, signal.SIGCONT))
            return
        signal_all(family, signal.SIGKILL)
        converter.kill()
        place = self._scene.converters.index(converter)

        def replace() -> None:
            self._scene.converters[place] = self._scene.start_converter()

        self._later(kill, converter, replace)

    def _is_fair(self) -> bool:
        """Tell whether no stage that runs now was hit so often that the platform would give its job up; count it."""
        running = []
        for asked in self._scene.open_jobs():
            job = self._scene.job(asked)
            if job.state == "running":
                running.append((job.conversion_id, job.stage))
        if any(self._hits[place] >= _MOST_HITS for place in running):
            return False
        self._hits.update(running)
        return True

    def _later(self, kill: Kill, victim: object, come_back: Callable[[], object]) -> None:
        def back() -> None:
            come_back()
            self._away.discard(victim)

        timer = threading.Timer(kill.away_seconds, back)
        self._returns.append(timer)
        timer.start()

    def _wait_for(self, condition: Callable[[], bool], feed: Callable[[], None]) -> None:
        deadline = time.monotonic() + _VICTIM_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError("no victim")
            feed()
            time.sleep(0.02)


def _stage_children(converter: Service) -> list[int]:
    with contextlib.suppress(psutil.Error):
        parents = psutil.Process(converter.pid).children()
        return [child.pid for parent in parents for child in parent.children()]
    return []


def _family(converter: Service) -> list[int]:
    with contextlib.suppress(psutil.Error):
        return family_of(converter)
    return [converter.pid]
