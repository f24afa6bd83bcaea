"""optimum-intel's `OVModelForCausalLM` with a streamer: transformers' own generation loop over an OpenVINO model."""

from __future__ import annotations

import gc
import importlib.metadata
from collections.abc import Sequence
from typing import Any

import openvino
import optimum.intel
import torch
import transformers
from transformers.generation.logits_process import MinNewTokensLengthLogitsProcessor, RepetitionPenaltyLogitsProcessor

from inference_worker.engine import EngineInfo, EngineSpec, SamplingParams, TokenLogprob
from inference_worker.engines.sequential import Emit, Job, SequentialEngine
from inference_worker.variant_files import read_model_limits

_MOST_TOP_LOGPROBS = 20


class OptimumEngine(SequentialEngine):
    """One sequence at a time. It needs torch, for sampling only, so that gets one thread."""

    def __init__(self, spec: EngineSpec) -> None:
        super().__init__(spec)
        self._model: Any = None

    def _load(self) -> EngineInfo:
        spec = self._spec
        limits = read_model_limits(spec.model_dir)
        torch.set_num_threads(1)
        properties: dict[str, Any] = dict(spec.properties)
        if spec.threads and spec.device.startswith("CPU"):
            properties["INFERENCE_NUM_THREADS"] = spec.threads
        try:
            self._model = optimum.intel.OVModelForCausalLM.from_pretrained(
                str(spec.model_dir), device=spec.device, ov_config=properties
            )
        except (OSError, ValueError) as error:
            raise RuntimeError(f"optimum-intel cannot load the model: {error}") from error
        # A request says all of it; what the model recommends is the gateway's business.
        self._model.generation_config = transformers.GenerationConfig()
        return EngineInfo(
            engine="optimum",
            slots=1,
            context_length=limits.context_length,
            eos_token_ids=limits.eos_token_ids,
            most_top_logprobs=_MOST_TOP_LOGPROBS,
            unsupported=("json_schema",),
            versions={
                "openvino": openvino.__version__,
                "optimum_intel": importlib.metadata.version("optimum-intel"),
                "transformers": transformers.__version__,
            },
        )

    def _plan(self, job: Job) -> Any:
        return _generation_config(job)

    def _compute(self, job: Job, emit: Emit) -> None:
        params = job.params
        scores = _Scores(params.top_logprobs)
        if params.seed is not None:
            torch.manual_seed(params.seed)
        else:
            torch.seed()
        ids = torch.tensor([job.token_ids])
        self._model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=job.plan,
            logits_processor=_processors(job, scores),
            stopping_criteria=transformers.StoppingCriteriaList([_Aborted(job)]),
            streamer=_Streamer(emit, scores),
        )

    def _free(self) -> None:
        self._model = None
        gc.collect()


class _Scores(transformers.LogitsProcessor):  # type: ignore[misc]
    """Keeps the model's own scores of the next token, where log probabilities are asked for."""

    def __init__(self, wanted: int | None) -> None:
        self._wanted = wanted
        self._logprobs: Any = None

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        if self._wanted is not None:
            self._logprobs = torch.log_softmax(scores[0].float(), dim=-1)
        return scores

    def of(self, token_id: int) -> tuple[TokenLogprob, ...]:
        """The token's log probability, as a tuple of one or none."""
        if self._wanted is None:
            return ()
        values, ids = torch.topk(self._logprobs, self._wanted)
        top = tuple(zip(ids.tolist(), values.tolist(), strict=True))
        return (TokenLogprob(float(self._logprobs[token_id]), top),)


class _Counts(transformers.LogitsProcessor):  # type: ignore[misc]
    """Presence and frequency penalties over what was generated, which transformers does not have."""

    def __init__(self, params: SamplingParams, prompt_tokens: int) -> None:
        self._presence = params.presence_penalty
        self._frequency = params.frequency_penalty
        self._prompt_tokens = prompt_tokens

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        counts = torch.bincount(input_ids[0, self._prompt_tokens :], minlength=scores.shape[-1])
        return scores - self._presence * (counts > 0) - self._frequency * counts


class _Aborted(transformers.StoppingCriteria):  # type: ignore[misc]
    def __init__(self, job: Job) -> None:
        self._job = job

    def __call__(self, input_ids: Any, scores: Any, **_options: Any) -> Any:
        return torch.full((input_ids.shape[0],), self._job.aborted, dtype=torch.bool)


class _Streamer(transformers.generation.streamers.BaseStreamer):  # type: ignore[misc]
    def __init__(self, emit: Emit, scores: _Scores) -> None:
        self._emit = emit
        self._scores = scores
        self._prompt_seen = False

    def put(self, value: Any) -> None:
        """Take the prompt, which comes first, or the next token."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        for token_id in value.flatten().tolist():
            self._emit((token_id,), self._scores.of(token_id))

    def end(self) -> None:
        """Nothing is held back."""


def _generation_config(job: Job) -> Any:
    params = job.params
    ends: Sequence[int] | None = sorted(job.ends) or None
    sampling: dict[str, Any] = {}
    if params.temperature > 0:
        sampling = {
            "do_sample": True,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "top_k": params.top_k,
            "min_p": params.min_p or None,
        }
    return transformers.GenerationConfig(
        max_new_tokens=params.max_new_tokens, eos_token_id=ends, pad_token_id=ends[0] if ends else 0, **sampling
    )


def _processors(job: Job, scores: _Scores) -> Any:
    """The scores are kept before anything bends them; transformers does what makes a choice of them afterwards."""
    params, prompt_tokens = job.params, len(job.token_ids)
    processors: list[Any] = [scores]
    if params.repetition_penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(params.repetition_penalty))
    if params.presence_penalty or params.frequency_penalty:
        processors.append(_Counts(params, prompt_tokens))
    if params.min_new_tokens and job.ends:
        least = min(params.min_new_tokens, params.max_new_tokens)
        processors.append(MinNewTokensLengthLogitsProcessor(prompt_tokens, least, sorted(job.ends)))
    return transformers.LogitsProcessorList(processors)
