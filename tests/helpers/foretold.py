"""Compares what preflight foretold of a conversion with what was measured."""

import pytest

from shared.schemas.conversion import ConversionJob

#: How far a prediction may be off.
TOLERANCE = 0.25


def assert_foretold(job: ConversionJob) -> None:
    """Every stage's memory, the job's, and the disk are within the tolerance; seconds are those of a shared machine."""
    assert job.predicted is not None
    assert job.measured is not None
    foretold = {(stage.stage, stage.variant): stage.memory_bytes for stage in job.predicted.stages}
    measured = {(stage.stage, stage.variant): stage.memory_bytes for stage in job.measured.stages}
    assert foretold == pytest.approx(measured, rel=TOLERANCE)
    assert job.predicted.memory_bytes == pytest.approx(job.measured.memory_bytes, rel=TOLERANCE)
    assert job.predicted.disk_bytes == pytest.approx(job.measured.disk_bytes, rel=TOLERANCE)
    assert job.predicted.seconds > 0
    assert job.measured.seconds > 0
