"""What a conversion survives, at every stage: real converters, Redis and processes; only the stages are samples."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.schemas.conversion import ENDED
from tests.helpers.redis_server import RedisServer
from tests.helpers.sample_bed import SampleBed, family_of, signal_all
from tests.helpers.sample_checkpoint import write_sample_checkpoint
from tests.helpers.services import wait_until

pytestmark = [pytest.mark.connected, pytest.mark.timeout(120)]
#: Those with a process of their own, and all.
CHILD_STAGES = ("tokenizer", "export", "compress", "verify")
STAGES = ("resolve", *CHILD_STAGES, "publish")


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"), append_only=True).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[SampleBed]:
    bed = SampleBed(tmp_path_factory.mktemp("bed"), redis_server.url)
    bed.start_sample()
    bed.start_sample()
    yield bed
    bed.stop()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample_checkpoint(tmp_path_factory.mktemp("source") / "sample")


def begin(bed: SampleBed, source: Path, stage: str, name: str) -> tuple[str, int]:
    """Submit a job and return its id once the stage stands still, with the process that stands still."""
    bed.hold(stage)
    conversion_id = bed.submit(source, "int8", "int4", name=f"{name}-{stage}")
    return conversion_id, bed.wait_held(stage)


@pytest.mark.parametrize("stage", CHILD_STAGES)
def test_a_killed_child_is_run_again(bed: SampleBed, source: Path, stage: str) -> None:
    conversion_id, child = begin(bed, source, stage, "child")
    os.kill(child, signal.SIGKILL)
    bed.release(stage)
    bed.assert_as_asked(conversion_id, source, attempt=1)


def test_a_child_that_always_dies_fails_the_job(bed: SampleBed, source: Path) -> None:
    conversion_id, child = begin(bed, source, "export", "always")
    for _ in range(2):
        (bed.holds / "export.held").unlink()
        os.kill(child, signal.SIGKILL)
        child = bed.wait_held("export")
    os.kill(child, signal.SIGKILL)
    job = bed.wait_for_end(conversion_id, seconds=5)
    bed.release("export")
    assert job.error is not None
    assert (job.state, job.error.code) == ("failed", "stage_crashed")
    bed.assert_in_order()


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_converter_is_replaced(bed: SampleBed, source: Path, stage: str) -> None:
    """The broker holds a dead worker's message for hours; without the lease the job would wait that long."""
    conversion_id, pid = begin(bed, source, stage, "worker")
    victim = bed.worker_of(pid)
    signal_all(family_of(victim), signal.SIGKILL)
    victim.kill()
    bed.start_sample(wait=False)
    bed.release(stage)
    lost_at = time.monotonic()
    bed.assert_as_asked(conversion_id, source, attempt=2)
    assert time.monotonic() - lost_at < 20


@pytest.mark.parametrize("stage", STAGES)
def test_redis_may_be_killed(bed: SampleBed, redis_server: RedisServer, source: Path, stage: str) -> None:
    """Redis comes back on its append-only file: neither the stage's work nor the job is lost, nor done twice."""
    conversion_id, _ = begin(bed, source, stage, "redis")
    redis_server.kill()
    redis_server.start()
    bed.release(stage)
    bed.assert_as_asked(conversion_id, source)


@pytest.mark.parametrize("stage", ["export", "compress", "publish"])
def test_a_converter_that_stood_still_comes_back_too_late(bed: SampleBed, source: Path, stage: str) -> None:
    """A stopped virtual machine goes on where it was: its late writes would publish twice, or spoil what is there."""
    conversion_id, pid = begin(bed, source, stage, "late")
    late = bed.worker_of(pid)
    family = family_of(late)
    signal_all(family, signal.SIGSTOP)
    try:
        bed.release(stage)
        bed.assert_as_asked(conversion_id, source, attempt=2)
        seen = len(late.output)
    finally:
        signal_all(family, signal.SIGCONT)
    wait_until(lambda: "stage_superseded" in late.output[seen:], seconds=10, what=late.output[-2000:])
    bed.assert_as_asked(conversion_id, source, attempt=2)


@pytest.mark.parametrize("stage", STAGES)
def test_a_task_may_be_delivered_again(bed: SampleBed, source: Path, stage: str) -> None:
    """Celery on Redis delivers again after a lost connection: a second export beside the first would spoil both."""
    conversion_id, _ = begin(bed, source, stage, "twice")
    bed.deliver_again(conversion_id)
    bed.release(stage)
    bed.assert_as_asked(conversion_id, source, attempt=1)
    events = len(bed.events(conversion_id))
    bed.deliver_again(conversion_id)
    after = bed.submit(source, "int8", name=f"after-{stage}")
    bed.assert_as_asked(after, source, attempt=1)
    assert len(bed.events(conversion_id)) == events


@pytest.mark.parametrize("stage", STAGES)
def test_a_cancel_ends_the_job_at_once(bed: SampleBed, source: Path, stage: str) -> None:
    conversion_id, _ = begin(bed, source, stage, "cancel")
    bed.cancel(conversion_id)
    if stage == "resolve":
        # It takes milliseconds, and is not broken off.
        bed.release(stage)
    try:
        job = bed.wait_for_end(conversion_id, seconds=4)
    finally:
        bed.release(stage)
    assert (job.state, job.error) == ("cancelled", None)
    assert not (bed.store.path / f"cancel-{stage}").exists()
    bed.assert_in_order()


def test_a_cancel_does_not_wait_for_a_converter(bed: SampleBed, source: Path) -> None:
    """A job's next stage waits behind another's long one: the cancel waited with it, for hours."""
    bed.hold("export")
    others = [bed.submit(source, "int8", name=f"long-{number}") for number in range(2)]
    wait_until(lambda: all(bed.job(other).stage == "export" for other in others), what="both converters are busy")
    waiting = bed.submit(source, "int8", name="waiting")
    # As if it had been begun: a job that nobody has begun is ended by the gateway.
    bed.redis.hset(f"ovchat:{{{waiting}}}:job", "state", '"running"')
    bed.cancel(waiting)
    assert bed.wait_for_end(waiting, seconds=4).state == "cancelled"
    assert not any(bed.job(other).state in ENDED for other in others)
    bed.release("export")
    for other in others:
        bed.assert_as_asked(other, source, attempt=1)
