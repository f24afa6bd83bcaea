"""Ten times more requests than the pool can answer: what becomes of those that are let in, and how soon the rest know.

`python -m tests.bench.overload_bench` measures the pool's capacity, and the time to the first token of a full batch
with an empty queue, in a closed loop with as many clients as slots. Then it sends ten times that many requests a second
in an open loop, over WebSocket (which tells the time in the queue) and over the OpenAI interface (which tells the
status), and prints both as JSON with the ratio.
"""

import argparse
import json
import subprocess
from typing import Any

from gateway.client.bench.report import BenchReport, StepReport
from tests.bench.bench_command import bench_command, bench_environment
from tests.bench.demo_services import demo_services
from tests.helpers.demo_store import MODEL
from tests.helpers.services import Gateway

SLOTS = 16
MAX_WAITING = 32
MAX_WAIT_SECONDS = 10.0
SETTINGS = {
    "OVCHAT_MAX_SEQUENCES": str(SLOTS),
    "OVCHAT_MAX_WAITING": str(MAX_WAITING),
    "OVCHAT_MAX_WAIT_SECONDS": str(MAX_WAIT_SECONDS),
    "OVCHAT_MAX_CONCURRENT_PER_USER": "0",
    "OVCHAT_REQUESTS_PER_MINUTE": "0",
    "OVCHAT_KV_CACHE_BYTES": str(1 << 30),
}


def bench(gateway: Gateway, *arguments: str) -> StepReport:
    """Run `ovchat bench` in a process of its own and return its one step."""
    command = bench_command(f"{MODEL}:int4", "--max-new-tokens", "64", *arguments)
    output = subprocess.run(command, env=bench_environment(gateway.url), stdout=subprocess.PIPE, check=False).stdout
    return BenchReport.model_validate_json(output).steps[0]


def p95(figures: Any) -> float | None:
    """Return a distribution's 95th percentile."""
    return None if figures is None else float(figures.p95)


def told(step: StepReport) -> dict[str, Any]:
    """Return what matters of a step."""
    return {
        "sent": step.sent,
        "finished": step.finished,
        "refused": step.refused,
        "failed": step.failed,
        "hanging": step.unfinished,
        "requests_per_second": step.requests_per_second,
        "queue_to_first_token_p95_ms": p95(step.queue_to_first_token_ms),
        "queue_p95_ms": p95(step.queue_ms),
        "queue_max_ms": None if step.queue_ms is None else step.queue_ms.max,
        "send_delay_p95_ms": p95(step.send_delay_ms),
        "errors": [
            {
                "code": error.code,
                "status": error.status,
                "count": error.count,
                "latency_p95_ms": p95(error.latency_ms),
                "retry_after_seconds": None if error.retry_after_seconds is None else error.retry_after_seconds.p50,
            }
            for error in step.errors
        ],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each open loop")
    parser.add_argument("--factor", type=float, default=10.0, help="requests a second, in capacities")
    arguments = parser.parse_args()
    with demo_services(SETTINGS) as gateway:
        full = bench(gateway, "--concurrency", str(SLOTS), "--requests", str(SLOTS * 6), "--warmup", "4")
        rate = full.requests_per_second * arguments.factor
        wanted = ("--rate", f"{rate:.3f}", "--duration", str(arguments.seconds), "--warmup", "1")
        sockets = bench(gateway, *wanted, "--api", "ws", "--sockets", "64")
        http = bench(gateway, *wanted, "--api", "openai", "--sockets", "64")
    first, under_load = p95(full.queue_to_first_token_ms), p95(sockets.queue_to_first_token_ms)
    report = {
        "settings": SETTINGS,
        "full_batch": told(full),
        "overload_websocket": told(sockets),
        "overload_openai": told(http),
        "first_token_ratio": round(under_load / first, 2) if first and under_load else None,
    }
    print(json.dumps(report, indent=2))  # noqa: T201 - it is what the benchmark is for.


if __name__ == "__main__":
    main()
