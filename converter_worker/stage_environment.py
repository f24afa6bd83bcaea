"""The environment of the stage parent and its children."""

import os
from collections.abc import Mapping
from pathlib import Path

#: Names that a process which runs other people's model code has no business to see.
_SECRET_PREFIXES = ("OVCHAT_", "CELERY_", "REDIS")
_SECRET_NAMES = frozenset({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN"})
#: A token that the hub's library finds in the environment by one of these names.
TOKEN_NAMES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")

_NO_TELEMETRY = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # openvino-telemetry, which nncf and OpenVINO's converter use, knows no switch of its own in the environment, but it
    # sends nothing (and writes no client id into the home folder) in a continuous-integration job.
    "CI": "true",
    "NNCF_CI": "1",
}
_ALWAYS = {
    # No token that someone stored on this machine is sent unless a stage is handed one.
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
    "TQDM_DISABLE": "1",
    "COLUMNS": "120",
}


def stage_environment(
    environ: Mapping[str, str] | None = None, *, telemetry: bool = False, overlay: Path | None = None
) -> dict[str, str]:
    """Return the environment for a stage parent: without settings, addresses and tokens, and silent towards vendors.

    `overlay` is a version stack's folder, whose packages go before all others.
    """
    source = os.environ if environ is None else environ
    kept = {
        name: value
        for name, value in source.items()
        if not name.startswith(_SECRET_PREFIXES) and name not in _SECRET_NAMES
    }
    if overlay is not None:
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, (str(overlay.resolve()), kept.get("PYTHONPATH"))))
    return {**kept, **_ALWAYS, **({} if telemetry else _NO_TELEMETRY)}


def hub_token(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the hub token that the operator gave, for the download alone."""
    source = os.environ if environ is None else environ
    return next((source[name] for name in TOKEN_NAMES if source.get(name)), None)
