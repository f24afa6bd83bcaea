"""Conversion and chats through the published port."""

from __future__ import annotations

import time

from tests.compose.compose_project import ComposeProject
from tests.compose.platform_client import MODEL, PlatformClient


def test_the_demo_model_is_converted_through_the_published_port(
    client: PlatformClient, converted: dict[str, object]
) -> None:
    models = {view["model"]: view for view in client.get("/api/v1/models")["data"]}
    [variant] = models[MODEL]["variants"]
    assert variant["variant"] == "int4"
    assert variant["compression_rate"] > 2
    assert variant["verification"]["passed"]


async def test_a_chat_streams_through_the_published_port(
    project: ComposeProject, client: PlatformClient, converted: dict[str, object]
) -> None:
    began = time.monotonic()
    answer = await client.chat(MODEL, "What is the capital of France?", request_id="compose-first")
    project.durations["first chat, with loading"] = time.monotonic() - began
    assert "Paris" in answer.text
    assert answer.seqs == list(range(1, len(answer.seqs) + 1))
    assert answer.finish_reason in ("stop", "length")


def test_a_worker_cannot_write_into_the_store(project: ComposeProject, converted: dict[str, object]) -> None:
    manifest = f"/models/{MODEL}/int4/manifest.json"
    assert project.execute("inference-cpu", "test", "-r", manifest).returncode == 0
    for command in (["touch", "/models/stray"], ["rm", "-f", manifest]):
        refused = project.execute("inference-cpu", *command, check=False)
        assert refused.returncode != 0
        assert "Read-only file system" in refused.stdout + refused.stderr
    assert project.execute("converter", "test", "-w", "/models").returncode == 0
