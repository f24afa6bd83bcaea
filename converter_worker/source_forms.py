"""The other forms in which a model may come, and what to do with them."""

from collections.abc import Collection

from shared.errors import SourceNotFound

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")


def refuse_other_forms(source_model: str, files: Collection[str]) -> None:
    """Refuse a source that holds no checkpoint but something else that can be used.

    Raises:
        SourceNotFound: it holds ready-made OpenVINO IR, or GGUF files; the message says what to do.
    """
    if any(name.endswith(_WEIGHTS) and not name.startswith("openvino") for name in files):
        return
    if "openvino_model.xml" in files:
        raise SourceNotFound(
            f"{source_model} holds ready-made OpenVINO IR, no checkpoint. To publish it as it is: "
            f"`ovchat models import {source_model}`.",
            param="source_model",
        )
    if found := sorted(name for name in files if name.lower().endswith(".gguf")):
        raise SourceNotFound(
            f"{source_model} holds GGUF files, no checkpoint: name one of them as the source, such as "
            f"{source_model}/{found[0]}.",
            param="source_model",
        )
