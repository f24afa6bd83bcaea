"""Code that comes with a model: the converter runs it where the request allows it, and it is never published."""

import json
from pathlib import Path

from converter_worker.checkpoint_facts import CheckpointFacts
from converter_worker.publication import read_json
from shared.catalog.stacks import load_stacks
from shared.errors import RemoteCodeNeeded

#: What transformers says, in all its versions, where it would have to run such code and may not.
_REFUSALS = ("contains custom code which must be executed", "requires you to execute", "references custom code")
_CODE_MAP = "auto_map"


def check_code(facts: CheckpointFacts, *, trusted: bool) -> None:
    """Refuse a family whose code is on the hub only, before anything is downloaded, unless its code may run.

    Raises:
        RemoteCodeNeeded: with what to do.
    """
    if not trusted and facts.model_type in load_stacks().remote_code:
        raise remote_code_needed()


def is_refused_code(error: BaseException) -> bool:
    """Tell whether transformers would have had to run the model's code and was not allowed to."""
    return any(part in str(error) for part in _REFUSALS)


def remote_code_needed() -> RemoteCodeNeeded:
    """Return the error of a model whose code may not run."""
    return RemoteCodeNeeded(
        "The model needs Python code that comes with it. Read that code; where you trust it, ask again with "
        "trust_remote_code: true (`ovchat convert --trust-remote-code`). The converter runs it, inference never does.",
        param="trust_remote_code",
    )


def remove_code(folder: Path) -> None:
    """Take the model's code, and what points to it, out of a variant's folder."""
    for file in folder.rglob("*.py"):
        file.unlink()
    for file in folder.glob("*config.json"):
        config = read_json(file)
        if config.pop(_CODE_MAP, None) is not None:
            # The file may be a link to one that other variants have too.
            file.unlink()
            file.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")
