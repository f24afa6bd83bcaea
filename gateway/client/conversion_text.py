"""A conversion in words: when, how long, what it was foretold to take and took, and what its stages print."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from gateway.client.figures import gigabytes
from gateway.client.terminal import printable
from shared.schemas.conversion import ConversionEvent, ConversionFigures, ConversionJob


def moment(time_ms: int) -> str:
    """``2026-11-22 22:50``, in the time zone of whoever reads it."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def duration(job: ConversionJob) -> str:
    """From the moment when it was asked for to its end, waiting included; empty until then."""
    if job.ended_ms is None:
        return ""
    seconds = (job.ended_ms - job.created_ms) / 1000
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def foretold(job: ConversionJob) -> str:
    """``1.1 GB memory, 0.5 GB disk, 20 s / …``: the prediction and, once there is one, the measurement."""
    if job.predicted is None:
        return "" if job.measured is None else f"– / {figures_text(job.measured)}"
    told = figures_text(job.predicted)
    return told if job.measured is None else f"{told} / {figures_text(job.measured)}"


def figures_text(figures: ConversionFigures) -> str:
    """Peak of the memory, most of the disk, time of the stages' work."""
    disk = "" if figures.disk_bytes is None else f" {gigabytes(figures.disk_bytes)} disk,"
    return f"{gigabytes(figures.memory_bytes)} memory,{disk} {figures.seconds:.0f} s"


def figure_lines(job: ConversionJob) -> list[str]:
    """Compare the prediction with what was measured, one line each."""
    lines = []
    if job.predicted is not None:
        lines.append(f"foretold  {figures_text(job.predicted)}")
    if job.measured is not None:
        largest = max(job.measured.stages, key=lambda stage: stage.memory_bytes)
        of = f" {largest.variant}" if largest.variant else ""
        lines.append(f"measured  {figures_text(job.measured)} (most memory: {largest.stage}{of})")
    return lines


def log_lines(event: ConversionEvent) -> Iterator[str]:
    """Yield the lines of an event behind their stage and variant; control characters stay out of the terminal."""
    where = f"{event.stage or ''} {event.variant or ''}".strip()
    for line in event.log:
        yield f"{where} | {printable(line)}"
