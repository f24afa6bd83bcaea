"""Writes ``shared/docs/families.md`` from the kept results; the same results give the same text."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from shared.catalog import load_catalog
from shared.catalog.engines import load_engine_facts
from tests.families.results import ROOT, Outcome, package_versions
from tests.families.shapes import Shape, load_not_run, load_shapes
from tests.families.trial import NEW_TOKENS, VARIANTS

DOCUMENT: Path = ROOT / "shared" / "docs" / "families.md"

_INTRODUCTION = """\
# Families that convert and answer rightly
Written by `make families`, not by hand; `make families ARGS="mpt gemma2"` runs some families again.

Each row is a tiny random checkpoint (two layers, the demo model's tokenizer) that went through the platform's own
conversion. The engine that serves the family was asked {prompts} prompts at once, {tokens} greedy tokens each, one of
them in several steps; then each again with half of its answer, which comes from the cache, as in a chat's next turn.
FP16 is compared with transformers in float32 on the checkpoint, INT8 and INT4 with optimum-intel's `OVModelForCausalLM`
on the same files. All compute in float32 (`INFERENCE_PRECISION_HINT`, `KV_CACHE_PRECISION`, no dynamic quantization).
`exact`: all tokens are the same.

Libraries: {versions}; transformers as the row's stack says.
"""


def render(outcomes: Mapping[str, Outcome]) -> str:
    """Return the document's text."""
    versions = ", ".join(f"{name} {number}" for name, number in package_versions().items())
    introduction = _INTRODUCTION.format(prompts=3, tokens=NEW_TOKENS, versions=versions)
    parts = [introduction, _table(outcomes), _engines(), _not_run()]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts if part)


def _table(outcomes: Mapping[str, Outcome]) -> str:
    models: dict[str, list[str]] = {}
    for entry in load_catalog().entries:
        models.setdefault(entry.family, []).append(entry.id)
    rows = [
        ("family", "shape", "stack", "engine", *(name.upper() for name in VARIANTS)),
        ("---",) * (4 + len(VARIANTS)),
        *(_row(shape, outcomes.get(shape.slug, Outcome(failure="not run yet"))) for shape in load_shapes()),
    ]
    families = dict.fromkeys(shape.family for shape in load_shapes())
    served = [f"- {family}: {', '.join(sorted(models[family]))}" for family in families if family in models]
    return "## Results\n" + _lines(rows) + "\nModels of the catalogue, by family:\n\n" + "\n".join(served)


def _row(shape: Shape, outcome: Outcome) -> tuple[str, ...]:
    if outcome.failure is not None:
        return (shape.family, shape.name, outcome.stack, outcome.engine, outcome.failure, "", "")
    verdicts = (outcome.verdicts.get(name, "") for name in VARIANTS)
    return (shape.family, shape.name, outcome.stack, outcome.engine, *verdicts)


def _engines() -> str:
    facts = load_engine_facts()
    lines = [
        f"- {family}: `{fact.engine}`, because {fact.reason}." for family, fact in sorted(facts.model_types.items())
    ]
    lines += [
        f"- {fact.model_type} with `{fact.field}`: `{fact.engine}`, because {fact.reason}."
        for fact in facts.configurations
    ]
    notes = [f"- {shape.family}, {shape.name}: {shape.note}" for shape in load_shapes() if shape.note]
    return "## Where an engine would be wrong\n" + "\n".join(lines + notes)


def _not_run() -> str:
    return "## Not run\n" + "\n".join(f"- {family}: {reason}." for family, reason in sorted(load_not_run().items()))


def _lines(rows: Iterable[tuple[str, ...]]) -> str:
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)
