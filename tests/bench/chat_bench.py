"""Many chats at once through the platform against the bare engine and the tutorial's pipeline, on the demo model.

`python -m tests.bench.chat_bench` prints the report of `ovchat bench --compare` as JSON, and the engine step's 95th
percentile that the worker tells: same prompts, same machine, in turn, round by round.
"""

import argparse
import json
import subprocess
import sys

from tests.bench.bench_command import bench_command, bench_environment
from tests.bench.demo_services import demo_services
from tests.helpers.demo_store import MODEL, demo_data_dir


def main() -> None:
    """Measure and print as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chats", default="1,32", help="numbers of chats at once")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--variant", default="int4")
    parser.add_argument("--compare", default="optimum,in-process")
    options = parser.parse_args()
    store = demo_data_dir() / "models"
    with demo_services({}) as gateway:
        command = bench_command(
            f"{MODEL}:{options.variant}",
            *("--compare", options.compare, "--store", str(store), "--rounds", str(options.rounds)),
            *("--concurrency", options.chats, "--max-new-tokens", str(options.max_new_tokens), "--warmup", "8"),
        )
        outcome = subprocess.run(command, env=bench_environment(gateway.url), stdout=subprocess.PIPE, check=True)
        with gateway.client() as client:
            (replica,) = client.get("/api/v1/workers").json()["data"][0]["replicas"]
    sys.stdout.write(json.dumps({**json.loads(outcome.stdout), "step_ms_p95": replica["step_ms"]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
