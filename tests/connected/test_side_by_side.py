"""Variants compressed at once: on one converter as far as memory allows, and on several. Stages are samples."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.helpers.redis_server import RedisServer
from tests.helpers.sample_bed import SampleBed, signal_all
from tests.helpers.sample_checkpoint import write_sample_checkpoint
from tests.helpers.services import Service, wait_until

pytestmark = [pytest.mark.connected, pytest.mark.timeout(120)]

#: Enough for the converter's own processes and one compression of the sample checkpoint, not for two.
ROOM_FOR_ONE_BYTES = 836_000_000

MakeBed = Callable[..., SampleBed]


@pytest.fixture
def make_bed(tmp_path: Path, own_redis: RedisServer) -> Iterator[MakeBed]:
    beds: list[SampleBed] = []

    def make(**environment: str) -> SampleBed:
        beds.append(SampleBed(tmp_path / "bed", own_redis.url, environment))
        return beds[-1]

    yield make
    for bed in beds:
        bed.stop()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_sample_checkpoint(tmp_path / "sample")


def children(converter: Service) -> list[int]:
    """Return the process ids of the stages that a converter works on."""
    return [child.pid for parent in psutil.Process(converter.pid).children() for child in parent.children()]


def test_one_converter_compresses_two_variants_at_once(make_bed: MakeBed, source: Path) -> None:
    """The last one to end sends verify: with both at the same line, exactly one of them must."""
    bed = make_bed(OVCHAT_CONVERTER_SLOTS="2")
    converter = bed.start_sample()
    bed.hold("compress")
    conversion_id = bed.submit(source, "int8", "int4", name="both")
    wait_until(lambda: len(children(converter)) == 2, what="two compressions at once")
    bed.release("compress")
    bed.assert_as_asked(conversion_id, source, attempt=1)
    events = bed.events(conversion_id)
    assert [event.progress for event in events] == sorted(event.progress for event in events)
    assert {event.variant for event in events if event.stage == "compress"} == {"int8", "int4"}


def test_the_second_waits_where_memory_is_short(make_bed: MakeBed, source: Path) -> None:
    bed = make_bed(OVCHAT_CONVERTER_SLOTS="2", OVCHAT_CONVERTER_MEMORY_BYTES=str(ROOM_FOR_ONE_BYTES))
    converter = bed.start_sample()
    bed.hold("compress")
    conversion_id = bed.submit(source, "int8", "int4", name="in-turn")

    def waits() -> bool:
        return any("waiting for memory" in (event.message or "") for event in bed.events(conversion_id))

    wait_until(waits, what="a compression that waits")
    assert len(children(converter)) == 1
    bed.release("compress")
    bed.assert_as_asked(conversion_id, source, attempt=1)


def test_two_converters_share_the_variants_of_a_job(make_bed: MakeBed, source: Path) -> None:
    bed = make_bed(OVCHAT_CONVERTER_SLOTS="1")
    converters = [bed.start_sample(), bed.start_sample()]
    bed.hold("compress")
    conversion_id = bed.submit(source, "int8", "int4", name="shared")
    wait_until(lambda: all(len(children(converter)) == 1 for converter in converters), what="a stage on each")
    bed.release("compress")
    bed.assert_as_asked(conversion_id, source, attempt=1)


def test_a_converter_that_dies_with_two_stages_loses_neither(make_bed: MakeBed, source: Path) -> None:
    """Each of the two has a lease of its own; the job is taken up once, and what was done is kept."""
    bed = make_bed(OVCHAT_CONVERTER_SLOTS="2")
    converter = bed.start_sample()
    bed.hold("compress")
    conversion_id = bed.submit(source, "int8", "int4", name="lost")
    wait_until(lambda: len(children(converter)) == 2, what="two compressions at once")
    signal_all([converter.pid], signal.SIGKILL)
    bed.release("compress")
    bed.start_sample()
    job = bed.assert_as_asked(conversion_id, source)
    assert job.attempt == 2
