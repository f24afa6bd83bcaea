"""The gateway's HTTP side: who may ask, what is answered, and how a refusal reads."""

import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from shared import keys
from shared.schemas.converters import ConverterInfo
from tests.helpers.redis_server import RedisServer, free_port
from tests.helpers.services import ADMIN_KEY, Gateway, Service, assert_error, wait_until
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected


@pytest.fixture(scope="module")
def lone_gateway(session_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    with redis.Redis.from_url(session_redis.url) as client:
        client.flushall()
    publish_sample_variant(folder / "models", session_redis.url, model="sample")
    gateway = Gateway(
        {"OVCHAT_REDIS_URL": session_redis.url, "OVCHAT_DATA_DIR": str(folder)}, folder / "gateway.log"
    ).start_ready()
    yield gateway
    assert gateway.stop() in (0, -15)


def test_a_socket_needs_the_key(lone_gateway: Gateway) -> None:
    with lone_gateway.client(key=None) as client:
        response = client.get(
            "/api/v1/ws",
            headers={
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            },
        )
    assert_error(response, 401, "invalid_api_key")


def test_the_page_is_open_and_strict(lone_gateway: Gateway) -> None:
    with lone_gateway.client(key=None) as client:
        page = client.get("/")
        assert page.status_code == 200
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert not re.search(r"https?://", page.text), "the page loads nothing from elsewhere"
        for link in re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text):
            assert client.get(link).status_code == 200


def test_what_is_not_there_has_the_one_error_body(lone_gateway: Gateway) -> None:
    with lone_gateway.client() as client:
        assert_error(client.get("/api/v1/nothing"), 404, "not_found")
        assert_error(client.put("/api/v1/models"), 405, "method_not_allowed")
        assert_error(client.get("/api/v1/conversions/conv_x"), 404, "conversion_not_found")
        assert_error(client.get("/api/v1/conversions/conv_x/events"), 404, "conversion_not_found")
        assert_error(client.delete("/api/v1/conversions/conv_x"), 404, "conversion_not_found")
        assert_error(client.delete("/api/v1/models/sample/fp16"), 404, "variant_not_published")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"source_model": "a/b"}, "variants"),
        ({"source_model": "a/b", "variants": ["int3"]}, "variants"),
        ({"source_model": "a/b", "variants": ["int4"], "varants": 1}, "varants"),
        ({"source_model": "a/b", "variants": [{"name": "x", "weight_format": "int4", "recipe": {"grp": 1}}]}, "grp"),
        ({"source_model": "a/b", "variants": ["int4"], "name": "Not A Name"}, "name"),
        ({"source_model": "a/Über", "variants": ["int4"]}, "name"),
    ],
)
def test_a_bad_conversion_request_names_its_field(lone_gateway: Gateway, body: dict[str, object], param: str) -> None:
    with lone_gateway.client() as client:
        error = assert_error(client.post("/api/v1/conversions", json=body), 400, "invalid_request")
        assert param in (error["param"] or "")
        assert client.get("/api/v1/conversions").json()["data"] == []
        assert_error(client.post("/api/v1/conversions", content=b"{no json"), 400, "invalid_request")


def assert_says_that_no_converter_runs(client: httpx.Client, database: redis.Redis, job: dict[str, Any]) -> None:
    """Nobody else can: a job whose only converter is gone looked as if it were worked on, for ever."""
    path = f"/api/v1/conversions/{job['conversion_id']}"
    assert "none is running" in job["waiting"]
    assert client.get(path).json()["waiting"] == job["waiting"]
    there = ConverterInfo(
        worker_id="w",
        host="h",
        slots=1,
        memory_bytes=1,
        free_bytes=1,
        disk_free_bytes=1,
        seen_ms=1000 * database.time()[0],
    )
    database.hset(keys.CONVERTERS, there.worker_id, there.model_dump_json())
    assert client.get(path).json()["waiting"] is None
    database.hdel(keys.CONVERTERS, there.worker_id)


