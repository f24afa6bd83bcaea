"""What stays when all containers, and then all volumes, are gone."""

from __future__ import annotations

import tarfile
import time
from pathlib import Path
from typing import Any

from tests.compose.compose_project import ComposeProject
from tests.compose.platform_client import MODEL, SOURCE_MODEL, PlatformClient


def knowledge(client: PlatformClient) -> dict[str, Any]:
    """Return what the platform knows: every chat with its messages, jobs, users with their keys, models."""
    chats = client.get("/api/v1/chats?limit=200")["data"]
    return {
        "chats": chats,
        "messages": [client.ended_chat(chat["chat_id"]) for chat in chats],
        "jobs": client.get("/api/v1/conversions")["data"],
        "users": client.get("/api/v1/users")["data"],
        "keys": client.get("/api/v1/keys")["data"],
        "models": [
            (view["model"], [variant["variant"] for variant in view["variants"]])
            for view in client.get("/api/v1/models")["data"]
        ],
    }


async def test_down_and_up_again_keeps_everything(scaled: ComposeProject, client: PlatformClient) -> None:
    await client.chat(MODEL, "What is the capital of Italy?", request_id="before-down")
    made = client.post("/api/v1/keys", {"user": "ann", "name": "laptop"})
    before = knowledge(client)
    assert before["chats"]
    began = time.monotonic()
    scaled.run("down")
    assert scaled.containers() == []
    scaled.bring_up(gateway=1, inference_cpu=1)
    scaled.durations["down and up again until healthy"] = time.monotonic() - began
    assert knowledge(client) == before
    assert client.status_with_key("/api/v1/session", made["key"]) == 200
    answer = await client.chat(MODEL, "What is the capital of France?", request_id="after-down")
    assert "Paris" in answer.text


def back_up_while_it_converts(project: ComposeProject, client: PlatformClient, folder: Path) -> None:
    """The accident: a conversion changes the store while it is copied, and there is no backup."""
    job = client.post("/api/v1/conversions", {"source_model": SOURCE_MODEL, "variants": ["fp16"], "name": "backed-up"})
    client.stage_begun(job["conversion_id"], "export")
    project.script("backup", str(folder))
    with tarfile.open(folder / "models.tar") as models:
        names = models.getnames()
    assert [name for name in names if ".staging" in name] == []
    assert f"./{MODEL}/int4/manifest.json" in names
    assert client.ended_conversion(job["conversion_id"], timeout_seconds=120)["state"] == "succeeded"


async def test_a_backup_brings_everything_back_after_all_volumes_were_wiped(
    project: ComposeProject, client: PlatformClient, converted: dict[str, object], tmp_path: Path
) -> None:
    project.bring_up(gateway=1, inference_cpu=1)
    await client.chat(MODEL, "What is the capital of Spain?", request_id="before-backup")
    back_up_while_it_converts(project, client, tmp_path / "busy")
    before = knowledge(client)
    assert before["chats"]
    folder = tmp_path / "backup"
    began = time.monotonic()
    project.script("backup", str(folder))
    project.durations["backup"] = time.monotonic() - began
    assert folder.stat().st_mode & 0o077 == 0
    refused = project.script("restore", str(folder), check=False)
    assert "stop it first" in refused.stderr

    project.run("down", "--volumes", "--timeout", "30")
    began = time.monotonic()
    project.script("restore", str(folder))
    refused = project.script("restore", str(folder), check=False)
    assert "not empty" in refused.stderr
    project.bring_up()
    project.durations["restore until healthy"] = time.monotonic() - began

    # The key of before opens it, and everything that it showed is there.
    assert knowledge(client) == before
    answer = await client.chat(MODEL, "What is the capital of France?", request_id="after-restore")
    assert "Paris" in answer.text
