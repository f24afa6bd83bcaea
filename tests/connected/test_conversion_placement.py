"""Converters of different sizes: what one cannot hold is done by another, and what none can hold is refused."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import orjson
import pytest
import redis

from converter_worker.converter_registry import ConverterRegistry
from converter_worker.measurement import records_of
from converter_worker.memory_gate import MemoryGate
from shared import keys
from shared.schemas.converters import CONVERTER_LOST_MS, ConverterInfo
from tests.helpers.conversion_bed import ConversionBed
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import wait_until
from tests.helpers.tiny_llama import write_tiny_llama

pytestmark = [pytest.mark.connected, pytest.mark.timeout(240)]

#: Less than the libraries of a stage take.
SMALL = {"OVCHAT_CONVERTER_MEMORY_BYTES": str(600 << 20)}


@pytest.fixture
def bed(tmp_path: Path, own_redis: RedisServer) -> Iterator[ConversionBed]:
    bed = ConversionBed(tmp_path / "bed", own_redis.url)
    yield bed
    bed.stop()


def test_a_stage_goes_to_the_converter_that_can_hold_it(bed: ConversionBed, tmp_path: Path) -> None:
    """Every converter takes from one queue: a small one must not try, or refuse, what a larger one could do."""
    tiny = write_tiny_llama(tmp_path / "tiny")
    bed.folder.mkdir()
    small = bed.start_converter(SMALL)
    refused = bed.wait_for_end(bed.submit(tiny, "int8", name="refused"))
    assert refused.error is not None
    assert refused.error.code == "out_of_memory"
    assert "the largest of 1 converter has 0.3 GB" in refused.error.message

    large = bed.start_converter({"OVCHAT_CONVERTER_SLOTS": "2"})
    # Stopped, it takes nothing: the small one gets the job, foretells it, and has to pass its export on.
    os.kill(large.pid, signal.SIGSTOP)
    try:
        conversion_id = bed.submit(tiny, "int8", "int4", name="passed-on")
        wait_until(lambda: "stage_passed_on" in small.output, what="the export passed on")
    finally:
        os.kill(large.pid, signal.SIGCONT)
    job = bed.wait_for_end(conversion_id)
    assert (job.state, job.error) == ("succeeded", None)
    assert any("passed on to the converter" in (event.message or "") for event in bed.events(conversion_id))
    registered = cast(dict[bytes, bytes], bed.redis.hgetall(keys.CONVERTERS))
    slots = {name.decode(): ConverterInfo.model_validate_json(value).slots for name, value in registered.items()}
    took = records_of({name.decode(): orjson.loads(value) for name, value in job_hash(bed, conversion_id).items()})
    assert {(slots[record.worker_id], record.stage) for record in took} == {
        (2, stage) for stage in ("tokenizer", "export", "compress", "verify")
    }


def job_hash(bed: ConversionBed, conversion_id: str) -> dict[bytes, bytes]:
    return cast(dict[bytes, bytes], bed.redis.hgetall(keys.conversion_job(conversion_id)))


def registry(url: str, worker_id: str, folder: Path) -> ConverterRegistry:
    return ConverterRegistry(redis.Redis.from_url(url), worker_id, MemoryGate(4 << 30), folder, 1)


async def test_what_waited_for_a_lost_converter_goes_back_to_all(redis_url: str, tmp_path: Path) -> None:
    """A converter that dies has its own queue, which nobody reads: its jobs would wait for ever."""
    client = redis.Redis.from_url(redis_url)
    one, other = registry(redis_url, "w-one", tmp_path), registry(redis_url, "w-other", tmp_path)
    one.beat()
    other.beat()
    assert [info.worker_id for info in one.others()] == ["w-other"]
    own, common = keys.CELERY_PREFIX + keys.converter_queue("w-other"), keys.CELERY_PREFIX + keys.CONVERSION_QUEUE
    client.rpush(own, "a message of conv_1", "a message of conv_2")
    client.rpush(common, "a message of conv_3")
    assert one.waiting_messages().count(b"conv_") == 3
    silent = other.present().model_copy(update={"seen_ms": one.others()[0].seen_ms - CONVERTER_LOST_MS})
    client.hset(keys.CONVERTERS, "w-other", silent.model_dump_json())
    assert one.others() == []
    one.beat()
    assert client.llen(own) == 0
    assert client.llen(common) == 3
    assert client.hkeys(keys.CONVERTERS) == [b"w-one"]
    one.leave()
    assert client.hkeys(keys.CONVERTERS) == []
    client.close()


async def test_a_host_learns_how_fast_it_is(redis_url: str, tmp_path: Path) -> None:
    one = registry(redis_url, "w-one", tmp_path)
    assert one.speed() == 1.0
    one.learn_speed(4.0)
    assert one.speed() == 2.0
    for _ in range(20):
        one.learn_speed(4.0)
    assert one.speed() == pytest.approx(4.0, rel=0.01)
