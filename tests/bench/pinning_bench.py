"""What it is worth to hold the replicas of one host to cores of their own.

`python -m tests.bench.pinning_bench` serves the demo model by two workers on this machine, 8 chats at once for each,
and prints as JSON the tokens per second and the time between tokens with replicas held to their part of the cores,
with replicas that run anywhere with the same number of threads, and with replicas that each have a thread for every
core: in turn, round by round.
"""

import argparse
import json
import os
import subprocess
import sys

from gateway.client.bench.report import BenchReport
from tests.bench.bench_command import bench_command, bench_environment
from tests.bench.demo_services import demo_services
from tests.helpers.demo_store import MODEL
from tests.helpers.services import Gateway, wait_until

VARIANT = "int4"
CASES = {
    "held to its part": {"OVCHAT_CPU_PINNING": "share"},
    "anywhere": {"OVCHAT_CPU_PINNING": "off"},
    "anywhere, a thread for every core": {"OVCHAT_INFERENCE_THREADS": str(len(os.sched_getaffinity(0)))},
}


def main() -> None:
    """Measure and print as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--chats", type=int, default=8, help="chats at once for each worker")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rounds: dict[str, list[dict[str, float | None]]] = {case: [] for case in CASES}
    for _ in range(options.rounds):
        for case, settings in CASES.items():
            with demo_services(settings, workers=options.workers) as gateway:
                _load_everywhere(gateway)
                rounds[case].append(_measure(gateway, options.workers * options.chats, options.max_new_tokens))
    sys.stdout.write(json.dumps(rounds, indent=1) + "\n")


def _load_everywhere(gateway: Gateway) -> None:
    with gateway.client() as client:
        workers = [worker["worker_id"] for worker in client.get("/api/v1/workers").json()["data"]]
        for worker_id in workers:
            order = {"model": f"{MODEL}:{VARIANT}", "worker_id": worker_id}
            client.post("/api/v1/replicas", json=order).raise_for_status()

        def ready() -> bool:
            states = [view["replica"]["state"] for view in client.get("/api/v1/replicas").json()["data"]]
            return states == ["ready"] * len(workers)

        wait_until(ready, seconds=120, what="replicas ready")


def _measure(gateway: Gateway, chats: int, max_new_tokens: int) -> dict[str, float | None]:
    arguments = ("--concurrency", str(chats), "--max-new-tokens", str(max_new_tokens), "--warmup", str(chats))
    done = subprocess.run(
        bench_command(f"{MODEL}:{VARIANT}", *arguments),
        env=bench_environment(gateway.url),
        stdout=subprocess.PIPE,
        check=True,
    )
    (step,) = BenchReport.model_validate_json(done.stdout).steps
    gap = step.between_tokens_ms
    return {
        "tokens_per_second": step.output_tokens_per_second,
        "between_tokens_p95_ms": None if gap is None else gap.p95,
    }


if __name__ == "__main__":
    main()
