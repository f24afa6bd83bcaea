"""One user's limits and two users' turns, with real gateways and a real worker."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis

from gateway.exception_handlers import error_response
from gateway.limits.limits import Limits
from gateway.limits.user_limits import DefaultLimits, UserLimits
from gateway.principal import Principal
from gateway.usage.store import UsageStore
from shared import keys
from shared.errors import QuotaExceeded, RateLimited
from shared.redis_client import AsyncRedis, redis_now_ms
from tests.helpers.pool import Pool
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import Gateway, wait_until
from tests.helpers.sockets import Frame, Socket, assert_whole
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected
ENDS = ("generation.finished", "generation.failed", "error")
SHORT = {"max_new_tokens": 12}
LONG = {"max_new_tokens": 400}


@pytest.fixture(scope="module")
def pool(session_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """A gateway and a worker that works on two generations at once."""
    with redis.Redis.from_url(session_redis.url) as client:
        client.flushall()
    pool = Pool(tmp_path_factory.mktemp("limits"), session_redis.url)
    publish_sample_variant(pool.store_path, session_redis.url)
    try:
        pool.gateway()
        # A long answer lasts as long as a busy machine needs to ask for more.
        pool.worker({"OVCHAT_MAX_SEQUENCES": "2", "OVCHAT_SAMPLE_TOKENS_PER_SECOND": "80"})
        yield pool
    finally:
        pool.stop()


def socket_of(gateway: Gateway, user: str, **limits: object) -> Socket:
    """Return a socket of a user whose new key has these limits."""
    with gateway.client() as admin:
        created = admin.post("/api/v1/keys", json={"user": user, "limits": limits}).json()
    return Socket(gateway.socket_url, key=created["key"], user=user)


async def cancel_all(socket: Socket) -> None:
    """Cancel what a socket began and has not seen the end of."""
    begun = {frame["generation_id"] for frame in socket.frames if frame["type"] == "generation.queued"}
    for generation_id in begun:
        await socket.send({"type": "generation.cancel", "generation_id": generation_id})

    def ended() -> set[str]:
        return {frame["generation_id"] for frame in socket.frames if frame["type"] in ENDS and "generation_id" in frame}

    while not begun <= ended():
        await socket.receive()


def of(frames: list[Frame], kind: str) -> list[Frame]:
    return [frame for frame in frames if frame["type"] == kind]


async def test_b_starts_next_and_everybody_knows_his_place(gateway: Gateway) -> None:
    """The accident: one user's script fills the pool and everybody else waits until it has been worked off."""
    async with socket_of(gateway, "ann") as ann, socket_of(gateway, "bob") as bob:
        for number in range(52):
            await ann.chat("sample", f"question {number}", params=LONG)
        while (
            len(of(ann.frames, "generation.started")) < 2
            or len({f["request_id"] for f in of(ann.frames, "generation.queued")}) < 52
        ):
            await ann.receive()
        last = of(ann.frames, "generation.queued")[-1]["request_id"]
        seen = len(ann.frames)
        await bob.chat("sample", "only one", params=SHORT)
        queued = await bob.receive()
        assert (queued["type"], queued["position"]) == ("generation.queued", 0)

        async def told(position: int) -> None:
            while not any(
                frame["request_id"] == last and frame["position"] == position
                for frame in of(ann.frames[seen:], "generation.queued")
            ):
                await ann.receive()

        # Bob stands before all of hers, and each of hers is told so.
        await told(50)
        # One slot is freed, and it is Bob's; with his short answer's end hers go on, which her last one is told, too.
        running = of(ann.frames, "generation.started")[0]["generation_id"]
        await ann.send({"type": "generation.cancel", "generation_id": running})
        frames = [queued, *await bob.receive_until(*ENDS)]
        assert_whole(frames)
        await told(48)
        started = {frame["generation_id"] for frame in of(ann.frames, "generation.started")}
        assert len(started) <= 4
        await cancel_all(ann)


async def test_who_comes_back_is_told_his_place(gateway: Gateway, pool: Pool) -> None:
    """A socket that breaks while its generation waits knows where it stands after it came back, on any gateway."""
    other = pool.gateway()
    async with socket_of(gateway, "gil") as gil, socket_of(other, "hal") as hal:
        for _ in range(3):
            await gil.chat("sample", "long", params=LONG)
        while len(of(gil.frames, "generation.started")) < 2:
            await gil.receive()
        request_id = await hal.chat("sample", "waits", params=SHORT)
        queued = await hal.receive()
        async with Socket(gateway.socket_url, key=hal.key, user="hal") as again:
            await again.send({"type": "generation.resume", "generation_id": queued["generation_id"], "after_seq": 0})
            told = await again.receive()
            assert told == {**queued, "position": told["position"]}
            assert told["request_id"] == request_id
            await cancel_all(gil)
            frames = [told, *await again.receive_until(*ENDS)]
            assert_whole(frames)
            assert frames[-1]["type"] == "generation.finished"
    other.stop()


