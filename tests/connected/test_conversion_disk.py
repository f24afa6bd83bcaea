"""Disks that are full or cannot be written: the job says so at every stage, and leaves nothing half behind."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.schemas.conversion import ConversionJob
from tests.helpers.conversion_bed import ConversionBed
from tests.helpers.hub_bed import PIECE_BYTES, HubBed
from tests.helpers.model_hub import ModelHub
from tests.helpers.redis_server import RedisServer
from tests.helpers.sample_bed import SampleBed
from tests.helpers.sample_checkpoint import write_sample_checkpoint
from tests.helpers.services import wait_until
from tests.helpers.small_disk import SmallDisk
from tests.helpers.tiny_checkpoints import write_tiny_llama

pytestmark = [pytest.mark.connected, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    with SmallDisk(tmp_path_factory.mktemp("small") / "disk", 96) as disk:
        yield disk


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory, module_redis: RedisServer, disk: SmallDisk) -> Iterator[SampleBed]:
    """A sample converter whose store is the small disk."""
    bed = SampleBed(tmp_path_factory.mktemp("bed"), module_redis.url, store=disk.folder / "models")
    bed.start_sample()
    yield bed
    bed.stop()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample_checkpoint(tmp_path_factory.mktemp("source") / "sample")


def assert_failed(bed: ConversionBed, conversion_id: str, code: str, advice: str) -> ConversionJob:
    """Assert that a job failed as the disk's fault, said what to do, and left nothing."""
    job = bed.wait_for_end(conversion_id, seconds=20)
    assert job.error is not None
    assert (job.state, job.error.code) == ("failed", code), job.error
    assert advice in job.error.message
    wait_until(lambda: bed.left_overs() == [], what="a clean staging folder")
    assert list(bed.store.manifests()) == []
    return job


@pytest.mark.parametrize("stage", ["verify", "publish"])
def test_a_disk_that_fills_up_leaves_nothing_behind(bed: SampleBed, disk: SmallDisk, source: Path, stage: str) -> None:
    bed.hold(stage)
    conversion_id = bed.submit(source, "int8", "int4", name=f"full-{stage}")
    bed.wait_held(stage)
    disk.fill()
    bed.release(stage)
    assert_failed(bed, conversion_id, "disk_full", "Free some space and convert again")
    disk.empty()


@pytest.mark.parametrize("stage", ["resolve", "publish"])
def test_a_store_that_becomes_read_only_says_so(bed: SampleBed, disk: SmallDisk, source: Path, stage: str) -> None:
    """A file system with errors becomes so while a job runs."""
    bed.hold(stage)
    conversion_id = bed.submit(source, "int8", name=f"read-only-{stage}")
    bed.wait_held(stage)
    disk.make_read_only(True)
    bed.release(stage)
    job = bed.wait_for_end(conversion_id, seconds=20)
    disk.make_read_only(False)
    assert job.error is not None
    assert (job.state, job.error.code) == ("failed", "store_unwritable"), job.error
    assert "Check the volume and its permissions" in job.error.message
    assert list(bed.store.manifests()) == []
    # Mended, it serves the same job.
    assert bed.wait_for_end(bed.submit(source, "int8", name=f"read-only-{stage}"), seconds=20).state == "succeeded"
    bed.store.delete(f"read-only-{stage}", "int8")


def test_a_disk_that_fills_up_while_a_model_is_fetched_is_named(
    tmp_path: Path, own_redis: RedisServer, disk: SmallDisk
) -> None:
    """The cache is on another disk than the store: to free space on the store's would be the wrong advice."""
    large = write_sample_checkpoint(tmp_path / "large", weight_bytes=3 << 22)
    with ModelHub({"some/large": large}) as hub:
        bed = HubBed(tmp_path, own_redis.url, hub, cache=disk.folder / "hf")
        try:
            bed.start_sample()
            bed.hold("download")
            conversion_id = bed.submit("some/large", "int8", name="large")
            bed.wait_held("download")
            disk.fill()
            bed.release("download")
            assert_failed(bed, conversion_id, "disk_full", f"the disk of {disk.folder / 'hf' / 'hub'}")
            disk.empty()
            hub.ranges.clear()
            bed.assert_as_asked(bed.submit("some/large", "int8", name="large"), large, attempt=1)
            # What had come is not fetched again.
            assert int(hub.ranges[-1].removeprefix("bytes=").removesuffix("-")) >= PIECE_BYTES
        finally:
            bed.stop()


def stopped_in(bed: ConversionBed, source: Path, stage: str) -> tuple[str, int]:
    """Return a job and its child, stopped in a stage; where the child was quicker, another job is begun."""
    number = 0
    while True:
        number += 1
        conversion_id = bed.submit(source, "int8", name=f"full-{stage}-{number}")
        child = bed.wait_for_stage(conversion_id, stage)
        try:
            os.kill(child, signal.SIGSTOP)
        except ProcessLookupError:
            bed.wait_for_end(conversion_id)
            continue
        return conversion_id, child


def test_a_disk_that_fills_up_under_the_real_stages(tmp_path: Path, own_redis: RedisServer, disk: SmallDisk) -> None:
    """Each library says it in its own way, or writes half a file and says nothing."""
    tiny = write_tiny_llama(tmp_path / "tiny")
    bed = ConversionBed(tmp_path, own_redis.url, store=disk.folder / "real")
    try:
        bed.start_converter({"OVCHAT_CONVERTER_PRELOAD": "true"})
        for stage in ("tokenizer", "export", "compress"):
            conversion_id, child = stopped_in(bed, tiny, stage)
            disk.fill()
            os.kill(child, signal.SIGCONT)
            job = assert_failed(bed, conversion_id, "disk_full", "")
            assert job.stage == stage
            disk.empty()
    finally:
        bed.stop()
