"""The report as plain tables."""

from __future__ import annotations

from gateway.client.bench.distribution import Distribution
from gateway.client.bench.report import BenchReport, ComparisonReport, PeerReport, StepReport
from gateway.client.table import plain_lines

_PERCENTILES = ("p50", "p90", "p95", "p99")


def report_lines(report: BenchReport) -> list[str]:
    """Return all tables, each with an empty line before the next."""
    tables = [
        [f"{report.model} over {'WebSocket' if report.api == 'ws' else 'OpenAI SSE'}, {report.prompts}"],
        _throughput(report.steps),
        _latencies(report.steps),
        _errors(report.steps),
        _comparisons(report.comparisons),
    ]
    lines = [line for table in tables if table for line in (*table, "")]
    if report.interrupted:
        lines.append("broken off: these are the figures up to then")
    if any(error.code == "rate_limit_exceeded" for step in report.steps for error in step.errors):
        lines.append(
            "rate_limit_exceeded is the limit of this key's user: "
            "OVCHAT_MAX_CONCURRENT_PER_USER and OVCHAT_REQUESTS_PER_MINUTE move it, or a key's own limits"
        )
    return lines[:-1] if lines and not lines[-1] else lines


def _label(step: StepReport) -> str:
    return f"{step.rate_per_second:g}/s" if step.rate_per_second is not None else f"{step.concurrency} at once"


def _throughput(steps: tuple[StepReport, ...]) -> list[str]:
    headings = ("load", "sent", "finished", "refused", "failed", "open", "seconds", "requests/s", "tokens/s")
    rows = [
        (
            _label(step),
            *(f"{count:,}" for count in (step.sent, step.finished, step.refused, step.failed, step.unfinished)),
            f"{step.seconds:,.1f}",
            f"{step.requests_per_second:,.2f}",
            f"{step.output_tokens_per_second:,.1f}",
        )
        for step in steps
    ]
    return plain_lines(headings, rows, figures_from=1) if rows else []


def _latencies(steps: tuple[StepReport, ...]) -> list[str]:
    rows = [
        (_label(step), name, f"{values.count:,}", *_percentiles(values), _figure(values.max))
        for step in steps
        for name, values in (
            ("to first token", step.first_token_ms),
            ("between tokens", step.between_tokens_ms),
            ("end to end", step.total_ms),
            ("in queue", step.queue_ms),
            ("queue to first token", step.queue_to_first_token_ms),
        )
        if values is not None
    ]
    return plain_lines(("load", "milliseconds", "count", *_PERCENTILES, "max"), rows, figures_from=2) if rows else []


def _errors(steps: tuple[StepReport, ...]) -> list[str]:
    headings = ("load", "error", "when", "status", "count", *_PERCENTILES, "retry after")
    rows = [
        (
            _label(step),
            error.code,
            "refused" if error.refused else "broken off",
            str(error.status or ""),
            f"{error.count:,}",
            *(_percentiles(error.latency_ms) if error.latency_ms is not None else ("",) * len(_PERCENTILES)),
            f"{error.retry_after_seconds.p50:g} s" if error.retry_after_seconds is not None else "",
        )
        for step in steps
        for error in step.errors
    ]
    return plain_lines(headings, rows, figures_from=3) if rows else []


def _comparisons(comparisons: tuple[ComparisonReport, ...]) -> list[str]:
    headings = ("prompts", "through", "rounds", "tokens/s", "platform is", "first token ms", "per token ms", "")
    rows = []
    for compared in comparisons:
        label = f"{compared.concurrency} at once"
        rounds = str(len(compared.tokens_per_second))
        speed = f"{compared.median_tokens_per_second:,.1f}"
        rows.append((label, "platform", rounds, speed, "", *_medians(compared), ""))
        rows += [
            (
                label,
                peer.name,
                str(len(peer.tokens_per_second)),
                f"{peer.median_tokens_per_second:,.1f}",
                f"{peer.ratio:.3f}x",
                *_medians(peer),
                "" if peer.same_prompts else "read other prompt tokens",
            )
            for peer in compared.peers
        ]
    return plain_lines(headings, rows, figures_from=2) if rows else []


def _medians(side: ComparisonReport | PeerReport) -> tuple[str, str]:
    first, rest = side.first_token_ms, side.per_token_ms
    return _figure(first.p50) if first is not None else "", _figure(rest.p50) if rest is not None else ""


def _percentiles(values: Distribution) -> tuple[str, ...]:
    return tuple(_figure(value) for value in (values.p50, values.p90, values.p95, values.p99))


def _figure(milliseconds: float) -> str:
    return f"{milliseconds:,.1f}"
