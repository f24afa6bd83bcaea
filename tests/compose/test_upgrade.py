"""Another version takes the place of the running one while people chat."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

from tests.chaos.recorder import Recorder
from tests.compose.chats_under_load import chats_while
from tests.compose.compose_project import ComposeProject
from tests.compose.platform_client import MODEL, PlatformClient

TAG, REVISION = "compose-test-next", "next"


def test_an_upgrade_without_its_images_touches_nothing(scaled: ComposeProject) -> None:
    before = scaled.containers()
    scaled.settings["IMAGE_TAG"] = "compose-test-missing"
    refused = scaled.script("upgrade", check=False)
    scaled.settings["IMAGE_TAG"] = "compose-test"
    assert refused.returncode != 0
    assert "Nothing was changed" in refused.stderr
    assert scaled.containers() == before


@pytest.mark.parametrize(
    ("setting", "service"), [("OVCHAT_MAX_WAITING", "gateway"), ("OVCHAT_STEP_TARGET_MS", "inference-cpu")]
)
async def test_a_version_that_does_not_start_leaves_the_running_one(
    scaled: ComposeProject, client: PlatformClient, setting: str, service: str
) -> None:
    before = set(scaled.containers(service))
    scaled.settings[setting] = "nonsense"
    failed = scaled.script("upgrade", check=False)
    del scaled.settings[setting]
    assert failed.returncode == 1
    assert setting in failed.stderr
    scaled.bring_up()
    assert set(scaled.containers(service)) == before
    answer = await client.chat(MODEL, "What is the capital of France?", request_id=f"after {setting}")
    assert "Paris" in answer.text


async def test_an_upgrade_loses_and_repeats_nothing(
    scaled: ComposeProject, client: PlatformClient, tmp_path: Path
) -> None:
    """Accident: an answer ends with the gateway or the worker that is replaced, or is said twice by two of them."""
    before = {service: set(scaled.containers(service)) for service in scaled.scales}
    scaled.settings |= {"IMAGE_TAG": TAG, "REVISION": REVISION}
    scaled.timed("build of the next version", "build")

    async def upgrade(recorder: Recorder) -> None:
        recorder.add("upgrade")
        began = time.monotonic()
        done = await asyncio.to_thread(scaled.script, "upgrade")
        sys.stderr.write(done.stdout)
        scaled.durations["upgrade under 20 chats"] = time.monotonic() - began

    comparison = await chats_while(upgrade, client, tmp_path, seed=1)
    scaled.figures["upgrade under 20 chats"] = str(comparison)
    assert comparison.problems == []
    assert comparison.deltas > 1000

    for service, old in before.items():
        containers = scaled.containers(service)
        assert len(containers) == scaled.scales[service]
        assert not old & set(containers)
        assert {image.name.rpartition(":")[2] for image in scaled.images(service)} == {TAG}
    assert {image.revision for service in ("gateway", "inference-cpu") for image in scaled.images(service)} == {
        REVISION
    }
    # The first gateway is found by its number, as before.
    assert scaled.execute("gateway", "ovchat", "models").returncode == 0
    client.wait_for_replicas(MODEL, "int4", 3)
