"""The platform on the demo model, for the benchmarks: its own Redis, gateway, converter and CPU workers."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.helpers.demo_store import demo_data_dir
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import Gateway, Service, wait_until


def _show_logs(folder: Path) -> None:
    for log in folder.glob("*.log"):
        sys.stderr.write(f"--- {log.name}\n{log.read_text()[-4000:]}\n")


@contextmanager
def demo_services(settings: Mapping[str, str], *, workers: int = 1) -> Iterator[Gateway]:
    """Start everything, yield the gateway, stop everything."""
    store = demo_data_dir() / "models"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        stack.push(lambda kind, _error, _trace: _show_logs(folder) if kind else None)
        server = RedisServer(folder / "redis").start()
        stack.callback(server.stop)
        environment = {
            "OVCHAT_REDIS_URL": server.url,
            "OVCHAT_DATA_DIR": str(folder),
            "OVCHAT_MODEL_STORE": str(store),
            "OVCHAT_DRAIN_GRACE_SECONDS": "2",
            **settings,
        }
        gateway = Gateway(environment, folder / "gateway.log").start_ready()
        stack.callback(gateway.stop)
        for number, module in enumerate(("converter_worker", *("inference_worker",) * workers)):
            service = Service(module, environment, folder / f"{module}-{number}.log").start()
            stack.callback(service.stop)
        with gateway.client() as client:
            wait_until(lambda: client.get("/api/v1/models").json()["data"], seconds=60, what="index of variants")
            wait_until(lambda: len(client.get("/api/v1/workers").json()["data"]) == workers, seconds=60, what="workers")
        yield gateway
