"""Calibration texts as inputs: cut, sampled alike every time, and refused where they are nothing."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from converter_worker.stages import calibration
from converter_worker.stages.calibration_inputs import TEXT_TOKENS, WINDOW_TOKENS, CalibrationTexts, read_inputs
from converter_worker.stages.recipe_config import ignored_scope
from shared.errors import CalibrationUnavailable, RecipeUnfit
from tests.helpers.bigram_variant import write_bigram_ir

if TYPE_CHECKING:
    import openvino

LONG = "The quick brown fox jumps over the lazy dog. " * 200


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bigram_ir(tmp_path, 0.0)
    return tmp_path


@pytest.fixture
def model(folder: Path) -> "openvino.Model":
    import openvino

    return openvino.Core().read_model(folder / "openvino_model.xml")


def written(folder: Path, **content: object) -> Path:
    file = folder / "calibration.json"
    file.write_text(CalibrationTexts.model_validate(content).model_dump_json())
    return file


def test_long_texts_are_cut_and_no_more_than_asked_for_are_taken(folder: Path, model: "openvino.Model") -> None:
    """optimum cuts no strings: one long text would take the memory of a whole book's attention."""
    texts = [LONG, "short text", "x", LONG]
    inputs = read_inputs(written(folder, texts=texts, samples=3), folder, model)
    assert [row["input_ids"].shape[1] for row in inputs] == [TEXT_TOKENS, inputs[1]["input_ids"].shape[1]]
    assert [set(row) for row in inputs] == [{"input_ids"}] * 2


def test_windows_of_a_corpus_are_the_same_every_time(folder: Path, model: "openvino.Model") -> None:
    file = written(folder, texts=[LONG], samples=5, is_corpus=True)
    first, second = (read_inputs(file, folder, model) for _ in range(2))
    assert [row["input_ids"].tolist() for row in first] == [row["input_ids"].tolist() for row in second]
    assert [row["input_ids"].shape for row in first] == [(1, WINDOW_TOKENS)] * 5


def test_texts_of_nothing_are_refused(folder: Path, model: "openvino.Model") -> None:
    with pytest.raises(RecipeUnfit, match="too short"):
        read_inputs(written(folder, texts=["x"], samples=1), folder, model)


def test_a_pattern_names_layers_or_is_refused_with_some_names(model: "openvino.Model") -> None:
    names = ignored_scope(("*MatMul*",), model)["names"]
    assert len(names) == 1
    with pytest.raises(RecipeUnfit, match=r"No layer is named 'mlp'\. There are .*MatMul"):
        ignored_scope((names[0], "mlp"), model)


def test_without_a_hub_a_named_set_says_what_else_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    arguments: dict[str, object] = {"name": "wikitext2", "samples": 1, "output_file": str(tmp_path / "out.json")}
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CalibrationUnavailable, match="Give your own texts instead"):
        calibration.run(arguments, lambda progress, message: None)
    assert not list(tmp_path.glob("out*"))
