"""How the command line tells of a conversion's figures and log."""

import io
from collections.abc import AsyncIterator

from rich.console import Console

from gateway.client.conversion_progress import result_lines, show_progress
from gateway.client.conversion_text import duration, figure_lines, foretold, log_lines
from shared.schemas.conversion import ConversionEvent, ConversionJob, ConversionPlan
from shared.schemas.conversion_figures import ConversionFigures, StageFigures

STAGES = (
    StageFigures(stage="export", memory_bytes=1_100_000_000, seconds=8),
    StageFigures(stage="compress", variant="int4", memory_bytes=950_000_000, seconds=3),
)
FORETOLD = ConversionFigures(memory_bytes=1_100_000_000, disk_bytes=500_000_000, seconds=12, stages=STAGES)
MEASURED = FORETOLD.model_copy(update={"memory_bytes": 1_200_000_000, "seconds": 11.4})


def job(**fields: object) -> ConversionJob:
    plan = ConversionPlan(source_model="org/model", model="model", variants=())
    return ConversionJob.model_validate(
        {"conversion_id": "conv_1", "plan": plan, "state": "running", "created_ms": 1000, **fields}
    )


def test_the_list_compares_what_was_foretold_with_what_was_measured() -> None:
    assert foretold(job()) == ""
    assert foretold(job(predicted=FORETOLD)) == "1.1 GB memory, 0.5 GB disk, 12 s"
    both = foretold(job(predicted=FORETOLD, measured=MEASURED))
    assert both == "1.1 GB memory, 0.5 GB disk, 12 s / 1.2 GB memory, 0.5 GB disk, 11 s"
    assert foretold(job(measured=MEASURED)).startswith("– / 1.2 GB")


def test_the_end_names_the_stage_that_took_most() -> None:
    lines = figure_lines(job(predicted=FORETOLD, measured=MEASURED))
    assert [line.split()[0] for line in lines] == ["foretold", "measured"]
    assert lines[1].endswith("(most memory: export)")


def test_the_time_is_that_from_the_wish_to_the_end() -> None:
    assert duration(job()) == ""
    assert duration(job(ended_ms=32_000)) == "31 s"
    assert duration(job(ended_ms=301_000)) == "5 min"


def test_printed_lines_name_their_stage_and_move_no_cursor() -> None:
    event = ConversionEvent(
        conversion_id="conv_1", state="running", stage="compress", variant="int4", progress=0.5, log=("a\x1b[2J", "b")
    )
    assert list(log_lines(event)) == ["compress int4 | a[2J", "compress int4 | b"]


def test_the_results_say_what_the_size_is_and_what_is_smaller_than_what() -> None:
    variants = [
        {"name": name, "weight_format": name, "recipe": {}, "weights_bytes": size, "compression_rate": rate}
        for name, size, rate in (("fp16", 269_000_000, 1.0), ("int4", 86_000_000, 3.128))
    ]
    assert result_lines(job(results=variants)) == [
        "model:fp16  weights 269 MB",
        "model:int4  weights 86 MB, 3.13x smaller than fp16",
    ]


async def test_a_file_gets_each_event_in_one_line() -> None:
    """Accident: `--follow > file` was wrapped at 80 columns, and what stood in brackets was taken for markup."""
    message = "waiting for memory: " + "12.5 GB of [bold] " * 10

    async def events() -> AsyncIterator[ConversionEvent]:
        yield ConversionEvent(conversion_id="conv_1", state="running", stage="export", progress=0.5, message=message)

    written = io.StringIO()
    await show_progress(events(), "model", Console(file=written))
    assert written.getvalue() == f" 50% running  export: {message}\n"
