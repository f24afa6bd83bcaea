"""Refusing a checkpoint whose weights are not those of its config.json: the library only warns, and makes them up."""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from shared.errors import SourceCorrupt

#: How many weights an error names.
_NAMED = 3
_REMEDY = (
    "config.json and the weights do not belong together, or a file is missing: fetch the checkpoint again, or correct "
    "config.json."
)


@contextlib.contextmanager
def whole_weights() -> Iterator[None]:
    """Within this, loading a model of transformers' raises SourceCorrupt where weights would be made up.

    Tied weights are not missing, nor is what a family's code says it makes itself; buffers, such as a table of
    positions, are computed: older checkpoints have some of them and others not.
    """
    from transformers import PreTrainedModel

    original = PreTrainedModel.__dict__["from_pretrained"]

    def load_whole(cls: type[Any], /, *args: Any, output_loading_info: bool = False, **kwargs: Any) -> Any:
        try:
            model, info = original.__func__(cls, *args, output_loading_info=True, **kwargs)
        except RuntimeError as error:
            if "mismatch" in str(error):
                kwargs["ignore_mismatched_sizes"] = True
                _, info = original.__func__(cls, *args, output_loading_info=True, **kwargs)
                _refuse_other_shapes(info)
            raise
        _refuse_missing(model, info)
        return (model, info) if output_loading_info else model

    # Here and not at the classes that the exporter chooses, so that code which comes with a model is held to it too.
    PreTrainedModel.from_pretrained = classmethod(load_whole)
    try:
        yield
    finally:
        PreTrainedModel.from_pretrained = original


def _refuse_missing(model: Any, info: Mapping[str, Any] | None) -> None:
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    if missing := sorted(parameters & set((info or {}).get("missing_keys", ()))):
        raise SourceCorrupt(
            f"The checkpoint lacks {len(missing)} of the {len(parameters)} weights that its config.json asks for: "
            f"{_named(missing)}. {_REMEDY}",
            param="source_model",
        )


def _refuse_other_shapes(info: Mapping[str, Any]) -> None:
    # transformers 5 tells the shapes beside each name.
    unfit = sorted(key if isinstance(key, str) else str(key[0]) for key in info["mismatched_keys"])
    if unfit:
        raise SourceCorrupt(
            f"{len(unfit)} of the checkpoint's weights have another shape than its config.json asks for: "
            f"{_named(unfit)}. {_REMEDY}",
            param="source_model",
        )


def _named(names: Collection[str]) -> str:
    first = ", ".join(list(names)[:_NAMED])
    return first if len(names) <= _NAMED else f"{first} and others"
