"""``ovchat workers``: who answers."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from gateway.client.exits import told_failures


def workers(json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the inference workers with their devices and loaded models."""
    with told_failures():
        asyncio.run(_workers(json_=json_))


async def _workers(*, json_: bool) -> None:
    from gateway.client.figures import gigabytes
    from gateway.client.session import http_client
    from gateway.client.table import print_list

    async with http_client() as client:
        found = await client.workers()
    print_list(
        found,
        ("worker", "device", "engine", "state", "replicas (running/slots)", "reserved", "free", "tokens"),
        lambda worker: (
            worker.worker_id,
            f"{worker.device} ({worker.device_name})" if worker.device_name else worker.device,
            worker.engine,
            worker.state,
            ", ".join(
                f"{replica.key} {replica.state} {replica.running}/{replica.slots}" for replica in worker.replicas
            ),
            f"{gigabytes(worker.memory_reserved_bytes)} of {gigabytes(worker.memory_budget_bytes or 0)}",
            gigabytes(worker.free_memory_bytes or 0),
            f"{worker.generated_tokens:,}",
        ),
        empty="no inference worker is registered",
        json_=json_,
    )
