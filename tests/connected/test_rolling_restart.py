"""Workers are replaced one after the other under load, as an upgrade does it: no answer is lost or repeated."""

import asyncio
import signal
from collections.abc import Iterator

import pytest
import redis

from tests.helpers.pool import Pool
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import Service, wait_until
from tests.helpers.sockets import Frame, Socket, answer_text, assert_whole
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected

NAME = "sample:int4"
CHATS = 24
#: Every answer says this, so that a piece that is lost or said twice shows.
SAYING = "We set out in the morning and came back at night, and nobody could say where the day had gone. " * 4


@pytest.fixture
def pool(session_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    with redis.Redis.from_url(session_redis.url) as client:
        client.flushall()
    pool = Pool(tmp_path_factory.mktemp("rolling"), session_redis.url)
    pool.gateway()
    publish_sample_variant(pool.store_path, pool.redis_url, replay_text=SAYING, tokens_per_second=60)
    yield pool
    pool.stop()


def ready(pool: Pool) -> int:
    with pool.gateways[0].client() as client:
        return sum(view["replica"]["state"] == "ready" for view in client.get("/api/v1/replicas").json()["data"])


def running(pool: Pool) -> int:
    with pool.gateways[0].client() as client:
        return sum(view["replica"]["running"] for view in client.get("/api/v1/replicas").json()["data"])


async def chat_until(pool: Pool, over: asyncio.Event) -> list[list[Frame]]:
    """Ask again and again until it is over; return each answer's frames."""
    answers = []
    while not over.is_set():
        async with Socket(pool.gateways[0].socket_url) as socket:
            await socket.chat(NAME, "Say it.", params={"temperature": 0, "max_new_tokens": 2000})
            answers.append(await socket.receive_until("generation.finished", "generation.failed", "error"))
    return answers


@pytest.mark.parametrize("grace_seconds", [0.3, 20], ids=["what runs moves on", "what runs is finished first"])
async def test_a_rolling_restart_loses_nothing(pool: Pool, grace_seconds: float) -> None:
    """Accident: a stopping worker takes answers with it, or two workers say the same piece."""
    settings = {"OVCHAT_PRELOAD_MODELS": NAME, "OVCHAT_DRAIN_GRACE_SECONDS": str(grace_seconds)}
    workers = [pool.worker(settings) for _ in range(2)]
    await asyncio.to_thread(wait_until, lambda: ready(pool) == 2, what="two replicas")
    over = asyncio.Event()
    chats = [asyncio.create_task(chat_until(pool, over)) for _ in range(CHATS)]
    await asyncio.to_thread(wait_until, lambda: running(pool) >= CHATS // 2, what="chats at work")
    for worker in workers:
        await replaced(pool, worker)
    over.set()
    answers = [frames for found in await asyncio.gather(*chats) for frames in found]
    for frames in answers:
        assert_whole(frames)
        assert frames[-1]["type"] == "generation.finished", frames[-1]
        assert answer_text(frames) == SAYING
    moved = sum(frame["type"] == "generation.resumed" for frames in answers for frame in frames)
    assert len(answers) >= CHATS
    assert bool(moved) == (grace_seconds < 1), "short of time they move on, else they are finished where they are"


async def replaced(pool: Pool, worker: Service) -> None:
    worker.signal(signal.SIGTERM)
    process = worker.process
    assert process is not None
    assert await asyncio.to_thread(process.wait, 40) == 0
    worker.start()
    await asyncio.to_thread(wait_until, lambda: ready(pool) == 2, what="the new worker's replica")
