"""Models that the usual way does not convert or serve: of another stack, with code of their own, of no known family."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from shared.errors import VerificationFailed
from tests.helpers.conversion_bed import ConversionBed
from tests.helpers.foretold import assert_foretold
from tests.helpers.redis_server import RedisServer
from tests.helpers.tiny_checkpoints import write_tiny_falcon_alibi, write_tiny_granite_hybrid
from tests.helpers.tiny_remote_code import write_tiny_remote_code

pytestmark = [pytest.mark.connected, pytest.mark.timeout(240)]

SECOND_STACK = "transformers-5.5.4"


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory, module_redis: RedisServer) -> Iterator[ConversionBed]:
    """A converter with all stacks."""
    bed = ConversionBed(tmp_path_factory.mktemp("bed"), module_redis.url)
    # transformers keeps copies of models' code there.
    bed.start_converter({"HF_HOME": str(bed.folder / "huggingface")})
    yield bed
    bed.stop()


def test_a_family_of_another_stack_is_published_with_that_stack(bed: ConversionBed, tmp_path: Path) -> None:
    """optimum-intel refuses this family beside the default's transformers."""
    source = write_tiny_granite_hybrid(tmp_path / "hybrid")
    job = bed.wait_for_end(bed.submit(source, "int8", name="hybrid"))
    assert (job.state, job.error) == ("succeeded", None)
    manifest = bed.store.check("hybrid", "int8")
    assert manifest.stack == SECOND_STACK
    assert manifest.versions["transformers"] == "5.5.4"
    assert manifest.versions["huggingface-hub"].startswith("1.")
    assert manifest.verification is not None
    assert len(manifest.verification.output_token_ids) == 8
    assert_foretold(job)


def test_a_models_own_code_runs_in_the_converter_only_and_only_where_it_may(bed: ConversionBed, tmp_path: Path) -> None:
    ran_file = tmp_path / "ran"
    source = write_tiny_remote_code(tmp_path / "own-code", "minicpm", ran_file)
    # A second one is of a family that no table knows: only the stages find out.
    for untrusted in (source, write_tiny_remote_code(tmp_path / "unknown", "orion", ran_file)):
        job = bed.wait_for_end(bed.submit(untrusted, "int8", name="own-code"))
        assert job.error is not None
        assert (job.error.code, job.error.param) == ("remote_code_needed", "trust_remote_code")
        assert "--trust-remote-code" in job.error.message
    assert not ran_file.exists()

    job = bed.wait_for_end(bed.submit(source, "int8", name="own-code", trust_remote_code=True))
    assert (job.state, job.error) == ("succeeded", None)
    [line] = ran_file.read_text("utf-8").splitlines()
    assert line.endswith("stage_parent.py"), "a stage's child"
    manifest = bed.store.check("own-code", "int8")
    assert not [name for name in manifest.files if name.endswith(".py")]
    folder = bed.store.variant_dir("own-code", "int8")
    assert json.loads((folder / "config.json").read_text("utf-8"))["model_type"] == "minicpm"
    assert not [file.name for file in folder.glob("*.json") if "auto_map" in file.read_text("utf-8")]
    assert manifest.stack == "transformers-4.53.3"
    assert_foretold(job)
    # Nobody has measured this family: it is served by what was found to compute it right.
    assert manifest.engine == "continuous_batching"
    assert _answer(folder, "continuous_batching") == _answer(folder, "stateful")
    assert len(ran_file.read_text("utf-8").splitlines()) == 1, "inference has run the model's code"


def test_weights_that_are_missing_are_told_by_every_stack_and_of_code_that_comes_with_the_model(
    bed: ConversionBed, tmp_path: Path
) -> None:
    """Accident: transformers warns in a log that nobody reads, draws the missing weights at random and goes on."""
    hybrid = write_tiny_granite_hybrid(tmp_path / "hybrid")
    own_code = write_tiny_remote_code(tmp_path / "own-code", "minicpm", tmp_path / "ran")
    for source, fields in ((hybrid, {"layer_types": ["mamba", "attention", "attention"]}), (own_code, {})):
        config = json.loads((source / "config.json").read_text("utf-8")) | {"num_hidden_layers": 3, **fields}
        (source / "config.json").write_text(json.dumps(config), "utf-8")
        job = bed.wait_for_end(bed.submit(source, "int8", name="lacking", trust_remote_code=True))
        assert job.error is not None
        assert job.error.code == "source_corrupt"
        assert "model.layers.2." in job.error.message


def test_an_unknown_family_is_given_the_engine_that_computes_it_right(bed: ConversionBed, tmp_path: Path) -> None:
    """Continuous batching answers a Falcon with ALiBi, and answers nonsense, without any error."""
    source = write_tiny_falcon_alibi(tmp_path / "falcon")
    job = bed.wait_for_end(bed.submit(source, "fp16", name="falcon"))
    assert (job.state, job.error) == ("succeeded", None)
    assert_foretold(job)
    verification = bed.store.manifest("falcon", "fp16").verification
    assert verification is not None
    assert verification.engine_check is not None
    assert list(verification.engine_check.outputs) == ["stateful"], "its configuration rules the other one out"
    assert bed.store.manifest("falcon", "fp16").engine == "stateful"

    # As if its configuration told nothing.
    from converter_worker.stages import engine_check

    folder = bed.store.variant_dir("falcon", "fp16")
    prompt_ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(engine_check.PROMPT).ids
    check = engine_check.check_engines(folder, prompt_ids[:96])
    assert check.engine == "stateful"
    assert check.outputs["stateful"] == check.reference
    assert check.outputs["continuous_batching"] != check.reference
    with pytest.raises(VerificationFailed, match=r"continuous_batching differs from token \d"):
        engine_check.check_engines(folder, prompt_ids[:96], engines=("continuous_batching",))


def _answer(folder: Path, engine: str) -> tuple[int, ...]:
    """Return what the inference worker's engine of that name says."""
    from inference_worker.engine import EngineSpec, SamplingParams
    from inference_worker.engines.factory import create_engine

    running = create_engine(EngineSpec(engine, folder, slots=1, max_num_batched_tokens=64, num_kv_blocks=32))
    running.start()
    try:
        running.add("one", [10, 20, 30], SamplingParams(8, ignore_eos=True))
        tokens: list[int] = []
        while True:
            for event in running.next_events(5.0):
                tokens += event.token_ids
                if event.finish is not None:
                    return tuple(tokens)
    finally:
        running.stop()
