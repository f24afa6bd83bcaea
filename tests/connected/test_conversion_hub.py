"""Conversions from a model hub, one that stands on this machine."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
from gguf import GGMLQuantizationType
from tokenizers import Tokenizer

from converter_worker.job_store import JobStore
from converter_worker.store_runs import StoreRuns
from shared import keys
from shared.schemas.conversion import ENDED
from shared.schemas.models import Imported, Recipe
from shared.schemas.store import Leftover, StoreRun
from shared.settings import ConverterSettings
from tests.helpers.conversion_bed import ConversionBed
from tests.helpers.foretold import assert_foretold
from tests.helpers.hub_bed import HubBed
from tests.helpers.model_hub import COMMIT, ModelHub
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import wait_until
from tests.helpers.tiny_checkpoints import write_tiny_llama, write_tiny_tokenizer
from tests.helpers.tiny_gguf import byte_level_tokenizer, random_weights, write_tiny_gguf

pytestmark = [pytest.mark.connected, pytest.mark.timeout(180)]
TOKEN = "hub-token-of-the-operator"


READY_MADE = "OpenVINO/Tiny-Llama-int8-asym-ov"


def write_gguf_repository(folder: Path) -> Path:
    """Write two GGUF files: a model that can be converted, and one of a family that cannot."""
    write_tiny_tokenizer(folder, 384)
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    tokenizer = byte_level_tokenizer("qwen2", model["vocab"], [" ".join(pair) for pair in model["merges"]])
    weights = random_weights("qwen2", len(model["vocab"]))
    write_tiny_gguf(folder / "tiny.Q8_0.gguf", "qwen2", weights, tokenizer, kind=GGMLQuantizationType.Q8_0)
    write_tiny_gguf(folder / "other.gguf", "falcon", weights, tokenizer)
    return folder


@pytest.fixture(scope="module")
def ir_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ready-made IR stands once `ready_made` has put it there."""
    return tmp_path_factory.mktemp("ready-made") / "tiny-int8"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, ir_folder: Path) -> Iterator[ModelHub]:
    folder = write_tiny_llama(tmp_path_factory.mktemp("hub") / "tiny")
    models = {"someone/Tiny-Llama": folder, "someone/gated": folder, "someone/locked": folder, READY_MADE: ir_folder}
    models["someone/Tiny-GGUF"] = write_gguf_repository(tmp_path_factory.mktemp("gguf"))
    with ModelHub(models, gated=frozenset({"someone/gated", "someone/locked"}), token=TOKEN) as hub:
        yield hub


def processes_of(pid: int) -> set[str]:
    """Return the command lines of a converter and all its processes, and the environments of the latter."""
    found = set()
    with contextlib.suppress(psutil.Error):
        converter = psutil.Process(pid)
        found.add(" ".join(converter.cmdline()))
        for child in converter.children(recursive=True):
            found |= {" ".join(child.cmdline()), f"{child.pid} {child.environ()}"}
    return found


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory, module_redis: RedisServer, hub: ModelHub) -> Iterator[ConversionBed]:
    bed = ConversionBed(tmp_path_factory.mktemp("bed"), module_redis.url)
    settings = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url, "HF_HOME": str(bed.folder / "hf"), "HF_TOKEN": ""}
    bed.start_converter({**settings, "OVCHAT_CONVERTER_PRELOAD": "true"})
    yield bed
    bed.stop()


@pytest.fixture(scope="module")
def ready_made(bed: ConversionBed, ir_folder: Path) -> Path:
    """Return a folder of IR as somebody else has exported it: what a conversion published, without our own files."""
    assert bed.wait_for_end(bed.submit("someone/Tiny-Llama", "int8")).state == "succeeded"
    shutil.copytree(bed.store.variant_dir("tiny-llama", "int8"), ir_folder)
    (ir_folder / "manifest.json").unlink()
    (ir_folder / "modeling_own.py").write_text("raise SystemExit('code that came with a model was run')")
    return ir_folder


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
    bed = HubBed(tmp_path, own_redis.url, hub)
    try:
        # With a stage parent that is there already: while one is started, it has the converter's own environment.
        bed.start_sample({"HF_TOKEN": TOKEN, "OVCHAT_CONVERTER_PRELOAD": "true"})
        conversion_id = bed.submit("someone/locked", "int8")
        seen = set()
        while bed.job(conversion_id).state not in ENDED:
            seen |= processes_of(bed.converters[0].pid)
        assert bed.job(conversion_id).state == "succeeded"
        told = [bed.redis.dump(key) for key in bed.redis.scan_iter()]
    finally:
        bed.stop()
    # Not in the log, nor an event, the job's hash or a task, nor what any user of the machine can list.
    assert TOKEN not in bed.converters[0].output
    assert not [raw for raw in told if isinstance(raw, bytes) and TOKEN.encode() in raw]
    assert len(seen) > 2
    assert not [place for place in seen if TOKEN in place]
    kept = [file for file in tmp_path.rglob("*") if file.is_file() and TOKEN.encode() in file.read_bytes()]
    assert kept == []


