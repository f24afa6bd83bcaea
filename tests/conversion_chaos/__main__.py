"""`make conversion-chaos`: random kills over a queue of conversions, and an independent check of jobs and store.

Prints a summary of each run and exits with 1 where a job was lost, ended wrongly, or the store was ever inconsistent.
"""

import argparse
import random
import sys
import time
from pathlib import Path

from tests.conversion_chaos.run import run_chaos


def main() -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(prog="make conversion-chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=30, help="kills in all")
    parser.add_argument("--real-kills", type=int, default=10, help="how many of them hit conversions of a tiny llama")
    parser.add_argument("--seed", type=int, default=None, help="of plan and jobs; a random one where not given")
    parser.add_argument("--folder", type=Path, default=Path(".cache/conversion-chaos"), help="store, logs and Redis")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 16) if options.seed is None else options.seed
    runs = {False: options.kills - options.real_kills, True: options.real_kills}
    broken = 0
    for real, kills in runs.items():
        if kills <= 0:
            continue
        name = "real" if real else "sample"
        _say(f"{name}: {kills} kills, seed {seed}")
        pause = 4.0 if real else 1.2
        folder = (options.folder / name).absolute()
        report = run_chaos(folder, kills=kills, seed=seed, real=real, mean_pause_seconds=pause, say=_say)
        sys.stdout.write(f"{name}: {report.table()}\n")
        broken += len(report.violations)
    return 1 if broken else 0


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


if __name__ == "__main__":
    sys.exit(main())
