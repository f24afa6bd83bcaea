"""Preflight: what can be told before the work is begun. Nothing is loaded, so it takes milliseconds."""

import math
import re
from collections.abc import Sequence

from converter_worker.checkpoint_facts import CheckpointFacts
from converter_worker.prediction import needed_disk_bytes
from converter_worker.size_text import gigabytes
from shared.errors import DiskFull, NotCausalLm, OutOfMemory, RecipeUnfit, TokenizerMissing
from shared.schemas.conversion_figures import ConversionFigures
from shared.schemas.converters import ConverterInfo
from shared.schemas.models import VariantRequest

_CAUSAL_ARCHITECTURE = re.compile(r"(ForCausalLM|LMHeadModel)$")
#: Layers that stay in 8 bits whatever the recipe says, and tables that are no layers.
_NOT_GROUPED = re.compile(r"(embed|lm_head|wte|wpe|norm|rotary|embed_out|output_layer)")
#: Candidates for a group size, best first.
_GROUP_SIZES = (128, 64, 32)


def check_model(facts: CheckpointFacts) -> None:
    """Refuse what cannot become a chat model.

    Raises:
        NotCausalLm: the architecture generates no text.
        TokenizerMissing: there is no tokenizer file.
    """
    auto_map = facts.config.get("auto_map")
    by_remote_code = isinstance(auto_map, dict) and "AutoModelForCausalLM" in auto_map
    architectures = facts.architectures
    if architectures and not by_remote_code and not any(map(_CAUSAL_ARCHITECTURE.search, architectures)):
        raise NotCausalLm(
            f"The source is no causal language model: its architecture is {', '.join(architectures)}. "
            "Choose a text-generation model.",
            param="source_model",
        )
    if not facts.has_tokenizer:
        raise TokenizerMissing("The checkpoint has no tokenizer files (tokenizer.json or tokenizer.model).")


def check_recipes(facts: CheckpointFacts, variants: Sequence[VariantRequest]) -> None:
    """Refuse a group size that does not divide the input channels of some layer, and say what would work.

    Raises:
        RecipeUnfit: `param` names the variant's field.
    """
    channels = _grouped_channels(facts)
    if not channels:
        return
    for variant in variants:
        group_size = variant.recipe.group_size
        if variant.weight_format != "int4" or group_size is None or group_size == -1:
            continue
        unfit = sorted(size for size in channels if size % group_size)
        if unfit:
            common = math.gcd(*channels)
            fitting = [str(size) for size in _GROUP_SIZES if common % size == 0]
            raise RecipeUnfit(
                f"group_size {group_size} of variant {variant.name} does not divide {unfit[0]}, the input channels of "
                f"some layers. What would work: {', '.join([*fitting, '-1'])} (-1 is one scale per channel).",
                param="variants.recipe.group_size",
            )


def check_resources(figures: ConversionFigures, converters: Sequence[ConverterInfo]) -> None:
    """Refuse what none of the converters could ever do; what a busy or another one can do will wait for it.

    Raises:
        DiskFull: with the space that is needed and the space that is there.
        OutOfMemory: the same for memory, and which of the variants would work.
    """
    disk = needed_disk_bytes(figures)
    most_disk = max(converter.disk_free_bytes for converter in converters)
    if disk > most_disk:
        raise DiskFull(
            f"The conversion needs about {gigabytes(disk)} on the disk where it works and publishes, "
            f"{gigabytes(most_disk)} are free. What would work: fewer variants at once, or space made by deleting "
            "variants that nobody uses."
        )
    most_memory = max(converter.memory_bytes for converter in converters if converter.disk_free_bytes >= disk)
    largest = max(figures.stages, key=lambda stage: stage.memory_bytes)
    if largest.memory_bytes > most_memory:
        of = "" if largest.variant is None else f" of {largest.variant}"
        raise OutOfMemory(
            f"The {largest.stage} stage{of} needs about {gigabytes(largest.memory_bytes)} of memory; the largest of "
            f"{len(converters)} converter{'s'[: len(converters) != 1]} has {gigabytes(most_memory)} for it. "
            f"What would work: {_what_fits(figures, most_memory)}"
        )


def _what_fits(figures: ConversionFigures, most_memory: int) -> str:
    larger = "a converter with more memory (a larger machine or container, or a higher OVCHAT_CONVERTER_MEMORY_BYTES)"
    too_large = {stage.variant for stage in figures.stages if stage.memory_bytes > most_memory}
    fitting = sorted({stage.variant for stage in figures.stages if stage.variant} - too_large)
    if None in too_large or not fitting:
        return f"{larger}."
    return f"{', '.join(fitting)} without the other variants, or {larger}."


def _grouped_channels(facts: CheckpointFacts) -> set[int]:
    """Return the input channels of the layers that are quantized in groups; none where shapes do not tell."""
    if facts.model_type == "gpt2":
        # Its layers store their weights the other way round.
        return set()
    return {
        tensor.shape[1]
        for name, tensor in facts.tensors.items()
        if len(tensor.shape) == 2 and name.endswith(".weight") and not _NOT_GROUPED.search(name)
    }