async def test_too_many_at_once_are_refused_until_one_ends(gateway: Gateway) -> None:
    async with socket_of(gateway, "cyd", max_concurrent=2) as socket:
        first = [await socket.chat("sample", "one", params=LONG), await socket.chat("sample", "two", params=LONG)]
        refused = await socket.chat("sample", "three", params=LONG)
        (error,) = of(await socket.receive_until("error"), "error")
        assert (error["request_id"], error["error"]["code"]) == (refused, "rate_limit_exceeded")
        assert error["error"]["type"] == "rate_limit_error"
        # The same request again is the same generation, not one more.
        await socket.chat("sample", "two", params=LONG)
        (again,) = of(await socket.receive_until("error"), "error")
        assert again["error"]["code"] == "rate_limit_exceeded"
        frame = {"type": "chat.send", "request_id": first[1], "model": "sample", "content": "two", "params": LONG}
        seen = len(socket.frames)
        await socket.send(frame)
        while not any(f["request_id"] == first[1] for f in of(socket.frames[seen:], "generation.queued")):
            assert (await socket.receive())["type"] != "error"
        await cancel_all(socket)
        await socket.chat("sample", "four", params=SHORT)
        assert (await socket.receive_until(*ENDS))[-1]["type"] == "generation.finished"


async def test_what_was_refused_for_another_reason_costs_nothing(gateway: Gateway) -> None:
    async with socket_of(gateway, "dan", requests_per_minute=2, max_concurrent=2) as socket:
        for _ in range(5):
            await socket.chat("sample", "whose?", chat_id="chat_of_someone_else")
            assert (await socket.receive())["error"]["code"] == "chat_not_found"
        for _ in range(2):
            await socket.chat("sample", "hi", params=SHORT)
            assert (await socket.receive_until(*ENDS))[-1]["type"] == "generation.finished"
        await socket.chat("sample", "hi", params=SHORT)
        assert (await socket.receive_until(*ENDS))[-1]["error"]["code"] == "rate_limit_exceeded"


async def test_the_tokens_of_the_day(gateway: Gateway, pool: Pool) -> None:
    async with socket_of(gateway, "eve", tokens_per_day=13) as socket:
        await socket.chat("sample", "hi", params=SHORT)
        assert (await socket.receive_until(*ENDS))[-1]["type"] == "generation.finished"
        with redis.Redis.from_url(pool.redis_url) as database:
            wait_until(lambda: database.exists(keys.usage_days("eve")), what="usage counted")
        await socket.chat("sample", "hi", params=SHORT)
        refusal = (await socket.receive_until(*ENDS))[-1]
        assert refusal["error"]["code"] == "insufficient_quota"
        assert refusal["error"]["type"] == "insufficient_quota"


async def test_a_dead_gateway_leaks_no_place(gateway: Gateway, pool: Pool) -> None:
    """The accident: a gateway dies with a user's only generation, and the user is refused from then on."""
    mortal = pool.gateway()
    async with socket_of(mortal, "fay", max_concurrent=1) as socket:
        await socket.chat("sample", "one", params={"max_new_tokens": 60})
        await socket.receive_until("generation.delta")
        mortal.kill()
    async with socket_of(gateway, "fay", max_concurrent=1) as socket:
        await socket.chat("sample", "two", params=SHORT)
        assert (await socket.receive())["error"]["code"] == "rate_limit_exceeded"
        with redis.Redis.from_url(pool.redis_url) as database:
            wait_until(lambda: database.zcard(keys.in_hand("fay")) == 0, what="the answer without a gateway ended")
        await socket.chat("sample", "two", params=SHORT)
        assert (await socket.receive_until(*ENDS))[-1]["type"] == "generation.finished"


