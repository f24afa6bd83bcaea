"""A gateway and inference workers with the `sample` engine, as real processes on one Redis."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis

from tests.helpers.services import Gateway, Service, wait_until
from tests.helpers.variants import CONTEXT_LENGTH, publish_sample_variant


class Pool:
    """Starts what a test asks for and stops all of it at the end."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder = folder
        self.redis_url = redis_url
        self.gateways: list[Gateway] = []
        self.workers: list[Service] = []

    @property
    def store_path(self) -> Path:
        return self.folder / "models"

    @property
    def _environment(self) -> dict[str, str]:
        return {"OVCHAT_REDIS_URL": self.redis_url, "OVCHAT_DATA_DIR": str(self.folder)}

    def gateway(self, environment: Mapping[str, str] | None = None, *, port: int | None = None) -> Gateway:
        log = self.folder / f"gateway-{len(self.gateways)}.log"
        gateway = Gateway({**self._environment, **(environment or {})}, log, port=port)
        self.gateways.append(gateway)
        return gateway.start_ready()

    def worker(self, environment: Mapping[str, str] | None = None) -> Service:
        """Start a worker and wait until it is registered."""
        log = self.folder / f"worker-{len(self.workers)}.log"
        settings = {"OVCHAT_ENGINE": "sample", "OVCHAT_SAMPLE_TOKENS_PER_SECOND": "200"}
        worker = Service("inference_worker", {**self._environment, **settings, **(environment or {})}, log)
        self.workers.append(worker)
        before = self.registered()
        worker.start()
        wait_until(lambda: self.registered() > before, what="worker registered")
        return worker

    def registered(self) -> int:
        """Return how many workers the gateway's registry has; a worker needs a gateway to be seen."""
        with self.gateways[0].client() as client:
            return len(client.get("/api/v1/workers").json()["data"])

    def stop(self) -> None:
        """Stop everything, workers first; one that does not end fails the test but keeps nobody else alive."""
        with ExitStack() as stack:
            for service in reversed((*self.workers, *self.gateways)):
                if service.process is not None:
                    stack.callback(service.stop)


@contextmanager
def sample_pool(
    folder: Path, redis_url: str, *, workers: int = 1, context_length: int = CONTEXT_LENGTH
) -> Iterator[Pool]:
    """A pool on an emptied Redis with a published sample variant, a gateway and so many workers."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    pool = Pool(folder, redis_url)
    publish_sample_variant(pool.store_path, redis_url, context_length=context_length)
    try:
        pool.gateway()
        for _ in range(workers):
            pool.worker()
        yield pool
    finally:
        pool.stop()
