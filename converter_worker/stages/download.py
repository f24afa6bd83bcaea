"""Download: the checkpoint's files from the model hub, into the hub library's own cache."""

import os
from pathlib import Path

from converter_worker.checkpoint_facts import TENSORS, TensorFacts
from converter_worker.source_forms import refuse_other_forms
from converter_worker.stages.contract import ReportProgress, StageMessage
from shared.errors import SourceGated, SourceNotFound

#: What a conversion reads; training leftovers, other formats and pictures stay where they are.
ALLOWED_PATTERNS = ["*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken", "*.py"]
WEIGHTS_PATTERNS = ["*.safetensors", "*.safetensors.index.json"]
PICKLED_WEIGHTS_PATTERNS = ["*.bin", "*.bin.index.json"]


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
    """Fetch the snapshot, or what is missing of it.

    Raises:
        SourceNotFound: the hub does not know the id or the revision, or cannot be reached.
        SourceGated: the model wants its licence accepted and a token.
    """
    arguments = Arguments.model_validate(raw_arguments)
    import requests
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name, token = arguments.source_model, os.environ.get("HF_TOKEN") or None
    report(None, "asking the model hub")
    try:
        patterns = list(arguments.patterns or ALLOWED_PATTERNS)
        siblings = HfApi().model_info(name, revision=arguments.revision, token=token).siblings or ()
        files = [sibling.rfilename for sibling in siblings]
        safe = any(file.endswith(".safetensors") for file in files)
        if not arguments.patterns:
            refuse_other_forms(name, files)
        if arguments.tensors_file is None and not arguments.patterns:
            patterns += WEIGHTS_PATTERNS if safe else PICKLED_WEIGHTS_PATTERNS
        elif arguments.tensors_file is not None:
            tensors = _remote_headers(name, arguments.revision, token) if safe else {}
            arguments.tensors_file.write_bytes(TENSORS.dump_json(tensors))
        report(None, "downloading")
        folder = Path(
            snapshot_download(name, revision=arguments.revision, token=token, allow_patterns=patterns, max_workers=4)
        )
    except GatedRepoError as error:
        raise SourceGated(
            f"{name} is gated: accept its licence on the model hub and give the converter a token in HF_TOKEN.",
            param="source_model",
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        at = f" at revision {arguments.revision}" if arguments.revision else ""
        raise SourceNotFound(
            f"The model hub has no model {name}{at}, or it is private: check the id, or give a token in HF_TOKEN.",
            param="source_model",
        ) from error
    except (
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        requests.ConnectionError,
        requests.Timeout,
        HfHubHTTPError,
    ) as error:
        raise SourceNotFound(
            f"{name} is not on this machine and the model hub cannot be reached. Check the network, or give the "
            "path of a local checkpoint folder as source_model.",
            param="source_model",
        ) from error
    report(1.0, "downloaded")
    return Result(source_dir=folder, revision=folder.name)


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
