"""How the cores of a host are divided between its workers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_worker.host_cores import CoreShare, cpu_quota, divide_cores, share_of, usable_cores
from shared.schemas.workers import WorkerInfo

CORES = (0, 1, 2, 3, 4, 5, 6, 7)


def worker(number: int, **fields: object) -> WorkerInfo:
    defaults: dict[str, object] = {
        "worker_id": f"w{number}",
        "host_id": "host",
        "node": f"container-{number}",
        "device": "CPU",
        "device_name": "Some CPU",
        "engine": "sample",
        "state": "ready",
        "max_replicas": 1,
        "started_ms": number,
        "cores": CORES,
    }
    return WorkerInfo.model_validate({**defaults, **fields})


@given(cores=st.lists(st.integers(0, 999), unique=True, min_size=1, max_size=64), workers=st.integers(1, 80))
def test_parts_are_disjoint_nearly_equal_never_empty_and_together_everything(cores: list[int], workers: int) -> None:
    parts = divide_cores(cores, workers)
    assert len(parts) == workers
    assert all(parts)
    given_out = [core for part in parts for core in part]
    assert set(given_out) == set(cores)
    sizes = {len(part) for part in parts}
    assert max(sizes) - min(sizes) <= 1
    if workers <= len(cores):
        assert given_out == cores
    else:
        assert max(given_out.count(core) for core in cores) - min(given_out.count(core) for core in cores) <= 1


@given(st.integers(1, 8), st.integers(1, 12), st.one_of(st.none(), st.integers(1, 16)))
def test_every_worker_gets_threads_for_its_part(cores: int, workers: int, quota: int | None) -> None:
    living = [worker(number, cores=CORES[:cores]) for number in range(workers)]
    shares = [share_of(own, living, quota=quota) for own in living]
    assert all(share.threads >= 1 for share in shares)
    assert all(share.alone == (workers == 1) for share in shares)
    if quota is None and workers <= cores:
        assert sum(share.threads for share in shares) == cores
    held = [core for share in shares for core in share.cores]
    assert sorted(held) == (list(CORES[:cores]) if 1 < workers <= cores else [])


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({}, CoreShare(4, alone=False, cores=(4, 5, 6, 7))),
        ({"host_id": "another"}, CoreShare(8, alone=True)),
        ({"device": "GPU"}, CoreShare(8, alone=True)),
        ({"state": "draining"}, CoreShare(8, alone=True)),
        # A cpuset of its own.
        ({"cores": (8, 9)}, CoreShare(8, alone=True)),
        # An earlier version.
        ({"cores": ()}, CoreShare(4, alone=False, cores=(4, 5, 6, 7))),
    ],
)
def test_who_shares(other: dict[str, object], expected: CoreShare) -> None:
    own = worker(2)
    assert share_of(own, [worker(1, **other), own], quota=None) == expected
    # The registry does not know it yet.
    assert share_of(own, [worker(1, **other)], quota=None) == expected


@pytest.mark.parametrize(("node", "quota", "threads"), [("other", 3, 3), ("other", 6, 4), ("own", 3, 1), ("own", 6, 3)])
def test_a_containers_limit_is_shared_inside_of_it_only(node: str, quota: int, threads: int) -> None:
    own = worker(1, node="own")
    assert share_of(own, [own, worker(2, node=node)], quota=quota).threads == threads


def test_a_gpu_worker_is_held_to_no_core() -> None:
    assert share_of(worker(1, device="GPU"), [worker(2)], quota=None).cores == ()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "20000 100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_the_limit_of_a_container(tmp_path: Path, files: dict[str, str], expected: int | None) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n")
    assert cpu_quota(tmp_path) == expected


def test_threads_of_one_core_stay_beside_each_other(tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    assert usable_cores(tmp_path) == tuple(cores)
    # Every other one is a second thread of an earlier core.
    for at, cpu in enumerate(cores):
        topology = tmp_path / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text("0\n")
        (topology / "core_id").write_text(f"{at % 2}\n")
    assert usable_cores(tmp_path) == (*cores[::2], *cores[1::2])
