"""A worker process with the sample engine on a real Redis; the test plays the gateway."""

from __future__ import annotations

import time
from pathlib import Path

import orjson
import pytest

from shared import keys
from shared.schemas.generation import GenerationParams
from shared.schemas.workers import CancelGeneration, LoadVariant, UnloadVariant
from tests.helpers.worker_client import (
    LONG,
    VARIANT,
    StartWorker,
    WorkerClient,
    assert_well_formed,
    publish_sample_variant,
    text_of,
    tokens_of,
)

pytestmark = pytest.mark.connected


async def test_an_answer_is_journaled_from_start_to_end(
    client: WorkerClient, start_worker: StartWorker, store: Path
) -> None:
    publish_sample_variant(store, replay_text="The capital of France is Paris. 😀")
    start_worker()
    worker_id = await client.ready_worker()
    entries = await client.ended(await client.ask(params=LONG))
    assert_well_formed(entries)
    assert text_of(entries) == "The capital of France is Paris. 😀"
    started, finished = orjson.loads(entries[0].frame), orjson.loads(entries[-1].frame)
    assert (started["worker_id"], started["model"], started["variant"]) == (worker_id, "demo", "int8")
    assert finished["finish_reason"] == "stop"
    assert finished["usage"] == {
        "prompt_tokens": started["prompt_tokens"],
        "completion_tokens": len(tokens_of(entries)),
        "cached_tokens": None,
    }
    assert 0 <= finished["timings"]["first_token_ms"] <= finished["timings"]["total_ms"]


async def test_many_generations_share_the_slots_and_all_end(
    client: WorkerClient, start_worker: StartWorker, store: Path
) -> None:
    publish_sample_variant(store)
    start_worker()
    await client.ready_worker()
    asked = [await client.ask(f"number {number}") for number in range(60)]
    for generation_id in asked:
        entries = await client.ended(generation_id)
        assert_well_formed(entries)
        assert len(tokens_of(entries)) == 20
    await client.until(lambda workers: workers[0].free_slots[VARIANT] == 8)
    await client.until(lambda workers: workers[0].info.generated_tokens == 60 * 20)


async def test_a_stop_string_is_never_shown(client: WorkerClient, start_worker: StartWorker, store: Path) -> None:
    publish_sample_variant(store, replay_text="one two END three")
    start_worker()
    await client.ready_worker()
    entries = await client.ended(await client.ask(params=LONG.model_copy(update={"stop": ("END",)})))
    assert text_of(entries) == "one two "
    assert orjson.loads(entries[-1].frame)["finish_reason"] == "stop"
    await client.until(lambda workers: workers[0].free_slots[VARIANT] == 8)


async def cancel(client: WorkerClient, worker_id: str, generation_id: str) -> float:
    """Cancel and return the seconds until the end was journaled."""
    begin = time.monotonic()
    await client.registry.send(worker_id, CancelGeneration(generation_id=generation_id))
    entries = await client.ended(generation_id)
    seconds = time.monotonic() - begin
    assert orjson.loads(entries[-1].frame)["finish_reason"] == "cancelled"
    return seconds


async def test_cancel_in_prefill_and_in_decode_is_quick_and_frees_the_slot(
    client: WorkerClient, start_worker: StartWorker, store: Path
) -> None:
    publish_sample_variant(store, prefill_tokens_per_second=2.0)
    publish_sample_variant(store, "other:int8")
    start_worker()
    worker_id = await client.ready_worker()
    await client.ready_worker("other:int8")
    prefill = await client.ask(params=LONG)
    await client.entries_until(prefill, bool)
    assert await cancel(client, worker_id, prefill) < 0.5
    decode = await client.ask(variant="other:int8", params=LONG)
    await client.entries_until(decode, lambda entries: len(entries) > 5)
    assert await cancel(client, worker_id, decode) < 0.5
    count = len(await client.journal.read(decode))
    await client.until(lambda workers: set(workers[0].free_slots.values()) == {8})
    assert len(await client.journal.read(decode)) == count


