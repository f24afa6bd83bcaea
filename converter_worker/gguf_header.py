"""A GGUF file's architecture, and the names and shapes of its tensors, read from its header without any of its data.

The layout is that of the GGUF specification, versions 2 and 3, little-endian: magic, version, number of tensors and of
fields, the fields, then name, dimensions, type and offset of each tensor.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from converter_worker.checkpoint_facts import TensorFacts
from shared.errors import SourceCorrupt

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
#: Bytes of a field's value by the specification's number of its kind; a text and an array have their own lengths.
_VALUE_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_TEXT, _ARRAY = 8, 9
_MOST_NAME_BYTES, _MOST_FIELD_BYTES = 1024, 1 << 32
_MOST_TENSORS, _MOST_FIELDS, _MOST_DIMENSIONS = 1 << 20, 1 << 16, 8
_BLOCK_BYTES = 1 << 20
_ARCHITECTURE = b"general.architecture"
#: The tensor with a row for each token.
_EMBEDDINGS = "token_embd.weight"


@dataclass(frozen=True)
class GgufHeader:
    """`tensors` are those of the checkpoint that is made of the file, in float16, as they are unpacked."""

    architecture: str | None
    tensors: dict[str, TensorFacts]


def read_gguf_header(file: Path) -> GgufHeader:
    """Return what a file says of itself.

    Raises:
        SourceCorrupt: it is no GGUF file, or its header is damaged.
    """
    with file.open("rb") as stream:
        return parse_gguf_header(stream, file.name)


def parse_gguf_header(stream: BinaryIO, name: str) -> GgufHeader:
    """Return what a file's beginning says; it is read forwards, and not beyond the header.

    Raises:
        SourceCorrupt: it is no GGUF file, or its header is damaged or not all there; the message has `name`.
    """
    architecture = None
    try:
        if stream.read(len(_MAGIC)) != _MAGIC or _number(stream, "<I") not in _VERSIONS:
            raise ValueError("no GGUF file of version 2 or 3")
        tensors, fields = _number(stream, "<Q"), _number(stream, "<Q")
        if tensors > _MOST_TENSORS or fields > _MOST_FIELDS:
            raise ValueError("impossible numbers of tensors or fields")
        for _ in range(fields):
            field, kind = _text(stream), _number(stream, "<I")
            if field == _ARCHITECTURE and kind == _TEXT:
                architecture = _text(stream).decode()
            else:
                _skip_value(stream, kind)
        return GgufHeader(architecture, dict(_tensor(stream) for _ in range(tensors)))
    except (ValueError, struct.error, KeyError) as error:
        raise SourceCorrupt(
            f"{name} is no GGUF file, or not completely copied: {error}", param="source_model"
        ) from error


def gguf_vocabulary(tensors: Mapping[str, TensorFacts]) -> int:
    """Return the number of tokens; 0 where the file has no table of them."""
    table = tensors.get(_EMBEDDINGS)
    return 0 if table is None else table.shape[0]


def _tensor(stream: BinaryIO) -> tuple[str, TensorFacts]:
    name = _text(stream).decode()
    dimensions = _number(stream, "<I")
    if dimensions > _MOST_DIMENSIONS:
        raise ValueError("impossible number of dimensions")
    # Counted from the fastest one, the other way round than everywhere else.
    shape = tuple(reversed([_number(stream, "<Q") for _ in range(dimensions)]))
    _skip(stream, 4 + 8)
    return name, TensorFacts(dtype="F16", shape=shape)


def _skip_value(stream: BinaryIO, kind: int) -> None:
    if kind == _TEXT:
        _skip(stream, _number(stream, "<Q"))
    elif kind == _ARRAY:
        item_kind, items = _number(stream, "<I"), _number(stream, "<Q")
        if item_kind in _VALUE_BYTES:
            _skip(stream, items * _VALUE_BYTES[item_kind])
            return
        for _ in range(items):
            _skip_value(stream, item_kind)
    else:
        _skip(stream, _VALUE_BYTES[kind])


def _text(stream: BinaryIO) -> bytes:
    length = _number(stream, "<Q")
    if length > _MOST_NAME_BYTES:
        raise ValueError("impossible length of a name")
    return stream.read(length)


def _skip(stream: BinaryIO, size: int) -> None:
    """Read on, because what comes from a hub has no way of jumping."""
    if size > _MOST_FIELD_BYTES:
        raise ValueError("impossible length of a field")
    while size > 0:
        block = stream.read(min(size, _BLOCK_BYTES))
        if not block:
            raise ValueError("it ends in its header")
        size -= len(block)


def _number(stream: BinaryIO, form: str) -> int:
    (value,) = struct.unpack(form, stream.read(struct.calcsize(form)))
    return int(value)
