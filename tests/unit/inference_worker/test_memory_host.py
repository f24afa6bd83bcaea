"""Who shares memory with whom."""

from pathlib import Path

import pytest

from inference_worker.memory import memory_host


@pytest.mark.parametrize(
    ("limit", "is_told", "expected"),
    [
        ("max\n", False, "compose"),
        ("8000000000\n", False, "compose/node"),
        ("8000000000\n", True, "compose"),
        ("900000000000000\n", False, "compose"),
        (None, False, "compose"),
    ],
)
def test_a_container_with_a_limit_of_its_own_shares_it_with_nobody(
    tmp_path: Path, limit: str | None, is_told: bool, expected: str
) -> None:
    """The accident: three containers of 8 GB each count what all hold together, and two of them never load a model."""
    file = tmp_path / "memory.max"
    if limit is not None:
        file.write_text(limit)
    assert memory_host("compose", "node", is_told=is_told, limit_file=file) == expected
