import pytest

from converter_worker.placement import place
from shared.schemas.converters import ConverterInfo


def converter(name: str, memory: int, free: int | None = None, *, busy: int = 0, slots: int = 1) -> ConverterInfo:
    return ConverterInfo(
        worker_id=name,
        host=name,
        slots=slots,
        busy=busy,
        memory_bytes=memory,
        free_bytes=memory if free is None else free,
        disk_free_bytes=1000,
    )


@pytest.mark.parametrize(
    ("needed", "here", "others", "passed_on", "expected"),
    [
        pytest.param(5, converter("a", 8), [converter("b", 16)], False, "here", id="fits"),
        pytest.param(12, converter("a", 8), [converter("b", 16)], False, "b", id="fits elsewhere only"),
        pytest.param(12, converter("a", 8), [converter("b", 16, 0, busy=1)], False, "b", id="waits for the larger one"),
        pytest.param(12, converter("a", 8), [converter("b", 10)], False, None, id="fits nowhere"),
        pytest.param(12, converter("a", 8), [], False, None, id="alone and too small"),
        pytest.param(5, converter("a", 8, 2), [converter("b", 16)], False, "b", id="short for now, room elsewhere"),
        pytest.param(5, converter("a", 8, 2), [converter("b", 16, busy=1)], False, "here", id="no slot elsewhere"),
        pytest.param(5, converter("a", 8, 2), [converter("b", 16, 3)], False, "here", id="short everywhere: waits"),
        pytest.param(5, converter("a", 8, 2), [converter("b", 16)], True, "here", id="is not sent around"),
        pytest.param(12, converter("a", 8), [converter("c", 64), converter("b", 16)], False, "b", id="tightest fit"),
        pytest.param(
            12,
            converter("a", 8),
            [converter("b", 16, 1, busy=1), converter("c", 64)],
            False,
            "c",
            id="free before busy",
        ),
    ],
)
def test_where_a_stage_is_done(
    needed: int, here: ConverterInfo, others: list[ConverterInfo], passed_on: bool, expected: str | None
) -> None:
    chosen = place(needed, here, others, passed_on=passed_on)
    assert (chosen.worker_id if isinstance(chosen, ConverterInfo) else chosen) == expected
