"""The index of published variants follows the store, and not what the store seems to be for a moment."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from converter_worker.now_and_then import NowAndThen
from converter_worker.variant_index import VariantIndex
from shared import keys
from shared.model_store import MANIFEST_NAME, ModelStore
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected


@pytest.fixture
def state(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def store(tmp_path: Path, redis_url: str, state: redis.Redis) -> ModelStore:
    for variant in ("int4", "int8"):
        publish_sample_variant(tmp_path / "models", redis_url, variant=variant)
    state.hset(keys.DEFAULT_VARIANTS, "sample", "int4")
    return ModelStore(tmp_path / "models")


def listed(state: redis.Redis) -> tuple[object, object]:
    return set(state.hkeys(keys.VARIANTS)), state.hget(keys.DEFAULT_VARIANTS, "sample")


def test_a_store_that_is_not_mounted_yet_empties_no_index(store: ModelStore, state: redis.Redis) -> None:
    """A converter that started before its volume was there took every model, and every default, from the platform."""
    before = listed(state)
    away = store.path.rename(store.path.with_name("away"))
    index = VariantIndex(state, store)
    assert index.rebuild() == 0
    store.path.mkdir()
    assert index.rebuild() == 0
    assert listed(state) == before
    store.path.rmdir()
    away.rename(store.path)
    store.delete("sample", "int4")
    assert index.rebuild() == 1
    assert listed(state) == ({b"sample:int8"}, None)


def test_a_manifest_that_cannot_be_read_for_a_moment_keeps_its_variant(store: ModelStore, state: redis.Redis) -> None:
    """A stale mount answered with errors: the variant was gone from the index, and the admin's choice with it."""
    before = listed(state)
    manifest = store.variant_dir("sample", "int4") / MANIFEST_NAME
    kept = manifest.rename(manifest.with_name("kept"))
    manifest.mkdir()
    assert VariantIndex(state, store).rebuild() == 1
    assert listed(state) == before
    manifest.rmdir()
    kept.rename(manifest)


def test_what_drifted_is_mended_now_and_then(store: ModelStore, state: redis.Redis) -> None:
    """Redis was restored from a backup: what had been published since was in the store, and never listed."""
    state.hdel(keys.VARIANTS, "sample:int8")
    state.hset(keys.VARIANTS, "sample:int4", b"{}")
    times = iter([0.0, 299.0, 300.0, 300.0])
    chore = NowAndThen(VariantIndex(state, store).rebuild, 300.0, lambda: next(times))
    chore.do_if_due()
    assert state.hkeys(keys.VARIANTS) == [b"sample:int4"]
    chore.do_if_due()
    assert listed(state) == ({b"sample:int4", b"sample:int8"}, b"int4")
    assert state.hget(keys.VARIANTS, "sample:int4") != b"{}"
