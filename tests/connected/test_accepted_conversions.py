"""Which conversion jobs are accepted, joined and refused, and what of them Redis forgets."""

import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from redis.typing import EncodableT

from converter_worker.job_store import JobStore, StageTicket
from gateway.conversion_client import ConversionTasks
from gateway.conversions.service import ConversionService
from gateway.models.index import ModelIndex
from shared import keys
from shared.catalog import Catalog
from shared.conversion_job import JOB_TTL_SECONDS
from shared.errors import NameTaken, VariantExists
from shared.redis_client import AsyncRedis, create_sync_redis
from shared.schemas.conversion import ConversionJob, ConversionRequest, ImportRequest
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected


@pytest.fixture
async def service(redis_url: str, transport: AsyncRedis) -> AsyncIterator[ConversionService]:
    tasks = ConversionTasks(redis_url)
    catalog = Catalog([])
    yield ConversionService(transport, transport, ModelIndex(transport, catalog), catalog, tasks)
    tasks.close()


async def submit(service: ConversionService, source: str, *variants: object, **fields: object) -> ConversionJob:
    request = {"source_model": source, "name": "model", "variants": variants or ("int8",), **fields}
    return (await service.submit(ConversionRequest.model_validate(request)))[0]


async def test_a_name_belongs_to_the_source_of_every_open_job(service: ConversionService) -> None:
    """Only the newest job of a name was looked at: once that was cancelled, another source got the name of an older
    one that still ran.
    """
    first = await submit(service, "org/one", "int8")
    second = await submit(service, "org/one", "int4")
    await service.cancel(second.conversion_id)
    with pytest.raises(NameTaken, match="org/one"):
        await submit(service, "org/two", "fp16")
    again = ConversionRequest.model_validate({"source_model": "org/one", "name": "model", "variants": ["int8"]})
    assert await service.submit(again) == (first, True)
    await service.cancel(first.conversion_id)
    await submit(service, "org/two", "int8")


async def test_a_job_that_is_to_stop_is_not_joined(service: ConversionService, redis_url: str) -> None:
    """A job was cancelled and asked for again at once: it joined the one that ended as cancelled a moment later.

    Where that one's converter was lost, the moment took as long as the loss was not seen.
    """
    first = await submit(service, "org/one", "int8")
    with create_sync_redis("converter", redis_url) as client:
        jobs = JobStore(client, "w", 2.0)
        ticket = StageTicket(first.conversion_id, "resolve", 1)
        assert jobs.claim(ticket) is not None
        assert (await service.cancel(first.conversion_id)).state == "running"
        again = await submit(service, "org/one", "int8")
        assert again.conversion_id != first.conversion_id
        jobs.end(ticket, "cancelled")
    assert await submit(service, "org/one", "int8") == again


@pytest.mark.parametrize("published", [False, True])
async def test_a_job_whose_acceptance_was_not_heard_is_begun(
    service: ConversionService,
    transport: AsyncRedis,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    published: bool,
) -> None:
    """Redis accepted a job and was lost before it said so; the client asked again, and the job joined itself.

    No message was sent for it: it waited for the reaper, as long as a lost one does, and was nobody's in the usage.
    """
    if published:
        publish_sample_variant(tmp_path, redis_url, model="model", variant="fp16")
    script = service._submit

    async def unheard(args: Iterable[EncodableT]) -> object:
        sent = list(args)
        await script(sent)
        return await script(sent)

    monkeypatch.setattr(service, "_submit", unheard)
    request = {"source_model": "tests/model", "name": "model", "variants": ["fp16"]}
    job, joined = await service.submit(ConversionRequest.model_validate(request))
    assert not joined
    assert await transport.llen(keys.CELERY_PREFIX + keys.CONVERSION_QUEUE) == (0 if published else 1)
    assert await transport.xlen(keys.conversion_events(job.conversion_id)) == 1


