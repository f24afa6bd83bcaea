"""Quality: a variant against FP16 on fixed texts, and its speed on this host.

Both models compute in float32 and see the true tokens, so that only the weights make a difference. They are not loaded
at the same time: what FP16 says is kept in a file, which the next variant of the model uses again.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from converter_worker.stages.compiled_variant import EXACT, LATENCY, CompiledVariant
from converter_worker.stages.contract import ReportProgress, StageMessage
from converter_worker.stages.quality_metrics import Comparison
from converter_worker.stages.quality_texts import PROMPT_SET, quality_texts
from shared.schemas.quality import QualityFigures

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The first of them is that of the prompt.
WARM_TOKENS = 4
TIMED_TOKENS = 32
_PROMPT_TOKENS = 32


class Arguments(StageMessage):
    """`reference_dir`: folder of the FP16 IR, may be the variant's own; `work_dir`: of files kept for its variants."""

    reference_dir: Path
    variant_dir: Path
    work_dir: Path


class Result(StageMessage):
    """What was measured."""

    figures: QualityFigures


def run(raw_arguments: dict[str, object], report: ReportProgress) -> Result:
    """Measure the variant.

    Raises:
        VerificationFailed: one of the models does not load or computes something that is no number.
        DiskFull: there is no space for what FP16 says (tokens × vocabulary × 4 bytes).
    """
    arguments = Arguments.model_validate(raw_arguments)
    from tokenizers import Tokenizer

    # Whatever else this host does is more urgent.
    os.nice(19)
    texts = quality_texts(Tokenizer.from_file(str(arguments.variant_dir / "tokenizer.json")))
    report(0.02, "measuring the speed")
    load_seconds, tokens_per_second = _speed(arguments.variant_dir, texts[0][:_PROMPT_TOKENS])
    references = arguments.work_dir / "reference"
    _write_logits(arguments.reference_dir, texts, references, lambda done: report(0.1 + 0.4 * done, "asking FP16"))
    compared = _compare(arguments, texts, references, lambda done: report(0.5 + 0.5 * done, "comparing"))
    return Result(
        figures=QualityFigures(
            prompt_set=PROMPT_SET,
            tokens=compared.tokens,
            top1_agreement=compared.top1_agreement,
            kl_divergence=compared.kl_divergence,
            perplexity=compared.perplexity,
            reference_perplexity=compared.reference_perplexity,
            perplexity_ratio=compared.perplexity / compared.reference_perplexity,
            load_seconds=round(load_seconds, 3),
            tokens_per_second=round(tokens_per_second, 2),
            threads=len(os.sched_getaffinity(0)),
            processor=_processor(),
        )
    )


def _speed(folder: Path, prompt_ids: list[int]) -> tuple[float, float]:
    """Return the seconds that loading takes, and tokens per second of one greedy chat."""
    started = time.monotonic()
    model = CompiledVariant(folder, LATENCY)
    load_seconds = time.monotonic() - started
    tokens = model.tokens(prompt_ids)
    for _ in range(WARM_TOKENS):
        next(tokens)
    started = time.monotonic()
    for _ in range(TIMED_TOKENS):
        next(tokens)
    return load_seconds, TIMED_TOKENS / (time.monotonic() - started)


def _write_logits(folder: Path, texts: list[list[int]], target: Path, done: Callable[[float], None]) -> None:
    """Keep what a model says of each text in a file per text; those that are there are not made again."""
    import numpy as np

    target.mkdir(parents=True, exist_ok=True)
    missing = [number for number in range(len(texts)) if not (target / f"{number}.npy").is_file()]
    if not missing:
        return
    model = CompiledVariant(folder, EXACT)
    for number in missing:
        part = target / f"{number}.part"
        with part.open("wb") as file:
            np.save(file, model.logits(texts[number]))
        part.rename(target / f"{number}.npy")
        done((number + 1) / len(texts))


def _compare(
    arguments: Arguments, texts: list[list[int]], references: Path, done: Callable[[float], None]
) -> Comparison:
    import numpy as np

    is_reference = arguments.variant_dir == arguments.reference_dir
    model = None if is_reference else CompiledVariant(arguments.variant_dir, EXACT)
    compared = Comparison()
    for number, token_ids in enumerate(texts):
        reference: NDArray[np.float32] = np.load(references / f"{number}.npy", mmap_mode="r")
        logits = reference if model is None else model.logits(token_ids)
        # The last token's prediction has no true one to be compared with.
        compared.add(reference[:-1], logits[:-1], np.array(token_ids[1:], dtype=np.int64))
        done((number + 1) / len(texts))
    return compared


def _processor() -> str:
    """Return the name that the host's processor gives itself; empty where the kernel hides it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
