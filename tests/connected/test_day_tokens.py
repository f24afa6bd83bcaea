"""The tokens of a user's day hold for generations that run at once, and what they reserve is always given back."""

import asyncio

import httpx
import pytest
import redis

from gateway.limits.limits import Limits
from gateway.limits.reservation import tokens_to_reserve
from gateway.limits.user_limits import DefaultLimits, UserLimits
from gateway.principal import Principal
from gateway.usage.store import UsageStore
from shared import keys
from shared.errors import QuotaExceeded, RateLimited
from shared.redis_client import AsyncRedis, redis_now_ms
from shared.schemas.generation import EngineOptions, GenerationParams
from tests.helpers.accounts import make_key
from tests.helpers.messages import generation_request
from tests.helpers.pool import Pool
from tests.helpers.services import Gateway, wait_until
from tests.helpers.sockets import Socket
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected
ANN = Principal("ann", "user", "key_1", Limits(tokens_per_day=100))
QUESTION = {"model": "slow", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 40}


@pytest.fixture
async def usage(transport: AsyncRedis) -> UsageStore:
    return UsageStore(transport)


@pytest.fixture
async def limits(transport: AsyncRedis, usage: UsageStore) -> UserLimits:
    return UserLimits(transport, usage, DefaultLimits(0, 0, 0))


async def test_many_at_once_fit_into_the_day(limits: UserLimits, usage: UsageStore) -> None:
    """The accident: ten begin at once while a little is left, each sees that little, and all together overshoot it."""
    await usage.count_generation("earlier", "ann", prompt_tokens=4, completion_tokens=5)
    asked = await asyncio.gather(
        *(limits.admit(ANN, {f"g{number}": 30}) for number in range(10)), return_exceptions=True
    )
    assert sum(one is True for one in asked) == 3
    assert {type(one) for one in asked if one is not True} == {RateLimited}
    # What was given back is free, and what was refused holds nothing.
    await limits.give_back("ann", *(f"g{number}" for number in range(10)))
    await limits.admit(ANN, {"two": 45, "choices": 46})
    with pytest.raises(RateLimited):
        await limits.admit(ANN, {"one more": 1})


async def test_between_counting_and_giving_back_nothing_is_free_twice(
    limits: UserLimits, usage: UsageStore, transport: AsyncRedis
) -> None:
    """The accident: a generation ends, its reservation is gone before its use is counted, and its tokens are new."""
    await limits.admit(ANN, {"g1": 60})
    await usage.count_generation("g1", "ann", prompt_tokens=10, completion_tokens=50)
    with pytest.raises(RateLimited):
        await limits.admit(ANN, {"g2": 30})
    await transport.hdel(keys.reserved_tokens("ann"), "g1")
    await limits.admit(ANN, {"g2": 30})


async def test_one_alone_is_let_in_while_any_token_is_left(limits: UserLimits, usage: UsageStore) -> None:
    await usage.count_generation("earlier", "ann", prompt_tokens=0, completion_tokens=99)
    with pytest.raises(QuotaExceeded, match=r"2 answers may take 4,000 tokens, and you have 1 left"):
        await limits.admit(ANN, {"two": 2000, "choices": 2000})
    await limits.admit(ANN, {"alone": 2000})
    await limits.admit(ANN, {"alone": 3000})
    await limits.give_back("ann", "alone")
    await usage.count_generation("alone", "ann", prompt_tokens=0, completion_tokens=1)
    with pytest.raises(QuotaExceeded, match="Your 100 tokens of this day"):
        await limits.admit(ANN, {"late": 1})


async def test_what_was_reserved_and_lost_is_free_again(limits: UserLimits, transport: AsyncRedis) -> None:
    """The accident: a gateway dies between reserving and queueing, and its user's day is over."""
    await limits.admit(ANN, {"lost": 90})
    with pytest.raises(RateLimited):
        await limits.admit(ANN, {"next": 20})
    held = await transport.hget(keys.reserved_tokens("ann"), "lost")
    assert isinstance(held, bytes)
    amount, _, until_ms = held.partition(b":")
    assert amount == b"90"
    assert 0 < int(until_ms) - await redis_now_ms(transport) <= 15_000
    await transport.hset(keys.reserved_tokens("ann"), "lost", f"90:{await redis_now_ms(transport) - 1}")
    await limits.admit(ANN, {"next": 20})
    assert await transport.hkeys(keys.reserved_tokens("ann")) == [b"next"]


def test_a_prompt_is_guessed_and_counts_for_the_first_choice() -> None:
    request = generation_request(content="word " * 300, params=GenerationParams(max_new_tokens=1000))
    assert 1300 < tokens_to_reserve(request) < 1600
    assert tokens_to_reserve(request.model_copy(update={"choice": 1})) == 1000
    plain = request.model_copy(update={"messages": (), "options": EngineOptions(prompt="word " * 300)})
    assert 1300 < tokens_to_reserve(plain) < 1600


async def test_a_day_is_not_overshot_by_a_burst(pool: Pool, gateway: Gateway) -> None:
    """As the unit above, with a real gateway and worker; and every end gives the reservation back."""
    publish_sample_variant(pool.store_path, pool.redis_url, model="slow", tokens_per_second=30)
    key = make_key(gateway, "bob", limits={"tokens_per_day": 130})["key"]
    with redis.Redis.from_url(pool.redis_url) as database:

        def is_settled() -> bool:
            return bool(database.xlen(keys.FINISHED) == database.hlen(keys.reserved_tokens("bob")) == 0)

        async with httpx.AsyncClient(
            base_url=gateway.url, headers={"Authorization": f"Bearer {key}"}, timeout=30
        ) as client:
            burst = await asyncio.gather(*(client.post("/v1/chat/completions", json=QUESTION) for _ in range(8)))
            assert sorted(one.status_code for one in burst) == [200] * 2 + [429] * 6
            refused = next(one for one in burst if one.status_code == 429)
            assert refused.json()["error"]["code"] == "rate_limit_exceeded"
            assert int(refused.headers["retry-after"]) >= 1
            wait_until(is_settled, what="counted and given back")
            (day,) = (await client.get("/api/v1/usage")).json()["data"]
            assert 80 < day["prompt_tokens"] + day["completion_tokens"] <= 130
        # A cancelled generation reserves until it is counted, too.
        async with Socket(gateway.socket_url, key=key, user="bob") as socket:
            await socket.chat("slow", "hi", params={"max_new_tokens": 1_000_000})
            running = (await socket.receive_until("generation.started"))[-1]["generation_id"]
            (held,) = database.hvals(keys.reserved_tokens("bob"))
            # No more than the model's context, and the guess at the prompt.
            assert 512 < int(held.split(b":")[0]) < 600
            await socket.send({"type": "generation.cancel", "generation_id": running})
            await socket.receive_until("generation.finished")
        wait_until(is_settled, what="counted and given back")
