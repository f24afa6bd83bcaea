"""What admins say about replicas: load, end, keep, pin, drain. A real pool with the sample engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from tests.helpers.pool import Pool
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import wait_until
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected

NAME = "sample:int4"


class Scene:
    """A gateway with two workers that end at once what is idle, unless it is kept."""

    def __init__(self, pool: Pool) -> None:
        self.client = pool.gateway().client()
        publish_sample_variant(pool.store_path, pool.redis_url)
        for _ in range(2):
            pool.worker({"OVCHAT_IDLE_UNLOAD_SECONDS": "0.5"})

    def workers(self) -> list[dict[str, Any]]:
        return list(self.client.get("/api/v1/workers").json()["data"])

    def having(self) -> dict[str, dict[str, Any]]:
        """Return the ready replicas by worker."""
        return {
            view["worker_id"]: view["replica"]
            for view in self.client.get("/api/v1/replicas").json()["data"]
            if view["replica"]["state"] == "ready"
        }

    def until(self, condition: Callable[[dict[str, dict[str, Any]]], bool], what: str) -> None:
        wait_until(lambda: condition(self.having()), what=what)


@pytest.fixture(scope="module")
def pool(session_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with redis.Redis.from_url(session_redis.url) as client:
        client.flushall()
    pool = Pool(tmp_path_factory.mktemp("replicas"), session_redis.url)
    try:
        scene = Scene(pool)
        yield scene
        scene.client.close()
    finally:
        pool.stop()


def test_a_variant_is_loaded_by_hand_and_goes_when_nobody_uses_it(pool: Scene) -> None:
    worker_id = pool.workers()[1]["worker_id"]
    answer = pool.client.post("/api/v1/replicas", json={"model": NAME, "worker_id": worker_id})
    assert (answer.status_code, answer.json()) == (202, {"worker_id": worker_id, "variant": NAME, "order": "load"})
    pool.until(lambda having: set(having) == {worker_id}, "the replica on the named worker")
    pool.until(lambda having: not having, "the idle replica's end")


def test_a_wanted_number_of_replicas_is_kept_and_let_go(pool: Scene) -> None:
    path = "/api/v1/models/sample/int4/placement"
    assert pool.client.put(path, json={"replicas": 2}).json() == {"replicas": 2, "pinned": False}
    pool.until(lambda having: len(having) == 2 and all(r["pinned"] for r in having.values()), "two kept replicas")
    [model] = pool.client.get("/api/v1/models").json()["data"]
    assert model["placements"] == {"int4": {"replicas": 2, "pinned": False}}
    gone = next(iter(pool.having()))
    assert pool.client.delete(f"/api/v1/replicas/{gone}/sample/int4").status_code == 202
    pool.until(lambda having: gone not in having, "the end that an admin asked for")
    pool.until(lambda having: gone in having, "the wanted number again")
    begin = time.monotonic()
    while time.monotonic() - begin < 1.5:
        assert len(pool.having()) == 2, "what is kept was idle for far longer than the limit"
    assert pool.client.put(path, json={}).json() == {"replicas": 0, "pinned": False}
    pool.until(lambda having: not having, "the end of what is kept no more")
    assert pool.client.get("/api/v1/models").json()["data"][0]["placements"] == {}


def test_what_does_not_exist_is_told(pool: Scene) -> None:
    wrong_worker = pool.client.post("/api/v1/replicas", json={"model": NAME, "worker_id": "w_none"})
    assert (wrong_worker.status_code, wrong_worker.json()["error"]["code"]) == (404, "worker_not_found")
    wrong_model = pool.client.put("/api/v1/models/sample/int2/placement", json={"replicas": 1})
    assert (wrong_model.status_code, wrong_model.json()["error"]["code"]) == (404, "variant_not_published")
    assert pool.client.post("/api/v1/replicas", json={"model": "nothing"}).status_code == 404


def test_admins_orders_are_in_the_audit_log(pool: Scene) -> None:
    actions = {entry["action"] for entry in pool.client.get("/api/v1/audit").json()["data"]}
    assert {"variant.placed", "worker.load", "worker.unload"} <= actions


def test_a_drained_worker_takes_nothing_new(pool: Scene) -> None:
    worker_id = pool.workers()[0]["worker_id"]
    assert pool.client.post(f"/api/v1/workers/{worker_id}/drain").status_code == 202
    wait_until(lambda: {w["worker_id"]: w["state"] for w in pool.workers()}[worker_id] == "draining", what="the drain")
    other = pool.workers()[1]["worker_id"]
    answer = pool.client.post("/api/v1/replicas", json={"model": NAME})
    assert answer.json()["worker_id"] == other
