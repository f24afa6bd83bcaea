"""The header of the packaged demo model's file against the checkpoint that is made of it."""

import struct
from pathlib import Path

import pytest

from converter_worker.demo_model import find_packaged_gguf
from converter_worker.gguf_header import gguf_vocabulary, read_gguf_header
from converter_worker.prediction import predict_gguf
from shared.errors import SourceCorrupt
from shared.schemas.models import VariantRequest

INT8 = VariantRequest(name="int8", weight_format="int8")


def test_shapes_are_those_of_the_checkpoint() -> None:
    file = find_packaged_gguf()
    assert file is not None
    header = read_gguf_header(file)
    tensors = header.tensors
    assert header.architecture == "llama"
    assert len(tensors) == 272
    assert tensors["token_embd.weight"].shape == (49_152, 576)
    assert tensors["blk.0.ffn_down.weight"].shape == (576, 1536)
    assert gguf_vocabulary(tensors) == 49_152
    figures = predict_gguf(tensors, [INT8])
    # Within 2 % of the int8 variant of the demo model with its float16 checkpoint and its base.
    unpacked = 269_060_000
    assert figures.disk_bytes == pytest.approx(2 * unpacked + 137_800_000 + 14_000_000, rel=0.02)
    assert figures.stages[0].stage == "download"
    assert figures.stages[0].memory_bytes > unpacked


def header(*parts: bytes, version: int = 3, tensors: int = 1, fields: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, fields) + b"".join(parts)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04" + bytes(100),
        header(version=1),
        header(tensors=1 << 60),
        header(),
        header(struct.pack("<Q", 1 << 40)),
        header(struct.pack("<Q", 1) + b"a" + struct.pack("<I", 77), fields=1),
        header(struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", 9, 4, 1 << 20) + bytes(100), fields=1),
    ],
)
def test_a_damaged_header_says_so(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    with pytest.raises(SourceCorrupt, match=r"model\.gguf is no GGUF file"):
        read_gguf_header(file)


def test_fields_of_every_kind_are_passed_over(tmp_path: Path) -> None:
    text = struct.pack("<Q", 2) + b"hi"
    fields = [
        struct.pack("<Q", 1) + b"a" + struct.pack("<I", 8) + text,
        struct.pack("<Q", 1) + b"b" + struct.pack("<IIQ", 9, 8, 2) + text + text,
        struct.pack("<Q", 1) + b"c" + struct.pack("<IIQ", 9, 4, 3) + bytes(12),
        struct.pack("<Q", 1) + b"d" + struct.pack("<I", 12) + bytes(8),
    ]
    tensor = struct.pack("<Q", 1) + b"w" + struct.pack("<IQQIQ", 2, 5, 7, 2, 0)
    file = tmp_path / "model.gguf"
    file.write_bytes(header(*fields, tensor, fields=len(fields)))
    assert {name: facts.shape for name, facts in read_gguf_header(file).tensors.items()} == {"w": (7, 5)}
