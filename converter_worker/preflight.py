"""Preflight: what can be told before the work is begun. Nothing is loaded, so it takes milliseconds."""

import math
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from converter_worker.checkpoint_facts import CheckpointFacts
from shared.errors import DiskFull, NotCausalLm, OutOfMemory, RecipeUnfit, TokenizerMissing
from shared.schemas.models import VariantRequest

_CAUSAL_ARCHITECTURE = re.compile(r"(ForCausalLM|LMHeadModel)$")
#: Layers that stay in 8 bits whatever the recipe says, and tables that are no layers.
_NOT_GROUPED = re.compile(r"(embed|lm_head|wte|wpe|norm|rotary|embed_out|output_layer)")
#: Candidates for a group size, best first.
_GROUP_SIZES = (128, 64, 32)
_BITS = {"fp16": 16.0, "int8": 8.1, "int4": 4.6}
#: The export holds the weights about twice, beside what the libraries take.
_MEMORY_FACTOR = 2.0
_MEMORY_BASE_BYTES = 512 << 20
_DISK_RESERVE_BYTES = 32 << 20
_DTYPE_BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "I8": 1, "U8": 1}


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


def check_resources(
    facts: CheckpointFacts, variants: Sequence[VariantRequest], work_folder: Path, memory_bytes: int | None
) -> None:
    """Refuse what will not fit; does nothing where the number of weights is not known.

    `memory_bytes` is the memory at hand, None where it is not known.

    Raises:
        DiskFull: with the space that is needed and the space that is there.
        OutOfMemory: the same for memory.
    """
    parameters = facts.parameters
    if not parameters:
        return
    disk = int(_base_bytes(facts) + sum(parameters * _BITS[variant.weight_format] / 8 for variant in variants))
    disk += _DISK_RESERVE_BYTES
    free = shutil.disk_usage(work_folder).free
    if free < disk:
        raise DiskFull(
            f"The conversion needs about {_gigabytes(disk)} on the disk of {work_folder}, {_gigabytes(free)} are free."
        )
    memory = int(_base_bytes(facts) * _MEMORY_FACTOR) + _MEMORY_BASE_BYTES
    if memory_bytes is not None and memory_bytes < memory:
        raise OutOfMemory(
            f"The export needs about {_gigabytes(memory)} of memory, {_gigabytes(memory_bytes)} are available. "
            "Convert on a larger machine, or give this one swap space."
        )


def available_memory_bytes() -> int | None:
    """Return memory and swap that can be had, within the container's limit; None where the kernel does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
        available = sizes["MemAvailable"] + sizes["SwapFree"]
        limit = Path("/sys/fs/cgroup/memory.max")
        if limit.is_file() and (text := limit.read_text("ascii").strip()).isdigit():
            used = int(Path("/sys/fs/cgroup/memory.current").read_text("ascii"))
            available = min(available, max(0, int(text) - used))
    except (OSError, ValueError, KeyError, IndexError):
        return None
    return available


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


def _base_bytes(facts: CheckpointFacts) -> int:
    return sum(math.prod(tensor.shape) * _DTYPE_BYTES.get(tensor.dtype, 2) for tensor in facts.tensors.values())


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