async def test_over_http_your_own_limit_is_429_and_everybody_s_is_503(gateway: Gateway, pool: Pool) -> None:
    small = pool.gateway({"OVCHAT_MAX_WAITING": "1"})
    question = {"model": "sample", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 12}
    async with socket_of(gateway, "ida") as busy, socket_of(small, "jim", max_concurrent=2) as jim:
        with small.client(key=jim.key) as client:

            def ask(**fields: object) -> httpx.Response:
                return client.post("/v1/chat/completions", json={**question, **fields})

            two = ask(n=2)
            assert two.status_code == 200
            # It could never be answered, so nobody shall try it again.
            too_many = ask(n=3)
            assert (too_many.status_code, too_many.json()["error"]["code"]) == (400, "invalid_request")
            assert too_many.json()["error"]["param"] == "n"
            assert "you may have 2 at once" in too_many.json()["error"]["message"]
            for _ in range(3):
                await busy.chat("sample", "long", params=LONG)
            while (
                len(of(busy.frames, "generation.started")) < 2
                or len({frame["request_id"] for frame in of(busy.frames, "generation.queued")}) < 3
            ):
                await busy.receive()
            for full in (ask(), ask(), ask()):
                assert (full.status_code, full.json()["error"]["code"]) == (503, "overloaded")
                assert int(full.headers["retry-after"]) >= 1
            await jim.chat("sample", "hi")
            assert (await jim.receive())["error"]["code"] == "overloaded"
            # Its own that waits is asked for again: a refusal would free its claim, and the next try would run twice.
            third = of(busy.frames, "generation.queued")[-1]
            async with Socket(small.socket_url, key=busy.key, user="ida") as again:
                frame = {"type": "chat.send", "request_id": third["request_id"], "model": "sample", "content": "long"}
                for _ in range(2):
                    await again.send({**frame, "params": LONG})
                    assert (await again.receive())["generation_id"] == third["generation_id"]
            await cancel_all(busy)
            with redis.Redis.from_url(pool.redis_url) as database:
                wait_until(lambda: database.xlen(keys.FINISHED) == 0, what="usage counted")
            (day,) = client.get("/api/v1/usage").json()["data"]
            assert (day["generations"], day["completion_tokens"]) == (2, 24)
            # Two answers to one prompt, which both places count once.
            assert day["prompt_tokens"] == two.json()["usage"]["prompt_tokens"] > 0
    async with socket_of(small, "jim", tokens_per_day=20) as poor:
        with small.client(key=poor.key) as client:
            spent = client.post("/v1/chat/completions", json=question)
            assert (spent.status_code, spent.json()["error"]["code"]) == (429, "insufficient_quota")
            assert spent.headers["x-should-retry"] == "false"
    small.stop()


@pytest.fixture
async def limits(transport: AsyncRedis) -> UserLimits:
    """The limits on an empty Redis: ten at once, no more."""
    return UserLimits(transport, UsageStore(transport), DefaultLimits(10, 0, 0))


def principal(**fields: Any) -> Principal:
    return Principal("ann", "user", "key_1", Limits(**fields))


async def test_two_gateways_admit_no_more_than_one_would(limits: UserLimits) -> None:
    """The accident: both look, both see one place left, and both take it."""
    asked = await asyncio.gather(
        *(limits.admit(principal(), {f"g{number}": 0}) for number in range(40)), return_exceptions=True
    )
    assert sum(one is True for one in asked) == 10
    await limits.admit(principal(max_concurrent=11), {"another key's limit": 0})
    await limits.admit(principal(max_concurrent=0), {"unlimited": 0})
    with pytest.raises(RateLimited):
        await limits.admit(principal(max_concurrent=13), dict.fromkeys(["two", "choices"], 0))
    await limits.admit(principal(max_concurrent=14), dict.fromkeys(["two", "choices"], 0))
    await limits.admit(principal(max_concurrent=1), dict.fromkeys(["two", "choices"], 0))


async def test_a_place_that_was_never_used_is_free_again(limits: UserLimits, transport: AsyncRedis) -> None:
    """The accident: a gateway dies between admitting and queueing."""
    await limits.admit(principal(max_concurrent=1), {"lost": 0})
    with pytest.raises(RateLimited) as refused:
        await limits.admit(principal(max_concurrent=1), {"next": 0})
    assert refused.value.retry_after_seconds
    deadline = await transport.zscore(keys.in_hand("ann"), "lost")
    assert deadline is not None
    assert 0 < deadline - await redis_now_ms(transport) <= 15_000
    await transport.zadd(keys.in_hand("ann"), {"lost": await redis_now_ms(transport) - 1})
    await limits.admit(principal(max_concurrent=1), {"next": 0})


async def test_refusals_say_when_to_come_back(limits: UserLimits, transport: AsyncRedis) -> None:
    for number in range(3):
        await limits.admit(principal(requests_per_minute=3), {f"g{number}": 0})
    oldest = await redis_now_ms(transport) - 40_000
    await transport.zadd(keys.begun_in_minute("ann"), {"g0": oldest})
    with pytest.raises(RateLimited) as minute:
        await limits.admit(principal(requests_per_minute=3), {"g3": 0})
    assert minute.value.retry_after_seconds == pytest.approx(20, abs=2)
    await limits.give_back("ann", "g1")
    await limits.admit(principal(requests_per_minute=3), {"g3": 0})
    await UsageStore(transport).count_generation("spent", "ann", prompt_tokens=70, completion_tokens=30)
    with pytest.raises(QuotaExceeded) as day:
        await limits.admit(principal(tokens_per_day=100), {"g4": 0})
    await limits.admit(principal(tokens_per_day=101), {"g4": 0})
    response = error_response(day.value)
    assert response.status_code == 429
    assert response.headers["x-should-retry"] == "false"
    assert 0 < int(response.headers["retry-after"]) <= 24 * 3600
    response = error_response(minute.value)
    assert (response.status_code, "x-should-retry" in response.headers) == (429, False)
    assert int(response.headers["retry-after"]) in range(18, 23)
