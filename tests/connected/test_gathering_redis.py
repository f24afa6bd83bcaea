"""Commands of one moment go in one round trip, and nobody notices."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis.asyncio
import redis.exceptions

from shared.gathering_redis import MOST_IN_ONE_TRIP, GatheringRedis
from shared.redis_client import create_redis
from shared.scripts import load_script
from tests.helpers.redis_server import RedisServer

pytestmark = pytest.mark.connected


@pytest.fixture
async def gathering(redis_url: str) -> AsyncIterator[GatheringRedis]:
    client = create_redis("test", redis_url)
    assert isinstance(client, GatheringRedis)
    yield client
    await client.aclose()


async def calls_of(client: redis.asyncio.Redis) -> int:
    return int((await client.info("stats"))["total_reads_processed"])


async def test_a_burst_is_one_round_trip_and_each_gets_its_own_answer(gathering: GatheringRedis) -> None:
    await gathering.ping()
    before = await calls_of(gathering)
    counts = await asyncio.gather(*(gathering.incrby(f"count:{n}", n) for n in range(1, 51)))
    after = await calls_of(gathering)
    assert counts == list(range(1, 51))
    assert after - before == 2  # the burst, and the question itself


async def test_more_than_fits_one_trip_is_answered_too(gathering: GatheringRedis) -> None:
    many = 3 * MOST_IN_ONE_TRIP + 1
    assert sorted(await asyncio.gather(*(gathering.incr("count") for _ in range(many)))) == list(range(1, many + 1))


async def test_an_error_is_only_its_own_callers(gathering: GatheringRedis) -> None:
    await gathering.set("text", "abc")
    good, bad, late = await asyncio.gather(
        gathering.get("text"), gathering.incr("text"), gathering.strlen("text"), return_exceptions=True
    )
    assert (good, late) == (b"abc", 3)
    assert isinstance(bad, redis.exceptions.ResponseError)


async def test_scripts_that_redis_forgot_are_sent_again(gathering: GatheringRedis) -> None:
    """A restarted Redis knows no script: the first burst after it would fail as a whole."""
    watch = load_script(gathering, "watch")
    await gathering.script_flush()
    assert await asyncio.gather(*(watch(args=[f"none{n}", "gw", 0]) for n in range(5))) == [None] * 5


async def test_who_gives_up_takes_nobody_along(gathering: GatheringRedis) -> None:
    """A client that leaves in mid-admission must not cancel the admission of others in the same trip."""
    leaver, stayer = asyncio.ensure_future(gathering.incr("left")), asyncio.ensure_future(gathering.incr("stayed"))
    await asyncio.sleep(0)
    leaver.cancel()
    assert await stayer == 1
    with pytest.raises(asyncio.CancelledError):
        await leaver


async def test_when_redis_is_gone_every_caller_is_told(own_redis: RedisServer) -> None:
    client = create_redis("test", own_redis.url)
    await client.ping()
    own_redis.kill()
    outcomes = await asyncio.gather(*(client.get(f"k{n}") for n in range(5)), return_exceptions=True)
    assert all(isinstance(outcome, redis.exceptions.ConnectionError) for outcome in outcomes), outcomes
    await client.aclose()
