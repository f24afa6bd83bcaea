"""Collecting left-overs and verifying variants: a gateway, a converter that converts nothing, the command line."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import keys
from shared.schemas.conversion import ConversionJob, ConversionPlan, ConversionState
from tests.helpers.command_line import environment_of, ovchat
from tests.helpers.conversion_bed import ConversionBed
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import Gateway
from tests.helpers.variants import publish_sample_variant
from tests.helpers.written_job import write_job

pytestmark = [pytest.mark.connected, pytest.mark.timeout(120)]
LONG_AGO = 1_700_000_000


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory, module_redis: RedisServer) -> Iterator[ConversionBed]:
    bed = ConversionBed(tmp_path_factory.mktemp("bed"), module_redis.url)
    # A reaper would take up the jobs that the tests write down as running.
    bed.start_converter({"HF_HUB_CACHE": str(bed.folder / "hub")})
    yield bed
    bed.stop()


@pytest.fixture(scope="module")
def environment(bed: ConversionBed) -> Iterator[dict[str, str]]:
    settings = {"OVCHAT_REDIS_URL": bed.redis_url, "OVCHAT_DATA_DIR": str(bed.folder / "data")}
    gateway = Gateway(settings, bed.folder / "gateway.log").start_ready()
    yield environment_of(gateway, COLUMNS="300")
    gateway.stop()


@pytest.fixture(autouse=True)
def clean(bed: ConversionBed) -> None:
    for folder in (bed.store.path, bed.folder / "hub"):
        shutil.rmtree(folder, ignore_errors=True)
    bed.redis.delete(keys.CONVERSIONS, keys.VARIANTS)


def fill(folder: Path, size: int, *, age: int = LONG_AGO) -> Path:
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"\0" * size)
    os.utime(folder / "file", (age, age))
    os.utime(folder, (age, age))
    return folder


def write_taken_job(bed: ConversionBed, conversion_id: str, source: str, state: ConversionState) -> None:
    job = ConversionJob(
        conversion_id=conversion_id,
        plan=ConversionPlan(source_model=source, model="m", variants=()),
        state=state,
        created_ms=1,
    )
    write_job(bed.redis, job)
    # Somebody works on it, as far as the reaper can see.
    bed.redis.hset(keys.conversion_job(conversion_id), "claim:1:export:", '"w"')
    bed.redis.set(keys.conversion_lease(conversion_id, "claim:1:export:"), "w", ex=60)


def test_what_nobody_needs_is_told_first_and_freed_on_request(bed: ConversionBed, environment: dict[str, str]) -> None:
    staging, hub = bed.store.path / ".staging", bed.folder / "hub"
    publish_sample_variant(bed.store.path, bed.redis_url, variant="int8")
    shutil.rmtree(staging)
    write_taken_job(bed, "conv_dead", "some/dead", "failed")
    write_taken_job(bed, "conv_live", "some/live", "running")
    needless = [
        fill(staging / "conv_dead", 1000),
        fill(staging / "conv_unknown", 2000),
        fill(hub / "models--some--dead", 4000),
        fill(bed.store.path / "sample" / "int4", 8000),
        fill(bed.store.path / "broken" / "int4", 16_000),
    ]
    (needless[-1] / "manifest.json").write_text('{"model": "broken", ')
    needed = [
        fill(staging / "conv_live", 10),
        fill(hub / "models--some--live", 10),
        fill(hub / "models--not--ours", 10),
        fill(bed.store.path / "sample" / "copied", 10, age=4_000_000_000),
    ]
    listed = ovchat(environment, "models", "gc")
    assert listed.returncode == 0, listed.stderr
    assert all(folder.is_dir() for folder in needless)
    assert "31 kB can be freed" in listed.stdout
    assert "perhaps being copied" in listed.stdout

    freed = json.loads(ovchat(environment, "models", "gc", "--yes", "--json").stdout)
    states = {item["name"]: (item["kind"], item["state"]) for item in freed["leftovers"]}
    assert states == {
        ".staging/conv_dead": ("staging", "freed"),
        ".staging/conv_unknown": ("staging", "freed"),
        "download of some/dead": ("cache", "freed"),
        "sample/int4": ("orphan", "freed"),
        "broken/int4": ("damaged", "freed"),
        "sample/copied": ("orphan", "kept"),
    }
    assert not any(folder.exists() for folder in (*needless, bed.store.path / "broken"))
    assert all((folder / "file").is_file() for folder in needed)
    bed.store.check("sample", "int8", hashes=True)
    assert sorted(path.name for path in staging.iterdir()) == ["conv_live"]


def test_a_corrupt_file_is_named_with_what_to_do(bed: ConversionBed, environment: dict[str, str]) -> None:
    for variant in ("int4", "int8"):
        publish_sample_variant(bed.store.path, bed.redis_url, variant=variant)
    whole = ovchat(environment, "models", "verify")
    assert (whole.returncode, whole.stdout.count("whole")) == (0, 2), whole.stderr
    # As long as it was: only its hash tells.
    (bed.store.path / "sample" / "int4" / "openvino_model.bin").write_bytes(b"simple")
    corrupt = ovchat(environment, "models", "verify", "sample")
    assert corrupt.returncode == 1
    assert "openvino_model.bin is not the file that was published" in corrupt.stdout
    assert "models delete sample:int4 --force" in corrupt.stderr
    assert ovchat(environment, "models", "verify", "sample:int8").returncode == 0
    assert "nothing is published as nix" in ovchat(environment, "models", "verify", "nix").stderr
