"""`python -m inference_worker.text.template_child`: renders templates, one JSON line in, one out.

Its own process, because a template comes with a model and may loop for ever or take all memory: the parent ends it.
"""

from __future__ import annotations

import json
import resource
import signal
import sys

from inference_worker.text.template_environment import render

_MEMORY_LIMIT_BYTES = 1 << 30


def main() -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_LIMIT_BYTES, _MEMORY_LIMIT_BYTES))
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            answer = {"text": render(request["template"], request["context"])}
        except Exception as error:  # noqa: BLE001 - a template can raise anything.
            answer = {"error": f"{type(error).__name__}: {error}"[:1000]}
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
