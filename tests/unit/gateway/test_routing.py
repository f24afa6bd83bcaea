"""The routing function, as a table."""

import pytest

from gateway.generations.routing import Route, choose_hosts, choose_route
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
    budget: int | None = None,
    reserved: int = 0,
    host: str | None = None,
) -> RegisteredWorker:
    replicas = [ReplicaInfo(model="other", variant=f"v{i}", state="ready") for i in range(others)]
    if replica:
        replicas.append(ReplicaInfo(model="demo", variant="int4", state=replica, load_progress=0.5, slots=8))
    info = WorkerInfo.model_validate(
        {
            "worker_id": worker_id,
            "host_id": host or worker_id,
            "memory_budget_bytes": budget,
            "memory_reserved_bytes": reserved,
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


FAMILIAR_CASES = {
    "one that knows the chat goes before an emptier one": ([4, 8], "a", "a"),
    "one that is much fuller does not": ([2, 8], "a", "b"),
    "one that is full does not": ([0, 1], "a", "b"),
    "one that left does not matter": ([4, 8], "gone", "b"),
    "a chat that nobody knows goes to the emptiest": ([4, 8], None, "b"),
}


@pytest.mark.parametrize("case", FAMILIAR_CASES)
def test_familiar_worker(case: str) -> None:
    free, familiar, expected = FAMILIAR_CASES[case]
    workers = [worker(name, free=slots, replica="ready") for name, slots in zip("ab", free, strict=True)]
    assert choose_route(VARIANT, workers, familiar=familiar) == Route("assign", expected)


def test_a_variant_is_loaded_where_its_host_has_most_memory_left() -> None:
    workers = [
        worker("a", budget=100, reserved=10, host="small"),
        worker("b", budget=200, reserved=90, host="shared"),
        worker("c", budget=200, reserved=90, host="shared"),
    ]
    assert choose_route(VARIANT, workers) == Route("load", "a", is_loading=True)


HOSTS_CASES = {
    "none has it": ([worker("a"), worker("b"), worker("c")], 2, ("a", "b")),
    "one has it": ([worker("a"), worker("b", replica="ready", free=1)], 2, ("a",)),
    "one loads it": ([worker("a"), worker("b", replica="loading")], 1, ()),
    "more are wanted than there are": ([worker("a")], 3, ("a",)),
    "the emptiest": ([worker("a", others=2), worker("b")], 1, ("b",)),
    "a draining one has nothing any more": ([worker("a", state="draining", replica="ready"), worker("b")], 1, ("b",)),
    "more than wanted": ([worker("a", replica="ready"), worker("b", replica="ready")], 1, ()),
}


@pytest.mark.parametrize("case", HOSTS_CASES)
def test_hosts_of_a_wanted_number_of_replicas(case: str) -> None:
    workers, wanted, expected = HOSTS_CASES[case]
    assert choose_hosts(VARIANT, workers, wanted) == expected
