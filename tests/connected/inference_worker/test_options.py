"""What the OpenAI API asks for beyond sampling, seen in the journal of a worker with the sample engine."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from shared.schemas.generation import EngineOptions, GenerationParams
from tests.helpers.worker_client import LONG, StartWorker, WorkerClient, publish_sample_variant, text_of, tokens_of

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
