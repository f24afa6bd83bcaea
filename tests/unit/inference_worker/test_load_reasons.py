"""What whoever waits for a variant is told of a load that failed."""

from pathlib import Path

import pytest

from inference_worker.load_reasons import deletion, runtime_reason
from shared.model_store import MANIFEST_NAME, ModelStore


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "RuntimeError: Exception from /builds/agent/src/cpp/src/utils.cpp:500:\n"
            "Could not find a model in the directory '/data/models/demo/int4'",
            "Could not find a model in the directory 'int4'",
        ),
        (
            "RuntimeError: Exception from src/inference/src/cpp/core.cpp:97:\n"
            "Check 'false' failed at src/frontends/common/src/frontend.cpp:54:\n[GENERAL_ERROR] unknown opset",
            "[GENERAL_ERROR] unknown opset",
        ),
        ("ValueError: see https://docs.example/a/b.html", "ValueError: see https://docs.example/a/b.html"),
        ("EngineError: Lower max_sequences.", "Lower max_sequences."),
    ],
)
def test_a_reason_names_no_place_in_foreign_sources_and_no_folder(text: str, reason: str) -> None:
    assert runtime_reason(text) == reason


def test_a_variant_that_was_deleted_while_it_was_loaded_is_said_to_be(tmp_path: Path) -> None:
    """Accident: after `models delete --force` a waiting person saw the runtime's error about a missing file."""
    store = ModelStore(tmp_path)
    folder = store.variant_dir("demo", "int8")
    folder.mkdir(parents=True)
    (folder / MANIFEST_NAME).write_text("{}")
    assert deletion(["demo:int8"], store) is None
    assert deletion([], store) is None
    (folder / MANIFEST_NAME).unlink()
    error = deletion(["demo:int8"], store)
    assert error is not None
    assert (error.code, error.message.partition(".")[0]) == (
        "variant_not_published",
        "demo:int8 was deleted while it was being loaded",
    )