def test_conversion_jobs_join_and_names_belong_to_a_source(lone_gateway: Gateway, session_redis: RedisServer) -> None:
    with lone_gateway.client() as client, redis.Redis.from_url(session_redis.url) as database:
        request = {"source_model": "org/Some-Model", "variants": ["int8", "int4"]}
        first = client.post("/api/v1/conversions", json=request)
        assert first.status_code == 202
        job = first.json()
        assert job["plan"]["model"] == "some-model"
        assert_says_that_no_converter_runs(client, database, job)
        recipes = [v["recipe"] for v in job["plan"]["variants"]]
        assert [{name: value for name, value in recipe.items() if value is not None} for recipe in recipes] == [
            {"sym": False},
            {"sym": False, "group_size": 128, "ratio": 0.8},
        ]
        again = client.post("/api/v1/conversions", json=request).json()
        assert again["joined"] is True
        assert again["conversion_id"] == job["conversion_id"]
        other = {"source_model": "other/Some-Model", "variants": ["int8"]}
        assert_error(client.post("/api/v1/conversions", json=other), 409, "name_taken")
        assert database.llen(keys.CELERY_PREFIX + keys.CONVERSION_QUEUE) == 1
        cancelled = client.delete(f"/api/v1/conversions/{job['conversion_id']}")
        assert cancelled.json()["state"] == "cancelled"
        events = client.get(f"/api/v1/conversions/{job['conversion_id']}/events").text
        assert events.count("event: conversion") == 2
        assert '"state":"cancelled"' in events
        third = client.post("/api/v1/conversions", json=request).json()
        assert third["conversion_id"] != job["conversion_id"]
        client.delete(f"/api/v1/conversions/{third['conversion_id']}")
        fourth = client.post("/api/v1/conversions", json=other)
        assert fourth.status_code == 202, "a job that came to nothing does not keep the name"
        client.delete(f"/api/v1/conversions/{fourth.json()['conversion_id']}")


def test_an_import_is_joined_and_its_sibling_waits_its_turn(lone_gateway: Gateway) -> None:
    request = {"source_model": "OpenVINO/Own-1B-int4-ov"}
    with lone_gateway.client() as client:
        first = client.post("/api/v1/imports", json=request)
        assert first.status_code == 202, first.text
        plan = first.json()["plan"]
        assert (plan["kind"], plan["model"], plan["variant"], plan["variants"]) == ("import", "own-1b", "int4", [])
        again = client.post("/api/v1/imports", json=request).json()
        assert (again["conversion_id"], again["joined"]) == (first.json()["conversion_id"], True)
        sibling = {"source_model": "OpenVINO/Own-1B-int8-ov"}
        error = assert_error(client.post("/api/v1/imports", json=sibling), 409, "name_taken")
        assert "ask again when that has ended" in error["message"]
        other = {"source_model": "somebody/Own-1B", "name": "own-1b", "variants": ["int8"]}
        client.delete(f"/api/v1/conversions/{again['conversion_id']}")
        last = client.post("/api/v1/conversions", json=other)
        assert last.status_code == 202, "a job that came to nothing does not keep the name"
        client.delete(f"/api/v1/conversions/{last.json()['conversion_id']}")


def test_a_published_name_belongs_to_its_source(lone_gateway: Gateway) -> None:
    with lone_gateway.client() as client:
        request = {"source_model": "somebody/else", "name": "sample", "variants": ["int8"]}
        error = assert_error(client.post("/api/v1/conversions", json=request), 409, "name_taken")
        assert "tests/sample" in error["message"]


def test_a_published_variant_is_not_made_again(lone_gateway: Gateway) -> None:
    with lone_gateway.client() as client:
        same = {
            "source_model": "tests/sample",
            "variants": [{"name": "int4", "weight_format": "fp16"}],
        }
        error = assert_error(client.post("/api/v1/conversions", json=same), 409, "variant_exists")
        assert "weight format" in error["message"]


def test_what_is_published_is_answered_at_once_unless_its_source_may_have_changed(
    lone_gateway: Gateway, session_redis: RedisServer, tmp_path: Path
) -> None:
    """A checkpoint is trained on in its folder: converted again it was "published already", and the old one served."""
    record = publish_sample_variant(tmp_path, session_redis.url, model="done", variant="fp16")
    with lone_gateway.client() as client, redis.Redis.from_url(session_redis.url) as database:

        def submit(source_model: str) -> dict[str, Any]:
            stands = record.model_copy(update={"source_model": source_model})
            database.hset(keys.VARIANTS, record.key, stands.model_dump_json())
            request = {"source_model": source_model, "name": "done", "variants": ["fp16"]}
            accepted = client.post("/api/v1/conversions", json=request)
            assert accepted.status_code == 202, accepted.text
            client.delete(f"/api/v1/conversions/{accepted.json()['conversion_id']}")
            return dict(accepted.json())

        of_hub, of_folder = submit("tests/done"), submit("/checkpoints/done")
        database.hdel(keys.VARIANTS, record.key)
    assert (of_hub["state"], of_hub["progress"], of_hub["results"][0]["already_published"]) == ("succeeded", 1.0, True)
    assert of_folder["state"] == "queued"


