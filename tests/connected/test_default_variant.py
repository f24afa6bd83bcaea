"""What a model's name alone stands for, where an admin chooses it. A real pool with the sample engine."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import redis

from converter_worker.variant_index import VariantIndex
from shared import keys
from shared.model_store import ModelStore
from tests.helpers.pool import Pool
from tests.helpers.services import Gateway
from tests.helpers.sockets import Socket, answer_text
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected

PATH = "/api/v1/models/says/default"


def listed(client: httpx.Client) -> tuple[str, str | None]:
    models = {model["model"]: model for model in client.get("/api/v1/models").json()["data"]}
    model = models["says"]
    return model["default_variant"], model["chosen_variant"]


async def answers(gateway: Gateway) -> tuple[str, str]:
    """Return what the model's name alone is answered over the socket and over ``/v1``."""
    async with Socket(gateway.socket_url) as socket:
        await socket.chat("says", "Who are you?")
        frames = await socket.receive_until("generation.finished")
    ask: dict[str, Any] = {"model": "says", "messages": [{"role": "user", "content": "And here?"}]}
    with gateway.client() as client:
        [choice] = client.post("/v1/chat/completions", json=ask).json()["choices"]
    return answer_text(frames), str(choice["message"]["content"])


async def test_a_model_means_the_chosen_variant_until_that_is_taken_back_or_deleted(
    pool: Pool, gateway: Gateway
) -> None:
    publish_sample_variant(pool.store_path, pool.redis_url, model="says", variant="int4", replay_text="four")
    publish_sample_variant(pool.store_path, pool.redis_url, model="says", variant="int8", replay_text="eight")
    with gateway.client() as client, redis.Redis.from_url(pool.redis_url) as database:
        assert listed(client) == ("int8", None)
        chosen = client.put(PATH, json={"variant": "int4"})
        assert chosen.json() == {"model": "says", "default_variant": "int4", "chosen_variant": "int4"}
        assert listed(client) == ("int4", "int4")
        assert await answers(gateway) == ("four", "four")
        assert client.put(PATH, json={"variant": None}).json()["default_variant"] == "int8"
        assert await answers(gateway) == ("eight", "eight")

        client.put(PATH, json={"variant": "int4"})
        index = VariantIndex(database, ModelStore(pool.store_path))
        index.remove("says", "int4")
        assert listed(client) == ("int8", None)
        index.rebuild()
        assert database.hexists(keys.VARIANTS, "says:int4")
        assert listed(client) == ("int8", None), "what comes back is not what somebody once chose"


def test_a_default_is_a_published_variant(gateway: Gateway) -> None:
    with gateway.client() as client:
        elsewhere = "/api/v1/models/nothing/default"
        for path, variant in ((PATH, "fp16"), (elsewhere, "int4"), (elsewhere, None)):
            answer = client.put(path, json={"variant": variant})
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "variant_not_published")
        assert client.put(PATH, json={}).status_code == 400
        assert client.put(PATH, json={"variant": "int4"}).status_code == 200
        [newest] = client.get("/api/v1/audit?limit=1").json()["data"]
        assert (newest["action"], newest["target"], newest["detail"]) == ("model.default_chosen", "says", "int4")
