"""The demo model, converted once per test run through the platform itself and kept between runs.

The cache key covers what the result depends on: the converter's code, the store's form and the pinned libraries.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import httpx

from tests.helpers.redis_server import RedisServer
from tests.helpers.services import Gateway, Service, wait_until

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "demo-store"
MODEL = "smollm2-135m-instruct"
VARIANTS = ("fp16", "int8", "int4")
CONVERSION_SECONDS = 540
CARD_SECONDS = 240


def cache_key() -> str:
    """Return the digest of everything that the converted files depend on."""
    digest = hashlib.sha256()
    sources = sorted((ROOT / "converter_worker").rglob("*.py"))
    for path in (*sources, ROOT / "shared" / "model_store.py", ROOT / "shared" / "schemas" / "models.py"):
        digest.update(path.read_bytes())
    digest.update((ROOT / "deploy" / "locks" / "converter.lock").read_bytes())
    return digest.hexdigest()[:16]


def demo_data_dir() -> Path:
    """Return a data folder whose ``models`` holds all three variants, converting them where they are not cached."""
    folder = CACHE / cache_key()
    if not (folder / "job.json").exists():
        if CACHE.exists():
            for old in CACHE.iterdir():
                shutil.rmtree(old, ignore_errors=True)
        folder.mkdir(parents=True)
        job = _convert(folder)
        (folder / "job.json").write_text(json.dumps(job))
    return folder


def demo_job() -> dict[str, Any]:
    """Return the conversion job that made the cached variants."""
    job: dict[str, Any] = json.loads((demo_data_dir() / "job.json").read_text())
    return job


def _cards(client: httpx.Client) -> list[object]:
    """Return the quality card of each published variant, None for one that is still to come."""
    (model,) = client.get("/api/v1/models").json()["data"]
    return [variant["quality"] for variant in model["variants"]]


def _convert(folder: Path) -> dict[str, Any]:
    server = RedisServer(folder / "redis").start()
    environment = {"OVCHAT_REDIS_URL": server.url, "OVCHAT_DATA_DIR": str(folder), "OVCHAT_QUALITY_CARDS": "true"}
    gateway = Gateway(environment, folder / "gateway.log").start_ready()
    converter = Service("converter_worker", environment, folder / "converter.log").start()
    try:
        with gateway.client() as client:
            response = client.post("/api/v1/conversions", json={"source_model": MODEL, "variants": VARIANTS})
            assert response.status_code == 202, response.text
            url = f"/api/v1/conversions/{response.json()['conversion_id']}"
            job: dict[str, Any] = {}

            def ended() -> bool:
                job.update(client.get(url).json())
                return job["state"] in ("succeeded", "failed", "cancelled")

            wait_until(ended, seconds=CONVERSION_SECONDS, what="demo conversion")
            assert job["state"] == "succeeded", (job["error"], converter.output[-3000:])
            # The cards come after the job, in the background.
            wait_until(lambda: all(_cards(client)), seconds=CARD_SECONDS, what=f"cards: {converter.output[-3000:]}")
            job["events"] = client.get(f"{url}/events").text
            return job
    finally:
        converter.stop()
        gateway.stop()
        server.stop()
