"""What a folder of ready-made OpenVINO IR says of itself without loading it: whether it is whole, and its recipe."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from converter_worker.checkpoint_facts import TOKENIZER_FILES, read_json_object
from converter_worker.ir_recipe import IrRecipe, read_recipe, rt_value
from shared.errors import SourceCorrupt, SourceNotFound, TokenizerMissing
from shared.schemas.models import WeightFormat

DESCRIPTION = "openvino_model.xml"
WEIGHTS = "openvino_model.bin"
#: Models of several parts, for pictures or speech, have this one.
_OF_SEVERAL_PARTS = "openvino_language_model.xml"
_CONSTANT = re.compile(rb'<data element_type="(\w+)"[^>]*? offset="(\d+)" size="(\d+)"')
_RT_INFO = b"<rt_info>"
_FOUR_BITS = frozenset({"u4", "i4", "nf4", "f4e2m1"})
_EIGHT_BITS = frozenset({"u8", "i8", "f8e4m3", "f8e5m2"})
#: Below this share of the weights' bytes a precision is that of scales and zero points.
_LEAST_SHARE = 0.25
#: As rt_info names who made the IR, and as manifests do.
_MAKERS = {
    "optimum_intel_version": "optimum-intel",
    "transformers_version": "transformers",
    "nncf_version": "nncf",
    "pytorch_version": "torch",
}


@dataclass(frozen=True)
class IrFacts:
    """`precision` is the element type that most weights have; `versions` are of the packages that made the IR.

    `said` is what it says of its recipe.
    """

    config: Mapping[str, object]
    weight_format: WeightFormat
    said: IrRecipe
    precision: str
    weights_bytes: int
    versions: Mapping[str, str] = field(default_factory=dict)


def read_ir_facts(folder: Path) -> IrFacts:
    """Read the IR's description and what stands beside it; its weights need not be there yet.

    Raises:
        SourceNotFound: the folder holds no IR of a text model, or no config.json.
        SourceCorrupt: the description is not whole.
        TokenizerMissing: there are no tokenizer files.
    """
    description = _description(folder)
    config = read_json_object(folder / "config.json")
    if config is None:
        raise SourceNotFound(
            f"{folder.name} has no config.json, from which the model's type and context length are read: copy the one "
            "of the source model beside the IR.",
            param="source_model",
        )
    if not any((folder / name).is_file() for name in TOKENIZER_FILES) and not any(folder.glob("*.tiktoken")):
        raise TokenizerMissing(
            f"{folder.name} has no tokenizer files. The tokenizer's IR alone is not enough: copy tokenizer.json and "
            "tokenizer_config.json of the source model beside it."
        )
    sizes: dict[str, int] = {}
    end = 0
    for name, offset, size in _CONSTANT.findall(description):
        sizes[name.decode()] = sizes.get(name.decode(), 0) + int(size)
        end = max(end, int(offset) + int(size))
    if not end:
        raise SourceCorrupt(f"{DESCRIPTION} describes no weights.", param="source_model")
    precision = max(sizes, key=lambda name: sizes[name])
    weight_format = _weight_format(sizes)
    information = _rt_info(description)
    said = read_recipe(information, read_json_object(folder / "openvino_config.json") or {}, weight_format)
    return IrFacts(config, weight_format, said, precision, end, _versions(information))


def check_weights(folder: Path, facts: IrFacts) -> int:
    """Return the size of the weights' file in bytes.

    Raises:
        SourceCorrupt: it is missing, or shorter than its description says.
    """
    file = folder / WEIGHTS
    present = file.stat().st_size if file.is_file() else 0
    if present < facts.weights_bytes:
        raise SourceCorrupt(
            f"{WEIGHTS} is {'damaged or not completely copied' if present else 'missing'}: {present} of "
            f"{facts.weights_bytes} bytes. Copy or download the folder again.",
            param="source_model",
        )
    return present


def _description(folder: Path) -> bytes:
    file = folder / DESCRIPTION
    if not file.is_file():
        if (folder / _OF_SEVERAL_PARTS).is_file():
            raise SourceNotFound(
                f"{folder.name} holds a model of several parts (it has {_OF_SEVERAL_PARTS}), for pictures or speech. "
                "Only models of text alone can be imported.",
                param="source_model",
            )
        raise SourceNotFound(
            f"{folder.name} holds no OpenVINO model: it has no {DESCRIPTION}. To convert a checkpoint use "
            "`ovchat convert`.",
            param="source_model",
        )
    description = file.read_bytes()
    if not description.rstrip().endswith(b"</net>"):
        raise SourceCorrupt(
            f"{DESCRIPTION} is damaged or not completely copied: it does not end. Copy or download the folder again.",
            param="source_model",
        )
    return description


def _weight_format(sizes: Mapping[str, int]) -> WeightFormat:
    # Four bits first: an int4 model keeps its embeddings and last layer in eight, which may be most of a small one.
    whole = sum(sizes.values())
    four = sum(size for name, size in sizes.items() if name in _FOUR_BITS)
    eight = sum(size for name, size in sizes.items() if name in _EIGHT_BITS)
    if four > whole * _LEAST_SHARE / 4:
        return "int4"
    return "int8" if eight > whole * _LEAST_SHARE else "fp16"


def _rt_info(description: bytes) -> ElementTree.Element | None:
    """Return what stands in the model's own rt_info, the last of the file."""
    start = description.rfind(_RT_INFO)
    end = description.rfind(b"</rt_info>")
    if start < 0 or end < start:
        return None
    try:
        return ElementTree.fromstring(description[start : end + len(b"</rt_info>")])
    except ElementTree.ParseError:
        return None


def _versions(information: ElementTree.Element | None) -> dict[str, str]:
    versions = {ours: rt_value(information, f"optimum/{theirs}") for theirs, ours in _MAKERS.items()}
    versions["nncf"] = versions["nncf"] or rt_value(information, "nncf/version")
    versions["openvino"] = rt_value(information, "Runtime_version")
    return {name: version for name, version in versions.items() if version}
