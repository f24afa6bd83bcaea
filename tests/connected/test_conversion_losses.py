"""What a conversion survives, at every stage: real converters, Redis and processes; only the stages are samples."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from converter_worker.variant_deletion import delete_published
from converter_worker.variant_index import VariantIndex
from shared import keys
from shared.schemas.conversion import ENDED
from tests.helpers.hub_bed import HUB_STAGES, PIECE_BYTES, HubBed
from tests.helpers.model_hub import ModelHub
from tests.helpers.redis_server import RedisServer
from tests.helpers.sample_bed import SampleBed, family_of, signal_all
from tests.helpers.sample_checkpoint import write_sample_checkpoint
from tests.helpers.services import gone, wait_until

pytestmark = [pytest.mark.connected, pytest.mark.timeout(120)]
#: Those with a process of their own, and all.
CHILD_STAGES = ("tokenizer", "export", "compress", "verify")
STAGES = ("resolve", *HUB_STAGES, *CHILD_STAGES, "publish")
#: How preflight reads the headers of the weights.
HEADER_READS = ("bytes=0-100000",)


@dataclass(frozen=True)
class Held:
    """A job that stands still in a stage: the process that does, and the checkpoint of which the job is."""

    conversion_id: str
    pid: int
    source: Path


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelHub]:
    """A hub where each job has a model of its own, for a second one would find it fetched."""
    folder = write_sample_checkpoint(tmp_path_factory.mktemp("hub") / "large", 1, weight_bytes=3 << 22)
    losses = ("worker", "redis", "twice", "cancel")
    with ModelHub({f"some/{loss}-{stage}": folder for loss in losses for stage in HUB_STAGES}) as hub:
        yield hub


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory, module_redis: RedisServer, hub: ModelHub) -> Iterator[HubBed]:
    bed = HubBed(tmp_path_factory.mktemp("bed"), module_redis.url, hub)
    bed.start_sample()
    bed.start_sample()
    yield bed
    bed.stop()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample_checkpoint(tmp_path_factory.mktemp("source") / "sample")


def begin(bed: HubBed, source: Path, stage: str, loss: str) -> Held:
    """Submit a job and return once the stage stands still."""
    name = f"{loss}-{stage}"
    of_hub = stage in HUB_STAGES
    bed.hub.ranges.clear()
    bed.hold(stage)
    conversion_id = bed.submit(f"some/{name}" if of_hub else source, "int8", "int4", name=name)
    pid = bed.wait_held(stage)
    return Held(conversion_id, pid, bed.hub.models[f"some/{name}"] if of_hub else source)


@pytest.mark.parametrize("stage", CHILD_STAGES)
def test_a_killed_child_is_run_again(bed: HubBed, source: Path, stage: str) -> None:
    held = begin(bed, source, stage, "child")
    os.kill(held.pid, signal.SIGKILL)
    bed.release(stage)
    bed.assert_as_asked(held.conversion_id, source, attempt=1)


def test_a_child_that_always_dies_fails_the_job(bed: HubBed, source: Path) -> None:
    held = begin(bed, source, "export", "always")
    child = held.pid
    for _ in range(2):
        (bed.holds / "export.held").unlink()
        os.kill(child, signal.SIGKILL)
        child = bed.wait_held("export")
    os.kill(child, signal.SIGKILL)
    job = bed.wait_for_end(held.conversion_id, seconds=5)
    bed.release("export")
    assert job.error is not None
    assert (job.state, job.error.code) == ("failed", "stage_crashed")
    bed.assert_in_order()


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_converter_is_replaced(bed: HubBed, source: Path, stage: str) -> None:
    """The broker holds a dead worker's message for hours; without the lease the job would wait that long.

    And the next one would fetch 15 GB again from their first byte.
    """
    held = begin(bed, source, stage, "worker")
    victim = bed.worker_of(held.pid)
    signal_all(family_of(victim), signal.SIGKILL)
    victim.kill()
    bed.start_sample(wait=False)
    bed.release(stage)
    lost_at = time.monotonic()
    bed.assert_as_asked(held.conversion_id, held.source, attempt=2)
    assert time.monotonic() - lost_at < 20
    if stage == "download":
        assert bed.hub.ranges == [*HEADER_READS, "whole", *HEADER_READS, f"bytes={PIECE_BYTES}-"]


def test_a_killed_worker_takes_its_children_with_it(bed: HubBed, source: Path) -> None:
    """A child that outlives its worker would go on writing beside the next one's.

    What the dead worker left in the store, and an index that tells of what is not there, are put in order.
    """
    (bed.store.variant_dir("half", "int8") / "half-copied").mkdir(parents=True)
    bed.redis.hset(keys.VARIANTS, "ghost:int8", "{}")
    held = begin(bed, source, "export", "parent")
    bed.worker_of(held.pid).kill()
    wait_until(lambda: gone(held.pid), seconds=5, what="the child to follow its worker")
    bed.start_sample()
    bed.release("export")
    bed.assert_as_asked(held.conversion_id, source, attempt=2)


def test_a_stopped_worker_leaves_its_job_to_the_next(bed: HubBed, source: Path) -> None:
    held = begin(bed, source, "export", "stopped")
    stopped = bed.worker_of(held.pid)
    assert stopped.stop(seconds=15) == 0
    assert gone(held.pid)
    assert bed.job(held.conversion_id).state == "running"
    bed.start_sample()
    bed.release("export")
    bed.assert_as_asked(held.conversion_id, source, attempt=1)


@pytest.mark.parametrize("stage", STAGES)
def test_redis_may_be_killed(bed: HubBed, module_redis: RedisServer, source: Path, stage: str) -> None:
    """Redis comes back on its append-only file: neither the stage's work nor the job is lost, nor done twice."""
    held = begin(bed, source, stage, "redis")
    module_redis.kill()
    module_redis.start()
    bed.release(stage)
    bed.assert_as_asked(held.conversion_id, held.source)
    if stage == "download":
        assert bed.hub.ranges == [*HEADER_READS, "whole"]


