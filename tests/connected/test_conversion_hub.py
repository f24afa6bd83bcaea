"""Conversions from a model hub, one that stands on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.conversion_bed import ConversionBed
from tests.helpers.model_hub import COMMIT, ModelHub
from tests.helpers.redis_server import RedisServer
from tests.helpers.tiny_llama import write_tiny_llama

pytestmark = [pytest.mark.connected, pytest.mark.timeout(180)]
TOKEN = "hub-token-of-the-operator"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelHub]:
    folder = write_tiny_llama(tmp_path_factory.mktemp("hub") / "tiny")
    models = {"someone/Tiny-Llama": folder, "someone/gated": folder, "someone/locked": folder}
    with ModelHub(models, gated=frozenset({"someone/gated", "someone/locked"}), token=TOKEN) as hub:
        yield hub


def start(bed: ConversionBed, hub: ModelHub, **environment: str) -> None:
    settings = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url, "HF_HOME": str(bed.folder / "hf"), "HF_TOKEN": ""}
    bed.start_converter({**settings, "OVCHAT_CONVERTER_PRELOAD": "true", **environment})


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory, hub: ModelHub) -> Iterator[ConversionBed]:
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    bed = ConversionBed(tmp_path_factory.mktemp("bed"), server.url)
    start(bed, hub)
    yield bed
    bed.stop()
    server.stop()


def test_a_hub_id_is_downloaded_and_converted(bed: ConversionBed, hub: ModelHub) -> None:
    conversion_id = bed.submit("someone/Tiny-Llama", "int8")
    job = bed.wait_for_end(conversion_id)
    assert (job.state, job.error) == ("succeeded", None)
    manifest = bed.store.check("tiny-llama", "int8")
    assert (manifest.source_model, manifest.revision) == ("someone/Tiny-Llama", COMMIT)
    stages = list(dict.fromkeys(event.stage for event in bed.events(conversion_id)))
    assert stages == ["resolve", "preflight", "download", "tokenizer", "export", "compress", "verify", "publish"]


def test_a_bad_recipe_is_refused_before_weights_are_fetched(bed: ConversionBed, hub: ModelHub) -> None:
    hub.requests.clear()
    variant = {"name": "int4", "weight_format": "int4", "recipe": {"group_size": 96}}
    job = bed.wait_for_end(bed.submit("someone/Tiny-Llama", variant))
    assert job.error is not None
    assert job.error.code == "recipe_unfit"
    assert not [line for line in hub.requests if "safetensors" in line and " 200 " in line and line.startswith('"GET')]


def test_an_unknown_id_says_so(bed: ConversionBed) -> None:
    job = bed.wait_for_end(bed.submit("someone/nothing", "int8"))
    assert job.error is not None
    assert job.error.code == "source_not_found"
    assert "someone/nothing" in job.error.message


def test_a_gated_model_asks_for_licence_and_token(bed: ConversionBed) -> None:
    job = bed.wait_for_end(bed.submit("someone/gated", "int8"))
    assert job.error is not None
    assert job.error.code == "source_gated"
    assert "HF_TOKEN" in job.error.message


def test_the_operators_token_opens_a_gated_model(tmp_path: Path, own_redis: RedisServer, hub: ModelHub) -> None:
    bed = ConversionBed(tmp_path, own_redis.url)
    try:
        start(bed, hub, HF_TOKEN=TOKEN)
        assert bed.wait_for_end(bed.submit("someone/locked", "int8")).state == "succeeded"
    finally:
        bed.stop()
    assert TOKEN not in bed.converters[0].output


def test_a_hub_that_is_away_says_what_to_do(tmp_path: Path, own_redis: RedisServer) -> None:
    bed = ConversionBed(tmp_path, own_redis.url)
    try:
        bed.start_converter({"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)})
        job = bed.wait_for_end(bed.submit("someone/Tiny-Llama", "int8"))
    finally:
        bed.stop()
    assert job.error is not None
    assert job.error.code == "source_not_found"
    assert "local checkpoint folder" in job.error.message
