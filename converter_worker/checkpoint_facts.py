"""What a checkpoint folder says of itself without loading it: its configuration and the headers of its weights."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from shared.errors import SourceCorrupt, SourceNotFound

_LENGTH_BYTES = 8
#: Of the types that every safetensors version has.
DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_MAX_HEADER_BYTES = 100 << 20
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "merges.txt")


class TensorFacts(BaseModel):
    """Precision (safetensors' name, such as `BF16`) and shape of one weight."""

    model_config = ConfigDict(frozen=True)

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int] = (0, 0)


TENSORS: TypeAdapter[dict[str, TensorFacts]] = TypeAdapter(dict[str, TensorFacts])


@dataclass(frozen=True)
class CheckpointFacts:
    """`tensors` is empty where the weights are not in safetensors; `has_tokenizer` is about files only."""

    config: Mapping[str, object]
    tensors: Mapping[str, TensorFacts]
    has_tokenizer: bool

    @property
    def parameters(self) -> int:
        """Number of weights, 0 where it is not known."""
        return sum(_product(tensor.shape) for tensor in self.tensors.values())

    @property
    def model_type(self) -> str:
        """The configuration's `model_type`, empty where it has none."""
        value = self.config.get("model_type")
        return value if isinstance(value, str) else ""

    @property
    def architectures(self) -> tuple[str, ...]:
        """The configuration's classes."""
        value = self.config.get("architectures")
        return tuple(str(name) for name in value) if isinstance(value, list) else ()


def read_facts(folder: Path, tensors: Mapping[str, TensorFacts] | None = None) -> CheckpointFacts:
    """Read a checkpoint folder; `tensors` stands in for weights that are not there yet.

    Raises:
        SourceNotFound: the folder has no config.json, or no weights.
        SourceCorrupt: a file cannot be read, or is shorter than its header says.
    """
    config = read_json_object(folder / "config.json")
    if config is None:
        raise SourceNotFound(f"{folder} is no checkpoint folder: it has no config.json.", param="source_model")
    has_tokenizer = any((folder / name).is_file() for name in TOKENIZER_FILES) or any(folder.glob("*.tiktoken"))
    if tensors is not None:
        return CheckpointFacts(config, tensors, has_tokenizer)
    found: dict[str, TensorFacts] = {}
    files = sorted(folder.glob("*.safetensors"))
    weight_map = _weight_map(folder, files)
    if not files and not any(folder.glob("*.bin")):
        raise SourceNotFound(f"{folder} has no weights (*.safetensors or *.bin).", param="source_model")
    for file in files:
        found.update(read_safetensors_header(file))
    if missing := sorted(weight_map.keys() - found.keys()):
        raise SourceCorrupt(
            f"The checkpoint is incomplete: its index names {len(missing)} weights that no file has, such as "
            f"{missing[0]}. Fetch the checkpoint again.",
            param="source_model",
        )
    return CheckpointFacts(config, found, has_tokenizer)


def read_json_object(file: Path) -> dict[str, object] | None:
    """Return the object in a source's file, None where there is no such file.

    Raises:
        SourceCorrupt: it holds something else.
    """
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise SourceCorrupt(f"{file.name} is no JSON: {error}", param="source_model") from error
    if not isinstance(content, dict):
        raise SourceCorrupt(f"{file.name} holds no object.", param="source_model")
    return content


def read_safetensors_header(file: Path) -> dict[str, TensorFacts]:
    """Return the tensors that a safetensors file says it has.

    Raises:
        SourceCorrupt: the header is damaged, or the file is not as long as the header says.
    """
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            header_bytes = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
            if not 0 < header_bytes <= min(_MAX_HEADER_BYTES, size):
                raise ValueError("impossible header length")
            header = json.loads(stream.read(header_bytes))
        header.pop("__metadata__", None)
        tensors = TENSORS.validate_python(header)
    except (ValueError, AttributeError, ValidationError) as error:
        raise SourceCorrupt(f"{file.name} is damaged: its header cannot be read.", param="source_model") from error
    for name, tensor in tensors.items():
        first, last = tensor.data_offsets
        if (size_bytes := DTYPE_BYTES.get(tensor.dtype)) and last - first != _product(tensor.shape) * size_bytes:
            raise SourceCorrupt(
                f"{file.name} is damaged: {name} has {last - first} bytes, which is not its shape's size.",
                param="source_model",
            )
    wanted = _LENGTH_BYTES + header_bytes + max((tensor.data_offsets[1] for tensor in tensors.values()), default=0)
    if size != wanted:
        raise SourceCorrupt(
            f"{file.name} is damaged or not completely copied: {size} bytes of {wanted}.", param="source_model"
        )
    return tensors


def _weight_map(folder: Path, files: list[Path]) -> Mapping[str, str]:
    """Return which file has which weight, empty where the checkpoint is one file.

    The index's total size is not looked at: published checkpoints have it wrong, and no library reads it.
    """
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return {}
    try:
        weight_map: dict[str, str] = dict(json.loads(index.read_text("utf-8"))["weight_map"])
        named = set(weight_map.values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise SourceCorrupt(f"{index.name} cannot be read.", param="source_model") from error
    if missing := sorted(named - {file.name for file in files}):
        raise SourceCorrupt(f"The checkpoint is incomplete: {', '.join(missing[:3])} is missing.", param="source_model")
    return weight_map


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
