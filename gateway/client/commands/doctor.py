"""``ovchat doctor``: what this machine lacks, and what to do about it."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.client.exits import FAILURE, told_failures

_MARKS = {"ok": "✔", "warning": "!", "missing": "✘"}


def doctor(json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Look at this machine for what `ovchat up` needs; exits with 1 where something is missing."""
    with told_failures():
        import json
        from dataclasses import asdict

        from deploy.local.doctor import examine

        findings = examine()
        if json_:
            print(json.dumps([asdict(finding) for finding in findings], indent=1))
        else:
            for finding in findings:
                print(f"{_MARKS[finding.state]} {finding.subject}: {finding.seen}")
                if finding.remedy:
                    print(f"    {finding.remedy}")
        if any(finding.state == "missing" for finding in findings):
            raise typer.Exit(FAILURE)
