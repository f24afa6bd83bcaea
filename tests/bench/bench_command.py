"""`ovchat bench` as a process of its own, for the benchmarks."""

import os
import sys

from tests.helpers.services import ADMIN_KEY


def bench_command(*arguments: str) -> list[str]:
    """Return the command that prints its report as JSON."""
    program = "from gateway.client.command_line import main; main()"
    return [sys.executable, "-c", program, "bench", *arguments, "--json", "-"]


def bench_environment(url: str) -> dict[str, str]:
    """Return the environment in which it finds a gateway, and nothing else of this platform's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OVCHAT_")}
    return {**kept, "OVCHAT_URL": url, "OVCHAT_API_KEY": ADMIN_KEY}
