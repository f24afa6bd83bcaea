"""A real converter worker on a real Redis, converting a tiny random checkpoint."""

import asyncio
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from shared import keys
from shared.schemas.models import VariantRecord
from tests.helpers.conversion_bed import ConversionBed
from tests.helpers.foretold import assert_foretold
from tests.helpers.redis_server import RedisServer
from tests.helpers.sample_bed import SampleBed
from tests.helpers.sample_checkpoint import write_sample_checkpoint
from tests.helpers.services import wait_until
from tests.helpers.tiny_llama import write_tiny_llama
from tests.helpers.variants import publish_sample_variant

pytestmark = [pytest.mark.connected, pytest.mark.timeout(240)]

VARIANTS = ("fp16", "int8", {"name": "int4", "weight_format": "int4", "recipe": {"sym": True, "group_size": 64}})


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("tiny") / "tiny-llama")


@pytest.fixture(scope="module")
def long_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose export takes some seconds, so that a test can come in between."""
    return write_tiny_llama(tmp_path_factory.mktemp("long") / "long-llama", hidden_size=64, layers=14)


@pytest.fixture(scope="module")
def module_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis of this module's own: its converter must not see the jobs of other tests."""
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory, module_redis: RedisServer) -> Iterator[ConversionBed]:
    """One converter for the tests that do not end it: its imports are paid once."""
    bed = ConversionBed(tmp_path_factory.mktemp("bed"), module_redis.url)
    # Only the default version stack, as where an operator has not installed the others.
    bed.start_converter({"OVCHAT_CONVERTER_PRELOAD": "true", "OVCHAT_STACKS_DIR": str(bed.folder / "stacks")})
    yield bed
    bed.stop()


@pytest.fixture
def own_bed(tmp_path: Path, own_redis: RedisServer) -> Iterator[ConversionBed]:
    bed = ConversionBed(tmp_path, own_redis.url)
    yield bed
    bed.stop()


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_three_variants_are_published(bed: ConversionBed, tiny: Path) -> None:
    conversion_id = bed.submit(tiny, *VARIANTS, name="three")
    job = bed.wait_for_end(conversion_id)
    assert (job.state, job.error, job.progress) == ("succeeded", None, 1.0)
    assert [result.name for result in job.results] == ["fp16", "int8", "int4"]
    rates = [result.compression_rate or 0 for result in job.results]
    assert rates == sorted(rates)
    assert rates[0] == 1.0
    for variant in ("fp16", "int8", "int4"):
        manifest = bed.store.check("three", variant, hashes=True)
        assert {
            "openvino_model.xml",
            "openvino_model.bin",
            "openvino_tokenizer.xml",
            "openvino_detokenizer.xml",
        } <= set(manifest.files)
        assert {"tokenizer.json", "tokenizer_config.json", "config.json", "generation_config.json"} <= set(
            manifest.files
        )
        assert manifest.verification is not None
        assert manifest.verification.passed
        assert manifest.eos_token_ids == (2,)
        assert manifest.context_length == 512
        record = VariantRecord.model_validate_json(bed.redis.hget(keys.VARIANTS, f"three:{variant}") or b"")
        assert record.compression_rate == manifest.compression_rate
        assert (manifest.predicted, manifest.measured) == (job.predicted, job.measured)
    assert_foretold(job)
    events = bed.events(conversion_id)
    printed = "\n".join(line for event in events for line in event.log)
    assert "int4" in printed, "nncf prints a table of what it compressed"
    stages = list(dict.fromkeys(event.stage for event in events))
    assert stages == ["resolve", "preflight", "tokenizer", "export", "compress", "verify", "publish"]
    assert [event.progress for event in events] == sorted(event.progress for event in events)
    assert [event.state for event in events if event.state != "running"] == ["succeeded"]
    wait_until(lambda: bed.left_overs() == [], what="a clean staging folder")


def test_an_asked_for_variant_that_is_published_is_not_made_again(bed: ConversionBed, tiny: Path) -> None:
    first = bed.wait_for_end(bed.submit(tiny, "int8", name="again"))
    second = bed.wait_for_end(bed.submit(tiny, "int8", name="again"))
    assert [result.already_published for result in (*first.results, *second.results)] == [False, True]
    assert [result.weights_bytes for result in first.results] == [result.weights_bytes for result in second.results]


