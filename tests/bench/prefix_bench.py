"""What a chat's cached beginning is worth: the first token of a second turn on a long history, against a cold one.

`python -m tests.bench.prefix_bench` asks, in turn and each with words of its own: a question of about 1,500 tokens that
nobody has computed, and the second turn of that chat. It prints the milliseconds from leaving the queue to the first
token as JSON, and the ratio of the medians. `--workers 2` does the same with two workers, where a chat has to come back
to its own.
"""

import argparse
import asyncio
import json
import random
from statistics import median

from tests.bench.demo_services import demo_services
from tests.helpers.demo_store import MODEL
from tests.helpers.services import Gateway
from tests.helpers.sockets import Frame, Socket

NAME = f"{MODEL}:int4"
PARAMS = {"temperature": 0, "repetition_penalty": 1.0, "max_new_tokens": 8}
WORDS = ("river", "stone", "cloud", "engine", "harbour", "lantern", "meadow", "copper")


def long_text(dice: random.Random) -> str:
    """Return about 1,500 tokens that no other question begins with."""
    return " ".join(dice.choices(WORDS, k=1450))


def first_token_ms(frames: list[Frame]) -> float:
    """Return the milliseconds from leaving the queue to the first token."""
    timings = frames[-1]["timings"]
    return float(timings["first_token_ms"] - timings["queue_ms"])


async def ask(socket: Socket, content: str, chat_id: str | None) -> list[Frame]:
    """Ask and return the frames up to the end."""
    await socket.chat(NAME, content, chat_id=chat_id, params=PARAMS)
    frames = await socket.receive_until("generation.finished", "generation.failed", "error", seconds=180)
    assert frames[-1]["type"] == "generation.finished", frames[-1]
    return frames


async def measure(gateway: Gateway, rounds: int) -> dict[str, object]:
    """Ask cold and warm in turn."""
    dice = random.Random(7)
    cold, warm, tokens, cached, same_worker = [], [], [], [], 0
    async with Socket(gateway.socket_url) as socket:
        await ask(socket, "Hello.", None)
        for _ in range(rounds):
            first = await ask(socket, long_text(dice), None)
            cold.append(first_token_ms(first))
            second = await ask(socket, "Which word came last?", first[0]["chat_id"])
            warm.append(first_token_ms(second))
            tokens.append(second[-1]["usage"]["prompt_tokens"])
            cached.append(second[-1]["usage"].get("cached_tokens"))
            workers = {frame["worker_id"] for frame in first + second if frame["type"] == "generation.started"}
            same_worker += len(workers) == 1
    return {
        "prompt_tokens_of_second_turn": median(tokens),
        "cached_tokens": cached,
        "cold_ms": [round(value) for value in cold],
        "second_turn_ms": [round(value) for value in warm],
        "ratio": round(median(warm) / median(cold), 3),
        "second_turns_on_the_same_worker": f"{same_worker} of {rounds}",
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    with demo_services({"OVCHAT_PRELOAD_MODELS": NAME}, workers=arguments.workers) as gateway:
        print(json.dumps(asyncio.run(measure(gateway, arguments.rounds)), indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
