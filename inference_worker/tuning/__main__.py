"""Load a variant with one candidate, then answer a line of JSON for each command until standard input ends."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from inference_worker.devices import Devices, discover_devices
from inference_worker.tuning.candidate import load_candidate
from shared.errors import PlatformError
from shared.schemas.common import Message
from shared.schemas.engine_config import EngineConfig
from shared.schemas.tuning import TUNING_COMMAND, CandidateFailed
from shared.settings import InferenceSettings


def main() -> None:
    """Serve; the exit code is 1 where the variant cannot be loaded or a command fails."""
    parser = argparse.ArgumentParser(prog="inference_worker.tuning", description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--variant", required=True, help="model:variant")
    parser.add_argument("--device", required=True)
    parser.add_argument("--config", required=True, help="EngineConfig as JSON")
    options = parser.parse_args()
    # What the libraries print must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def tell(line: Message) -> None:
        answers.write(line.model_dump_json() + "\n")

    try:
        settings = InferenceSettings(device=options.device, model_store=options.store)
        config = EngineConfig.model_validate_json(options.config)
        devices = Devices({}, {}) if settings.engine == "sample" else asyncio.run(discover_devices())
        candidate, ready = load_candidate(options.variant, config, settings, devices)
        tell(ready)
        for line in sys.stdin:
            tell(candidate.answer(TUNING_COMMAND.validate_json(line)))
    except PlatformError as error:
        tell(CandidateFailed(message=error.message))
    except Exception as error:  # noqa: BLE001 - whatever the libraries raise ends the candidate with its word
        tell(CandidateFailed(message=str(error)))
    else:
        return
    sys.exit(1)


if __name__ == "__main__":
    main()
