"""Converters of different sizes: what one cannot hold is done by another, and what none can hold is refused."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import orjson
import psutil
import pytest
import redis

from converter_worker.converter_registry import ConverterRegistry
from converter_worker.job_store import JobStore, StageTicket
from converter_worker.measurement import records_of
from converter_worker.memory_gate import MemoryGate
from converter_worker.passing_on import PassingOn
from shared import keys
from shared.schemas.conversion import ConversionJob, ConversionPlan
from shared.schemas.conversion_figures import ConversionFigures, StageFigures
from shared.schemas.converters import CONVERTER_LOST_MS, ConverterInfo
from tests.helpers.redis_server import RedisServer
from tests.helpers.sample_bed import SampleBed, family_of, signal_all
from tests.helpers.sample_checkpoint import write_sample_checkpoint
from tests.helpers.services import wait_until
from tests.helpers.written_job import write_job

pytestmark = [pytest.mark.connected, pytest.mark.timeout(240)]

#: Less than the libraries of a stage take.
SMALL = {"OVCHAT_CONVERTER_MEMORY_BYTES": str(600 << 20)}
#: With a number of slots by which the registry's entries are told apart.
LARGE = {"OVCHAT_CONVERTER_SLOTS": "2"}


@pytest.fixture
def bed(tmp_path: Path, own_redis: RedisServer) -> Iterator[SampleBed]:
    bed = SampleBed(tmp_path / "bed", own_redis.url)
    yield bed
    bed.stop()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_sample_checkpoint(tmp_path / "sample")


def test_a_stage_goes_to_the_converter_that_can_hold_it(bed: SampleBed, source: Path) -> None:
    """Every converter takes from one queue: a small one must not try, or refuse, what a larger one could do."""
    small = bed.start_sample(SMALL)
    refused = bed.wait_for_end(bed.submit(source, "int8", name="refused"))
    assert refused.error is not None
    assert refused.error.code == "out_of_memory"
    assert "the largest of 1 converter has 0.3 GB" in refused.error.message

    large = bed.start_sample(LARGE)
    # Stopped, it takes nothing: the small one gets the job, foretells it, and has to pass its export on.
    os.kill(large.pid, signal.SIGSTOP)
    end_blocked_reads(bed, large.pid)
    try:
        conversion_id = bed.submit(source, "int8", "int4", name="passed-on")
        wait_until(lambda: "stage_passed_on" in small.output, what="the export passed on")
        assert "passed on to the converter" in (bed.job(conversion_id).waiting or "")
    finally:
        os.kill(large.pid, signal.SIGCONT)
    job = bed.assert_as_asked(conversion_id, source, attempt=1)
    assert job.waiting is None
    assert any("passed on to the converter" in (event.message or "") for event in bed.events(conversion_id))
    slots = {info.worker_id: info.slots for info in registered(bed)}
    took = records_of({name.decode(): orjson.loads(value) for name, value in job_hash(bed, conversion_id).items()})
    assert {(slots[record.worker_id], record.stage) for record in took} == {
        (2, stage) for stage in ("tokenizer", "export", "compress", "verify")
    }


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_job_whose_large_converter_is_lost_says_so_and_waits(bed: SampleBed, source: Path, comes_back: bool) -> None:
    """Taken up again, the job was refused by the small converter while the large one was starting, or waited silently.

    A restart of the machine that holds the large models must not cost their conversions.
    """
    bed.start_sample({**SMALL, "OVCHAT_CONVERTER_PATIENCE_SECONDS": "60" if comes_back else "1.5"})
    large = bed.start_sample(LARGE)
    bed.hold("export")
    conversion_id = bed.submit(source, "int8", name="waits")
    assert bed.worker_of(bed.wait_held("export")) is large
    signal_all(family_of(large), signal.SIGKILL)
    large.kill()
    for info in registered(bed):
        # As if it had been silent for so long: 20 seconds are too many for a test.
        if info.slots == 2:
            bed.redis.hset(keys.CONVERTERS, info.worker_id, info.model_copy(update={"seen_ms": 0}).model_dump_json())
    waiting = "waiting for a converter with"
    wait_until(
        lambda: (bed.job(conversion_id).waiting or "").startswith(waiting), what="the job says what it waits for"
    )
    bed.release("export")
    if comes_back:
        bed.start_sample(LARGE)
        assert bed.assert_as_asked(conversion_id, source, attempt=2).waiting is None
    else:
        job = bed.wait_for_end(conversion_id, seconds=10)
        assert job.error is not None
        assert (job.state, job.error.code, job.waiting) == ("failed", "out_of_memory", None)
        assert "Start it, or another that is as large" in job.error.message
        bed.assert_in_order()
    told = [event.message for event in bed.events(conversion_id) if (event.message or "").startswith(waiting)]
    assert len(told) == 1


def registered(bed: SampleBed) -> list[ConverterInfo]:
    found = cast(dict[bytes, bytes], bed.redis.hgetall(keys.CONVERTERS))
    return [ConverterInfo.model_validate_json(value) for value in found.values()]


def end_blocked_reads(bed: SampleBed, pid: int) -> None:
    """End the connections on which a stopped process waits for messages: Redis would give it the next one."""
    ports = {connection.laddr.port for connection in psutil.Process(pid).net_connections()}
    for client in bed.redis.client_list():
        if client["cmd"] == "brpop" and int(client["addr"].rpartition(":")[2]) in ports:
            bed.redis.client_kill_filter(_id=client["id"])


def job_hash(bed: SampleBed, conversion_id: str) -> dict[bytes, bytes]:
    return cast(dict[bytes, bytes], bed.redis.hgetall(keys.conversion_job(conversion_id)))


def registry(url: str, worker_id: str, folder: Path) -> ConverterRegistry:
    return ConverterRegistry(redis.Redis.from_url(url), worker_id, MemoryGate(4 << 30), [folder], 1)


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


async def test_a_stage_that_is_done_does_not_wait_for_a_larger_converter(redis_url: str, tmp_path: Path) -> None:
    """A large converter did its stage and left, and the stage was delivered once more: the job that ran on failed."""
    client = redis.Redis.from_url(redis_url)
    jobs = JobStore(client, "w-large", 2.0)
    needed = StageFigures(stage="export", memory_bytes=64 << 30, seconds=1.0)
    job = ConversionJob(
        conversion_id="conv_1",
        plan=ConversionPlan(source_model="org/model", model="model", variants=()),
        state="running",
        created_ms=1,
        predicted=ConversionFigures(memory_bytes=64 << 30, seconds=1.0, stages=(needed,)),
    )
    ticket = StageTicket(write_job(client, job), "export", 1)
    jobs.claim(ticket)
    jobs.complete(ticket)
    sent: list[StageTicket] = []
    small = registry(redis_url, "w-small", tmp_path)
    passing_on = PassingOn(jobs, MemoryGate(1 << 30), small, lambda ticket, _: sent.append(ticket), 0.0)
    assert not passing_on.is_elsewhere(ticket, passed_on=False)
    assert jobs.claim(ticket) is None
    passing_on.look_again()
    assert sent == []
    client.close()


async def test_a_host_learns_how_fast_it_is(redis_url: str, tmp_path: Path) -> None:
    one = registry(redis_url, "w-one", tmp_path)
    assert one.speed() == 1.0
    one.learn_speed(4.0)
    assert one.speed() == 2.0
    for _ in range(20):
        one.learn_speed(4.0)
    assert one.speed() == pytest.approx(4.0, rel=0.01)
