"""Download: the checkpoint's files from the model hub, into the hub library's own cache."""

import os
from pathlib import Path

from converter_worker.stages.contract import ReportProgress, StageMessage
from shared.errors import SourceGated, SourceNotFound

#: What a conversion reads; training leftovers, other formats and pictures stay where they are.
ALLOWED_PATTERNS = ["*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken", "*.py"]
WEIGHTS_PATTERNS = ["*.safetensors", "*.safetensors.index.json"]
PICKLED_WEIGHTS_PATTERNS = ["*.bin", "*.bin.index.json"]


class Arguments(StageMessage):
    """`metadata_only`: configuration and tokenizer, for the checks that come before any weight is fetched."""

    source_model: str
    revision: str | None
    metadata_only: bool = False


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
        patterns = list(ALLOWED_PATTERNS)
        if not arguments.metadata_only:
            files = HfApi().model_info(name, revision=arguments.revision, token=token, files_metadata=False).siblings
            safe = any(file.rfilename.endswith(".safetensors") for file in files or ())
            patterns += WEIGHTS_PATTERNS if safe else PICKLED_WEIGHTS_PATTERNS
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
