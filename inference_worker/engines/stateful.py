"""openvino-genai's `LLMPipeline` without paged attention: for devices and families that paging does not fit."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino
import openvino_genai

from inference_worker.engine import EngineInfo, EngineSpec
from inference_worker.engines.generation_config import generation_config
from inference_worker.engines.sequential import Emit, Job, SequentialEngine
from inference_worker.variant_files import read_model_limits

#: An NPU compiles for a longest prompt; the runtime's own default is half of this.
_NPU_CONTEXT_LENGTH = 2048


class StatefulEngine(SequentialEngine):
    """One sequence at a time, with the model's own attention."""

    def __init__(self, spec: EngineSpec) -> None:
        super().__init__(spec)
        self._pipeline: Any = None
        self._eos_token_ids: tuple[int, ...] = ()

    def _load(self) -> EngineInfo:
        limits = read_model_limits(self._spec.model_dir)
        self._eos_token_ids = limits.eos_token_ids
        properties: dict[str, Any] = dict(self._spec.properties)
        if self._spec.threads and self._spec.device.startswith("CPU"):
            properties["INFERENCE_NUM_THREADS"] = self._spec.threads
        context_length = limits.context_length
        if self._spec.device.startswith("NPU"):
            longest = properties.setdefault("MAX_PROMPT_LEN", min(context_length, _NPU_CONTEXT_LENGTH))
            context_length = min(context_length, int(longest))
        # Otherwise the runtime chooses paged attention where it can, which some families are wrong with.
        properties["ATTENTION_BACKEND"] = "SDPA"
        self._pipeline = openvino_genai.LLMPipeline(str(self._spec.model_dir), self._spec.device, **properties)
        return EngineInfo(
            engine="stateful",
            slots=1,
            context_length=context_length,
            eos_token_ids=limits.eos_token_ids,
            # The streamer is told tokens only, and the sum at the end is nobody's log probability.
            unsupported=("top_logprobs",),
            versions={"openvino": openvino.__version__, "openvino_genai": openvino_genai.__version__},
        )

    def _plan(self, job: Job) -> Any:
        return generation_config(job.params, self._eos_token_ids, job.params.max_new_tokens)

    def _compute(self, job: Job, emit: Emit) -> None:
        ids = openvino.Tensor(np.asarray([job.token_ids], dtype=np.int64))
        self._pipeline.generate(ids, job.plan, _Streamer(emit))

    def _free(self) -> None:
        self._pipeline = None
        gc.collect()


class _Streamer(openvino_genai.StreamerBase):  # type: ignore[misc]
    def __init__(self, emit: Emit) -> None:
        super().__init__()
        self._emit = emit

    def write(self, token: int | Sequence[int]) -> Any:
        token_ids = (token,) if isinstance(token, int) else tuple(token)
        status = openvino_genai.StreamingStatus
        return status.RUNNING if self._emit(token_ids, ()) else status.CANCEL

    def end(self) -> None:
        """Nothing is held back."""
