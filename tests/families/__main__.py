"""Tries the architectures of the catalogue, each from a tiny checkpoint to its tokens, and writes a table of them.

What was tried before and would not come out otherwise is not tried again, so a run that was stopped goes on.
"""

import argparse
import sys
import time
from pathlib import Path

from converter_worker.demo_model import find_packaged_gguf, prepare_demo_checkpoint
from shared.log import configure_logging
from shared.settings import ConverterSettings
from tests.families.document import DOCUMENT, render
from tests.families.pipeline import Pipeline
from tests.families.results import ROOT, Outcome, fingerprint, read_results, write_results
from tests.families.shapes import Shape, load_shapes
from tests.families.trial import VARIANTS, try_shape

FOLDER = ROOT / ".cache" / "families"


def main() -> int:
    """Run, write the table, and return 1 where something is not as it should be."""
    parser = argparse.ArgumentParser(prog="make families", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("family", nargs="*", help="model types to try again; without, what is not known yet")
    parser.add_argument("--all", action="store_true", help="try everything again")
    options = parser.parse_args()
    shapes = load_shapes()
    if unknown := sorted(set(options.family) - {shape.family for shape in shapes}):
        parser.error(f"no shape of {', '.join(unknown)}; tests/families/shapes.toml has them")
    results = read_results()
    outcomes = {shape.slug: results[shape.slug] for shape in shapes if shape.slug in results}
    due = [shape for shape in shapes if options.all or _is_due(shape, options.family, outcomes)]
    configure_logging("families", ConverterSettings(log_level="error"))
    if due:
        _try_all(due, outcomes)
    DOCUMENT.write_text(render(outcomes), "utf-8")
    wrong = [shape.slug for shape in shapes if not outcomes.get(shape.slug, Outcome()).is_exact]
    _say(f"{len(shapes) - len(wrong)} of {len(shapes)} exact; written to {DOCUMENT.relative_to(ROOT)}")
    for slug in wrong:
        _say(f"not exact: {slug}")
    return 1 if wrong else 0


def _is_due(shape: Shape, families: list[str], outcomes: dict[str, Outcome]) -> bool:
    if families:
        return shape.family in families
    known = outcomes.get(shape.slug)
    return known is None or known.fingerprint != fingerprint(shape)


def _try_all(due: list[Shape], outcomes: dict[str, Outcome]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with Pipeline(FOLDER) as pipeline:
        tokenizer = _demo_checkpoint()
        # One stack after the other: each needs a parent of its own, which takes seconds and memory.
        ordered = sorted(due, key=lambda shape: pipeline.rank(shape.family))
        for number, shape in enumerate(ordered, start=1):
            began = time.monotonic()
            title = f"[{number}/{len(due)}] {shape.family}: {shape.name}"
            _say(f"{title}: begun")
            outcome = try_shape(pipeline, shape, tokenizer)
            outcomes[shape.slug] = outcome.model_copy(update={"fingerprint": fingerprint(shape)})
            write_results(outcomes)
            said = outcome.failure or ", ".join(f"{name} {outcome.verdicts[name]}" for name in VARIANTS)
            _say(f"{title}: {said} ({outcome.engine or 'no engine'}, {time.monotonic() - began:.0f} s)")


def _demo_checkpoint() -> Path:
    gguf_file = find_packaged_gguf()
    if gguf_file is None:
        sys.exit("The demo model's package is not installed: run `make env`.")
    return prepare_demo_checkpoint(gguf_file, FOLDER / "demo")


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


if __name__ == "__main__":
    sys.exit(main())
