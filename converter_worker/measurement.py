"""What a conversion took, from the records that its stages leave in the job."""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from converter_worker.cost_model import together_bytes
from shared.schemas.common import Message
from shared.schemas.conversion_figures import ConversionFigures, Stage, StageFigures

_FIELD = "took:"


class StageRecord(Message):
    """What one stage's child took, and when it lived, in ms of its worker's clock.

    `part` names what a child does that is something else than the stage's own.
    """

    stage: Stage
    variant: str | None
    part: str | None = None
    memory_bytes: int
    seconds: float
    began_ms: int
    worker_id: str

    @property
    def ended_ms(self) -> float:
        """When the child was gone."""
        return self.began_ms + self.seconds * 1000


def record_field(record: StageRecord) -> str:
    """Return the field of the job's hash that has a record; a repeated stage replaces its own."""
    return f"{_FIELD}{record.stage}:{record.variant or ''}:{record.part or ''}"


def records_of(fields: Mapping[str, JsonValue]) -> tuple[StageRecord, ...]:
    """Return a job's records in the order in which their stages began."""
    found = [StageRecord.model_validate(value) for name, value in fields.items() if name.startswith(_FIELD)]
    return tuple(sorted(found, key=lambda record: record.began_ms))


def measured_figures(records: Sequence[StageRecord], disk_bytes: object) -> ConversionFigures | None:
    """Add records up; None where no stage has run.

    The memory of stages that lived at one time on one worker is added as if each had its peak then, the libraries that
    they share counted once: at most what was taken, and for one stage alone exactly that.
    """
    if not records:
        return None
    return ConversionFigures(
        memory_bytes=max(together_bytes(_beside(record, records)) for record in records),
        disk_bytes=disk_bytes if isinstance(disk_bytes, int) else None,
        seconds=round(sum(record.seconds for record in records), 1),
        stages=tuple(
            StageFigures(
                stage=record.stage,
                variant=record.variant,
                part=record.part,
                memory_bytes=record.memory_bytes,
                seconds=record.seconds,
            )
            for record in records
        ),
    )


def _beside(record: StageRecord, records: Sequence[StageRecord]) -> list[int]:
    """Return the peaks of the stages that lived when a record's began, its own among them."""
    return [
        other.memory_bytes
        for other in records
        if other.worker_id == record.worker_id and other.began_ms <= record.began_ms < other.ended_ms
    ] or [record.memory_bytes]
