"""Verify: a variant is loaded on the CPU and must say something; a smoke test of its knowledge is only recorded."""

import time
from pathlib import Path

from converter_worker.stages.compiled_variant import LATENCY, CompiledVariant
from converter_worker.stages.contract import ReportProgress, StageMessage
from shared.errors import VerificationFailed
from shared.schemas.models import Verification

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
    model = CompiledVariant(arguments.variant_dir, LATENCY)
    load_seconds = time.monotonic() - started
    report(0.6, "generating")
    token_ids = model.generate(tokenizer.encode(PROMPT).ids, NEW_TOKENS)
    if not tokenizer.decode(token_ids, skip_special_tokens=True):
        raise VerificationFailed(f"The variant answers a fixed prompt with no text (token ids {token_ids}).")
    smoke_ids = model.generate(tokenizer.encode(SMOKE_PROMPT).ids, SMOKE_NEW_TOKENS)
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