def test_what_a_newer_version_wrote_hides_nothing_else(lone_gateway: Gateway, session_redis: RedisServer) -> None:
    """While a platform is updated its gateways differ: a job of the newer one was an error of every list."""
    with lone_gateway.client() as client, redis.Redis.from_url(session_redis.url) as database:
        request = {"source_model": "org/Newer", "variants": ["int4"]}
        newer, odd = (
            client.post("/api/v1/conversions", json={**request, "name": name}).json() for name in ("newer", "odd")
        )
        for job, change in ((newer, {"recipe": {"rotation": True}}), (odd, {"weight_format": "nf3"})):
            job["plan"]["variants"][0] |= change
            database.hset(keys.conversion_job(job["conversion_id"]), "plan", json.dumps(job["plan"]))
        record = (database.hget(keys.VARIANTS, "sample:int4") or b"").replace(b':"int4","recipe', b':"nf3","recipe')
        database.hset(keys.VARIANTS, "sample:nf3", record)
        jobs = [job["conversion_id"] for job in client.get("/api/v1/conversions").json()["data"]]
        variants = [model["model"] for model in client.get("/api/v1/models").json()["data"]]
        read = client.get(f"/api/v1/conversions/{newer['conversion_id']}")
        unread = client.get(f"/api/v1/conversions/{odd['conversion_id']}")
        database.delete(*(keys.conversion_job(job["conversion_id"]) for job in (newer, odd)))
        database.hdel(keys.VARIANTS, "sample:nf3")
    assert newer["conversion_id"] in jobs
    assert odd["conversion_id"] not in jobs
    assert variants == ["sample"]
    assert read.json()["plan"]["variants"][0]["name"] == "int4"
    assert "Update this gateway" in assert_error(unread, 500, "internal_error")["message"]


def test_models_catalog_and_metrics(lone_gateway: Gateway) -> None:
    with lone_gateway.client() as client:
        (model,) = client.get("/api/v1/models").json()["data"]
        assert (model["model"], model["default_variant"]) == ("sample", "int4")
        assert len(client.get("/api/v1/catalog").json()["data"]) >= 30
        assert client.get("/api/v1/workers").json() == {"data": []}
        assert "vllm:num_requests_waiting" in client.get("/metrics").text


def test_a_misspelt_setting_ends_the_start(tmp_path: Path) -> None:
    service = Service("gateway", {"OVCHAT_PROT": "1"}, tmp_path / "log").start()
    assert service.process is not None
    assert service.process.wait(20) == 2
    assert "OVCHAT_PORT" in service.output


def test_a_port_in_use_is_a_clear_message(lone_gateway: Gateway, session_redis: RedisServer, tmp_path: Path) -> None:
    second = Gateway({"OVCHAT_REDIS_URL": session_redis.url}, tmp_path / "log", port=lone_gateway.port).start()
    assert second.process is not None
    assert second.process.wait(20) == 2
    assert "OVCHAT_PORT" in second.output
    assert ADMIN_KEY not in second.output


def test_the_admin_key_is_made_once_and_read_by_its_owner_only(tmp_path: Path) -> None:
    """The accident: two gateways start on one folder, each makes a key, and one of them is refused."""
    from concurrent.futures import ThreadPoolExecutor

    from gateway.admin_key import admin_key_path, load_admin_key
    from shared.settings import GatewaySettings

    settings = GatewaySettings(data_dir=tmp_path / "data")
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: load_admin_key(settings).key, range(16)))
    assert len(made) == 1
    assert stat.S_IMODE(admin_key_path(settings).stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["admin.key"]


def test_redis_away_at_start_is_waited_for(tmp_path: Path) -> None:
    """A gateway that starts before its Redis says so, answers, and becomes ready once Redis is there."""
    server = RedisServer(tmp_path / "redis", port=free_port())
    gateway = Gateway({"OVCHAT_REDIS_URL": server.url, "OVCHAT_DATA_DIR": str(tmp_path)}, tmp_path / "log").start()
    try:
        wait_until(lambda: "gateway_listening" in gateway.output)
        with gateway.client() as client:
            wait_until(lambda: _answers(client), what="livez")
            assert_error(client.get("/readyz"), 503, "redis_unavailable")
            refused = client.get("/api/v1/models")
            assert_error(refused, 503, "redis_unavailable")
            assert int(refused.headers["retry-after"]) >= 1
            server.start()
            wait_until(gateway.is_ready)
            assert client.get("/api/v1/models").json() == {"data": []}
    finally:
        gateway.stop()
        server.stop()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/livez").status_code == 200
    except httpx.TransportError:
        return False
