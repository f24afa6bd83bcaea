"""`make chaos`: random kills under load, and an independent check of what every client got.

Prints a table for each scene and exits with 1 where anything was lost, repeated, changed, or never ended.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from pathlib import Path

from tests.chaos.report import Report
from tests.chaos.run import real_course, run_course, sample_course


def main() -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200, help="kills in all")
    parser.add_argument("--real-kills", type=int, default=50, help="how many of them hit SmolLM2 replicas")
    parser.add_argument("--seed", type=int, default=None, help="of plan and requests; a random one where not given")
    parser.add_argument("--minutes", type=float, default=None, help="longest time of each scene's kills")
    parser.add_argument("--pause", type=float, default=3.0, help="mean seconds between kills")
    parser.add_argument("--folder", type=Path, default=Path(".cache/chaos"), help="logs, frames and the JSON report")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 16) if options.seed is None else options.seed
    most_seconds = None if options.minutes is None else options.minutes * 60
    courses = []
    if options.kills > options.real_kills:
        courses.append(sample_course(options.kills - options.real_kills, seed, mean_pause_seconds=options.pause))
    if options.real_kills:
        courses.append(real_course(options.real_kills, seed, mean_pause_seconds=options.pause))
    reports: list[Report] = []
    began = time.monotonic()
    for course in courses:
        folder = (options.folder / course.kind.name).absolute()
        _say(f"{course.kind.name}: {len(course.plan)} kills, seed {seed}, in {folder}")
        reports.append(asyncio.run(run_course(course, folder, seed, say=_say, most_seconds=most_seconds)))
        sys.stdout.write(reports[-1].table() + "\n")
    kills, broken = sum(len(report.kills) for report in reports), sum(len(report.violations) for report in reports)
    sys.stdout.write(f"{kills} kills, {broken} violations, {(time.monotonic() - began) / 60:.1f} minutes\n")
    path = options.folder / "report.json"
    path.write_text(json.dumps([report.as_json() for report in reports], indent=2), encoding="utf-8")
    _say(f"written to {path}")
    return 1 if broken else 0


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


if __name__ == "__main__":
    sys.exit(main())
