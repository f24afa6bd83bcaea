"""What a delta costs in each process, with many chats at once on the `sample` engine.

`python -m tests.bench.load_bench` runs 1,000 chats at 2 deltas a second each and 300 at 10, through one gateway and
through two, and prints for each as JSON: CPU microseconds per delta of gateway, agent, replica and redis-server while
all chats are open, their resident memory at the start, in the middle and at the end, and what the clients saw. The
clients are `ovchat bench`, an open loop in a process of its own for each gateway. `--short` is a small form of it.
"""

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from gateway.client.bench.report import BenchReport, StepReport
from tests.bench.bench_command import bench_command, bench_environment
from tests.bench.process_watch import ProcessWatch
from tests.helpers.pool import Pool
from tests.helpers.redis_server import RedisServer
from tests.helpers.variants import publish_sample_variant

#: How long the chats of one case take to begin.
RAMP_SECONDS = 10
#: What the processes use without any chat is measured for this long before.
IDLE_SECONDS = 4
#: Every letter is a token and every token a delta.
ANSWER = "We had a long way home and time to see it all by day. " * 200
NO_LIMITS = {
    "OVCHAT_MAX_CONCURRENT_PER_USER": "0",
    "OVCHAT_REQUESTS_PER_MINUTE": "0",
    "OVCHAT_MAX_WAITING": "5000",
}


@dataclass(frozen=True, slots=True)
class Case:
    """So many chats at once at a speed each, through so many gateways, all open for ``hold_seconds``."""

    chats: int
    deltas_per_second: int
    gateways: int
    hold_seconds: int

    @property
    def tokens(self) -> int:
        return self.deltas_per_second * (RAMP_SECONDS + self.hold_seconds)


@contextmanager
def sample_services(case: Case) -> Iterator[tuple[Pool, RedisServer]]:
    """Start Redis, the gateways and one worker with room for all chats."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        server = RedisServer(folder / "redis").start()
        stack.callback(server.stop)
        pool = Pool(folder, server.url)
        stack.callback(pool.stop)
        publish_sample_variant(
            pool.store_path,
            server.url,
            context_length=case.tokens + 4096,
            replay_text=ANSWER,
            tokens_per_second=case.deltas_per_second,
        )
        for _ in range(case.gateways):
            pool.gateway(NO_LIMITS)
        slots = str(case.chats + 16)
        pool.worker({"OVCHAT_MAX_SEQUENCES": slots, "OVCHAT_PRELOAD_MODELS": "sample:int4"})
        yield pool, server


def run_clients(case: Case, pool: Pool) -> list[StepReport]:
    """Run one client process for each gateway and return what they measured."""
    share = case.chats // case.gateways
    wanted = (
        *("--rate", str(share / RAMP_SECONDS), "--requests", str(share), "--sockets", str(share)),
        *("--max-new-tokens", str(case.tokens), "--warmup", "1"),
    )
    clients = [
        subprocess.Popen(
            bench_command("sample:int4", *wanted), env=bench_environment(gateway.url), stdout=subprocess.PIPE
        )
        for gateway in pool.gateways
    ]
    outputs = [client.communicate()[0] for client in clients]
    return [BenchReport.model_validate_json(output).steps[0] for output in outputs]


def deltas_between(step: StepReport, start: float, end: float) -> float:
    """Return how many deltas a client got between two moments, spreading those of a second evenly over it."""
    first = step.started_at.timestamp()
    return sum(
        count * max(0.0, min(end, first + second + 1) - max(start, first + second))
        for second, count in enumerate(step.deltas_by_second)
    )


def measure(case: Case) -> dict[str, Any]:
    """Run a case and return its figures."""
    with sample_services(case) as (pool, server):
        assert server.process is not None
        agent = psutil.Process(pool.workers[0].pid)
        # The replica is loaded by the warm-up of the first client, so it is looked for when that has ended.
        roles = {
            "gateway": [psutil.Process(gateway.pid) for gateway in pool.gateways],
            "agent": [agent],
            "redis": [psutil.Process(server.process.pid)],
            "replica": wait_for_replica(agent),
        }
        with ProcessWatch(roles) as watch:
            idle_from = time.time()
            time.sleep(IDLE_SECONDS)
            idle_to = time.time()
            steps = run_clients(case, pool)
        start = max(step.started_at.timestamp() for step in steps) + RAMP_SECONDS + 1
        end = min(step.started_at.timestamp() for step in steps) + RAMP_SECONDS + case.hold_seconds - 1
        deltas = sum(deltas_between(step, start, end) for step in steps)
        return {
            "chats": case.chats,
            "deltas_per_second_each": case.deltas_per_second,
            "gateways": case.gateways,
            "window_seconds": round(end - start, 1),
            "deltas": round(deltas),
            "deltas_per_second": round(deltas / (end - start)),
            "cpu_us_per_delta": {role: round(1e6 * watch.cpu_seconds(role, start, end) / deltas, 1) for role in roles},
            "idle_cpu_ms_per_second": {
                role: round(1000 * watch.cpu_seconds(role, idle_from + 1, idle_to) / (idle_to - idle_from - 1), 2)
                for role in roles
            },
            "resident_mb": {
                role: [watch.resident_megabytes(role, at) for at in (start, (start + end) / 2, end)] for role in roles
            },
            "clients": [seen(step) for step in steps],
        }


def seen(step: StepReport) -> dict[str, Any]:
    """Return what a client saw, in short."""
    short: dict[str, Any] = {
        "finished": step.finished,
        "errors": {error.code: error.count for error in step.errors},
    }
    for name in ("first_token_ms", "between_tokens_ms", "send_delay_ms"):
        values = getattr(step, name)
        short[name] = None if values is None else {"p50": values.p50, "p95": values.p95, "max": values.max}
    return short


def wait_for_replica(agent: psutil.Process) -> list[psutil.Process]:
    """Return the agent's replica processes once the preloaded variant's is there."""
    deadline = time.monotonic() + 30
    while not (found := [child for child in agent.children() if "replica" in " ".join(child.cmdline())]):
        assert time.monotonic() < deadline, "no replica"
        time.sleep(0.1)
    return found


def main() -> None:
    """Measure and print as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="few chats, ten seconds each")
    parser.add_argument("--chats", type=int, help="one case of this many chats")
    parser.add_argument("--deltas-per-second", type=int, default=2, help="with --chats")
    parser.add_argument("--gateways", type=int, default=0, help="1 or 2; both where not given")
    parser.add_argument("--hold", type=int, default=30, help="seconds for which all chats are open")
    options = parser.parse_args()
    loads = [(1000, 2), (300, 10)]
    hold_seconds = options.hold
    if options.short:
        loads, hold_seconds = [(40, 2), (20, 10)], 10
    if options.chats:
        loads = [(options.chats, options.deltas_per_second)]
    runs = [
        measure(Case(chats, speed, gateways, hold_seconds))
        for chats, speed in loads
        for gateways in ((options.gateways,) if options.gateways else (1, 2))
    ]
    report: dict[str, Any] = {"runs": runs}
    if not options.gateways:
        costs = [run["cpu_us_per_delta"]["gateway"] for run in runs]
        report["two_gateways_to_one"] = [
            round(two / one, 3) if one else math.nan for one, two in zip(costs[::2], costs[1::2], strict=True)
        ]
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
