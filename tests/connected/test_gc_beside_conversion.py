"""Collecting left-overs again and again while a conversion works in the same store."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from converter_worker.job_store import JobStore
from converter_worker.store_runs import StoreRuns
from shared import keys
from shared.schemas.conversion import ENDED
from shared.schemas.store import Leftover, StoreRun
from shared.settings import ConverterSettings
from tests.helpers.conversion_bed import ConversionBed
from tests.helpers.redis_server import RedisServer
from tests.helpers.tiny_llama import write_tiny_llama

pytestmark = [pytest.mark.connected, pytest.mark.timeout(180)]


@pytest.fixture
def bed(tmp_path: Path, own_redis: RedisServer) -> Iterator[ConversionBed]:
    bed = ConversionBed(tmp_path, own_redis.url)
    yield bed
    bed.stop()


def collect(runs: StoreRuns, client: redis.Redis) -> tuple[Leftover, ...]:
    run = StoreRun(run_id="run_again", task="gc", free=True)
    client.set(keys.store_run(run.run_id), run.model_dump_json())
    runs.carry_out(run.run_id)
    ended = StoreRun.model_validate_json(client.get(keys.store_run(run.run_id)) or b"")
    assert (ended.state, ended.error) == ("finished", None)
    return ended.leftovers


def test_a_conversion_keeps_what_it_works_with(
    bed: ConversionBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collection that takes the base IR or a variant for a left-over makes the conversion beside it fail."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    settings = ConverterSettings(data_dir=bed.folder / "data", model_store=bed.store.path)
    runs = StoreRuns(settings, bed.redis, JobStore(bed.redis, "w", 2), bed.store)
    bed.start_converter()
    (bed.store.staging_dir("conv_dead") / "file").write_bytes(b"12345")
    conversion_id = bed.submit(write_tiny_llama(tmp_path / "tiny"), "fp16", "int8", name="beside")
    freed: list[Leftover] = []
    rounds = 0
    while bed.job(conversion_id).state not in ENDED:
        freed += collect(runs, bed.redis)
        rounds += 1
    job = bed.job(conversion_id)
    assert (job.state, job.error, job.attempt) == ("succeeded", None, 1)
    assert rounds > 50
    names = [item.name for item in freed if item.state == "freed"]
    assert ".staging/conv_dead" in names
    # Its folder goes with its end, by whoever comes first.
    assert [name for name in names if conversion_id in name] in ([], [f".staging/{conversion_id}"])
    for variant in ("fp16", "int8"):
        bed.store.check("beside", variant, hashes=True)
