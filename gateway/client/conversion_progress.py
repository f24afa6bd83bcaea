"""A conversion on the terminal: a bar for the job and one for each stage of each variant."""

from __future__ import annotations

from collections.abc import AsyncIterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from gateway.client.conversion_text import figure_lines, log_lines
from gateway.client.figures import megabytes, rate
from shared.schemas.conversion import ENDED, ConversionEvent, ConversionJob


async def show_progress(
    events: AsyncIterator[ConversionEvent], model: str, console: Console, *, log: bool = False
) -> ConversionEvent | None:
    """Draw the events as they come and return the last; a console that is no terminal gets a line per stage.

    With `log` what the stages print stands above the bars.
    """
    last: ConversionEvent | None = None
    events = _apart_from_log(events, console if log else None)
    if not console.is_terminal:
        return await _lines(events, console)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        whole = progress.add_task(model, total=1.0)
        bars: dict[tuple[str, str], TaskID] = {}
        async for last in events:
            progress.update(whole, completed=last.progress, description=_whole_line(model, last))
            if last.stage is None:
                continue
            key = (last.stage, last.variant or "")
            if key not in bars:
                for (stage, variant), bar in bars.items():
                    # Variants are worked on side by side; stages of one variant follow each other.
                    if stage != last.stage or variant == "":
                        progress.update(bar, total=1.0, completed=1.0)
                bars[key] = progress.add_task(_stage_line(last), total=None)
            progress.update(bars[key], description=_stage_line(last))
            if last.stage_progress is not None:
                progress.update(bars[key], total=1.0, completed=last.stage_progress)
        if last is not None and last.state == "succeeded":
            for bar in (whole, *bars.values()):
                progress.update(bar, total=1.0, completed=1.0)
    return last


async def _apart_from_log(
    events: AsyncIterator[ConversionEvent], console: Console | None
) -> AsyncIterator[ConversionEvent]:
    """Yield the events that have news; print the others' lines where there is a console for them."""
    async for event in events:
        if not event.log:
            yield event
        elif console is not None:
            for line in log_lines(event):
                _say(line, console)


def _say(line: str, console: Console) -> None:
    """Print a line as it is; a file or a pipe gets it in one piece."""
    console.print(line, markup=False, highlight=False, soft_wrap=not console.is_terminal)


async def _lines(events: AsyncIterator[ConversionEvent], console: Console) -> ConversionEvent | None:
    last: ConversionEvent | None = None
    shown: object = None
    async for last in events:
        if shown != (now := (last.state, last.stage, last.variant, _news(last))):
            shown = now
            # The stage of an end is where the job is taken up again, not where it failed.
            stage = "" if last.state in ENDED else _stage_line(last)
            _say(f"{last.progress:4.0%} {last.state}{stage}", console)
    return last


def _whole_line(model: str, event: ConversionEvent) -> str:
    return f"{model} ({event.state})" if event.state != "running" else model


def _stage_line(event: ConversionEvent) -> str:
    return f"  {event.stage or ''} {event.variant or ''}".rstrip() + (f": {news}" if (news := _news(event)) else "")


def _news(event: ConversionEvent) -> str:
    """What a stage says before it has begun: that it waits for memory, goes to another converter, or runs again."""
    return event.message or "" if not event.stage_progress else ""


def result_lines(job: ConversionJob) -> list[str]:
    """Tell each variant's size and compression rate, and what the conversion was foretold to take and took."""
    lines = [
        f"{job.plan.model}:{result.name}  weights {megabytes(result.weights_bytes)}"
        + (f", {rate(result.compression_rate)} smaller than fp16" if (result.compression_rate or 1) > 1 else "")
        + (", was there already" if result.already_published else "")
        + "".join(f"\n  {note}" for note in result.notes)
        for result in job.results
    ]
    return [*lines, *figure_lines(job)]
