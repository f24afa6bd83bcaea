"""Download: the checkpoint's files from the model hub, into the hub library's own cache."""

import errno
import os
import shutil
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from converter_worker.checkpoint_facts import TENSORS, TensorFacts, read_facts
from converter_worker.ir_facts import check_weights, read_ir_facts
from converter_worker.size_text import gigabytes
from converter_worker.source_forms import refuse_other_forms
from converter_worker.stages.contract import ReportProgress, StageMessage
from converter_worker.stages.download_progress import DownloadProgress
from converter_worker.stages.hub_errors import hub_error
from shared.errors import DiskFull, PlatformError

#: What a conversion reads; training leftovers, other formats and pictures stay where they are.
ALLOWED_PATTERNS = ["*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken", "*.py"]
WEIGHTS_PATTERNS = ["*.safetensors", "*.safetensors.index.json"]
OWN_WEIGHTS_PATTERNS = ["model*.safetensors", "model*.safetensors.index.json"]
PICKLED_WEIGHTS_PATTERNS = ["*.bin", "*.bin.index.json"]
_MORE_SPACE = "Free some space, or let HF_HOME name a folder on another disk; then convert again."


class Arguments(StageMessage):
    """`tensors_file`: only configuration and tokenizer are fetched, and the weights' headers are written there.

    `patterns`: what is fetched in place of what a conversion reads; empty where it is that.
    """

    source_model: str
    revision: str | None
    tensors_file: Path | None = None
    patterns: tuple[str, ...] = ()


class Result(StageMessage):
    """`source_dir`: the snapshot's folder; `revision`: the commit that it is."""

    source_dir: Path
    revision: str


def run(raw_arguments: dict[str, object], report: ReportProgress) -> Result:
    """Fetch the snapshot, or what is missing of it; without a hub what was fetched before is taken.

    Raises:
        SourceNotFound: the hub does not know the id or the revision, or cannot be reached.
        SourceGated: the model wants its licence accepted and a token.
        DiskFull: the hub library's cache has no space for it.
    """
    arguments = Arguments.model_validate(raw_arguments)
    import requests
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    name, token = arguments.source_model, os.environ.get("HF_TOKEN") or None
    report(None, "asking the model hub")
    try:
        folder = _fetch(arguments, token, report)
    except (
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        requests.ConnectionError,
        requests.Timeout,
        HfHubHTTPError,
    ) as error:
        is_away = getattr(getattr(error, "response", None), "status_code", None) is None
        kept = _kept_snapshot(arguments) if is_away else None
        if kept is None:
            revision, endpoint = arguments.revision, constants.ENDPOINT
            raise hub_error(error, name, revision, endpoint=endpoint, has_token=token is not None) from error
        folder = kept
        report(None, "the model hub cannot be reached; what was fetched before is complete")
    report(1.0, "downloaded")
    return Result(source_dir=folder, revision=folder.name)


def _fetch(arguments: Arguments, token: str | None, report: ReportProgress) -> Path:
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.file_download import repo_folder_name

    name = arguments.source_model
    found = HfApi().model_info(name, revision=arguments.revision, token=token, files_metadata=True)
    sizes = {sibling.rfilename: sibling.size for sibling in found.siblings or ()}
    safe = any(file.endswith(".safetensors") for file in sizes)
    if not arguments.patterns:
        refuse_other_forms(name, sizes)
    patterns = _patterns(arguments, sizes)
    if arguments.tensors_file is not None:
        tensors = _remote_headers(name, arguments.revision, token) if safe else {}
        arguments.tensors_file.write_bytes(TENSORS.dump_json(tensors))
    wanted = {file: size for file, size in sizes.items() if any(fnmatch(file, pattern) for pattern in patterns)}
    cache = Path(constants.HF_HUB_CACHE)
    repository = cache / repo_folder_name(repo_id=name, repo_type="model")
    progress = DownloadProgress(repository, found.sha or "", wanted, report)
    missing, free = progress.total_bytes - progress.present_bytes(), _free_bytes(cache)
    if missing > free:
        raise DiskFull(
            f"Downloading {name} needs {gigabytes(missing)} on the disk of {cache}, {gigabytes(free)} are free. "
            f"{_MORE_SPACE}"
        )
    with progress.reporting():
        # Files that are half here are gone on with, and those that are here are not asked for again.
        try:
            return Path(
                snapshot_download(
                    name, revision=arguments.revision, token=token, allow_patterns=patterns, max_workers=4
                )
            )
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DiskFull(
                f"No space is left on the disk of {cache}; what has come of {name} is kept. {_MORE_SPACE}"
            ) from error


def _patterns(arguments: Arguments, files: Iterable[str]) -> list[str]:
    if arguments.patterns:
        return list(arguments.patterns)
    if arguments.tensors_file is not None:
        return ALLOWED_PATTERNS
    names = list(files)
    if any(name.startswith("model") and name.endswith(".safetensors") for name in names):
        # The same weights in the form of another library, which some repositories hold too, are as large again.
        return [*ALLOWED_PATTERNS, *OWN_WEIGHTS_PATTERNS]
    safe = any(name.endswith(".safetensors") for name in names)
    return [*ALLOWED_PATTERNS, *(WEIGHTS_PATTERNS if safe else PICKLED_WEIGHTS_PATTERNS)]


def _kept_snapshot(arguments: Arguments) -> Path | None:
    """Return what was fetched before where that is all that is asked for, for machines without a network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(arguments.source_model, revision=arguments.revision, local_files_only=True))
        if arguments.patterns:
            return folder if _has_files_of(arguments.patterns, folder) else None
        facts = read_facts(folder)
    except (LocalEntryNotFoundError, PlatformError):
        return None
    if arguments.tensors_file is not None:
        arguments.tensors_file.write_bytes(TENSORS.dump_json(dict(facts.tensors)))
    return folder


def _has_files_of(patterns: Sequence[str], folder: Path) -> bool:
    """Tell whether a snapshot holds the one file that is asked for, or the IR, with its weights where those are.

    Raises:
        PlatformError: what is there is not whole.
    """
    if len(patterns) == 1:
        return (folder / patterns[0]).is_file()
    facts = read_ir_facts(folder)
    if any(pattern.endswith(".bin") for pattern in patterns):
        check_weights(folder, facts)
    return True


def _remote_headers(name: str, revision: str | None, token: str | None) -> dict[str, TensorFacts]:
    """Return precision and shape of every weight, read from the heads of the files on the hub."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import NotASafetensorsRepoError, SafetensorsParsingError

    try:
        metadata = HfApi().get_safetensors_metadata(name, revision=revision, token=token)
    except (NotASafetensorsRepoError, SafetensorsParsingError):
        # Weights under unusual names: the checks that need shapes are left to the stages.
        return {}
    return {
        tensor: TensorFacts(dtype=info.dtype, shape=tuple(info.shape))
        for file in metadata.files_metadata.values()
        for tensor, info in file.tensors.items()
    }


def _free_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
