"""Deleting a published variant: what goes with it, and what a late delivery must leave alone."""

from pathlib import Path

import pytest
import redis

from converter_worker.variant_deletion import delete_published
from converter_worker.variant_index import VariantIndex
from shared import keys
from shared.model_store import ModelStore
from shared.schemas.engine_config import EngineConfig
from shared.schemas.models import Placement, WeightFormat
from tests.helpers.redis_server import RedisServer
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected
CREATED_AT = "2026-01-01T00:00:00Z"


@pytest.fixture
def state(session_redis: RedisServer) -> redis.Redis:
    client = redis.Redis.from_url(session_redis.url)
    client.flushall()
    return client


@pytest.fixture
def store(tmp_path: Path, session_redis: RedisServer, state: redis.Redis) -> ModelStore:
    variants: tuple[WeightFormat, ...] = ("int4", "int8")
    for variant in variants:
        publish_sample_variant(tmp_path, session_redis.url, variant=variant)
        state.hset(keys.PLACEMENTS, f"sample:{variant}", Placement(pinned=True).model_dump_json())
        state.hset(keys.ENGINE_CONFIGS, f"sample:{variant}", EngineConfig(max_sequences=3).model_dump_json())
        state.hset(keys.TUNINGS, f"sample:{variant}|CPU|latency|host", "{}")
    state.hset(keys.DEFAULT_VARIANTS, "sample", "int4")
    return ModelStore(tmp_path)


def delete(store: ModelStore, state: redis.Redis, created_at: str = CREATED_AT) -> None:
    delete_published(store, VariantIndex(state, store), "sample", "int4", created_at)


def test_what_admins_set_goes_with_the_variant_and_leaves_the_others(store: ModelStore, state: redis.Redis) -> None:
    """Else a conversion under the same name brings back a placement and an engine that nobody remembers."""
    delete(store, state)
    assert not (store.path / "sample" / "int4").exists()
    for key in (keys.VARIANTS, keys.PLACEMENTS, keys.ENGINE_CONFIGS):
        assert state.hkeys(key) == [b"sample:int8"]
    assert state.hkeys(keys.TUNINGS) == [b"sample:int8|CPU|latency|host"]
    assert state.hgetall(keys.DEFAULT_VARIANTS) == {}


def test_a_second_delivery_changes_nothing(store: ModelStore, state: redis.Redis) -> None:
    delete(store, state)
    before = {key: state.hgetall(key) for key in (keys.VARIANTS, keys.PLACEMENTS, keys.TUNINGS)}
    delete(store, state)
    assert before == {key: state.hgetall(key) for key in before}
    assert [manifest.variant for manifest in store.manifests()] == ["int8"]


def test_a_late_delivery_leaves_what_was_converted_since(store: ModelStore, state: redis.Redis) -> None:
    """The broker delivers again after hours: a variant that was converted anew in between would be gone with it."""
    delete(store, state, created_at="2025-12-31T23:59:59Z")
    assert store.check("sample", "int4").variant == "int4"
    assert state.hexists(keys.PLACEMENTS, "sample:int4")
    assert state.hget(keys.DEFAULT_VARIANTS, "sample") == b"int4"
