"""`ovchat bench` as a process of its own, for the benchmarks."""

from tests.helpers.command_line import OVCHAT, clean_environment
from tests.helpers.services import ADMIN_KEY


def bench_command(*arguments: str) -> list[str]:
    """Return the command that prints its report as JSON."""
    return [*OVCHAT, "bench", *arguments, "--json", "-"]


def bench_environment(url: str) -> dict[str, str]:
    """Return the environment in which it finds a gateway, and nothing else of this platform's."""
    return {**clean_environment(), "OVCHAT_URL": url, "OVCHAT_API_KEY": ADMIN_KEY}
