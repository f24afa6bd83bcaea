from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from converter_worker.local_revision import file_revision, local_revision


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    write_weights(tmp_path)
    return tmp_path


def write_weights(folder: Path, **changed: float) -> None:
    """Write three weights, of 3 MB, 12 kB and 3 MB."""
    shapes = {"a": (1000, 1500), "b": (6000,), "c": (1000, 1500)}
    weights = {name: np.full(shape, changed.get(name, 0.0), np.float16) for name, shape in shapes.items()}
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize("weight", ["a", "b", "c"])
def test_each_weight_that_is_trained_gives_another_revision(checkpoint: Path, weight: str) -> None:
    """A merge with an adapter changes a few weights in the middle of a large file: the old variant was served on."""
    before = local_revision(checkpoint)
    assert local_revision(checkpoint) == before
    write_weights(checkpoint, **{weight: 1.0})
    assert local_revision(checkpoint) != before
    write_weights(checkpoint)
    assert local_revision(checkpoint) == before


def test_other_files_count_too(checkpoint: Path) -> None:
    before = local_revision(checkpoint)
    (checkpoint / "config.json").write_text('{"a": 1}')
    assert local_revision(checkpoint) != before


def test_what_is_no_safetensors_file_is_sampled_all_over(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    content = bytearray(5 << 20)
    file.write_bytes(content)
    before = file_revision(file)
    content[1_500_000:2_800_000] = b"\1" * 1_300_000
    file.write_bytes(content)
    assert file_revision(file) != before
    (tmp_path / "damaged.safetensors").write_bytes(bytes(content))
    assert file_revision(tmp_path / "damaged.safetensors") != before
