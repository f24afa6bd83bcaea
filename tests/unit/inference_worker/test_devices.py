from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from inference_worker.devices import Devices
from inference_worker.memory import default_kv_cache_bytes, free_memory_bytes, total_memory_bytes
from shared.errors import DeviceNotFound

TWO_GPUS = Devices({"CPU": "Some CPU", "GPU.0": "First GPU", "GPU.1": "Second GPU"})


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("CPU", "Some CPU"),
        ("GPU.1", "Second GPU"),
        ("GPU", "First GPU"),
        ("AUTO", "AUTO: any device"),
        ("AUTO:GPU.1,CPU", "AUTO: Second GPU, Some CPU"),
    ],
)
def test_a_device_has_a_full_name(device: str, name: str) -> None:
    assert TWO_GPUS.full_name(device) == name


@pytest.mark.parametrize("device", ["NPU", "GPU.2", "HETERO:NPU,CPU"])
def test_an_absent_device_is_an_error_that_lists_the_present_ones(device: str) -> None:
    with pytest.raises(DeviceNotFound, match="CPU, GPU\\.0, GPU\\.1"):
        TWO_GPUS.full_name(device)


@pytest.mark.slow
def test_a_worker_for_an_absent_device_says_so_and_ends(tmp_path: Path) -> None:
    environment = {**os.environ, "OVCHAT_DEVICE": "GPU.7", "OVCHAT_DATA_DIR": str(tmp_path)}
    worker = subprocess.run(
        [sys.executable, "-m", "inference_worker"],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert worker.returncode == 2
    assert "no device GPU.7" in worker.stderr
    assert "present: CPU" in worker.stderr


@pytest.mark.slow
def test_the_device_may_be_given_on_the_command_line(tmp_path: Path) -> None:
    worker = subprocess.run(
        [sys.executable, "-m", "inference_worker", "--device", "HETERO:NPU,CPU"],
        env={**os.environ, "OVCHAT_DATA_DIR": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert worker.returncode == 2
    assert "no device NPU" in worker.stderr


def test_a_bad_setting_is_named(tmp_path: Path) -> None:
    environment = {**os.environ, "OVCHAT_MAX_REPLICAS": "none"}
    worker = subprocess.run(
        [sys.executable, "-m", "inference_worker"],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert worker.returncode == 2
    assert "OVCHAT_MAX_REPLICAS" in worker.stderr


def test_the_kv_cache_takes_whole_gigabytes_of_a_quarter() -> None:
    assert default_kv_cache_bytes(3) % (1 << 30) == 0
    assert default_kv_cache_bytes(10_000) == 1 << 30
    assert 0 < free_memory_bytes() <= total_memory_bytes()
