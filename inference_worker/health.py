"""Liveness of an inference worker, for a container's health check: `python -m inference_worker.health`.

It asks the registry, because that is what makes a worker useful: a worker whose heartbeats arrive there gets chats, and
one that hangs or cannot reach Redis gets none.
"""

from __future__ import annotations

import asyncio
import platform
import sys

import redis.exceptions

from shared.redis_client import create_redis
from shared.registry import Registry
from shared.settings import InferenceSettings

#: Longest time that the registry may take to answer.
PATIENCE_SECONDS = 5.0


async def is_alive(settings: InferenceSettings) -> bool:
    """Tell whether this host's worker of the settings' device has sent a heartbeat lately."""
    client = create_redis("inference-health", settings.transport_url)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            workers = await Registry(client).workers()
    except (redis.exceptions.RedisError, OSError):
        return False
    finally:
        await client.aclose()
    # A container's host name is its own, so this finds no other replica of the service.
    return any(worker.info.node == platform.node() and worker.info.device == settings.device for worker in workers)


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(is_alive(InferenceSettings())) else 1)
