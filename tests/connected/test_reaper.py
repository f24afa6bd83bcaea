"""The reaper on a real Redis: what breaks a round, and jobs that it cannot read."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from converter_worker.job_store import JobStore, StageTicket
from converter_worker.reaper import Reaper
from converter_worker.sweeper import Sweeper
from shared import keys
from shared.conversion_job import event_from_fields
from shared.ids import new_id
from shared.model_store import ModelStore
from shared.redis_client import SyncRedis, create_sync_redis
from shared.schemas.conversion import ConversionJob, ConversionPlan
from shared.schemas.models import Recipe, VariantRequest
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import wait_until
from tests.helpers.written_job import write_job

pytestmark = pytest.mark.connected
LEASE_SECONDS = 0.05


@pytest.fixture
def state(redis_url: str) -> Iterator[SyncRedis]:
    client = create_sync_redis("test", redis_url)
    yield client
    client.close()


@pytest.fixture
def jobs(state: SyncRedis) -> JobStore:
    return JobStore(state, "w", LEASE_SECONDS)


def write_lost_job(state: SyncRedis) -> str:
    """Write a job whose message is lost."""
    variant = VariantRequest(name="int4", weight_format="int4", recipe=Recipe(ratio=1.0))
    plan = ConversionPlan(source_model="org/model", model="model", variants=(variant,))
    return write_job(state, ConversionJob(conversion_id=new_id("conv"), plan=plan, state="queued", created_ms=1))


def write_newer_job(state: SyncRedis) -> str:
    """Write a job with a recipe that has a field of which this version knows nothing."""
    conversion_id = write_lost_job(state)
    plan = orjson.loads(state.hget(keys.conversion_job(conversion_id), "plan") or b"")
    plan["variants"][0]["recipe"]["rotation"] = True
    state.hset(keys.conversion_job(conversion_id), "plan", orjson.dumps(plan))
    return conversion_id


def test_the_reaper_outlives_what_breaks_a_round(state: SyncRedis, jobs: JobStore) -> None:
    """The broker is away for a moment, or a job is odd: the thread ended, and with it heartbeats and sweeping."""
    conversion_id = write_lost_job(state)
    sent: list[StageTicket] = []
    breaks: list[Exception] = [OperationalError("the broker is away"), ValueError("odd")]
    rounds, went_on = [0], threading.Event()

    def send(ticket: StageTicket) -> None:
        if breaks:
            raise breaks.pop(0)
        sent.append(ticket)

    def after_round() -> None:
        rounds[0] += 1
        if rounds[0] == 1:
            raise ValueError("odd")
        if sent:
            went_on.set()

    reaper = Reaper(
        jobs,
        lambda: b"",
        lease_seconds=LEASE_SECONDS,
        send=send,
        give_up=lambda ticket, error: None,
        cancel=lambda ticket: None,
    )
    stopping = threading.Event()
    thread = threading.Thread(target=reaper.run, args=(stopping, after_round))
    thread.start()
    try:
        assert went_on.wait(10)
    finally:
        stopping.set()
        thread.join(10)
    assert sent[0] == StageTicket(conversion_id, "resolve", 4)
    entries = state.xrange(keys.conversion_events(conversion_id))
    told = [event_from_fields(fields) for _, fields in entries]  # type: ignore[union-attr,arg-type]
    assert {(event.stage, (event.message or "").partition(";")[0]) for event in told} == {
        ("resolve", "taken up again after its message was lost")
    }


def test_a_job_is_not_taken_away_while_its_converter_tries_to_reach_redis(own_redis: RedisServer) -> None:
    """Redis moved and was away for 15 s: one converter reached it at once, the other still tried the old address.

    Its lease had run out, and hours of a compression that went on all the while were thrown away. A converter that is
    lost in that time is noticed all the same.
    """
    # Long enough that no look on a busy machine takes half of it, which would count as one that Redis held up.
    lease_seconds = 3.0
    with closing(create_sync_redis("test", own_redis.url, retries=0)) as state:
        jobs, sent = JobStore(state, "w", lease_seconds), list[StageTicket]()
        ticket = StageTicket(write_lost_job(state), "compress", 1, "int4")
        lease = keys.conversion_lease(ticket.conversion_id, ticket.claim_field)
        reaper = Reaper(
            jobs,
            lambda: b"",
            lease_seconds=lease_seconds,
            send=sent.append,
            give_up=lambda ticket, error: None,
            cancel=lambda ticket: None,
        )
        jobs.claim(ticket)
        own_redis.kill()
        with pytest.raises(RedisError):
            reaper.reap()
        time.sleep(lease_seconds)
        own_redis.start()
        assert not state.exists(lease)
        assert [reaper.reap(), reaper.reap()] == [[], []]
        assert jobs.renew_lease(ticket)
        wait_until(lambda: not state.exists(lease), what="the lease has run out")
        assert [reaper.reap(), reaper.reap()] == [[], [ticket.conversion_id]]
        assert [again.attempt for again in sent] == [2]


def test_a_job_of_a_newer_version_is_left_to_newer_converters(state: SyncRedis, jobs: JobStore, tmp_path: Path) -> None:
    """While a platform is updated its gateways are newer: one such job ended every older converter's reaper.

    Nor may it be converted as if the recipe lacked what is not understood, or its work be cleared away.
    """
    newer, known = write_newer_job(state), write_lost_job(state)
    assert [view.job.conversion_id for view in jobs.unfinished()] == [known]
    assert jobs.claim(StageTicket(newer, "resolve", 1)) is None
    store = ModelStore(tmp_path)
    store.staging_dir(newer)
    store.staging_dir("conv_ended")
    Sweeper(jobs, store, None).sweep()
    assert [folder.name for folder in (tmp_path / ".staging").iterdir()] == [newer]