def test_another_recipe_under_a_published_name_is_refused(bed: ConversionBed, tiny: Path) -> None:
    bed.wait_for_end(bed.submit(tiny, "int8", name="taken"))
    other = {"name": "int8", "weight_format": "int8", "recipe": {"sym": True}}
    job = bed.wait_for_end(bed.submit(tiny, other, name="taken"))
    assert job.error is not None
    assert job.error.code == "variant_exists"


def test_awq_with_texts_of_the_request_needs_no_hub(bed: ConversionBed, tiny: Path) -> None:
    texts = ["The quick brown fox jumps over the lazy dog.", "How are you doing? I am fine, and what about you?"] * 4
    recipe = {"group_size": 64, "ratio": 1.0, "ignored_layers": ["*.layers.0.mlp.*"]}
    variants = [
        {"name": "plain", "weight_format": "int4", "recipe": recipe},
        {"name": "int4-awq", "weight_format": "int4", "recipe": {**recipe, "awq": True, "dataset": texts}},
    ]
    job = bed.wait_for_end(bed.submit(tiny, *variants, name="awq"))
    assert (job.state, job.error) == ("succeeded", None)
    plain, awq = (bed.store.check("awq", name, hashes=True) for name in ("plain", "int4-awq"))
    assert str(awq.recipe.dataset).startswith("texts:")
    assert awq.notes == ()
    # AWQ has other scales, and one more multiplication in front of each layer that it changed.
    assert plain.files["openvino_model.bin"].sha256 != awq.files["openvino_model.bin"].sha256
    assert awq.files["openvino_model.bin"].size_bytes >= plain.files["openvino_model.bin"].size_bytes


def test_a_recipe_that_cannot_be_followed_says_what_would_work(bed: ConversionBed, tiny: Path) -> None:
    recipes: list[tuple[dict[str, object], str, str]] = [
        ({"group_size": 64, "ignored_layers": ["nothing"]}, "recipe_unfit", "model.layers.0"),
        ({"group_size": 64, "awq": True, "dataset": "texts:" + "0" * 64}, "calibration_unavailable", "convert again"),
        ({"group_size": 64, "gptq": True}, "calibration_unavailable", "Give your own texts instead"),
    ]
    for number, (recipe, code, told) in enumerate(recipes):
        variant = {"name": "int4", "weight_format": "int4", "recipe": recipe}
        job = bed.wait_for_end(bed.submit(tiny, variant, name=f"unfit-{number}"))
        assert job.error is not None
        assert (job.state, job.error.code) == ("failed", code)
        assert told in job.error.message


