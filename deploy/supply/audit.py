"""`make audit`: asks for known vulnerabilities and yanked releases of every package that a lock file pins.

It ends with 0 only when everything was asked and nothing was found, with 1 when something was found, and with 3 when
something could not be asked. A database that answers nothing looks like one that knows of nothing: so it is first asked
about a release whose vulnerabilities are known.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from deploy.supply.pins import LOCKS, ROOT

#: Its vulnerabilities have been in every database for years.
KNOWN_BAD = "jinja2==2.10"
FOUND, NOT_ASKED = 1, 3
_ASK_SECONDS = 600


class _Vulnerability(BaseModel):
    id: str
    fix_versions: list[str] = []


class _Asked(BaseModel):
    name: str
    version: str = ""
    skip_reason: str = ""
    vulns: list[_Vulnerability] = []


class _Report(BaseModel):
    dependencies: list[_Asked]


@dataclass
class Outcome:
    """What the audit saw; each line is a sentence for the operator."""

    found: list[str] = field(default_factory=list)
    not_asked: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """Return 0, FOUND or NOT_ASKED; what was found counts more than what was not asked."""
        if self.found:
            return FOUND
        return NOT_ASKED if self.not_asked else 0


def osv(url: str | None = None) -> list[str]:
    """Return pip-audit's arguments for an OSV database: the public one, or a mirror's query address."""
    return ["--vulnerability-service=osv", *([f"--osv-url={url}"] if url else [])]


def audit(locks: Sequence[Path], database: Sequence[str]) -> Outcome:
    """Ask a database, given as pip-audit's arguments, about the packages of these lock files."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as scratch:
        probe = Path(scratch) / "probe.lock"
        probe.write_text(f"{KNOWN_BAD}\n", "utf-8")
        known = _ask(probe, database)
    if known is None or not any(asked.vulns for asked in known):
        outcome.not_asked.append(f"the database ({' '.join(database)}) is not reached, or knows nothing of {KNOWN_BAD}")
        return outcome
    for lock in locks:
        answers = _ask(lock, database)
        if answers is None:
            outcome.not_asked.append(f"{lock.name}: the database stopped answering")
            continue
        for asked in answers:
            if asked.skip_reason:
                outcome.not_asked.append(f"{lock.name}: {asked.skip_reason}")
            for vulnerability in asked.vulns:
                fixes = ", ".join(vulnerability.fix_versions) or "no release"
                outcome.found.append(
                    f"{lock.name}: {asked.name} {asked.version} has {vulnerability.id}, mended in {fixes}"
                )
    return outcome


def yanked(locks: Sequence[Path]) -> Outcome:
    """Ask the package index which pins were taken back by their makers; nothing is downloaded or installed."""
    outcome = Outcome()
    for lock in locks:
        with tempfile.TemporaryDirectory() as target:
            command = [str(ROOT / ".venv" / "bin" / "uv"), "pip", "install", "--dry-run", "--no-deps", "--refresh"]
            done = _run([*command, "--target", target, "--requirement", str(lock)])
        if done.returncode != 0:
            outcome.not_asked.append(f"{lock.name}: the package index does not answer: {done.stderr.strip()[-300:]}")
        warnings = re.findall(r"^warning: (.* is yanked.*)$", done.stderr, flags=re.MULTILINE)
        outcome.found += [f"{lock.name}: {line}" for line in warnings]
    return outcome


def _ask(requirements: Path, database: Sequence[str]) -> list[_Asked] | None:
    command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--progress-spinner=off", *database]
    # Without a cache: an answer of yesterday is not today's.
    with tempfile.TemporaryDirectory() as cache:
        done = _run([*command, "--format=json", "--cache-dir", cache, "--requirement", str(requirements)])
    try:
        return _Report.model_validate(json.loads(done.stdout)).dependencies
    except ValueError:
        # It has no exit code for this: what it prints then is a traceback.
        return None


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=_ASK_SECONDS, check=False)


def main() -> None:
    """Ask about all images' packages, print what was learnt, and end with the exit code that says it."""
    parser = argparse.ArgumentParser(prog="make audit", description=__doc__)
    parser.add_argument("--osv-url", help="address of an OSV database's query, as of a mirror; else the public ones")
    parser.add_argument("locks", nargs="*", type=Path, help="lock files; else those of all images")
    arguments = parser.parse_args()
    locks = arguments.locks or sorted(LOCKS.glob("*.lock"))
    if arguments.osv_url:
        outcome = audit(locks, osv(arguments.osv_url))
    else:
        outcome = audit(locks, osv())
        if outcome.not_asked:
            other = audit(locks, ["--vulnerability-service=pypi"])
            # One that could be asked everything is enough.
            not_asked = outcome.not_asked + other.not_asked if other.not_asked else []
            outcome = Outcome(outcome.found + other.found, not_asked)
    index = yanked(locks)
    outcome = Outcome(outcome.found + index.found, outcome.not_asked + index.not_asked)
    for line in outcome.found:
        print(f"found: {line}")
    for line in outcome.not_asked:
        print(f"not asked: {line}")
    names = ", ".join(lock.name for lock in locks)
    if outcome.exit_code == NOT_ASKED:
        print("THE AUDIT IS NOT COMPLETE: what was not asked is not known to be good. Ask again where that is reached.")
    elif outcome.exit_code == 0:
        print(f"nothing is known against the packages of {names}")
    raise SystemExit(outcome.exit_code)


if __name__ == "__main__":
    main()
