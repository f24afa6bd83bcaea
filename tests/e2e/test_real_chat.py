"""The whole path on the real demo model: converted through the API, loaded, chatted with."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from shared.journal import Journal
from shared.redis_client import create_redis
from shared.schemas.models import Manifest
from tests.helpers.demo_store import MODEL, demo_job
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import Gateway
from tests.helpers.sockets import Frame, Socket, answer_text, assert_whole

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
ENDS = ("generation.finished", "generation.failed", "error")
GREEDY = {"temperature": 0, "repetition_penalty": 1.0, "max_new_tokens": 48}


async def ask(gateway: Gateway, model: str, content: str, **fields: object) -> list[Frame]:
    async with Socket(gateway.socket_url) as socket:
        await socket.chat(model, content, **fields)
        frames = await socket.receive_until(*ENDS, seconds=180)
    assert_whole(frames)
    assert frames[-1]["type"] == "generation.finished", frames[-1]
    return frames


def chat_prompt(*turns: tuple[str, str]) -> str:
    """Return what the demo model's template makes of turns, written out."""
    system = ("system", "You are a helpful AI assistant named SmolLM, trained by Hugging Face")
    messages = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in (system, *turns))
    return messages + "<|im_start|>assistant\n"


def token_ids(folder: Path, prompt: str) -> list[int]:
    ids: list[int] = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(prompt, add_special_tokens=False).ids
    return ids


def test_one_job_published_three_variants() -> None:
    job = demo_job()
    results = {result["name"]: result for result in job["results"]}
    assert set(results) == {"fp16", "int8", "int4"}
    assert results["fp16"]["compression_rate"] == 1.0
    assert 1.9 < results["int8"]["compression_rate"] < 2.1
    assert 2.9 < results["int4"]["compression_rate"] < 3.4
    assert 260e6 < results["fp16"]["weights_bytes"] < 275e6
    events = job["events"]
    for stage in ("resolve", "preflight", "export", "compress", "tokenizer", "verify", "publish"):
        assert f'"stage":"{stage}"' in events, stage
    assert '"state":"succeeded"' in events


def test_every_manifest_is_complete(demo_store: Path) -> None:
    for path in demo_store.glob(f"{MODEL}/*/manifest.json"):
        manifest = Manifest.model_validate_json(path.read_bytes())
        assert manifest.verification is not None
        assert manifest.verification.passed
        assert manifest.context_length == 8192
        assert {"openvino_model.xml", "openvino_model.bin", "tokenizer.json", "config.json"} <= set(manifest.files)
        assert manifest.eos_token_ids


@pytest.mark.parametrize("variant", ["int4", "int8", "fp16"])
async def test_the_capital_of_france(demo_platform: Gateway, variant: str) -> None:
    frames = await ask(demo_platform, f"{MODEL}:{variant}", "What is the capital of France?", params=GREEDY)
    assert "Paris" in answer_text(frames)
    assert "<|" not in answer_text(frames)


async def test_a_second_turn_carries_the_first(demo_platform: Gateway, demo_ir: Path) -> None:
    first = await ask(demo_platform, f"{MODEL}:int8", "My name is Tom.", params=GREEDY)
    second = await ask(demo_platform, f"{MODEL}:int8", "What is my name?", chat_id=first[0]["chat_id"], params=GREEDY)
    prompt = chat_prompt(("user", "My name is Tom."), ("assistant", answer_text(first)), ("user", "What is my name?"))
    started = next(frame for frame in second if frame["type"] == "generation.started")
    assert started["prompt_tokens"] == len(token_ids(demo_ir, prompt))


async def test_a_stop_string_is_never_shown(demo_platform: Gateway) -> None:
    whole = answer_text(await ask(demo_platform, f"{MODEL}:int8", "Count from 1 to 10.", params=GREEDY))
    stop = whole[10:14]
    frames = await ask(demo_platform, f"{MODEL}:int8", "Count from 1 to 10.", params={**GREEDY, "stop": [stop]})
    assert answer_text(frames) == whole[: whole.index(stop)]
    assert frames[-1]["finish_reason"] == "stop"


async def test_thirty_two_chats_at_once(demo_platform: Gateway) -> None:
    questions = [f"Write one sentence about the number {number}." for number in range(32)]
    answers = await asyncio.gather(*(ask(demo_platform, f"{MODEL}:int4", q, params=GREEDY) for q in questions))
    assert all(answer_text(frames) for frames in answers)


_STRAIGHT = """
import json, sys
import numpy as np, openvino, openvino_genai
folder, token_ids, max_new_tokens = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
scheduler = openvino_genai.SchedulerConfig()
scheduler.cache_size = 1
pipeline = openvino_genai.ContinuousBatchingPipeline(folder, scheduler, "CPU", {})
config = openvino_genai.GenerationConfig(max_new_tokens=max_new_tokens)
config.stop_token_ids = {2}
result = pipeline.generate([openvino.Tensor(np.asarray([token_ids]))], [config])[0]
print(json.dumps(list(result.m_generation_ids[0])))
"""


async def test_a_greedy_int8_chat_has_the_engines_own_tokens(
    demo_platform: Gateway, demo_redis: RedisServer, demo_store: Path
) -> None:
    """Nothing between the client and the engine changes a token: template, parameters, journal."""
    question = "Name three colours of the rainbow."
    params = {**GREEDY, "max_new_tokens": 40}
    frames = await ask(demo_platform, f"{MODEL}:int8", question, params=params)
    client = create_redis("test", demo_redis.url)
    entries = await Journal(client).read(frames[0]["generation_id"])
    await client.aclose()
    served = [token_id for entry in entries for token_id in entry.token_ids]
    folder = demo_store / MODEL / "int8"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    prompt_ids = token_ids(folder, chat_prompt(("user", question)))
    started = next(frame for frame in frames if frame["type"] == "generation.started")
    assert started["prompt_tokens"] == len(prompt_ids)
    straight = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _STRAIGHT, str(folder), json.dumps(prompt_ids), "40"],
        check=True,
        capture_output=True,
        text=True,
    )
    expected = json.loads(straight.stdout.splitlines()[-1])
    assert served == expected
    assert answer_text(frames) == tokenizer.decode(expected, skip_special_tokens=True)
