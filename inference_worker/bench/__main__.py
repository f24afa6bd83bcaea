"""Load a variant without the platform, then answer a line of JSON for each round until standard input ends."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import TextIO

from inference_worker.bench.peer import BenchPeer
from shared.errors import PlatformError
from shared.model_store import ModelStore
from shared.schemas.bench import PeerFailed, PeerFigures, PeerReady, PeerRound

#: What a peer needs beyond this package, as `pip` names its extra.
_NEEDS = {"in-process": "openvino-genai and openvino", "optimum": "optimum-intel, transformers and torch"}


def main() -> None:
    """Serve; the exit code is 1 where the model cannot be loaded or a round fails."""
    parser = argparse.ArgumentParser(prog="inference_worker.bench", description=__doc__)
    parser.add_argument("peer", choices=sorted(_NEEDS))
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--device", default="CPU")
    options = parser.parse_args()
    # What the libraries print must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.exit(asyncio.run(_serve(options, answers)))


async def _serve(options: argparse.Namespace, answers: TextIO) -> int:
    def tell(line: PeerReady | PeerFigures | PeerFailed) -> None:
        answers.write(line.model_dump_json() + "\n")

    try:
        ModelStore(options.store).check(options.model, options.variant)
        peer = _load(
            options.peer, ModelStore(options.store).variant_dir(options.model, options.variant), options.device
        )
        tell(PeerReady(versions=peer.versions))
        for line in sys.stdin:
            tell(await peer.run(PeerRound.model_validate_json(line)))
    except ImportError as error:
        tell(PeerFailed(message=f"{options.peer} needs {_NEEDS[options.peer]} in this Python: {error}"))
    except PlatformError as error:
        tell(PeerFailed(message=f"{error.message} (store {options.store})"))
    except Exception as error:  # noqa: BLE001 - whatever the libraries raise ends the comparison with its word
        tell(PeerFailed(message=f"{options.peer}: {error}"))
    else:
        return 0
    return 1


def _load(name: str, model_dir: Path, device: str) -> BenchPeer:
    if name == "optimum":
        from inference_worker.bench.tutorial_pipeline import TutorialPipeline

        return TutorialPipeline(model_dir, device)
    from inference_worker.bench.in_process_engine import InProcessEngine

    return InProcessEngine(model_dir, device)


if __name__ == "__main__":
    main()
