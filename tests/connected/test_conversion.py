"""A real converter worker on a real Redis, converting a tiny random checkpoint."""

import asyncio
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from converter_worker.ir_facts import read_ir_facts
from shared import keys
from shared.schemas.models import VariantRecord
from tests.helpers.conversion_bed import ConversionBed
from tests.helpers.foretold import assert_foretold
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import gone, wait_until
from tests.helpers.tiny_checkpoints import write_tiny_llama
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
def bed(tmp_path_factory: pytest.TempPathFactory, module_redis: RedisServer) -> Iterator[ConversionBed]:
    """One converter for the tests that do not end it: its imports are paid once."""
    bed = ConversionBed(tmp_path_factory.mktemp("bed"), module_redis.url)
    # Only the default version stack, as where an operator has not installed the others.
    bed.start_converter({"OVCHAT_CONVERTER_PRELOAD": "true", "OVCHAT_STACKS_DIR": str(bed.folder / "stacks")})
    yield bed
    bed.stop()


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


def test_what_is_published_is_not_made_again_nor_from_another_recipe_until_it_is_deleted(
    bed: ConversionBed, tiny: Path
) -> None:
    (first,) = bed.wait_for_end(bed.submit(tiny, "int8", name="again")).results
    # As if its converter had been killed before it was in the index.
    bed.redis.hdel(keys.VARIANTS, "again:int8")
    (second,) = bed.wait_for_end(bed.submit(tiny, "int8", name="again")).results
    assert (first.already_published, second.already_published) == (False, True)
    assert bed.redis.hexists(keys.VARIANTS, "again:int8")
    assert first.weights_bytes == second.weights_bytes
    other = {"name": "int8", "weight_format": "int8", "recipe": {"sym": True}}
    refused = bed.wait_for_end(bed.submit(tiny, other, name="again"))
    assert refused.error is not None
    assert refused.error.code == "variant_exists"
    created_at = bed.store.manifest("again", "int8").created_at
    asyncio.run(bed.tasks.delete_variant("again", "int8", created_at))
    wait_until(lambda: not bed.redis.hexists(keys.VARIANTS, "again:int8"))
    assert not (bed.store.path / "again").exists()


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
    # What an import of it elsewhere would read in it.
    said = read_ir_facts(bed.store.variant_dir("awq", "int4-awq")).said
    assert (said.recipe.group_size, said.recipe.awq, said.recipe.backup_precision) == (64, True, "int8_asym")
    assert said.recipe.ignored_layers is not None
    assert all(".layers.0.mlp." in layer for layer in said.recipe.ignored_layers)


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
