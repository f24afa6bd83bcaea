"""The recipe of a variant from the options of ``ovchat convert``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from gateway.client.exits import USAGE, fail

VARIANTS_WANTED = "wanted are fp16, int8 or int4, comma-separated, or NAME=int8 for a name of your own"
NAMED_TEXTS = "wikitext2"
#: The recipe's fields by the option that sets each, and the formats that it is for.
_OPTIONS = {
    "sym": ("--sym/--asym", ("int4", "int8")),
    "group_size": ("--group-size", ("int4",)),
    "ratio": ("--ratio", ("int4",)),
    "awq": ("--awq", ("int4",)),
    "scale_estimation": ("--scale-estimation", ("int4",)),
    "gptq": ("--gptq", ("int4",)),
    "dataset": ("--calibration", ("int4",)),
    "samples": ("--samples", ("int4",)),
    "backup_precision": ("--backup-precision", ("int4",)),
    "ignored_layers": ("--ignore", ("int4", "int8")),
}


def variant_wishes(variants: str, options: Mapping[str, object]) -> list[object]:
    """Return the variants of a request; an option that fits none of them ends the command."""
    given = {field: value for field, value in options.items() if value is not None}
    asked = [_variant(text.strip(), given) for text in variants.split(",") if text.strip()]
    if not asked:
        fail(f"--variants is empty; {VARIANTS_WANTED}", code=USAGE)
    formats = {text.strip().rpartition("=")[2] for text in variants.split(",")}
    for field in given:
        option, fitting = _OPTIONS[field]
        if not formats.intersection(fitting):
            fail(f"{option} is for {' and '.join(fitting)}; --variants asks for none", code=USAGE)
    if "samples" in given and "dataset" not in given:
        fail("--samples says how many texts of --calibration are taken; give that too", code=USAGE)
    return asked


def _variant(text: str, given: Mapping[str, object]) -> object:
    own_name, _, weight_format = text.rpartition("=")
    if weight_format not in ("fp16", "int8", "int4"):
        fail(f"--variants: {weight_format!r} is none of fp16, int8, int4; {VARIANTS_WANTED}", code=USAGE)
    recipe = {field: value for field, value in given.items() if weight_format in _OPTIONS[field][1]}
    if not own_name and not recipe:
        return weight_format
    # The tutorial's name for it, beside the plain int4 of the same model.
    usual_name = "int4-awq" if recipe.get("awq") else weight_format
    return {"name": own_name or usual_name, "weight_format": weight_format, "recipe": recipe}


def calibration_dataset(wanted: str | None) -> object:
    """Return a recipe's dataset: a set's name as it is, a file's texts as a list.

    A file whose name ends in ``.json`` holds a list of strings; of another one each paragraph is a text.
    """
    if wanted is None or wanted == NAMED_TEXTS:
        return wanted
    file = Path(wanted)
    try:
        content = file.read_text("utf-8")
        texts = json.loads(content) if file.suffix == ".json" else content.split("\n\n")
    except (OSError, ValueError) as error:
        fail(f"--calibration: {wanted!r} is neither {NAMED_TEXTS} nor a file that can be read ({error})", code=USAGE)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        fail(f"--calibration: {wanted} holds no list of strings", code=USAGE)
    kept = [text.strip()[:20_000] for text in texts if text.strip()]
    if not kept:
        fail(f"--calibration: {wanted} has no text in it", code=USAGE)
    return kept[:1024]
