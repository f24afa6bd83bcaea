"""The routing function, as a table."""

import pytest

from gateway.generations.routing import Route, choose_route
from shared.registry import RegisteredWorker
from shared.schemas.workers import ReplicaInfo, ReplicaState, WorkerInfo

VARIANT = "demo:int4"
LOAD_ON_B = Route("load", "b", is_loading=True)


def worker(
    worker_id: str,
    *,
    free: int | None = None,
    replica: ReplicaState | None = None,
    state: str = "ready",
    others: int = 0,
    memory: int = 0,
) -> RegisteredWorker:
    replicas = [ReplicaInfo(model="other", variant=f"v{i}", state="ready") for i in range(others)]
    if replica:
        replicas.append(ReplicaInfo(model="demo", variant="int4", state=replica, load_progress=0.5))
    info = WorkerInfo.model_validate(
        {
            "worker_id": worker_id,
            "host_id": "h",
            "device": "CPU",
            "device_name": "cpu",
            "engine": "sample",
            "state": state,
            "replicas": replicas,
            "max_replicas": 3,
            "started_ms": 1,
            "free_memory_bytes": memory,
        }
    )
    return RegisteredWorker(info, {} if free is None else {VARIANT: free})


CASES = {
    "no worker at all": ([], Route("nowhere")),
    "every worker drains": ([worker("a", state="draining", free=3)], Route("nowhere")),
    "a free slot": ([worker("a", free=1, replica="ready")], Route("assign", "a")),
    "the most free slots": ([worker("a", free=1), worker("b", free=5), worker("c", free=3)], Route("assign", "b")),
    "all full": ([worker("a", free=0, replica="ready")], Route("wait")),
    "loading already": ([worker("a", replica="loading")], Route("wait", is_loading=True, load_progress=0.5)),
    "all full, another worker has room": (
        [worker("a", free=0, replica="ready"), worker("b", others=1)],
        Route("load", "b"),
    ),
    "all full, the other worker has no room": (
        [worker("a", free=0, replica="ready"), worker("b", others=3)],
        Route("wait"),
    ),
    "all full, the other one is loading already": (
        [worker("a", free=0, replica="ready"), worker("b", replica="loading")],
        Route("wait", load_progress=0.5),
    ),
    "loaded nowhere: the emptiest": ([worker("a", others=2), worker("b", others=1)], LOAD_ON_B),
    "loaded nowhere: the most memory": ([worker("a", memory=1), worker("b", memory=2)], LOAD_ON_B),
    "a draining one is not loaded on": ([worker("a", state="draining"), worker("b", others=2)], LOAD_ON_B),
    "a failed replica may be loaded again": ([worker("b", replica="failed")], LOAD_ON_B),
}


@pytest.mark.parametrize("case", CASES)
def test_route(case: str) -> None:
    workers, expected = CASES[case]
    assert choose_route(VARIANT, workers) == expected
