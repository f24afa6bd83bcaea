"""Calibration texts as a model's inputs."""

import random
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from converter_worker.stages.compiled_variant import step_inputs
from shared.errors import RecipeUnfit

if TYPE_CHECKING:
    import numpy as np
    import openvino
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

#: Of each text of a list so many tokens are read: nothing else cuts them, and memory and time grow with them.
TEXT_TOKENS = 256
#: Of a long text, windows of so many tokens are taken at random, as the command line does with wikitext-2.
WINDOW_TOKENS = 32
_SEED = 42


class CalibrationTexts(BaseModel):
    """What a calibration file has: texts of their own, or, `is_corpus`, long ones of which pieces are taken."""

    model_config = ConfigDict(frozen=True)

    texts: tuple[str, ...]
    samples: int
    is_corpus: bool = False


def read_inputs(
    file: Path, tokenizer_dir: Path, model: "openvino.Model"
) -> list[dict[str, "NDArray[np.int64] | NDArray[np.int32]"]]:
    """Return one set of the model's inputs per text.

    Raises:
        RecipeUnfit: no text has two tokens.
    """
    from tokenizers import Tokenizer

    calibration = CalibrationTexts.model_validate_json(file.read_bytes())
    tokenizer = Tokenizer.from_file(str(tokenizer_dir / "tokenizer.json"))
    rows = _windows(calibration, tokenizer) if calibration.is_corpus else _beginnings(calibration, tokenizer)
    rows = [row for row in rows if len(row) > 1]
    if not rows:
        raise RecipeUnfit("The calibration texts are too short: none has two tokens.", param="recipe.dataset")
    names = {port.get_any_name() for port in model.inputs}
    return [{name: value for name, value in step_inputs(row, 0).items() if name in names} for row in rows]


def _beginnings(calibration: CalibrationTexts, tokenizer: "Tokenizer") -> list[list[int]]:
    texts = calibration.texts[: calibration.samples]
    return [encoding.ids[:TEXT_TOKENS] for encoding in tokenizer.encode_batch(list(texts))]


def _windows(calibration: CalibrationTexts, tokenizer: "Tokenizer") -> list[list[int]]:
    ids = [token_id for text in calibration.texts for token_id in tokenizer.encode(text).ids]
    # A fixed seed: the same recipe makes the same variant.
    chance = random.Random(_SEED)
    starts = [chance.randint(0, max(0, len(ids) - WINDOW_TOKENS - 1)) for _ in range(calibration.samples)]
    return [ids[start : start + WINDOW_TOKENS] for start in starts]
