"""Loads on a real gateway with the `sample` engine: refusals are counted with what they said, chats are told apart."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.client.bench.driver import Driver, Wish
from gateway.client.bench.load import Load, Step
from gateway.client.bench.load_shapes import Bound, ClosedLoop, OpenLoop
from gateway.client.bench.openai_driver import OpenAIDriver
from gateway.client.bench.prompts import MadeUpPrompts
from gateway.client.bench.report import StepReport
from gateway.client.bench.websocket_driver import WebSocketDriver
from shared.errors import InvalidApiKey, ModelNotFound, PlatformError, Unavailable
from tests.helpers.pool import Pool
from tests.helpers.redis_server import RedisServer, free_port
from tests.helpers.services import ADMIN_KEY, wait_until
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected
Kind = Callable[[str, str], Driver]
DRIVERS: list[Kind] = [WebSocketDriver, OpenAIDriver]
#: What one replica works on at once, and what may wait for it, in `narrow`.
SLOTS, WAITING = 2, 2


@pytest.fixture
def narrow(own_redis: RedisServer, tmp_path: Path) -> Iterator[Pool]:
    """A pool that is full soon; the second gateway allows its user one generation at once."""
    pool = Pool(tmp_path, own_redis.url)
    publish_sample_variant(pool.store_path, own_redis.url)
    try:
        pool.gateway({"OVCHAT_MAX_WAITING": str(WAITING)})
        pool.gateway({"OVCHAT_MAX_CONCURRENT_PER_USER": "1"})
        pool.worker(
            {
                "OVCHAT_MAX_SEQUENCES": str(SLOTS),
                "OVCHAT_SAMPLE_TOKENS_PER_SECOND": "20",
                "OVCHAT_DRAIN_GRACE_SECONDS": "0.2",
            }
        )
        yield pool
    finally:
        pool.stop()


async def _measure(driver: Driver, step: Step, *, model: str = "sample", tokens: int = 16) -> StepReport:
    load = Load(driver, MadeUpPrompts("test"), Wish(model, tokens))
    try:
        await load.warm_up(1)
        await load.run(step)
    finally:
        await driver.close()
    (report,) = load.reports()
    return report


@pytest.mark.parametrize("kind", DRIVERS)
async def test_both_interfaces_measure_the_same_answers(pool: Pool, kind: Kind) -> None:
    driver = kind(pool.gateways[0].url, ADMIN_KEY)
    report = await _measure(driver, Step(ClosedLoop(2, Bound(requests=6)), concurrency=2))
    assert (report.sent, report.finished, report.errors) == (6, 6, ())
    assert report.output_tokens == 6 * 16
    assert report.prompt_tokens is not None
    assert report.first_token_ms is not None
    assert report.total_ms is not None
    assert 0 < report.first_token_ms.p50 < report.total_ms.p50
    # 200 tokens a second: 16 of them take 75 ms from the first to the last.
    assert report.per_token_ms is not None
    assert 4 < report.per_token_ms.p50 < 30
    assert sum(report.deltas_by_second) > 6
    assert len(driver.chat_ids) == (7 if kind is WebSocketDriver else 0)
    assert (report.queue_to_first_token_ms is not None) == (kind is WebSocketDriver)


@pytest.mark.parametrize("kind", DRIVERS)
async def test_a_full_queue_is_counted_as_503_with_how_soon_it_was_said(narrow: Pool, kind: Kind) -> None:
    driver = kind(narrow.gateways[0].url, ADMIN_KEY)
    step = Step(OpenLoop(200, Bound(requests=12), places=4), rate_per_second=200)
    report = await _measure(driver, step)
    assert (report.sent, report.unfinished, report.failed) == (12, 0, 0)
    assert report.finished >= SLOTS + WAITING
    (error,) = report.errors
    assert (error.code, error.status, error.count) == ("overloaded", 503, 12 - report.finished)
    assert error.latency_ms is not None
    assert report.total_ms is not None
    # An answer of 16 tokens at 20 a second takes longer than any refusal.
    assert error.latency_ms.max < report.total_ms.p50
    assert error.retry_after_seconds is not None


@pytest.mark.parametrize("kind", DRIVERS)
async def test_a_user_s_own_limit_is_counted_as_429(narrow: Pool, kind: Kind) -> None:
    driver = kind(narrow.gateways[1].url, ADMIN_KEY)
    report = await _measure(driver, Step(ClosedLoop(3, Bound(requests=6)), concurrency=3), tokens=8)
    assert report.finished >= 1
    (error,) = report.errors
    assert (error.code, error.status, error.refused) == ("rate_limit_exceeded", 429, True)


@pytest.mark.parametrize("kind", DRIVERS)
async def test_a_gateway_that_dies_under_the_load_is_counted(narrow: Pool, kind: Kind) -> None:
    """The accident: answers whose gateway is gone are waited for, and the bench never ends."""
    driver = kind(narrow.gateways[0].url, ADMIN_KEY)
    load = Load(driver, MadeUpPrompts("test"), Wish("sample", 400))
    try:
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            tasks.create_task(load.run(Step(ClosedLoop(SLOTS, Bound(requests=SLOTS)), concurrency=SLOTS)))
            begun = functools.partial(wait_until, lambda: load.reports() and load.reports()[0].deltas_by_second)
            await asyncio.to_thread(begun)
            narrow.gateways[0].kill()
    finally:
        await driver.close()
    (report,) = load.reports()
    assert [(error.code, error.count) for error in report.errors] == [("connection_lost", SLOTS)]


@pytest.mark.parametrize("kind", DRIVERS)
async def test_what_cannot_be_measured_is_said_before_the_first_step(pool: Pool, kind: Kind) -> None:
    url = pool.gateways[0].url
    wrong: list[tuple[str, str, str, type[PlatformError]]] = [
        (url, "wrong", "sample", InvalidApiKey),
        (url, ADMIN_KEY, "nix", ModelNotFound),
        (f"http://127.0.0.1:{free_port()}", ADMIN_KEY, "sample", Unavailable),
    ]
    for address, key, model, error in wrong:
        with pytest.raises(error):
            await _measure(kind(address, key), Step(ClosedLoop(1, Bound(requests=1)), 1), model=model)


async def test_prompts_become_as_long_as_they_were_wanted(pool: Pool) -> None:
    driver = WebSocketDriver(pool.gateways[0].url, ADMIN_KEY)
    load = Load(driver, MadeUpPrompts("short"), Wish("sample", 4))
    try:
        await load.lengthen_prompts("long", 250)
        await load.run(Step(ClosedLoop(1, Bound(requests=4)), concurrency=1))
    finally:
        await driver.close()
    (report,) = load.reports()
    assert report.prompt_tokens is not None
    assert report.prompt_tokens.p50 == pytest.approx(250, rel=0.1)