async def test_cancel_in_the_queue_ends_it_there(client: WorkerClient, start_worker: StartWorker, store: Path) -> None:
    publish_sample_variant(store)
    start_worker(max_sequences=1)
    worker_id = await client.ready_worker()
    busy, queued = await client.ask(params=LONG), await client.ask()
    assert await client.queue.cancel(queued, "ann") == "cancelled"
    await cancel(client, worker_id, busy)
    after = await client.ask()
    assert_well_formed(await client.ended(after))
    assert len(await client.journal.read(queued)) == 1


async def test_the_least_recently_used_idle_replica_makes_room(
    client: WorkerClient, start_worker: StartWorker, store: Path
) -> None:
    for variant in ("a:x", "b:x", "c:x"):
        publish_sample_variant(store, variant)
    start_worker(max_replicas=2)
    await client.ready_worker("a:x")
    await client.ready_worker("b:x")
    await client.ended(await client.ask(variant="a:x"))
    await client.ready_worker("c:x")
    await client.until(lambda workers: set(workers[0].free_slots) == {"a:x", "c:x"})


async def test_a_busy_replica_is_not_ended_for_another(
    client: WorkerClient, start_worker: StartWorker, store: Path
) -> None:
    publish_sample_variant(store, "a:x")
    publish_sample_variant(store, "b:x")
    start_worker(max_replicas=1)
    worker_id = await client.ready_worker("a:x")
    params = GenerationParams(temperature=0, max_new_tokens=100)
    first = await client.ask(variant="a:x", params=params)
    await client.registry.send(worker_id, LoadVariant(variant="b:x"))
    assert len(tokens_of(await client.ended(first))) == 100
    await client.until(lambda workers: set(workers[0].free_slots) == {"b:x"})


async def test_unload_waits_for_what_runs(client: WorkerClient, start_worker: StartWorker, store: Path) -> None:
    publish_sample_variant(store)
    start_worker()
    worker_id = await client.ready_worker()
    first = await client.ask(params=GenerationParams(temperature=0, max_new_tokens=100))
    await client.registry.send(worker_id, UnloadVariant(variant=VARIANT))
    await client.until(lambda workers: workers[0].free_slots == {})
    assert len(tokens_of(await client.ended(first))) == 100
    await client.until(lambda workers: workers[0].info.replicas == ())


async def test_errors_of_one_generation_end_it_alone(
    client: WorkerClient, start_worker: StartWorker, store: Path
) -> None:
    publish_sample_variant(store, kv_cache_tokens=400)
    start_worker()
    await client.ready_worker()
    too_long = await client.ended(await client.ask("word " * 3000))
    assert orjson.loads(too_long[-1].frame)["error"]["code"] == "context_length_exceeded"
    no_memory = await client.ended(await client.ask("x" * 300, params=LONG))
    assert orjson.loads(no_memory[-1].frame)["error"]["code"] == "kv_cache_exhausted"
    assert_well_formed(await client.ended(await client.ask()))
    await client.until(lambda workers: workers[0].free_slots[VARIANT] == 8)


async def test_an_unreadable_command_does_not_stop_the_worker(
    client: WorkerClient, start_worker: StartWorker, store: Path
) -> None:
    publish_sample_variant(store)
    start_worker()
    worker_id = await client.ready_worker()
    await client.redis.xadd(keys.worker_stream(worker_id), {"c": b"{no json"})
    await client.redis.xadd(keys.worker_stream(worker_id), {"other": b"1"})
    assert_well_formed(await client.ended(await client.ask()))


async def test_without_a_stored_variant_the_sample_engine_says_letters(
    client: WorkerClient, start_worker: StartWorker
) -> None:
    start_worker()
    await client.ready_worker("nowhere:x")
    entries = await client.ended(await client.ask(variant="nowhere:x"))
    assert_well_formed(entries)
    assert text_of(entries).isalpha()
    assert len(text_of(entries)) == 20
