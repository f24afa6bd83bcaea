"""A name for the present content of a local checkpoint, which has no commit that could name it."""

import contextlib
import hashlib
from collections.abc import Iterable
from pathlib import Path

from converter_worker.checkpoint_facts import read_safetensors_header
from shared.errors import SourceCorrupt

#: Files up to this size are read whole; of larger ones their beginning and end, and samples at this distance.
_WHOLE_BYTES = 1 << 20
_SAMPLE_BYTES = 4 << 10


def local_revision(folder: Path) -> str:
    """Return a name for a folder's present content: from its files' names, sizes, and samples of every weight.

    Whole checkpoints would take minutes to read. A training, and a merge with an adapter, change every weight that they
    change in thousands of places; a few bytes that are changed by hand in a large file may go unnoticed.
    """
    return _revision(file for file in sorted(folder.iterdir()) if file.is_file() and not file.name.startswith("."))


def file_revision(file: Path) -> str:
    """Return a name for a local file's present content, as :func:`local_revision` does for a folder's."""
    return _revision((file,))


def _revision(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\0".encode())
        with file.open("rb", buffering=0) as stream:
            if size <= _WHOLE_BYTES:
                digest.update(stream.read())
                continue
            for start in _samples(file, size):
                stream.seek(start)
                digest.update(stream.read(_SAMPLE_BYTES))
    return f"local-{digest.hexdigest()[:16]}"


def _samples(file: Path, size: int) -> list[int]:
    """Return where samples begin: all over the file, and in the middle of each weight, however small it is."""
    starts = {*range(0, size, _WHOLE_BYTES), size - _SAMPLE_BYTES}
    if file.suffix == ".safetensors":
        # What is damaged is told where the weights are looked at.
        with contextlib.suppress(SourceCorrupt):
            extents = [tensor.data_offsets for tensor in read_safetensors_header(file).values()]
            data = size - max((end for _, end in extents), default=0)
            starts |= {data + max(first, (first + end - _SAMPLE_BYTES) // 2) for first, end in extents}
    return sorted(starts)
