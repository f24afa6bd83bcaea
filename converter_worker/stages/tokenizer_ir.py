"""Tokenizer IR that came with a model: kept where this runtime loads it and it agrees with the tokenizer's files."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino

TOKENIZER_IR_FILES = ("openvino_tokenizer.xml", "openvino_detokenizer.xml")
_SAMPLES = ("The capital of France is Paris.", "1 + 1 = 2 \n\n  Grüße, 世界! こんにちは")


def keep_tokenizer_ir(ir_dir: Path, output_dir: Path) -> bool:
    """Copy the tokenizer IR of a folder beside the tokenizer's files in `output_dir`, if it is good for something.

    IR of another version of the extension may not load, or encode otherwise than its files; it is built anew then.
    """
    files = [(ir_dir / name).with_suffix(suffix) for name in TOKENIZER_IR_FILES for suffix in (".xml", ".bin")]
    if not all(file.is_file() for file in files) or not _agrees(ir_dir, output_dir):
        return False
    for file in files:
        shutil.copyfile(file, output_dir / file.name)
    return True


def _agrees(ir_dir: Path, output_dir: Path) -> bool:
    # Importing it gives every core the operations that tokenizers are made of.
    import openvino
    import openvino_tokenizers  # noqa: F401
    from tokenizers import Tokenizer

    reference = Tokenizer.from_file(str(output_dir / "tokenizer.json"))
    try:
        core = openvino.Core()
        encoder, decoder = (core.compile_model(ir_dir / name, "CPU") for name in TOKENIZER_IR_FILES)
        return all(_says_the_same(encoder, decoder, reference.encode(text).ids, text) for text in _SAMPLES)
    except RuntimeError:
        return False


def _says_the_same(
    encoder: "openvino.CompiledModel", decoder: "openvino.CompiledModel", ids: list[int], text: str
) -> bool:
    import numpy as np

    encoded = [int(token_id) for token_id in encoder([text])["input_ids"][0]]
    decoded = str(decoder(np.array([encoded], dtype=np.int64))["string_output"][0])
    return encoded == ids and bool(decoded.strip())
