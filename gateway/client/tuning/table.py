"""A tuning as lines of text."""

from __future__ import annotations

import statistics

from gateway.client.table import plain_lines
from gateway.client.tuning.measurement import Measurement
from gateway.client.tuning.session import TuningSession

_HEADINGS = ("candidate", "one chat tok/s", "", "16 chats tok/s", "", "first token ms", "", "remark")


def table_lines(session: TuningSession) -> list[str]:
    """Return what was measured: medians, and their ratios to the default in the same rounds, above 1 is better."""
    rows = [_default_row(session)] if session.default_rounds else []
    best = {session.best(mode): mode for mode in session.plan.modes}
    for one in session.measured:
        modes = [mode for mode in session.plan.modes if session.best(mode) is one]
        rows.append(_row(one, f"best for {' and '.join(modes)}" if modes else ""))
    lines = plain_lines(_HEADINGS, rows) if rows else []
    if rows and None in best:
        lines.append(f"for {best[None]} nothing is better than the default by more than the noise")
    if session.left_out:
        lines.append(f"not measured: {', '.join(candidate.label for candidate in session.left_out)}")
    return lines


def _default_row(session: TuningSession) -> tuple[str, ...]:
    rounds = session.default_rounds
    return (
        "the default",
        f"{statistics.median(one.one_chat_tokens_per_second for one in rounds):.1f}",
        "",
        f"{statistics.median(one.many_chats_tokens_per_second for one in rounds):.1f}",
        "",
        f"{statistics.median(one.first_token_ms for one in rounds):.0f}",
        "",
        f"{len(rounds)} rounds",
    )


def _row(one: Measurement, remark: str) -> tuple[str, ...]:
    if not one.rounds:
        return (one.candidate.label, "", "", "", "", "", "", one.rejected or "broken off")
    figures = one.figures()
    return (
        one.candidate.label,
        f"{figures.one_chat_tokens_per_second:.1f}",
        f"×{figures.one_chat_ratio:.2f}",
        f"{figures.many_chats_tokens_per_second:.1f}",
        f"×{figures.many_chats_ratio:.2f}",
        f"{figures.first_token_ms:.0f}",
        f"×{figures.first_token_ratio:.2f}",
        one.rejected or remark,
    )
