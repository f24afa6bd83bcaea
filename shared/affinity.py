"""Which worker may still have a conversation's prefix in its KV cache."""

from __future__ import annotations

from typing import cast

from shared import keys
from shared.redis_client import AsyncRedis
from shared.schemas.generation import GenerationRequest

#: A worker's cache forgets what is not used; after this long a chat may as well begin anywhere.
REMEMBERED_SECONDS = 3600


class PrefixAffinity:
    """The last worker of each conversation and variant, on the transport Redis. A hint: to lose it costs a prefill."""

    def __init__(self, transport: AsyncRedis) -> None:
        self._redis = transport

    async def worker_of(self, request: GenerationRequest) -> str | None:
        """Return the worker that computed the beginning of this prompt, if it is known."""
        worker_id = cast(bytes | None, await self._redis.get(_key(request)))
        return None if worker_id is None else worker_id.decode()

    async def remember(self, request: GenerationRequest, worker_id: str) -> None:
        """This worker computes the prompt now."""
        await self._redis.set(_key(request), worker_id, ex=REMEMBERED_SECONDS)


def _key(request: GenerationRequest) -> str:
    return keys.chat_worker(f"{request.variant_key}:{request.conversation}")
