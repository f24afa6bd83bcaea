"""Compares what preflight foretold of a conversion with what was measured."""

import pytest

from shared.schemas.conversion import ConversionJob
from shared.schemas.conversion_figures import ConversionFigures

#: How far a prediction may be off.
TOLERANCE = 0.25


def assert_foretold(job: ConversionJob) -> None:
    """Every stage's memory, the job's, and the disk are within the tolerance; seconds are those of a shared machine.

    What comes from a hub is measured and not foretold.
    """
    assert job.predicted is not None
    assert job.measured is not None
    foretold, measured = memory_by_stage(job.predicted), memory_by_stage(job.measured)
    assert foretold == pytest.approx({stage: measured[stage] for stage in foretold}, rel=TOLERANCE)
    assert {stage for stage, *_ in measured.keys() - foretold.keys()} <= {"preflight", "download"}
    assert job.predicted.memory_bytes == pytest.approx(job.measured.memory_bytes, rel=TOLERANCE)
    assert job.predicted.disk_bytes == pytest.approx(job.measured.disk_bytes, rel=TOLERANCE)
    assert job.predicted.seconds > 0
    assert job.measured.seconds > 0


def memory_by_stage(figures: ConversionFigures) -> dict[tuple[str, str | None, str | None], int]:
    """Return each stage's memory by its name, variant and part."""
    return {(one.stage, one.variant, one.part): one.memory_bytes for one in figures.stages}
