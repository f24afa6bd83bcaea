"""The fair order between users who wait for one variant, and the limits of one user."""

import asyncio
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import keys
from shared.errors import LoadFailed
from shared.journal import Journal, NewEntry
from shared.redis_client import AsyncRedis, create_redis, redis_now_ms
from shared.registry import Registry
from shared.schemas.workers import WORKER_COMMAND, Generate
from shared.streams import read_stream
from shared.waiting_queue import WaitingQueue
from tests.helpers.messages import generation_request, worker_info
from tests.helpers.redis_server import RedisServer

pytestmark = pytest.mark.connected
VARIANT = "demo:int4"
USERS = ("ann", "bob", "cyd", "dan", "eve")
WEIGHTS = (Fraction(1, 4), Fraction(1), Fraction(1), Fraction(3), Fraction(10))
Step = tuple[str, int]


class Pool:
    """One worker and what it was given, by user."""

    def __init__(self, transport: AsyncRedis) -> None:
        self.transport = transport
        self.queue = WaitingQueue(transport)
        self.registry = Registry(transport)
        self.sent = 0

    async def open(self, slots: int = 0) -> "Pool":
        await self.registry.heartbeat(worker_info("w1"), register=True)
        await self.registry.set_slots("w1", VARIANT, slots)
        return self

    async def send(self, user: str, weight: float = 1.0) -> str:
        self.sent += 1
        generation_id = f"{user}-{self.sent}"
        request = generation_request(generation_id, user=user)
        assert (await self.queue.enqueue(request, "gw", 10_000, weight=weight)).outcome == "queued"
        return generation_id

    async def take(self, slots: int = 1) -> None:
        await self.queue.take("w1", VARIANT, slots)

    async def taken(self) -> list[str]:
        """Return what the worker was given, in order."""
        entries = await read_stream(self.transport, keys.worker_stream("w1"), "0", count=10_000, block_ms=1)
        commands = [WORKER_COMMAND.validate_json(fields[b"c"]) for _, fields in entries]
        return [command.generation_id for command in commands if isinstance(command, Generate)]

    async def users(self) -> list[str]:
        return [generation_id.partition("-")[0] for generation_id in await self.taken()]


@pytest.fixture
async def served(transport: AsyncRedis) -> Pool:
    return await Pool(transport).open()


async def test_one_request_of_b_overtakes_fifty_of_a(served: Pool) -> None:
    """The accident: one user's script fills the queue and everybody else waits until it is empty."""
    for _ in range(4):
        await served.send("ann")
        await served.take()
    for _ in range(50):
        await served.send("ann")
    assert len(await served.taken()) == 4
    late = await served.send("bob")
    assert await served.queue.position(late, VARIANT) == 0
    await served.take()
    assert (await served.taken())[-1] == late
    again = await served.send("bob")
    await served.take(2)
    assert again in (await served.taken())[-2:]


async def test_two_busy_users_share_by_weight(served: Pool) -> None:
    for _ in range(40):
        await served.send("ann", 1.0)
    for _ in range(40):
        await served.send("bob", 3.0)
    await served.take(20)
    assert Counter(await served.users()) == {"ann": 5, "bob": 15}


async def test_the_least_weight_is_served_in_the_end(served: Pool) -> None:
    await served.send("ann", 5e-324)
    for _ in range(3):
        await served.send("bob", 1000.0)
    await served.take(4)
    assert await served.users() == ["bob", "bob", "bob", "ann"]


async def test_who_comes_back_has_no_claim_on_the_past(served: Pool) -> None:
    """The accident: a user who was away for an hour gets the whole pool for the next one."""
    for _ in range(60):
        await served.send("ann")
    await served.take(30)
    for _ in range(20):
        await served.send("bob")
    before = len(await served.taken())
    await served.take(20)
    assert Counter((await served.users())[before:]) == {"ann": 10, "bob": 10}


async def test_a_cancelled_place_goes_to_the_same_user(served: Pool) -> None:
    mine = [await served.send("ann") for _ in range(5)]
    for _ in range(3):
        await served.send("bob")
    for cancelled in (mine[0], mine[2], mine[4]):
        assert await served.queue.cancel(cancelled, "ann") == "cancelled"
    await served.send("ann")
    await served.take(6)
    assert await served.users() == ["bob", "ann", "bob", "ann", "bob", "ann"]


