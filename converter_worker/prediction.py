"""What a conversion will take, foretold from headers alone."""

from collections.abc import Mapping, Sequence

from converter_worker import cost_model
from converter_worker.checkpoint_facts import CheckpointFacts, TensorFacts
from converter_worker.cost_model import LIBRARIES_BYTES
from converter_worker.gguf_header import gguf_vocabulary
from converter_worker.weight_sizes import WeightSizes, weight_sizes
from shared.errors import SourceCorrupt
from shared.schemas.conversion_figures import ConversionFigures, StageFigures
from shared.schemas.models import VariantRequest

#: Kept free on the disk beside what is foretold.
_DISK_RESERVE_BYTES = 32 << 20


def predict(
    facts: CheckpointFacts,
    variants: Sequence[VariantRequest],
    *,
    slots: int = 1,
    speed: float = 1.0,
    compares_engines: bool = False,
) -> ConversionFigures | None:
    """Foretell a conversion; None where the checkpoint's headers tell nothing (weights that are not in safetensors).

    `slots` is the number of compressions that run side by side; `speed` is how many times the calibrated seconds the
    stages take on this converter; `compares_engines` where the variants' family is not known (`engine_proof.py`).
    """
    sizes = weight_sizes(facts)
    if sizes is None:
        return None
    after = tuple(cost_model.engine_check(sizes, request) for request in variants) if compares_engines else ()
    return _predict(sizes, variants, after=after, slots=slots, speed=speed)


def predict_gguf(
    tensors: Mapping[str, TensorFacts], variants: Sequence[VariantRequest], *, slots: int = 1, speed: float = 1.0
) -> ConversionFigures:
    """Foretell the conversion of a GGUF file from the tensors of its header, its unpacking included."""
    facts = CheckpointFacts({"vocab_size": gguf_vocabulary(tensors)}, tensors, True)
    sizes = weight_sizes(facts)
    if sizes is None:
        raise SourceCorrupt("The GGUF file holds no weights.", param="source_model")
    figures = _predict(sizes, variants, before=(cost_model.unpack(sizes),), slots=slots, speed=speed)
    return figures.model_copy(update={"disk_bytes": (figures.disk_bytes or 0) + sizes.checkpoint_bytes})


def predict_import(
    weights_bytes: int, request: VariantRequest, *, speed: float = 1.0, compares_engines: bool = False
) -> ConversionFigures:
    """Foretell an import: it is copied, and loaded to be verified."""
    stages = cost_model.imported(weights_bytes, request, compares_engines=compares_engines)
    return ConversionFigures(
        memory_bytes=cost_model.peak_bytes(stages, 1),
        disk_bytes=weights_bytes,
        seconds=round(sum(stage.seconds for stage in stages) * speed, 1),
        stages=stages,
    )


def _predict(
    sizes: WeightSizes,
    variants: Sequence[VariantRequest],
    *,
    before: tuple[StageFigures, ...] = (),
    after: tuple[StageFigures, ...] = (),
    slots: int,
    speed: float,
) -> ConversionFigures:
    stages = (
        *before,
        cost_model.tokenizer(sizes),
        cost_model.export(sizes),
        *(cost(sizes, request) for cost in cost_model.COSTS_OF_VARIANT for request in variants),
        *after,
    )
    stages = tuple(stage.model_copy(update={"seconds": round(stage.seconds * speed, 2)}) for stage in stages)
    return ConversionFigures(
        memory_bytes=cost_model.peak_bytes(stages, slots),
        disk_bytes=disk_bytes(sizes, variants),
        seconds=round(sum(stage.seconds for stage in stages), 1),
        stages=stages,
    )


def disk_bytes(sizes: WeightSizes, variants: Sequence[VariantRequest]) -> int:
    """Return what stands on the disk when everything is made and before the base is removed.

    Publishing moves folders and tokenizers are linked, so nothing counts twice; an fp16 variant of a float16 checkpoint
    is the base itself.
    """
    made = [request for request in variants if not (request.weight_format == "fp16" and sizes.is_float16)]
    weights = sizes.base_bytes + sum(sizes.variant_bytes(request) for request in made)
    return weights + sizes.tokenizer_bytes + (1 + len(made)) * sizes.description_bytes


def needed_disk_bytes(figures: ConversionFigures) -> int:
    """Return what must be free on the disk."""
    return (figures.disk_bytes or 0) + _DISK_RESERVE_BYTES


def needed_bytes(figures: ConversionFigures | None, stage: str, variant: str | None, part: str | None = None) -> int:
    """Return the memory that a stage is let in with.

    A stage that was not foretold, such as the reading of headers on the hub, gets what its libraries take; one of a
    variant, what the largest stage of that variant takes.
    """
    if figures is None:
        return LIBRARIES_BYTES
    if (own := figures.of(stage, variant, part)) is not None:
        return own.memory_bytes
    of_variant = [one.memory_bytes for one in figures.stages if variant is not None and one.variant == variant]
    return max(of_variant, default=LIBRARIES_BYTES)


def ticket_bytes(figures: ConversionFigures | None, stage: str, variant: str | None) -> int:
    """Return the most memory that one delivery needs: export makes the tokenizer too, verify is of all variants."""
    names = {"export": ("tokenizer", "export")}.get(stage, (stage,))
    stages = () if figures is None else figures.stages
    fitting = [one.memory_bytes for one in stages if one.stage in names and variant in (None, one.variant)]
    return max(fitting, default=0)
