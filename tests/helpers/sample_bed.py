"""A bed of sample converters, whose stages stop where a test wants to come in between."""

import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import psutil

from shared import keys
from shared.schemas.conversion import ConversionJob
from tests.helpers.conversion_bed import ConversionBed
from tests.helpers.sample_checkpoint import sample_weights
from tests.helpers.sample_conversion import HOLD_DIR
from tests.helpers.services import Service, wait_until

LEASE_SECONDS = 1.0


class SampleBed(ConversionBed):
    """Sample converters on one Redis; a lease of a second makes losses short."""

    def __init__(
        self,
        folder: Path,
        redis_url: str,
        environment: Mapping[str, str] | None = None,
        *,
        store: Path | None = None,
    ) -> None:
        super().__init__(folder, redis_url, store=store)
        self.holds = folder / "holds"
        self.holds.mkdir(parents=True)
        self._sample_environment = {
            "OVCHAT_CONVERSION_LEASE_SECONDS": str(LEASE_SECONDS),
            HOLD_DIR: str(self.holds),
            **(environment or {}),
        }

    def start_sample(self, environment: Mapping[str, str] | None = None, *, wait: bool = True) -> Service:
        """Start one more sample converter."""
        settings = {**self._sample_environment, **(environment or {})}
        return self.start_converter(settings, module="tests.helpers.sample_converter", wait=wait)

    def hold(self, stage: str) -> None:
        """Let the next run of a stage stop in its middle."""
        (self.holds / f"{stage}.held").unlink(missing_ok=True)
        (self.holds / stage).touch()

    def release(self, stage: str) -> None:
        """Let it go on."""
        (self.holds / stage).unlink(missing_ok=True)

    def wait_held(self, stage: str, *, seconds: float = 30.0) -> int:
        """Wait until a stage stands still; return its process id."""
        held = self.holds / f"{stage}.held"
        wait_until(held.exists, seconds=seconds, what=f"{stage} held: {self._tail()}")
        return int(held.read_text())

    def worker_of(self, pid: int) -> Service:
        """Return the converter to which a process belongs."""
        family = {pid, *(parent.pid for parent in psutil.Process(pid).parents())}
        return next(converter for converter in self.converters if converter.pid in family)

    def assert_as_asked(self, conversion_id: str, source: Path, *, attempt: int | None = None) -> ConversionJob:
        """Assert that a job ended well, once, and that the store, the index and the staging folder are in order."""
        job = self.wait_for_end(conversion_id, seconds=60)
        assert (job.state, job.error) == ("succeeded", None), self._tail()
        assert attempt is None or job.attempt == attempt
        ends = [event.state for event in self.events(conversion_id) if event.state != "running"]
        assert ends == ["succeeded"]
        for request in job.plan.variants:
            self.store.check(job.plan.model, request.name, hashes=True)
            folder = self.store.variant_dir(job.plan.model, request.name)
            assert (folder / "openvino_model.bin").read_bytes() == sample_weights(source, request.weight_format)
        self.assert_in_order()
        return job

    def assert_in_order(self) -> None:
        """Assert that nothing is left behind and that the index says what the store has."""
        wait_until(lambda: self.left_overs() == [], seconds=5, what=f"clean staging, not {self.left_overs()}")
        published = {f"{manifest.model}:{manifest.variant}".encode() for manifest in self.store.manifests()}
        assert set(self.redis.hkeys(keys.VARIANTS)) == published


def family_of(worker: Service) -> list[int]:
    """Return the process ids of a converter, its stage parent and its children."""
    process = psutil.Process(worker.pid)
    return [worker.pid, *(child.pid for child in process.children(recursive=True))]


def signal_all(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to each process that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
