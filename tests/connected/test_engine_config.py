"""How admins configure a variant's engine, and that it reaches the engine. A real pool with the sample engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from shared import keys
from tests.helpers.command_line import clean_environment, ovchat
from tests.helpers.pool import Pool
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import ADMIN_KEY, wait_until
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected

PATH = "/api/v1/models/sample/int4"


class Scene:
    """A gateway with one worker."""

    def __init__(self, pool: Pool, redis_url: str) -> None:
        self.client = pool.gateway().client()
        self.redis_url = redis_url
        publish_sample_variant(pool.store_path, redis_url)
        pool.worker()

    def configure(self, **config: object) -> dict[str, Any]:
        answer = self.client.put(f"{PATH}/engine", json=config)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def loaded(self) -> dict[str, Any]:
        """Load the variant anew and return its replica."""
        for view in self.client.get("/api/v1/replicas").json()["data"]:
            self.client.delete(f"/api/v1/replicas/{view['worker_id']}/sample/int4")
        wait_until(lambda: not self.client.get("/api/v1/replicas").json()["data"], what="the end of the replica")
        assert self.client.post("/api/v1/replicas", json={"model": "sample:int4"}).status_code == 202
        found: list[dict[str, Any]] = []

        def ready() -> bool:
            found[:] = [view["replica"] for view in self.client.get("/api/v1/replicas").json()["data"]]
            return bool(found) and found[0]["state"] == "ready"

        wait_until(ready, what="the replica")
        return found[0]


@pytest.fixture(scope="module")
def scene(session_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with redis.Redis.from_url(session_redis.url) as client:
        client.flushall()
    pool = Pool(tmp_path_factory.mktemp("engines"), session_redis.url)
    try:
        scene = Scene(pool, session_redis.url)
        yield scene
        scene.client.close()
    finally:
        pool.stop()


def test_a_configuration_reaches_the_engine_at_the_next_load_and_can_be_taken_back(scene: Scene) -> None:
    before = scene.loaded()
    assert (before["slots"], before["engine"]["max_sequences"]) == (64, {"value": 64, "source": "host"})
    answer = scene.configure(max_sequences=5, properties={"KV_CACHE_PRECISION": "u8"})
    assert answer["takes_effect"] == "at the next load"
    assert answer["config"]["max_sequences"] == 5
    [view] = scene.client.get("/api/v1/replicas").json()["data"]
    assert view["replica"]["slots"] == 64
    replica = scene.loaded()
    assert replica["slots"] == 5
    assert replica["engine"]["max_sequences"] == {"value": 5, "source": "admin"}
    assert replica["engine"]["KV_CACHE_PRECISION"] == {"value": "u8", "source": "admin"}
    assert scene.configure()["config"]["max_sequences"] is None
    assert scene.loaded()["slots"] == 64


def test_a_tuning_is_used_on_its_kind_of_host_only(scene: Scene) -> None:
    kind = scene.loaded()["host_kind"]
    assert kind.startswith("sample, ")
    for host, threads in ((kind, "3"), ("another CPU", "7")):
        tuning = {
            "device": "CPU",
            "host_kind": host,
            "mode": "throughput",
            "config": {"properties": {"INFERENCE_NUM_THREADS": threads}},
        }
        answer = scene.client.put(f"{PATH}/tuning", json=tuning)
        assert answer.status_code == 200, answer.text
    assert len(scene.client.get(f"{PATH}/engine").json()["tunings"]) == 2
    assert scene.loaded()["engine"]["INFERENCE_NUM_THREADS"] == {"value": "3", "source": "tuning"}
    scene.configure(tuning="off")
    assert scene.loaded()["engine"]["INFERENCE_NUM_THREADS"]["source"] == "host"
    scene.configure()


def test_what_an_engine_cannot_do_fails_the_load_with_its_reason(scene: Scene) -> None:
    scene.loaded()
    scene.configure(max_ngram_size=3)
    scene.client.delete(f"/api/v1/replicas/{_worker(scene)}/sample/int4")
    wait_until(lambda: not scene.client.get("/api/v1/replicas").json()["data"], what="the end of the replica")
    ask = {"model": "sample:int4", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    answer = scene.client.post("/v1/chat/completions", json=ask)
    assert answer.json()["error"]["code"] == "load_failed"
    assert "max_ngram_size" in answer.json()["error"]["message"]
    scene.configure()
    wait_until(lambda: scene.client.post("/v1/chat/completions", json=ask).status_code == 200, what="an answer")


def test_a_transport_redis_that_forgot_is_told_again(scene: Scene) -> None:
    scene.configure(max_sequences=6)
    with redis.Redis.from_url(scene.redis_url) as client:
        client.delete(keys.VARIANT_ENGINES)
        wait_until(lambda: bool(client.exists(keys.VARIANT_ENGINES)), what="the copy of the placer")
    assert scene.loaded()["slots"] == 6
    scene.configure()


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        (f"{PATH}/engine", {"properties": {"CACHE_DIR": "/tmp"}}, 400, "invalid_request"),
        (f"{PATH}/engine", {"kv_cache_bytes": 1 << 30, "num_kv_blocks": 3}, 400, "invalid_request"),
        (f"{PATH}/engine", {"draft_model": "sample:int8"}, 404, "variant_not_published"),
        ("/api/v1/models/sample/int2/engine", {}, 404, "variant_not_published"),
        (f"{PATH}/tuning", {"device": "CPU", "host_kind": "x", "mode": "fast"}, 400, "invalid_request"),
    ],
)
def test_what_cannot_be_is_refused(scene: Scene, path: str, body: dict[str, object], status: int, code: str) -> None:
    answer = scene.client.put(path, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_the_audit_log_has_what_was_configured(scene: Scene) -> None:
    scene.configure(max_sequences=9)
    newest = scene.client.get("/api/v1/audit").json()["data"][0]
    assert (newest["action"], newest["target"], newest["detail"]) == (
        "variant.configured",
        "sample:int4",
        '{"max_sequences":9}',
    )
    scene.configure()


def _worker(scene: Scene) -> str:
    return str(scene.client.get("/api/v1/workers").json()["data"][0]["worker_id"])


def test_the_command_line_configures_and_shows_it(scene: Scene) -> None:
    environment = {**clean_environment(), "OVCHAT_URL": str(scene.client.base_url), "OVCHAT_API_KEY": ADMIN_KEY}
    wanted = ("--set", "max_sequences=3", "--set", "prefix_caching=false", "--set", "KV_CACHE_PRECISION=u8")
    outcome = ovchat(environment, "models", "engine", "sample:int4", *wanted)
    assert outcome.returncode == 0, outcome.stderr
    assert "It takes effect at the next load." in outcome.stdout
    outcome = ovchat(environment, "models", "engine", "sample:int4", "--set", "max_sequences=", "--json")
    assert json.loads(outcome.stdout)["config"] == {
        "prefix_caching": False,
        "properties": {"KV_CACHE_PRECISION": "u8"},
    }
    scene.loaded()
    [replica] = json.loads(ovchat(environment, "replicas", "list", "--json").stdout)
    assert replica["engine"]["prefix_caching"] == {"value": False, "source": "admin"}
    for bad, status, said in (
        ("max_sequences", 2, "is no KEY=VALUE"),
        ("max_sequence=3", 2, "max_sequence: Extra inputs are not permitted"),
        ("CACHE_DIR=x", 2, "the property CACHE_DIR cannot be set"),
    ):
        outcome = ovchat(environment, "models", "engine", "sample:int4", "--set", bad)
        assert (outcome.returncode, outcome.stdout) == (status, "")
        assert said in outcome.stderr
    assert "nothing is configured" in ovchat(environment, "models", "engine", "sample:int4", "--reset").stdout
