"""What becomes of work on the model store whose converter is killed."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
from celery import Celery
from celery.exceptions import Reject

from converter_worker.celery_app import STORE_VISIBILITY_SECONDS, make_celery
from converter_worker.job_store import JobStore
from converter_worker.store_runs import StoreRuns
from converter_worker.tasks import register_store_tasks
from converter_worker.variant_index import VariantIndex
from shared import keys
from shared.model_store import ModelStore
from shared.redis_client import create_sync_redis
from shared.schemas.store import StoreRun, VariantCheck
from shared.settings import ConverterSettings
from tests.helpers.redis_server import RedisServer
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected


@pytest.fixture
def state(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def test_a_lost_message_of_the_store_comes_back_in_minutes(
    state: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A converter was killed while it deleted a variant: the message came back after seven hours, as a stage's does.

    Those of stages that work for longer than the store's minutes must not come back with it.
    """
    settings = ConverterSettings(transport_redis_url=redis_url)
    stages, store = make_celery(settings), make_celery(settings, keys.STORE_QUEUE)
    store.send_task(keys.TASK_STORE_RUN, kwargs={"run_id": "run_1"}, queue=keys.STORE_QUEUE)

    stages.send_task(keys.TASK_RUN_STAGE, kwargs={"conversion_id": "conv_1"}, queue=keys.CONVERSION_QUEUE)

    def waiting_after(seconds: float, app: Celery) -> tuple[int, int]:
        now = time.time() + seconds
        monkeypatch.setattr("kombu.transport.redis.time", lambda: now)
        with app.connection_for_read() as connection:
            connection.default_channel.qos.restore_visible()
        queues = (keys.STORE_QUEUE, keys.CONVERSION_QUEUE)
        store_waits, stage_waits = (state.llen(keys.CELERY_PREFIX + queue) for queue in queues)
        return store_waits, stage_waits

    with store.connection_for_read() as killed, stages.connection_for_read() as at_work:
        assert killed.default_channel.basic_get(keys.STORE_QUEUE) is not None
        assert at_work.default_channel.basic_get(keys.CONVERSION_QUEUE) is not None
        assert waiting_after(STORE_VISIBILITY_SECONDS - 10, store) == (0, 0)
        assert waiting_after(STORE_VISIBILITY_SECONDS + 10, stages) == (0, 0)
        assert waiting_after(STORE_VISIBILITY_SECONDS + 10, store) == (1, 0)
    store.close()
    stages.close()


def test_a_verification_that_comes_again_goes_on_where_it_was(
    state: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    """Half of it was in its record when its converter was killed: those variants were told twice."""
    for variant in ("int4", "int8"):
        publish_sample_variant(tmp_path / "models", redis_url, variant=variant)
    half = (VariantCheck(model="sample", variant="int4"),)
    run = StoreRun(run_id="run_1", task="verify", state="running", checks=half)
    state.set(keys.store_run("run_1"), run.model_dump_json())
    jobs, settings = JobStore(state, "w", 2.0), ConverterSettings(data_dir=tmp_path)
    StoreRuns(settings, state, jobs, ModelStore(tmp_path / "models")).carry_out("run_1")
    told = StoreRun.model_validate_json(state.get(keys.store_run("run_1")) or b"")
    assert told.state == "finished"
    assert told.checks == (*half, VariantCheck(model="sample", variant="int8"))


def test_work_on_the_store_that_redis_breaks_off_goes_back_into_the_queue(
    redis_url: str, own_redis: RedisServer, tmp_path: Path
) -> None:
    """Redis started again while a collection told how far it was: the run said "running" for ever.

    Of a deleted variant, what admins had set of it stayed, and came back with the next one of its name.
    """
    settings = ConverterSettings(transport_redis_url=redis_url, data_dir=tmp_path)
    store = ModelStore(tmp_path / "models")
    created_at = publish_sample_variant(store.path, own_redis.url, variant="int4").created_at
    deletion = {"model": "sample", "variant": "int4", "created_at": created_at}
    with (
        closing(create_sync_redis("test", own_redis.url, retries=0)) as state,
        closing(make_celery(settings, keys.STORE_QUEUE)) as app,
    ):
        runs = StoreRuns(settings, state, JobStore(state, "w", 2.0), store)
        register_store_tasks(app, store, VariantIndex(state, store), runs)
        own_redis.kill()
        for name, arguments in ((keys.TASK_STORE_RUN, {"run_id": "run_1"}), (keys.TASK_DELETE_VARIANT, deletion)):
            with pytest.raises(Reject) as broken_off:
                app.tasks[name].run(**arguments)
            assert broken_off.value.requeue
        own_redis.start()
        assert state.hexists(keys.VARIANTS, "sample:int4")
        app.tasks[keys.TASK_DELETE_VARIANT].run(**deletion)
        assert not state.hexists(keys.VARIANTS, "sample:int4")
