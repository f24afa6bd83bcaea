"""Refusing a checkpoint that lacks weights of its own architecture: the library would only warn, and make them up."""

import contextlib
from collections.abc import Iterator
from typing import Any

from shared.errors import SourceCorrupt


@contextlib.contextmanager
def whole_weights() -> Iterator[None]:
    """Within this, loading a model raises SourceCorrupt where the checkpoint has not all of its parameters."""
    from transformers import PreTrainedModel

    original = PreTrainedModel.__dict__["from_pretrained"]

    def load_whole(cls: type[Any], *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("output_loading_info"):
            return original.__func__(cls, *args, **kwargs)
        model, info = original.__func__(cls, *args, output_loading_info=True, **kwargs)
        # Buffers, such as a table of positions, are computed; older checkpoints have some of them and others not.
        parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        if missing := sorted(parameters & set(info["missing_keys"])):
            raise SourceCorrupt(
                f"The checkpoint lacks {len(missing)} of {len(parameters)} weights that a {model.config.model_type} "
                f"has, such as {missing[0]}: config.json and the weights do not belong together, or a file is missing. "
                "Fetch the checkpoint again.",
                param="source_model",
            )
        return model

    PreTrainedModel.from_pretrained = classmethod(load_whole)
    try:
        yield
    finally:
        PreTrainedModel.from_pretrained = original
