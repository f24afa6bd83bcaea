from converter_worker.cost_model import LIBRARIES_BYTES
from converter_worker.measurement import StageRecord, measured_figures, record_field, records_of

GB = 10**9


def record(
    stage: str, variant: str | None, gigabytes: int, began: int, seconds: float, worker: str = "a"
) -> StageRecord:
    return StageRecord.model_validate(
        {
            "stage": stage,
            "variant": variant,
            "memory_bytes": gigabytes * GB,
            "seconds": seconds,
            "began_ms": began * 1000,
            "worker_id": worker,
        }
    )


def test_stages_one_after_the_other_count_by_the_largest() -> None:
    figures = measured_figures([record("export", None, 3, 0, 10), record("compress", "int8", 5, 10, 4)], 7 * GB)
    assert figures is not None
    assert (figures.memory_bytes, figures.disk_bytes, figures.seconds) == (5 * GB, 7 * GB, 14.0)
    assert [(one.stage, one.variant) for one in figures.stages] == [("export", None), ("compress", "int8")]


def test_stages_side_by_side_count_together() -> None:
    records = [record("compress", "int8", 3, 0, 10), record("compress", "int4", 4, 5, 10)]
    figures = measured_figures(records, None)
    assert figures is not None
    assert figures.memory_bytes == 7 * GB - LIBRARIES_BYTES


def test_two_converters_have_two_memories() -> None:
    records = [record("compress", "int8", 3, 0, 10), record("compress", "int4", 4, 5, 10, worker="b")]
    figures = measured_figures(records, None)
    assert figures is not None
    assert figures.memory_bytes == 4 * GB


def test_records_come_back_from_the_jobs_fields() -> None:
    one = record("verify", "int8", 1, 5, 1)
    other = record("export", None, 1, 1, 1)
    fields = {record_field(entry): entry.model_dump(mode="json") for entry in (one, other)}
    assert records_of({**fields, "state": "running"}) == (other, one)
    assert measured_figures((), None) is None
