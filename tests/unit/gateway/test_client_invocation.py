"""Printed commands work as they are printed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.client.invocation import ovchat

OWN = Path(sys.executable).parent / "ovchat"


@pytest.mark.skipif(not OWN.exists(), reason="the distribution is not installed with its command")
def test_the_command_is_named_as_the_reader_can_call_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert ovchat("up") == f"{OWN} up"
    monkeypatch.chdir(OWN.parents[2])
    assert ovchat("up") == f"{OWN.relative_to(OWN.parents[2])} up"
    outcome = subprocess.run([*ovchat("--version").split()], capture_output=True, text=True, check=True)
    assert outcome.stdout.startswith("ovchat ")
    monkeypatch.setenv("PATH", str(OWN.parent))
    assert ovchat("up") == "ovchat up"


@pytest.mark.skipif(not OWN.exists(), reason="the distribution is not installed with its command")
def test_another_ovchat_of_the_path_is_not_meant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copy(OWN, tmp_path / "ovchat")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ovchat("up").endswith(f"{OWN.parent.name}/ovchat up")
