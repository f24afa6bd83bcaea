"""What the OpenAI API asks for beyond sampling, seen in the journal of a worker with the sample engine."""

from __future__ import annotations

import json
from pathlib import Path

import orjson
import pytest

from shared.schemas.generation import EngineOptions, GenerationParams
from tests.helpers.worker_client import (
    LONG,
    StartWorker,
    WorkerClient,
    assert_well_formed,
    publish_sample_variant,
    text_of,
    tokens_of,
)

pytestmark = pytest.mark.connected


async def test_options_reach_the_engine_and_the_text(
    client: WorkerClient, start_worker: StartWorker, store: Path
) -> None:
    publish_sample_variant(store, replay_text="one two END three")
    start_worker()
    await client.ready_worker()
    plain = await client.ended(await client.ask(options=EngineOptions(prompt="one two "), params=LONG))
    assert text_of(plain) == "END three"
    stop = LONG.model_copy(update={"stop": ("END",)})
    shown = await client.ended(await client.ask(options=EngineOptions(include_stop_text=True), params=stop))
    assert text_of(shown) == "one two END"
    second = tokens_of(shown)[1]
    ended = await client.ended(await client.ask(options=EngineOptions(stop_token_ids=(second,)), params=LONG))
    assert tokens_of(ended)[-1] == second
    assert orjson.loads(ended[-1].frame)["finish_reason"] == "stop"
    params = GenerationParams(temperature=0, max_new_tokens=40)
    for options in (EngineOptions(ignore_eos=True), EngineOptions(min_new_tokens=40)):
        longer = await client.ended(await client.ask(options=options, params=params))
        assert len(tokens_of(longer)) == 40


async def test_log_probabilities_come_with_the_deltas_when_asked_for(
    client: WorkerClient, start_worker: StartWorker, store: Path
) -> None:
    publish_sample_variant(store, replay_text="The capital of France is Paris. 😀")
    start_worker()
    await client.ready_worker()
    plain = await client.ended(await client.ask(params=LONG))
    assert not any(b"logprobs" in entry.frame for entry in plain)
    entries = await client.ended(await client.ask(params=LONG, options=EngineOptions(top_logprobs=2)))
    assert text_of(entries) == text_of(plain)
    scores = [score for entry in entries if entry.kind == "delta" for score in orjson.loads(entry.frame)["logprobs"]]
    assert [score["token_id"] for score in scores] == tokens_of(entries)[:-1]
    assert all(score["logprob"] <= 0 and len(score["top"]) == 2 for score in scores)
    assert "".join(score["token"] for score in scores).startswith("The capital of France is Paris.")
    refused = await client.ended(await client.ask(options=EngineOptions(top_logprobs=21)))
    error = orjson.loads(refused[-1].frame)["error"]
    assert (error["code"], error["param"]) == ("invalid_request", "top_logprobs")


async def test_channels_are_split_in_the_journal(client: WorkerClient, start_worker: StartWorker, store: Path) -> None:
    call = '{"name": "sum", "arguments": {"a": 1}}'
    publish_sample_variant(store, replay_text=f"<think>Hm.</think>Sure.\n<tool_call>{call}</tool_call>")
    start_worker()
    await client.ready_worker()
    options = EngineOptions(tool_format="hermes", reasoning_format="think_tags")
    entries = await client.ended(await client.ask(params=LONG, options=options))
    assert_well_formed(entries)
    frames = [orjson.loads(entry.frame) for entry in entries if entry.kind == "delta"]
    told: dict[str, list[str]] = {}
    for frame in frames:
        told.setdefault(frame["channel"], []).append(frame["text"])
    assert ("".join(told["reasoning"]), "".join(told["answer"])) == ("Hm.", "Sure.")
    deltas = [orjson.loads(text) for text in told["tool_call"]]
    assert deltas[0] == {"index": 0, "name": "sum", "arguments": ""}
    assert "".join(delta["arguments"] for delta in deltas) == '{"a": 1}'
    assert len(deltas) > 2


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}, "required": ["a"]}


async def test_a_schema_is_followed_or_refused(client: WorkerClient, start_worker: StartWorker, store: Path) -> None:
    publish_sample_variant(store, replay_text="no JSON at all")
    start_worker()
    await client.ready_worker()
    entries = await client.ended(await client.ask(options=EngineOptions(json_schema=json.dumps(SCHEMA))))
    assert json.loads(text_of(entries)) == {"a": 3}
    refused = await client.ended(await client.ask(options=EngineOptions(json_schema='{"type": "nonsense"}')))
    error = orjson.loads(refused[-1].frame)["error"]
    assert (error["code"], error["param"]) == ("invalid_request", "response_format")
    endless = EngineOptions(json_schema=json.dumps(SCHEMA), ignore_eos=True)
    refused = await client.ended(await client.ask(options=endless))
    assert orjson.loads(refused[-1].frame)["error"]["param"] == "ignore_eos"


async def test_a_structured_answer_ends_with_its_worker(
    client: WorkerClient, start_worker: StartWorker, store: Path
) -> None:
    """Accident: the grammar begins anew in the middle of an object, and the client gets JSON that is none."""
    publish_sample_variant(store, tokens_per_second=2.0)
    worker = start_worker()
    worker_id = await client.ready_worker()
    generation_id = await client.ask(options=EngineOptions(json_schema=json.dumps(SCHEMA)))
    await client.entries_until(generation_id, lambda entries: any(entry.kind == "delta" for entry in entries))
    worker.kill()
    await client.registry.reap(worker_id, silent_ms=0)
    start_worker()
    await client.ready_worker()
    await client.place()
    entries = await client.ended(generation_id)
    assert orjson.loads(entries[-1].frame)["error"]["code"] == "worker_lost"
