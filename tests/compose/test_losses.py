"""Containers are killed, and nobody loses anything by it."""

from __future__ import annotations

import time
from pathlib import Path

from tests.chaos.recorder import Recorder
from tests.compose.chats_under_load import chats_while
from tests.compose.compose_project import ComposeProject
from tests.compose.container_kills import kill_containers, plan_container_kills, summary
from tests.compose.platform_client import MODEL, SOURCE_MODEL, PlatformClient

KILLS = 12
SEED = 2027


def test_a_killed_redis_comes_back_with_what_it_knew(scaled: ComposeProject, client: PlatformClient) -> None:
    job = client.get("/api/v1/conversions")["data"][0]
    # Killed, not asked: the append-only file has every write that was answered.
    [redis] = scaled.containers("redis")
    scaled.kill(redis)
    scaled.start(redis)
    scaled.bring_up()
    assert client.get("/api/v1/conversions")["data"][0] == job
    assert [view["model"] for view in client.get("/api/v1/models")["data"]] == [MODEL]


def test_a_converter_that_crashes_in_a_conversion_takes_it_up_again(
    scaled: ComposeProject, client: PlatformClient
) -> None:
    """Accident: the job stands as running for ever, or half of what it made is listed."""
    name = "crashed-once"
    job = client.post("/api/v1/conversions", {"source_model": SOURCE_MODEL, "variants": ["int8"], "name": name})
    client.stage_begun(job["conversion_id"], "export")
    [converter] = scaled.containers("converter")
    began = time.monotonic()
    scaled.crash(converter)
    ended = client.ended_conversion(job["conversion_id"], timeout_seconds=300)
    scaled.durations["conversion to its end after its converter crashed"] = time.monotonic() - began
    assert ended["state"] == "succeeded", ended
    variants = {view["model"]: view["variants"] for view in client.get("/api/v1/models")["data"]}
    assert [variant["variant"] for variant in variants[name]] == ["int8"]
    staged = scaled.execute("converter", "sh", "-c", "ls -A /models/.staging 2>/dev/null || true").stdout.split()
    assert job["conversion_id"] not in " ".join(staged)
    client.delete(f"/api/v1/models/{name}/int8")
    deadline = time.monotonic() + 60
    while name in [view["model"] for view in client.get("/api/v1/models")["data"]]:
        assert time.monotonic() < deadline, "the deleted variant is listed still"
        time.sleep(0.2)


async def test_random_kills_lose_and_repeat_nothing(
    scaled: ComposeProject, client: PlatformClient, tmp_path: Path
) -> None:
    """Accidents: a gateway, a worker, Redis or the proxy takes answers with it, or something is said twice."""
    plan = plan_container_kills(KILLS, SEED)

    async def kill(recorder: Recorder) -> None:
        await kill_containers(scaled, plan, recorder, SEED)

    comparison = await chats_while(kill, client, tmp_path, SEED)
    scaled.figures["random kills under 20 chats"] = f"{summary(plan)}; {comparison}"
    assert comparison.problems == []
    assert comparison.deltas > 1000
