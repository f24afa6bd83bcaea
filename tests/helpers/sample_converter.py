"""A converter worker whose stages are samples: `python -m tests.helpers.sample_converter`.

Everything around the stages is the product's own: Celery, leases, reaper, store, child processes.
"""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pydantic import JsonValue

from converter_worker import __main__ as converter
from converter_worker import sources
from converter_worker.stage_runner import StageRun, StageRunner
from shared import model_store
from shared.log import configure_logging
from shared.schemas.models import FileRecord
from shared.settings import ConverterSettings
from tests.helpers.sample_conversion import hold


class SampleRunner(StageRunner):
    """Runs the sample of a stage; what has a module of its own, the download, is run as it is."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "lazy": True})

    def run(self, stage_run: StageRun) -> dict[str, JsonValue]:
        if stage_run.module is None:
            arguments = {**stage_run.arguments, "sample_stage": stage_run.stage}
            stage_run = dataclasses.replace(stage_run, module="tests.helpers.sample_conversion", arguments=arguments)
        return super().run(stage_run)


def hold_in_the_worker() -> None:
    """Make the two stages that have no child of their own wait where a test wants it."""
    resolve, record = sources.resolve_source, model_store.file_record

    def held_resolve(*args: Any, **options: Any) -> Any:
        hold("resolve")
        return resolve(*args, **options)

    def held_record(path: Path, watch: Callable[[], None] = lambda: None) -> FileRecord:
        hold("publish", watch)
        return record(path, watch)

    patch("converter_worker.source_steps.resolve_source", held_resolve).start()
    patch("shared.model_store.file_record", held_record).start()


if __name__ == "__main__":
    hold_in_the_worker()
    settings = ConverterSettings()
    configure_logging("converter", settings)
    sys.exit(converter.run(settings, make_runner=SampleRunner))
