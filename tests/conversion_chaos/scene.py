"""The processes of a run: a Redis with its file, converters, and the jobs that clients ask for."""

import contextlib
import random
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import redis.exceptions
from kombu.exceptions import OperationalError

from shared import keys
from shared.schemas.conversion import ENDED, ConversionJob
from tests.helpers.redis_server import RedisServer
from tests.helpers.sample_bed import SampleBed
from tests.helpers.sample_checkpoint import write_sample_checkpoint
from tests.helpers.sample_conversion import MOST_SECONDS
from tests.helpers.services import Service
from tests.helpers.tiny_checkpoints import write_tiny_llama

VARIANTS = ("fp16", "int8", "int4")
_INT4 = {"name": "int4", "weight_format": "int4", "recipe": {"sym": True, "group_size": 64}}
_BACK_SECONDS = 60.0
_T = TypeVar("_T")


@dataclass
class Asked:
    """A job and what its client wants of it; `cancelled_at` is the wall clock's time in s, None for never."""

    conversion_id: str
    name: str
    source: Path
    variants: tuple[str, ...]
    cancelled_at: float | None = None


class Scene:
    """Real converters or sample ones on one Redis that can be killed."""

    def __init__(self, folder: Path, *, real: bool, seed: int, converters: int = 2) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.real = real
        self.redis_server = RedisServer(folder / "redis", append_only=True).start()
        self.bed = SampleBed(folder / "bed", self.redis_server.url, {MOST_SECONDS: "0.6"})
        self.dice = random.Random(f"jobs {seed}")
        self.asked: list[Asked] = []
        self.converters: list[Service] = []
        self._sources = folder / "sources"
        for _ in range(converters):
            self.converters.append(self.start_converter())

    def start_converter(self) -> Service:
        """Start a converter; it serves some time later."""
        if self.real:
            settings = {"OVCHAT_CONVERSION_LEASE_SECONDS": "1.5", "OVCHAT_LOCAL_SOURCES": str(self._sources)}
            return self.bed.start_converter(settings, wait=False)
        return self.bed.start_sample({"OVCHAT_LOCAL_SOURCES": str(self._sources)}, wait=False)

    def ask(self) -> Asked:
        """Submit one more job; some are to be cancelled a little later."""
        number = len(self.asked)
        name = f"model-{number}"
        source = self._sources / name
        if self.real:
            write_tiny_llama(source, seed=number)
        else:
            write_sample_checkpoint(source, number)
        variants = tuple(self.dice.sample(VARIANTS, self.dice.randint(1, 3)))
        wanted = [_INT4 if variant == "int4" else variant for variant in variants]
        known = {asked.conversion_id for asked in self.asked}
        while True:
            try:
                conversion_id = self.bed.submit(source, *wanted, name=name)
            except (redis.exceptions.RedisError, OperationalError, OSError):
                # Its message may be lost while the job itself is there: then the reaper's business.
                for conversion_id in self.reach(self._all_ids):
                    if conversion_id not in known:
                        break
                else:
                    continue
            break
        asked = Asked(conversion_id, name, source, variants)
        self.asked.append(asked)
        if self.dice.random() < 0.2:
            threading.Thread(target=self._cancel_later, args=(asked, self.dice.uniform(0, 3)), daemon=True).start()
        return asked

    def reach(self, call: Callable[[], _T]) -> _T:
        """Return what Redis answers, as soon as it is there."""
        deadline = time.monotonic() + _BACK_SECONDS
        while True:
            try:
                return call()
            except (redis.exceptions.RedisError, OSError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def open_jobs(self) -> list[Asked]:
        """Return the jobs that have not ended."""
        return [asked for asked in self.asked if self.job(asked).state not in ENDED]

    def job(self, asked: Asked) -> ConversionJob:
        """Return a job as soon as Redis is there."""
        return self.reach(partial(self.bed.job, asked.conversion_id))

    def stop(self) -> None:
        """End everything."""
        for converter in self.converters:
            converter.kill()
        with contextlib.suppress(redis.exceptions.RedisError):
            self.bed.stop()
        self.redis_server.kill()

    def _cancel_later(self, asked: Asked, seconds: float) -> None:
        time.sleep(seconds)
        self.reach(lambda: self.bed.cancel(asked.conversion_id))
        asked.cancelled_at = time.time()

    def _all_ids(self) -> list[str]:
        return [raw.decode() for raw in cast(list[bytes], self.bed.redis.zrange(keys.CONVERSIONS, 0, -1))]
