"""The head of a GGUF file on the hub: its architecture, before gigabytes are fetched for nothing."""

import os
import struct

from converter_worker.stages.contract import ReportProgress, StageMessage

_HEAD_BYTES = 64 << 10
_KEY = b"general.architecture"
_STRING = 8
_LENGTHS = struct.Struct("<IQ")
_LONGEST = 64
_TIMEOUT_SECONDS = 20.0


class Arguments(StageMessage):
    """A file of a repository."""

    source_model: str
    revision: str | None
    file: str


class Result(StageMessage):
    """`architecture`: None where the head does not tell, or could not be had; the download says why."""

    architecture: str | None


def run(raw_arguments: dict[str, object], report: ReportProgress) -> Result:
    """Read the file's first bytes; raises nothing of its own."""
    arguments = Arguments.model_validate(raw_arguments)
    import requests
    from huggingface_hub import hf_hub_url

    report(None, "reading the file's head")
    url = hf_hub_url(arguments.source_model, arguments.file, revision=arguments.revision)
    token = os.environ.get("HF_TOKEN")
    headers = {"Range": f"bytes=0-{_HEAD_BYTES - 1}", **({"Authorization": f"Bearer {token}"} if token else {})}
    try:
        with requests.get(url, headers=headers, timeout=_TIMEOUT_SECONDS, stream=True) as response:
            head = response.raw.read(_HEAD_BYTES) if response.ok else b""
    except requests.RequestException:
        head = b""
    report(1.0, "head read")
    return Result(architecture=architecture_of(head))


def architecture_of(head: bytes) -> str | None:
    """Return the architecture that the first bytes of a GGUF file name, None where they do not."""
    at = head.find(_KEY) + len(_KEY)
    if not head.startswith(b"GGUF") or at < len(_KEY) or len(head) < at + _LENGTHS.size:
        return None
    kind, length = _LENGTHS.unpack_from(head, at)
    start = at + _LENGTHS.size
    if kind != _STRING or not 0 < length <= min(_LONGEST, len(head) - start):
        return None
    return head[start : start + length].decode("utf-8", "replace")
