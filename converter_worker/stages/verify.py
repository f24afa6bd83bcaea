"""Verify: a variant is loaded on the CPU and must say something; a smoke test of its knowledge is only recorded."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from converter_worker.stages.contract import ReportProgress, StageMessage
from converter_worker.stages.ir_files import MODEL_NAME
from shared.errors import VerificationFailed
from shared.schemas.models import Verification

if TYPE_CHECKING:
    import numpy as np
    import openvino
    from numpy.typing import NDArray

PROMPT = "The capital of France is"
NEW_TOKENS = 8
SMOKE_PROMPT = "2+2="
SMOKE_NEW_TOKENS = 2


class Arguments(StageMessage):
    """`variant_dir`: a whole variant, IR and tokenizer files."""

    variant_dir: Path


class Result(StageMessage):
    """What was seen; it only exists for a variant that passed."""

    verification: Verification


def run(raw_arguments: dict[str, object], report: ReportProgress) -> Result:
    """Load the variant and generate greedily.

    Raises:
        VerificationFailed: it does not load, computes something that is no number, or says nothing.
    """
    arguments = Arguments.model_validate(raw_arguments)
    from tokenizers import Tokenizer

    report(0.05, "loading")
    started = time.monotonic()
    tokenizer = Tokenizer.from_file(str(arguments.variant_dir / "tokenizer.json"))
    model = _load(arguments.variant_dir)
    load_seconds = time.monotonic() - started
    report(0.6, "generating")
    token_ids = generate(model, tokenizer.encode(PROMPT).ids, NEW_TOKENS)
    if not tokenizer.decode(token_ids, skip_special_tokens=True):
        raise VerificationFailed(f"The variant answers a fixed prompt with no text (token ids {token_ids}).")
    smoke_ids = generate(model, tokenizer.encode(SMOKE_PROMPT).ids, SMOKE_NEW_TOKENS)
    report(1.0, "verified")
    return Result(
        verification=Verification(
            passed=True,
            output_token_ids=tuple(token_ids),
            smoke_prompt=SMOKE_PROMPT,
            smoke_answer=tokenizer.decode(smoke_ids, skip_special_tokens=True),
            load_seconds=round(load_seconds, 3),
        )
    )


def _load(variant_dir: Path) -> "openvino.CompiledModel":
    import openvino

    core = openvino.Core()
    try:
        return core.compile_model(variant_dir / f"{MODEL_NAME}.xml", "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    except RuntimeError as error:
        raise VerificationFailed(f"OpenVINO cannot load the variant: {str(error).splitlines()[0][:300]}") from error


def generate(model: "openvino.CompiledModel", prompt_ids: list[int], new_tokens: int) -> list[int]:
    """Return the greedy continuation, not stopped by any token.

    Raises:
        VerificationFailed: the model computes something that is no number.
    """
    import numpy as np

    request = model.create_infer_request()
    step_ids, past = list(prompt_ids), 0
    output: list[int] = []
    for _ in range(new_tokens):
        logits = request.infer(_inputs(model, step_ids, past))[0][0, -1]
        if not np.isfinite(logits).all():
            raise VerificationFailed("The variant computes values that are not numbers (NaN or infinite).")
        past += len(step_ids)
        step_ids = [int(logits.argmax())]
        output += step_ids
    return output


def _inputs(
    model: "openvino.CompiledModel", step_ids: list[int], past: int
) -> dict[str, "NDArray[np.int64] | NDArray[np.int32]"]:
    """Return the inputs of one step that this model takes; families differ in whether they want positions."""
    import numpy as np

    offered: dict[str, NDArray[np.int64] | NDArray[np.int32]] = {
        "input_ids": np.array([step_ids], dtype=np.int64),
        "attention_mask": np.ones((1, past + len(step_ids)), dtype=np.int64),
        "position_ids": np.arange(past, past + len(step_ids), dtype=np.int64)[None],
        "beam_idx": np.zeros(1, dtype=np.int32),
    }
    names = {port.get_any_name() for port in model.inputs}
    return {name: value for name, value in offered.items() if name in names}
