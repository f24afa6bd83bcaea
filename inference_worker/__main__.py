"""`python -m inference_worker`: settings, logs, agent."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

import uvloop
from pydantic import ValidationError

from inference_worker.agent import create_agent
from shared.errors import PlatformError
from shared.log import configure_logging, get_logger
from shared.redis_trust import check_trust
from shared.settings import InferenceSettings, invalid_setting, refuse_unknown_names


async def _serve(settings: InferenceSettings) -> None:
    agent = await create_agent(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.stop)
    await agent.run()
    get_logger(__name__).info("worker_ended")


def main() -> int:
    """Run a worker until it is told to end; return the exit code."""
    parser = argparse.ArgumentParser(prog="inference_worker", description="Serves models on one OpenVINO device.")
    parser.add_argument("--device", help="CPU, GPU, GPU.1, NPU, AUTO, AUTO:GPU,CPU or HETERO:GPU,CPU (OVCHAT_DEVICE)")
    arguments = parser.parse_args()
    try:
        refuse_unknown_names()
        settings = InferenceSettings() if arguments.device is None else InferenceSettings(device=arguments.device)
        configure_logging("inference_worker", settings)
        check_trust(settings)
        uvloop.run(_serve(settings))
    except ValidationError as error:
        sys.stderr.write(f"inference_worker: {invalid_setting(error).message}\n")
        return 2
    except PlatformError as error:
        sys.stderr.write(f"inference_worker: {error.message}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
