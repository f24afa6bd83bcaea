"""A gateway started with few open files allowed takes what its host lets it have."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
from gateway.open_files import raise_open_files
print(raise_open_files(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(("soft", "hard", "then"), [(256, 900, 900), (900, 900, 900)])
def test_the_soft_limit_becomes_the_hard_one(soft: int, hard: int, then: int) -> None:
    """Accident: with the default of 1,024 the thousandth person gets no socket while the gateway has nothing to do."""
    command = [sys.executable, "-c", PROGRAM, str(soft), str(hard)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == [
        str(number) for number in (then, then, hard)
    ]
