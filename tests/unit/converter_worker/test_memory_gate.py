import threading

import pytest

from converter_worker.cost_model import LIBRARIES_BYTES, STANDING_BYTES
from converter_worker.memory_gate import MemoryGate
from converter_worker.stage_runner import StageStopped
from shared.errors import OutOfMemory

GB = 10**9


def gate(budget: int, available: int | None = 100 * GB, patience_seconds: float = 60.0) -> MemoryGate:
    return MemoryGate(budget + STANDING_BYTES, available=lambda: available, patience_seconds=patience_seconds)


class Stage:
    """A stage in a thread of its own: `waits` and `is_inside` are events."""

    def __init__(self, gate: MemoryGate, peak: int) -> None:
        self.waits, self.is_inside, self._leaves = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(gate, peak))
        self._thread.start()

    def end(self) -> None:
        self._leaves.set()
        self._thread.join(30)

    def _run(self, gate: MemoryGate, peak: int) -> None:
        with gate.inside(peak, lambda: False, lambda message: self.waits.set()):
            self.is_inside.set()
            self._leaves.wait(30)


def quiet(message: str) -> None:
    """Nobody listens."""


def test_what_fits_together_goes_in_together() -> None:
    memory = gate(6 * GB)
    with memory.inside(3 * GB, lambda: False, quiet), memory.inside(3 * GB, lambda: False, quiet):
        assert memory.busy == 2
        # The libraries are there once: the second stage brings only its own.
        assert memory.free_bytes == 2 * LIBRARIES_BYTES
    assert memory.busy == 0
    assert memory.free_bytes == 6 * GB


def test_what_does_not_fit_waits_for_its_neighbour_and_says_so() -> None:
    memory = gate(6 * GB)
    with memory.inside(5 * GB, lambda: False, quiet):
        stage = Stage(memory, 4 * GB)
        assert stage.waits.wait(10)
        assert not stage.is_inside.is_set()
    assert stage.is_inside.wait(10)
    stage.end()


def test_small_stages_do_not_overtake_a_large_one_for_ever() -> None:
    """Variants of a busy queue could keep a large export waiting for hours: who came first goes first."""
    memory = gate(6 * GB)
    with memory.inside(4 * GB, lambda: False, quiet):
        large = Stage(memory, 5 * GB)
        assert large.waits.wait(10)
        small = Stage(memory, 1 * GB)
        assert small.waits.wait(10)
        assert not small.is_inside.is_set()
    assert large.is_inside.wait(10)
    assert small.is_inside.wait(10)
    large.end()
    small.end()


def test_a_stage_that_waits_can_be_stopped() -> None:
    memory = gate(6 * GB, available=1 * GB)
    stops = iter([False, True])
    with pytest.raises(StageStopped), memory.inside(5 * GB, lambda: next(stops), quiet):
        pytest.fail("it was let in")
    assert memory.busy == 0


def test_memory_that_other_programs_keep_is_told_in_the_end() -> None:
    memory = gate(6 * GB, available=1 * GB, patience_seconds=0.0)
    told = pytest.raises(OutOfMemory, match=r"needs about 5\.0 GB.*other programs.*1\.\d GB")
    with told, memory.inside(5 * GB, lambda: False, quiet):
        pytest.fail("it was let in")


def test_a_host_that_hides_its_memory_counts_by_the_budget() -> None:
    memory = gate(6 * GB, available=None)
    assert memory.free_bytes == memory.budget_bytes == 6 * GB