async def test_a_variants_name_belongs_to_one_recipe_of_the_open_jobs(service: ConversionService) -> None:
    """Two jobs with different recipes for one name both ran, and the second failed at publish, after hours."""
    await submit(service, "org/one", "int8", "int4")
    symmetric = {"name": "int8", "weight_format": "int8", "recipe": {"sym": True}}
    with pytest.raises(VariantExists, match="model:int8 is on its way with another recipe"):
        await submit(service, "org/one", symmetric)
    with pytest.raises(VariantExists, match="revision"):
        await submit(service, "org/one", "int8", revision="other")
    await submit(service, "org/one", {**symmetric, "name": "int8-sym"}, "int4")
    imported = ImportRequest.model_validate({"source_model": "org/one", "name": "model", "variant": "int8"})
    with pytest.raises(VariantExists):
        await service.submit(imported)


async def test_redis_forgets_jobs_that_have_ended(
    service: ConversionService, transport: AsyncRedis, redis_url: str, tmp_path: Path
) -> None:
    """Jobs that never ran stayed for ever, and with them what a child reported too late."""
    publish_sample_variant(tmp_path, redis_url, model="model", variant="fp16")
    cancelled = await submit(service, "tests/model")
    await service.cancel(cancelled.conversion_id)
    complete = await submit(service, "tests/model", "fp16")
    assert complete.state == "succeeded"
    ran = await submit(service, "tests/model", "int8")
    with create_sync_redis("converter", redis_url) as client:
        jobs = JobStore(client, "w", 2.0)
        ticket = StageTicket(ran.conversion_id, "compress", 1, "int8")
        jobs.claim(ticket)
        assert await transport.smembers(keys.OPEN_CONVERSIONS) == {ran.conversion_id.encode()}
        jobs.end(ticket, "succeeded")
        jobs.note_part(ticket, 1.0)
    kept = {key async for key in transport.scan_iter("ovchat:{conv_*") if b":lease:" not in key}
    assert len(kept) == 7
    times_to_live = [await transport.ttl(key) for key in kept]
    assert min(times_to_live) > 0
    assert max(times_to_live) <= JOB_TTL_SECONDS
    assert not await transport.exists(keys.OPEN_CONVERSIONS)


async def test_a_cancel_is_kept_until_its_job_has_ended(
    service: ConversionService, transport: AsyncRedis, redis_url: str
) -> None:
    """A job was cancelled while its converter was switched off for a weekend; on Monday it was converted after all."""
    job = await submit(service, "org/one")
    cancel = keys.conversion_cancel(job.conversion_id)
    with create_sync_redis("converter", redis_url) as client:
        jobs = JobStore(client, "w", 2.0)
        ticket = StageTicket(job.conversion_id, "resolve", 1)
        jobs.claim(ticket)
        await service.cancel(job.conversion_id)
        assert await transport.persist(cancel) == 0
        assert jobs.stop_reason(ticket) == "cancelled"
        jobs.end(ticket, "cancelled")
    assert not await transport.exists(cancel)


async def test_jobs_behind_a_thousand_newer_ones_are_seen(
    service: ConversionService, transport: AsyncRedis, redis_url: str
) -> None:
    """The same request sent each minute is a job each: an older one that had lost its converter was never taken up."""
    job = await submit(service, "org/one")
    await transport.zadd(keys.CONVERSIONS, {f"conv_{number}": job.created_ms + number for number in range(1, 1100)})
    with create_sync_redis("converter", redis_url) as client:
        assert [view.job for view in JobStore(client, "w", 2.0).unfinished()] == [job]


async def test_the_times_of_a_job_are_of_redis_clock(
    service: ConversionService, transport: AsyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway's clock was wrong by an hour: its jobs counted as lost, or were never missed."""
    monkeypatch.setattr(time, "time", lambda: 0.0)
    before, _ = await transport.time()
    job = await submit(service, "org/one")
    cancelled = await service.cancel(job.conversion_id)
    after, _ = await transport.time()
    assert before * 1000 <= job.created_ms <= (cancelled.ended_ms or 0) <= (after + 1) * 1000