def test_a_deletion_does_not_wait_for_a_stage_and_cancel_in_the_middle_ends_its_child(
    bed: ConversionBed, long_one: Path
) -> None:
    created_at = publish_sample_variant(bed.store.path, bed.redis_url, model="unwanted").created_at
    bed.store.staging_dir("conv_unwanted").rmdir()
    conversion_id = bed.submit(long_one, "int8", name="cancelled")
    child = bed.wait_for_stage(conversion_id, "export")
    asyncio.run(bed.tasks.delete_variant("unwanted", "int4", created_at))
    wait_until(lambda: not (bed.store.path / "unwanted").exists(), seconds=3, what="the deletion beside the stage")
    assert not gone(child)
    bed.cancel(conversion_id)
    wait_until(lambda: gone(child), seconds=3, what="the child to be gone")
    job = bed.wait_for_end(conversion_id, seconds=5)
    assert (job.state, job.error) == ("cancelled", None)
    wait_until(lambda: bed.left_overs() == [], seconds=5)
    assert "cancelled" not in [manifest.model for manifest in bed.store.manifests()]


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ("truncated", "source_corrupt"),
        ("garbage", "source_corrupt"),
        ("encoder", "not_causal_lm"),
        ("another stack", "family_not_exported"),
        ("no stack", "family_not_exported"),
        ("no tokenizer", "tokenizer_missing"),
        ("no weights", "source_not_found"),
        ("no config", "source_not_found"),
        ("config no JSON", "source_corrupt"),
        ("damaged tokenizer", "tokenizer_missing"),
        ("weights of another size", "source_corrupt"),
    ],
)
def test_a_bad_checkpoint_is_told_and_leaves_nothing(
    bed: ConversionBed, tiny: Path, tmp_path: Path, damage: str, code: str
) -> None:
    source = tmp_path / "bad"
    shutil.copytree(tiny, source)
    weights = source / "model.safetensors"
    match damage:
        case "truncated":
            os.truncate(weights, weights.stat().st_size // 2)
        case "garbage":
            weights.write_bytes(b"\xff" * 4096)
        case "encoder":
            config = json.loads((source / "config.json").read_text())
            config.update(architectures=["BertForMaskedLM"], model_type="bert")
            (source / "config.json").write_text(json.dumps(config))
        case "another stack" | "no stack":
            config = json.loads((source / "config.json").read_text())
            config.update(model_type="chatglm" if damage == "another stack" else "olmo3")
            (source / "config.json").write_text(json.dumps(config))
        case "no tokenizer":
            (source / "tokenizer.json").unlink()
        case "no weights":
            weights.unlink()
        case "no config":
            (source / "config.json").unlink()
        case "config no JSON":
            (source / "config.json").write_text("{'model_type': 'llama'}")
        case "damaged tokenizer":
            (source / "tokenizer.json").write_text('{"version": "1.0", "model": ')
        case "weights of another size":
            config = json.loads((source / "config.json").read_text())
            (source / "config.json").write_text(json.dumps({**config, "intermediate_size": 384}))
    job = bed.wait_for_end(bed.submit(source, "int8"), seconds=20)
    assert job.error is not None
    assert (job.state, job.error.code) == ("failed", code), job.error
    assert job.error.message
    assert not (bed.store.path / "bad").exists()
    wait_until(lambda: bed.left_overs() == [], what="a clean staging folder")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")
def test_a_store_that_cannot_be_written_says_so(tmp_path: Path, own_redis: RedisServer) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("this machine does not let us mount a file system")
    bed = SampleBed(tmp_path, own_redis.url, OVCHAT_MODEL_STORE=str(disk), OVCHAT_LOCAL_SOURCES=str(tmp_path))
    source = write_sample_checkpoint(tmp_path / "sample")

    def mount(mode: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)

    def assert_refused(conversion_id: str) -> None:
        job = bed.wait_for_end(conversion_id, seconds=20)
        assert job.error is not None
        assert (job.state, job.error.code) == ("failed", "store_unwritable"), job.error
        assert "Check the volume and its permissions" in job.error.message

    try:
        bed.start_sample()
        mount("ro")
        assert_refused(bed.submit(source, "int8", name="at-first"))
        mount("rw")
        # It becomes so while the job runs: a file system with errors does.
        bed.hold("publish")
        conversion_id = bed.submit(source, "int8", name="later")
        bed.wait_held("publish")
        mount("ro")
        bed.release("publish")
        assert_refused(conversion_id)
        mount("rw")
        assert bed.wait_for_end(bed.submit(source, "int8", name="later")).state == "succeeded"
        assert [path.name for path in disk.iterdir() if not path.name.startswith(".")] == ["later"]
    finally:
        bed.stop()
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("source", ["/no/such/folder", "someone/not-on-this-machine", "a b c"])
def test_a_source_that_is_not_there_says_what_to_do(bed: ConversionBed, source: str) -> None:
    job = bed.wait_for_end(bed.submit(source, "int8", name="missing"), seconds=40)
    assert job.error is not None
    assert job.error.code == "source_not_found"


def test_a_model_of_the_catalogue_whose_stack_is_missing_is_refused_without_a_hub(bed: ConversionBed) -> None:
    job = bed.wait_for_end(bed.submit("THUDM/chatglm3-6b", "int4", trust_remote_code=True), seconds=10)
    assert job.error is not None
    assert job.error.code == "family_not_exported"
    assert "transformers-4.55.4" in job.error.message
    assert "glm-4-9b-chat-hf" in job.error.message


def test_a_group_size_that_does_not_divide_says_what_would(bed: ConversionBed, tiny: Path) -> None:
    variant = {"name": "int4", "weight_format": "int4", "recipe": {"group_size": 96}}
    job = bed.wait_for_end(bed.submit(tiny, variant, name="unfit"), seconds=10)
    assert job.error is not None
    assert job.error.code == "recipe_unfit"
    assert "128, 64, 32, -1" in job.error.message


def test_a_deleted_variant_leaves_store_and_index(bed: ConversionBed, tiny: Path) -> None:
    bed.wait_for_end(bed.submit(tiny, "int8", name="deleted"))
    created_at = bed.store.manifest("deleted", "int8").created_at
    asyncio.run(bed.tasks.delete_variant("deleted", "int8", created_at))
    wait_until(lambda: not bed.redis.hexists(keys.VARIANTS, "deleted:int8"))
    assert not (bed.store.path / "deleted").exists()


def test_a_stopped_worker_leaves_its_job_to_the_next(own_bed: ConversionBed, long_one: Path) -> None:
    first = own_bed.start_converter()
    conversion_id = own_bed.submit(long_one, "int8", name="handed-over")
    child = own_bed.wait_for_stage(conversion_id, "export")
    assert first.stop(seconds=15) == 0
    assert gone(child)
    assert own_bed.job(conversion_id).state == "running"
    own_bed.start_converter()
    job = own_bed.wait_for_end(conversion_id)
    assert (job.state, job.attempt) == ("succeeded", 1)


def test_a_killed_worker_is_replaced_within_a_minute(own_bed: ConversionBed, long_one: Path, tiny: Path) -> None:
    """The broker holds a dead worker's message for hours; without the lease the job would wait that long."""
    first = own_bed.start_converter()
    assert own_bed.wait_for_end(own_bed.submit(tiny, "int8", name="before")).state == "succeeded"
    (own_bed.store.path / "before" / "half-copied").mkdir()
    own_bed.redis.hset(keys.VARIANTS, "ghost:int8", "{}")
    conversion_id = own_bed.submit(long_one, "int8", name="taken-up")
    child = own_bed.wait_for_stage(conversion_id, "export")
    first.kill()
    wait_until(lambda: gone(child), seconds=5, what="the child to follow its worker")
    own_bed.start_converter()
    job = own_bed.wait_for_end(conversion_id, seconds=60)
    assert (job.state, job.attempt) == ("succeeded", 2)
    assert sorted(own_bed.redis.hkeys(keys.VARIANTS)) == [b"before:int8", b"taken-up:int8"]
    wait_until(lambda: own_bed.left_overs() == [], what="a clean staging folder")


def test_redis_may_come_after_the_converter(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")
    bed = ConversionBed(tmp_path, server.url)
    starting = threading.Thread(target=bed.start_converter)
    starting.start()
    try:
        wait_until(lambda: bed.converters and "redis_unavailable" in bed.converters[0].output)
        assert "Start Redis" in bed.converters[0].output
        server.start()
        starting.join()
        assert "converter_started" in bed.converters[0].output
    finally:
        bed.stop()
        server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path: Path, own_redis: RedisServer, long_one: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("this machine does not let us mount a file system")
    bed = ConversionBed(tmp_path, own_redis.url, store=disk / "models")
    try:
        bed.start_converter()
        conversion_id = bed.submit(long_one, "fp16", "int8", name="full")
        bed.wait_for_stage(conversion_id, "export")
        with (disk / "filler").open("wb", buffering=0) as filler:
            try:
                while filler.write(b"\0" * (1 << 20)):
                    pass
            except OSError:
                pass
        job = bed.wait_for_end(conversion_id)
        assert job.error is not None
        assert (job.state, job.error.code) == ("failed", "disk_full")
        assert list(bed.store.manifests()) == []
        wait_until(lambda: bed.left_overs() == [])
        (disk / "filler").unlink()
        assert bed.wait_for_end(bed.submit(long_one, "int8", name="full")).state == "succeeded"
    finally:
        bed.stop()
        subprocess.run(["umount", str(disk)], check=True)
