"""A GGUF file's fields, read by their names and kinds."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from shared.errors import SourceCorrupt

if TYPE_CHECKING:
    from gguf import ReaderTensor

Field = TypeVar("Field")
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)


class GgufFile:
    """One file; what it does not have is an error where no default is given."""

    def __init__(self, path: Path) -> None:
        """Open it; raises SourceCorrupt where it is no whole GGUF file, or one part of several."""
        from gguf import GGUFReader

        self.path = path
        if _PART.search(path.name):
            raise SourceCorrupt(
                f"{path.name} is one part of several. Join them with `llama-gguf-split --merge` and name the whole.",
                param="source_model",
            )
        try:
            self._reader: GGUFReader = GGUFReader(path)
        except (ValueError, IndexError, KeyError, OverflowError, UnicodeDecodeError, MemoryError) as error:
            raise SourceCorrupt(
                f"{path.name} is no GGUF file, or not completely copied: {str(error)[:200]}", param="source_model"
            ) from error

    @property
    def tensors(self) -> "list[ReaderTensor]":
        """Every tensor, its data still as it is in the file."""
        return self._reader.tensors

    def find(self, name: str, kind: type[Field]) -> Field | None:
        """Return a field's value, None where the file has none."""
        field = self._reader.get_field(name)
        value = None if field is None else field.contents()
        if value is None:
            return None
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind):
            raise SourceCorrupt(f"{self.path.name}: {name} is no {kind.__name__}.", param="source_model")
        return value

    def read(self, name: str, kind: type[Field]) -> Field:
        """Return a field's value; raises SourceCorrupt where the file has none."""
        value = self.find(name, kind)
        if value is None:
            raise SourceCorrupt(f"{self.path.name} lacks {name}.", param="source_model")
        return value
