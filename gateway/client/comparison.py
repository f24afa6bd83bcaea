"""A model's variants side by side, as lines of text: figures, and a bar for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway.client.figures import megabytes, percent, rate, speed
from shared.schemas.models import VariantRecord
from shared.schemas.quality import QualityCard

BAR_WIDTH = 40
_EIGHTHS = " ▏▎▍▌▋▊▉"
HEADINGS = ("variant", "weights", "smaller", "as fp16", "KL", "ppl", "load", "tok/s")


class _Plot(NamedTuple):
    """One group of bars; `value` is None where a variant has none."""

    title: str
    value: Callable[[VariantRecord], float | None]
    text: Callable[[float], str]


def _of_card(value: Callable[[QualityCard], float]) -> Callable[[VariantRecord], float | None]:
    return lambda record: None if record.quality is None else value(record.quality)


_PLOTS = (
    _Plot("weights", lambda record: float(record.weights_bytes), lambda value: megabytes(int(value))),
    _Plot("same next token as fp16", _of_card(lambda card: card.top1_agreement), percent),
    _Plot("divergence from fp16 (KL, nats)", _of_card(lambda card: card.kl_divergence), lambda value: f"{value:.4f}"),
    _Plot("tokens per second, one chat", _of_card(lambda card: card.tokens_per_second), speed),
)


def heading_lines(records: Sequence[VariantRecord]) -> list[str]:
    """Say what was measured, and where."""
    cards = [record.quality for record in records if record.quality is not None]
    if not cards:
        return []
    newest = max(cards, key=lambda card: card.measured_at)
    host = f"{newest.processor or 'CPU'}, {newest.threads} threads"
    return [
        f"{records[0].model} on {newest.tokens:,} tokens of the texts {newest.prompt_set}; times on {host}",
        "each variant's times are of when it was measured, with what else the host did then",
        "",
    ]


def table_rows(records: Sequence[VariantRecord]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headings and rows; a dash stands for what was not measured."""
    return HEADINGS, [
        (record.variant, megabytes(record.weights_bytes), rate(record.compression_rate), *_card_cells(record.quality))
        for record in records
    ]


def _card_cells(card: QualityCard | None) -> tuple[str, ...]:
    if card is None:
        return ("–",) * 5
    return (
        percent(card.top1_agreement),
        f"{card.kl_divergence:.4f}",
        f"{card.perplexity_ratio:.3f}",
        f"{card.load_seconds:.1f} s",
        speed(card.tokens_per_second),
    )


def bar_lines(records: Sequence[VariantRecord]) -> list[str]:
    """Return a group of bars for each figure that at least one variant has."""
    width = max((len(record.variant) for record in records), default=0)
    lines: list[str] = []
    for plot in _PLOTS:
        values = [(record.variant, plot.value(record)) for record in records]
        largest = max((value for _, value in values if value is not None), default=None)
        if largest is None:
            continue
        lines += ["", plot.title]
        for name, value in values:
            if value is None:
                lines.append(f"  {name:<{width}}  –")
            else:
                share = value / largest if largest > 0 else 0.0
                lines.append(f"  {name:<{width}}  {bar(share):<{BAR_WIDTH}}  {plot.text(value)}")
    return lines


def bar(share: float) -> str:
    """Return a bar for a share from 0 to 1, exact to an eighth of a cell."""
    cells, eighths = divmod(round(share * BAR_WIDTH * 8), 8)
    return "█" * cells + _EIGHTHS[eighths].strip()


def problem_lines(records: Sequence[VariantRecord]) -> list[str]:
    """Say why a variant has no figures."""
    missing = [record for record in records if record.quality is None]
    lines = [f"{record.variant}: {record.quality_problem}" for record in missing if record.quality_problem]
    if any(record.quality_problem is None for record in missing):
        lines.append(
            "A variant without figures is measured in the background when nothing is converted; it needs an fp16 "
            "variant of the same source, or one that its own conversion left for it."
        )
    return ["", *lines] if lines else []
