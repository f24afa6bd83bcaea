"""Many chats at once through the platform against the bare engine in process: same prompts, same machine, in turn.

`python -m tests.bench.chat_bench` prints tokens per second of both for each round, the median of the rounds' ratios,
the time to the first token, and the engine step's 95th percentile that the worker reports.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

from tokenizers import Tokenizer

from tests.bench.demo_services import demo_services
from tests.helpers.demo_store import MODEL, demo_data_dir
from tests.helpers.services import Gateway
from tests.helpers.sockets import Frame, Socket, assert_whole

ENDS = ("generation.finished", "generation.failed", "error")
SYSTEM = "You are a helpful assistant that writes long and detailed answers."
TOPICS = ("rivers", "bread", "bridges", "the moon", "chess", "bees", "glass", "trains", "salt", "maps")
EOS_TOKEN_ID = 2


def questions(count: int, round_number: int) -> list[str]:
    """Return prompts that no earlier round had, so that no cache of prefixes helps."""
    return [
        f"Round {round_number}, number {number}. Write a long story about {TOPICS[number % len(TOPICS)]}."
        for number in range(count)
    ]


def prompt_ids(tokenizer: Tokenizer, question: str) -> list[int]:
    """Return what the demo model's chat template makes of a question."""
    text = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


@dataclass(frozen=True, slots=True)
class Measured:
    """One round of one side."""

    tokens: int
    seconds: float
    first_token_ms: tuple[float, ...] = ()

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


async def through_the_platform(gateway: Gateway, model: str, asked: list[str], max_new_tokens: int) -> Measured:
    """Ask all questions at once, each on a socket of its own that is open already."""
    params = {"temperature": 0, "repetition_penalty": 1.0, "max_new_tokens": max_new_tokens}
    sockets = [Socket(gateway.socket_url) for _ in asked]
    for socket in sockets:
        await socket.__aenter__()

    async def one(socket: Socket, question: str) -> list[Frame]:
        await socket.chat(model, question, system=SYSTEM, params=params)
        return await socket.receive_until(*ENDS, seconds=600)

    started = time.perf_counter()
    answers = await asyncio.gather(*(one(*pair) for pair in zip(sockets, asked, strict=True)))
    seconds = time.perf_counter() - started
    for socket in sockets:
        await socket.connection.close()
    for frames in answers:
        assert_whole(frames)
    ends = [frames[-1] for frames in answers]
    assert all(end["type"] == "generation.finished" for end in ends), ends
    return Measured(
        sum(end["usage"]["completion_tokens"] for end in ends),
        seconds,
        tuple(end["timings"]["first_token_ms"] for end in ends),
    )


def in_process(engine: "subprocess.Popen[str]", prompts: list[list[int]]) -> Measured:
    """Run all prompts at once through the bare engine."""
    assert engine.stdin is not None
    assert engine.stdout is not None
    engine.stdin.write(json.dumps(prompts) + "\n")
    engine.stdin.flush()
    answer = json.loads(engine.stdout.readline())
    return Measured(answer["tokens"], answer["seconds"])


def main() -> None:
    """Measure and print as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chats", type=int, default=32)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--variant", default="int4")
    options = parser.parse_args()
    folder = demo_data_dir() / "models" / MODEL / options.variant
    model = f"{MODEL}:{options.variant}"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    rounds = []
    command = [sys.executable, "-m", "tests.bench.in_process_engine", str(folder), str(options.max_new_tokens)]
    with demo_services({}) as gateway:
        with subprocess.Popen(
            [*command, str(EOS_TOKEN_ID)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as engine:
            for number in range(options.rounds + 1):
                asked = questions(options.chats, number)
                served = asyncio.run(through_the_platform(gateway, model, asked, options.max_new_tokens))
                bare = in_process(engine, [prompt_ids(tokenizer, question) for question in asked])
                # Round 0 warms both up: the platform loads the model in it.
                if number:
                    rounds.append((served, bare))
            assert engine.stdin is not None
            engine.stdin.close()
        with gateway.client() as client:
            (replica,) = client.get("/api/v1/workers").json()["data"][0]["replicas"]
    first_tokens = sorted(ms for served, _ in rounds for ms in served.first_token_ms)
    report = {
        "chats": options.chats,
        "max_new_tokens": options.max_new_tokens,
        "model": model,
        "platform_tokens_per_second": [round(served.tokens_per_second, 1) for served, _ in rounds],
        "in_process_tokens_per_second": [round(bare.tokens_per_second, 1) for _, bare in rounds],
        "tokens": [(served.tokens, bare.tokens) for served, bare in rounds],
        "ratios": [round(served.tokens_per_second / bare.tokens_per_second, 3) for served, bare in rounds],
        "median_ratio": round(statistics.median(s.tokens_per_second / b.tokens_per_second for s, b in rounds), 3),
        "first_token_ms_median": statistics.median(first_tokens),
        "first_token_ms_p95": first_tokens[int(len(first_tokens) * 0.95)],
        "step_ms_p95": replica["step_ms"],
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