async def test_what_a_lost_worker_had_is_in_front_and_is_not_paid_for_twice(served: Pool) -> None:
    first = await served.send("ann")
    await served.take()
    for user in ("ann", "ann", "bob", "bob"):
        await served.send(user)
    assert await served.queue.requeue("w1", first, 1) == 2
    assert await served.queue.position(first, VARIANT) == 0
    await served.take(5)
    assert (await served.taken())[1] == first
    assert (await served.users())[2:] == ["bob", "ann", "bob", "ann"]


async def test_a_variant_that_nobody_waits_for_any_more_is_not_looked_after(served: Pool) -> None:
    """The accident: a variant that failed to load is loaded again and again, and evicts what others use."""
    failed, cancelled = await served.send("ann"), await served.send("bob")
    assert await served.queue.fail(failed, LoadFailed("It cannot be loaded."))
    assert await served.queue.waiting_variants() == {VARIANT}
    assert await served.queue.cancel(cancelled, "bob") == "cancelled"
    assert await served.queue.waiting_variants() == frozenset()


async def test_waiting_times_are_known_whatever_the_order(served: Pool) -> None:
    start = await redis_now_ms(served.transport)
    for user in ("ann", "ann", "bob"):
        await served.send(user)
    now = await redis_now_ms(served.transport)
    assert await served.queue.waiting_since(VARIANT, start - 1) == ()
    assert await served.queue.waiting_since(VARIANT, now + 1) == ("ann-1", "ann-2", "bob-3")
    await served.queue.cancel("ann-2", "ann")
    await served.take()
    assert len(await served.queue.waiting_since(VARIANT, now + 1)) == 1


async def test_what_ended_is_in_hand_no_more(served: Pool) -> None:
    runs, waits = await served.send("ann"), await served.send("ann")
    await served.take()
    assert await served.transport.zcard(keys.in_hand("ann")) == 2
    await served.queue.cancel(waits, "ann")
    await Journal(served.transport).append("w1", [NewEntry(runs, 1, "finished", 0, [], b"{}")])
    assert await served.transport.zcard(keys.in_hand("ann")) == 0


class IdealSharing:
    """All users with claims served at once, each at its weight's rate, computed exactly."""

    def __init__(self) -> None:
        self.claims: dict[str, Fraction] = {}
        self.served: dict[str, Fraction] = dict.fromkeys(USERS, Fraction(0))

    def arrive(self, user: str) -> None:
        self.claims[user] = self.claims.get(user, Fraction(0)) + 1

    def serve(self, services: int) -> None:
        left = Fraction(services)
        while left > 0 and self.claims:
            weights = {user: WEIGHTS[USERS.index(user)] for user in self.claims}
            total = sum(weights.values())
            part = min(left, *(self.claims[user] * total / weights[user] for user in self.claims))
            for user in tuple(self.claims):
                share = part * weights[user] / total
                self.served[user] += share
                self.claims[user] -= share
                if self.claims[user] == 0:
                    del self.claims[user]
            left -= part


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(USERS), st.integers(1, 4)),
        st.tuples(st.just("take"), st.integers(1, 4)),
    ),
    max_size=25,
)


@settings(max_examples=25, deadline=None)
@given(steps=STEPS)
def test_no_user_gets_less_than_his_share_minus_one(session_redis: RedisServer, steps: list[Step]) -> None:
    """With any arrivals and weights, nobody is behind the ideal sharing by more than the one that is being served."""

    async def run() -> None:
        transport = create_redis("test", session_redis.url)
        try:
            await transport.flushall()
            pool = await Pool(transport).open()
            ideal = IdealSharing()
            for name, count in [*steps, ("take", 3), ("take", 1000)]:
                if name != "take":
                    for _ in range(count):
                        await pool.send(name, float(WEIGHTS[USERS.index(name)]))
                        ideal.arrive(name)
                    continue
                before = len(await pool.taken())
                await pool.registry.set_slots("w1", VARIANT, 0)
                await pool.take(count)
                users = await pool.users()
                for served in range(before + 1, len(users) + 1):
                    ideal.serve(1)
                    for user in USERS:
                        assert users[:served].count(user) >= ideal.served[user] - 1 - Fraction(1, 1000)
        finally:
            await transport.aclose()

    asyncio.run(run())
