"""How much of the host's memory a replica takes: while it loads, and once it serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MIB = 1 << 20
#: A replica's process with the OpenVINO runtime and its threads, before any weight. Measured: 250-270 MiB.
_PROCESS_BYTES = 300 * _MIB
#: A process that loads no runtime.
_SAMPLE_PROCESS_BYTES = 64 * _MIB
#: Resident bytes a byte of weights once the plugin has laid them out for its kernels. Measured on a CPU with AVX-512:
#: 1.3 (int4), 1.4 (int8), 1.6 (fp16 computed in float32) for 135M parameters, 1.8 (int8) for 1.1B.
_RESIDENT_SHARE = 1.8
#: The same at the worst moment of the load. Measured: 1.7 (int4), 1.7 (int8), 2.5 (fp16).
_LOADING_SHARE = 2.6
#: Tokens of a block of the KV cache on a CPU; a GPU's are smaller.
_BLOCK_TOKENS = 32


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes: the most while loading (no less than it keeps), what it keeps, what of it is KV cache, empty at first.

    What a host's plugin makes of the weights differs: :meth:`held` corrects the estimate by what was seen.
    """

    load_bytes: int
    serving_bytes: int
    kv_cache_bytes: int = 0

    def held(self, resident_bytes: int) -> int:
        """Return what to hold for a replica that has just been loaded and is so large."""
        return max(self.serving_bytes, resident_bytes + self.kv_cache_bytes)


def memory_need(*, weights_bytes: int, kv_cache_bytes: int) -> MemoryNeed:
    """The need of a replica with these weights and a KV cache that may fill up to its limit."""
    serving = _PROCESS_BYTES + int(weights_bytes * _RESIDENT_SHARE) + kv_cache_bytes
    # The cache is empty while the weights are laid out.
    return MemoryNeed(max(serving, _PROCESS_BYTES + int(weights_bytes * _LOADING_SHARE)), serving, kv_cache_bytes)


def kv_block_bytes(config: Mapping[str, Any], *, value_bytes: int) -> int:
    """The most that one block of the KV cache takes, by the model's ``config.json``: keys and values of all layers.

    Raises:
        KeyError, TypeError: the configuration does not say it.
    """
    config = config.get("text_config") or config
    heads = int(config["num_attention_heads"])
    head_size = int(config.get("head_dim") or int(config["hidden_size"]) // heads)
    kv_heads = int(config.get("num_key_value_heads") or heads)
    return 2 * value_bytes * int(config["num_hidden_layers"]) * kv_heads * head_size * _BLOCK_TOKENS


def sample_memory_need(declared_bytes: int | None) -> MemoryNeed:
    """The need of the `sample` engine: its process, or what a test's variant says of itself."""
    need = declared_bytes or _SAMPLE_PROCESS_BYTES
    return MemoryNeed(need, need)
