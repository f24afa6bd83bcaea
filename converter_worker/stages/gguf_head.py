"""The head of a GGUF file on the hub: its architecture and its tensors, before gigabytes are fetched for nothing."""

import os
from io import BufferedReader
from pathlib import Path

from converter_worker.checkpoint_facts import TENSORS
from converter_worker.gguf_header import GgufHeader, parse_gguf_header
from converter_worker.stages.contract import ReportProgress, StageMessage
from shared.errors import SourceCorrupt

#: The most that is fetched: a header holds the vocabulary, which takes 5 to 20 MB.
_HEAD_BYTES = 128 << 20
_BUFFER_BYTES = 256 << 10
_TIMEOUT_SECONDS = 20.0


class Arguments(StageMessage):
    """A file of a repository; its tensors are written to `tensors_file`."""

    source_model: str
    revision: str | None
    file: str
    tensors_file: Path


class Result(StageMessage):
    """`architecture`: None where the head does not tell, or could not be had; there is no file then.

    The download says why.
    """

    architecture: str | None


def run(raw_arguments: dict[str, object], report: ReportProgress) -> Result:
    """Read the file's header; raises nothing of its own."""
    arguments = Arguments.model_validate(raw_arguments)
    report(None, "reading the file's header")
    header = _remote_header(arguments)
    if header is None or header.architecture is None:
        return Result(architecture=None)
    arguments.tensors_file.write_bytes(TENSORS.dump_json(header.tensors))
    report(1.0, "header read")
    return Result(architecture=header.architecture)


def _remote_header(arguments: Arguments) -> GgufHeader | None:
    import requests
    from huggingface_hub import hf_hub_url
    from urllib3.exceptions import HTTPError

    url = hf_hub_url(arguments.source_model, arguments.file, revision=arguments.revision)
    token = os.environ.get("HF_TOKEN")
    headers = {
        "Range": f"bytes=0-{_HEAD_BYTES - 1}",
        "Accept-Encoding": "identity",
        **({"Authorization": f"Bearer {token}"} if token else {}),
    }
    try:
        # What comes is read no further than the header goes, whatever was asked for.
        with requests.get(url, headers=headers, timeout=_TIMEOUT_SECONDS, stream=True) as response:
            return (
                parse_gguf_header(BufferedReader(response.raw, _BUFFER_BYTES), arguments.file) if response.ok else None
            )
    except (requests.RequestException, HTTPError, SourceCorrupt, OSError):
        return None
