"""The first start's conversion: the demo model to INT4, through the public interface."""

from __future__ import annotations

from deploy.local.terminal import say, warn
from gateway.client.conversion_progress import result_lines, show_progress
from gateway.client.http_client import HttpClient
from shared.catalog import DEMO_MODEL
from shared.errors import PlatformError
from shared.schemas.conversion import ConversionRequest


async def convert_demo_model(client: HttpClient) -> bool:
    """Convert the demo model where that was never done; return whether the model is there.

    A demo model that was converted and then deleted stays deleted. A failure is told and leaves the platform running.
    """
    from rich.console import Console

    try:
        if any(found.model == DEMO_MODEL and found.variants for found in await client.models()):
            return True
        if any(job.plan.model == DEMO_MODEL and job.state == "succeeded" for job in await client.conversions()):
            return False
        job = await client.submit_conversion(ConversionRequest(source_model=DEMO_MODEL, variants=("int4",)))
        say(f"{'going on with' if job.joined else 'first start:'} the conversion of {DEMO_MODEL} to int4")
        await show_progress(client.conversion_events(job.conversion_id), DEMO_MODEL, Console())
        ended = await client.conversion(job.conversion_id)
    except PlatformError as error:
        warn(f"the demo model was not converted: {error.message}")
        return False
    if ended.state != "succeeded":
        warn(f"the demo model's conversion {ended.state}" + (f": {ended.error.message}" if ended.error else ""))
        return False
    for line in result_lines(ended):
        say(f"✔ {line}")
    return True