def collect(runs: StoreRuns, client: redis.Redis) -> tuple[Leftover, ...]:
    run = StoreRun(run_id="run_again", task="gc", free=True)
    client.set(keys.store_run(run.run_id), run.model_dump_json())
    runs.carry_out(run.run_id)
    raw = client.get(keys.store_run(run.run_id))
    assert isinstance(raw, bytes)
    ended = StoreRun.model_validate_json(raw)
    assert (ended.state, ended.error) == ("finished", None)
    return ended.leftovers


def test_a_collection_beside_a_conversion_leaves_what_it_works_with(
    bed: ConversionBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collection that takes a download, the base IR or a variant for a left-over spoils the conversion beside it."""
    monkeypatch.setenv("HF_HUB_CACHE", str(bed.folder / "hf" / "hub"))
    settings = ConverterSettings(data_dir=bed.folder / "data", model_store=bed.store.path)
    runs = StoreRuns(settings, bed.redis, JobStore(bed.redis, "w", 2), bed.store)
    (bed.store.staging_dir("conv_dead") / "file").write_bytes(b"12345")
    conversion_id = bed.submit("someone/Tiny-Llama", "fp16", "int8", name="beside")
    rounds: list[set[str]] = []
    while bed.job(conversion_id).state not in ENDED:
        rounds.append({item.name for item in collect(runs, bed.redis) if item.state == "freed"})
    job = bed.job(conversion_id)
    assert (job.state, job.error, job.attempt) == ("succeeded", None, 1)
    assert len(rounds) > 20
    for variant in ("fp16", "int8"):
        bed.store.check("beside", variant, hashes=True)
    # Its own folder and its download go with its end only, by whoever comes first.
    own = {f".staging/{conversion_id}", "download of someone/Tiny-Llama"}
    assert ".staging/conv_dead" in rounds[0]
    assert all(own.isdisjoint(freed) for freed in rounds[:-1])
    collect(runs, bed.redis)
    assert not (bed.folder / "hf" / "hub" / "models--someone--Tiny-Llama").exists()


def test_ready_made_ir_of_the_hub_is_published_without_a_conversion(bed: ConversionBed, ready_made: Path) -> None:
    conversion_id = bed.submit_import(READY_MADE, name="imported")
    job = bed.wait_for_end(conversion_id)
    assert (job.state, job.error) == ("succeeded", None)
    assert [(result.name, result.weight_format) for result in job.results] == [("int8-asym", "int8")]
    manifest = bed.store.check("imported", "int8-asym", hashes=True)
    assert (manifest.source_model, manifest.revision, manifest.recipe) == (READY_MADE, COMMIT, Recipe(sym=False))
    assert manifest.imported == Imported(
        precision="u8", recipe_origin="rt_info", tokenizer_ir="kept", has_chat_template=True
    )
    assert manifest.verification is not None
    assert manifest.verification.output_token_ids
    assert (manifest.model_type, manifest.context_length, manifest.eos_token_ids) == ("llama", 512, (2,))
    assert {"nncf", "optimum-intel", "openvino"} <= set(manifest.versions)
    original = bed.store.manifest("tiny-llama", "int8").files
    for name in ("openvino_model.bin", "openvino_model.xml", "openvino_tokenizer.xml", "tokenizer.json"):
        assert manifest.files[name] == original[name], name
    assert "modeling_own.py" not in manifest.files
    stages = list(dict.fromkeys(event.stage for event in bed.events(conversion_id)))
    assert stages == ["resolve", "preflight", "download", "tokenizer", "verify", "publish"]
    progress = [event.progress for event in bed.events(conversion_id)]
    assert progress == sorted(progress)
    wait_until(lambda: bed.left_overs() == [], what="a clean staging folder")


def test_a_folder_without_tokenizer_ir_gets_one_and_a_second_import_finds_it_published(
    bed: ConversionBed, ready_made: Path
) -> None:
    folder = bed.folder.parent / "bare"
    shutil.copytree(ready_made, folder, ignore=shutil.ignore_patterns("openvino_tokenizer.*", "openvino_detokenizer.*"))
    job = bed.wait_for_end(bed.submit_import(folder))
    assert (job.state, job.error) == ("succeeded", None)
    manifest = bed.store.check("bare", "int8", hashes=True)
    assert manifest.imported is not None
    assert manifest.imported.tokenizer_ir == "built"
    assert {"openvino_tokenizer.bin", "openvino_detokenizer.xml"} <= set(manifest.files)
    # As if its converter had been killed before it was in the index.
    bed.redis.hdel(keys.VARIANTS, "bare:int8")
    (result,) = bed.wait_for_end(bed.submit_import(folder)).results
    assert result.already_published
    assert bed.redis.hexists(keys.VARIANTS, "bare:int8")


def test_ir_that_openvino_cannot_read_is_refused_and_leaves_nothing(bed: ConversionBed, ready_made: Path) -> None:
    folder = bed.folder.parent / "unreadable"
    shutil.copytree(ready_made, folder)
    description = folder / "openvino_model.xml"
    description.write_text(description.read_text().replace('type="MatMul"', 'type="MatMule"', 1))
    job = bed.wait_for_end(bed.submit_import(folder))
    assert job.error is not None
    assert job.error.code == "source_corrupt"
    assert "openvino_model.xml" in job.error.message
    assert not (bed.store.path / "unreadable").exists()
    wait_until(lambda: bed.left_overs() == [], what="a clean staging folder")


def test_converting_ready_made_ir_says_how_to_import_it(bed: ConversionBed, ready_made: Path) -> None:
    for source in (READY_MADE, ready_made):
        job = bed.wait_for_end(bed.submit(str(source), "int8", name="hinted"))
        assert job.error is not None
        assert f"`ovchat models import {source}`" in job.error.message


def test_a_gguf_file_of_the_hub_is_a_source(bed: ConversionBed) -> None:
    source = "someone/Tiny-GGUF/tiny.Q8_0.gguf"
    conversion_id = bed.submit(source, "int8")
    job = bed.wait_for_end(conversion_id)
    assert (job.state, job.error) == ("succeeded", None)
    foretold = next(event for event in bed.events(conversion_id) if event.predicted is not None)
    assert foretold.stage == "preflight", "known before the file is fetched"
    assert_foretold(job)
    manifest = bed.store.check("tiny.q8_0", "int8", hashes=True)
    assert (manifest.source_model, manifest.revision, manifest.model_type) == (source, COMMIT, "qwen2")
    tokenizer = Tokenizer.from_file(str(bed.store.variant_dir("tiny.q8_0", "int8") / "tokenizer.json"))
    assert tokenizer.decode(tokenizer.encode("How are you? 1234").ids) == "How are you? 1234"
    progress = [event.progress for event in bed.events(conversion_id)]
    assert progress == sorted(progress)
    assert bed.wait_for_end(bed.submit(source, "int8")).results[0].already_published


def test_a_gguf_file_is_not_fetched_for_texts_that_are_gone(bed: ConversionBed, hub: ModelHub) -> None:
    """The accident: the texts are looked for when everything else is made, and the job fails then."""
    hub.requests.clear()
    recipe = {"group_size": 32, "awq": True, "dataset": "texts:" + "0" * 64}
    variant = {"name": "int4", "weight_format": "int4", "recipe": recipe}
    job = bed.wait_for_end(bed.submit("someone/Tiny-GGUF/tiny.Q8_0.gguf", variant, name="texts-gone"))
    assert job.error is not None
    assert job.error.code == "calibration_unavailable"
    assert not [line for line in hub.requests if ".gguf" in line and " 200 " in line]


@pytest.mark.parametrize(
    ("source", "code", "advice"),
    [
        ("someone/Tiny-GGUF/other.gguf", "family_not_exported", "llama, qwen2, qwen3"),
        ("someone/Tiny-GGUF/missing.gguf", "source_not_found", "has no file missing.gguf"),
        ("someone/Tiny-GGUF", "source_not_found", "such as someone/Tiny-GGUF/other.gguf"),
    ],
)
def test_another_gguf_source_says_what_works_before_it_is_fetched(
    bed: ConversionBed, hub: ModelHub, source: str, code: str, advice: str
) -> None:
    hub.requests.clear()
    job = bed.wait_for_end(bed.submit(source, "int8"))
    assert job.error is not None
    assert job.error.code == code
    assert advice in job.error.message
    assert not [line for line in hub.requests if ".gguf" in line and line.startswith('"GET') and " 200 " in line]