@pytest.mark.parametrize("stage", ["export", "compress", "publish"])
def test_a_converter_that_stood_still_comes_back_too_late(bed: HubBed, source: Path, stage: str) -> None:
    """A stopped virtual machine goes on where it was: its late writes would publish twice, or spoil what is there."""
    held = begin(bed, source, stage, "late")
    late = bed.worker_of(held.pid)
    family = family_of(late)
    signal_all(family, signal.SIGSTOP)
    try:
        bed.release(stage)
        bed.assert_as_asked(held.conversion_id, source, attempt=2)
        seen = len(late.output)
    finally:
        signal_all(family, signal.SIGCONT)
    wait_until(lambda: "stage_superseded" in late.output[seen:], seconds=10, what=late.output[-2000:])
    bed.assert_as_asked(held.conversion_id, source, attempt=2)


@pytest.mark.parametrize("stage", STAGES)
def test_a_task_may_be_delivered_again(bed: HubBed, source: Path, stage: str) -> None:
    """Celery on Redis delivers again after a lost connection: a second export beside the first would spoil both."""
    held = begin(bed, source, stage, "twice")
    bed.deliver_again(held.conversion_id)
    bed.release(stage)
    bed.assert_as_asked(held.conversion_id, held.source, attempt=1)
    events = len(bed.events(held.conversion_id))
    bed.deliver_again(held.conversion_id)
    after = bed.submit(source, "int8", name=f"after-{stage}")
    bed.assert_as_asked(after, source, attempt=1)
    assert len(bed.events(held.conversion_id)) == events


@pytest.mark.parametrize("stage", STAGES)
def test_a_cancel_ends_the_job_at_once(bed: HubBed, source: Path, stage: str) -> None:
    held = begin(bed, source, stage, "cancel")
    bed.cancel(held.conversion_id)
    if stage == "resolve":
        # It takes milliseconds, and is not broken off.
        bed.release(stage)
    try:
        job = bed.wait_for_end(held.conversion_id, seconds=4)
    finally:
        bed.release(stage)
    assert (job.state, job.error) == ("cancelled", None)
    assert not (bed.store.path / f"cancel-{stage}").exists()
    bed.assert_in_order()


def test_a_cancel_does_not_wait_for_a_converter(bed: HubBed, source: Path) -> None:
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


def test_a_variant_that_is_deleted_meanwhile_costs_no_other(bed: HubBed, source: Path) -> None:
    """One of two variants was there already, and deleted while the other was made: at publish, hours later, all failed.

    What was made was cleared away with it.
    """
    first = bed.submit(source, "int4", name="meanwhile")
    bed.assert_as_asked(first, source)
    bed.hold("compress")
    both = bed.submit(source, "int4", "int8", name="meanwhile")
    bed.wait_held("compress")
    delete_published(
        bed.store,
        VariantIndex(bed.redis, bed.store),
        "meanwhile",
        "int4",
        bed.store.manifest("meanwhile", "int4").created_at,
    )
    bed.release("compress")
    job = bed.wait_for_end(both)
    assert job.error is not None
    assert (job.state, job.error.code) == ("failed", "variant_not_published")
    assert "meanwhile:int4 was published when the conversion began" in job.error.message
    bed.store.check("meanwhile", "int8", hashes=True)
    bed.assert_in_order()


def test_what_is_made_on_another_disk_is_published_by_the_next_converter(
    tmp_path: Path, own_redis: RedisServer, source: Path
) -> None:
    """Of what a lost one had copied into the store nothing stays, nor of what it had made on the disk of its own."""
    scratch = tmp_path / "scratch"
    bed = SampleBed(tmp_path / "bed", own_redis.url, {"OVCHAT_CONVERSION_DIR": str(scratch)})
    try:
        lost = bed.start_sample({"OVCHAT_LOCAL_SOURCES": str(source.parent)})
        bed.hold("publish")
        conversion_id = bed.submit(source, "int8", "int4", name="scratch")
        bed.wait_held("publish")
        lost.kill()
        (copied,) = bed.store.staging_dir(conversion_id).glob(".publish.*")
        bed.start_sample({"OVCHAT_LOCAL_SOURCES": str(source.parent)}, wait=False)
        (bed.holds / "publish.held").unlink()
        bed.wait_held("publish")
        assert not copied.exists()
        bed.release("publish")
        bed.assert_as_asked(conversion_id, source, attempt=2)
        assert list(scratch.iterdir()) == []
    finally:
        bed.stop()
