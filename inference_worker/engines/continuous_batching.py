"""openvino-genai's paged attention: many sequences in one batch, on CPU and GPU."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import openvino
import openvino_genai

from inference_worker.engine import (
    Engine,
    EngineInfo,
    EngineSpec,
    Finish,
    ProgressCallback,
    SamplingParams,
    TokenEvent,
    TokenLogprob,
)
from inference_worker.engines.generation_config import generation_config
from inference_worker.engines.step_sizing import PROBE_TOKENS, measure_step_cost, tokens_per_step
from inference_worker.variant_files import ModelLimits, read_model_limits

_GIB = 1 << 30


@dataclass(slots=True)
class _Running:
    handle: Any
    """The request is dropped without a word when its handle is garbage collected, so it is kept until the end."""
    params: SamplingParams
    generated: int = 0
    ends: frozenset[int] = field(default_factory=frozenset)


class ContinuousBatchingEngine(Engine):
    """`ContinuousBatchingPipeline` driven step by step; `next_events` computes or returns, and never waits."""

    def __init__(self, spec: EngineSpec) -> None:
        self._spec = spec
        self._pipeline: Any = None
        self._limits = ModelLimits(0, (), 0)
        self._running: dict[str, _Running] = {}
        self._next_request_id = 0

    def start(self, report_progress: ProgressCallback | None = None) -> EngineInfo:
        report = report_progress or (lambda _progress: None)
        self._limits = read_model_limits(self._spec.model_dir)
        tokens = self._spec.max_num_batched_tokens
        report(0.05)
        if tokens is None:
            self._pipeline = self._build(max(PROBE_TOKENS, self._spec.slots + 16))
            report(0.5)
            cost = measure_step_cost(self._timed_prefill, self._limits.context_length)
            tokens = tokens_per_step(
                cost,
                target_ms=self._spec.step_target_ms,
                slots=self._spec.slots,
                context_length=self._limits.context_length,
            )
            report(0.6)
            # The size is fixed when a pipeline is built; the first one goes before the second needs its memory.
            self._free_pipeline()
        self._pipeline = self._build(tokens)
        report(0.9)
        self._timed_prefill(16)
        report(1.0)
        return EngineInfo(
            engine="continuous_batching",
            slots=self._spec.slots,
            context_length=self._limits.context_length,
            eos_token_ids=self._limits.eos_token_ids,
            max_num_batched_tokens=tokens,
            kv_cache_bytes=int(self._pipeline.get_metrics().cache_size_in_bytes),
            versions={"openvino": openvino.__version__, "openvino_genai": openvino_genai.__version__},
        )

    def add(self, sequence_id: str, token_ids: Sequence[int], params: SamplingParams) -> None:
        if sequence_id in self._running:
            raise ValueError(f"sequence {sequence_id} is running")
        if not token_ids:
            raise ValueError("the prompt is empty")
        room = self._limits.context_length - len(token_ids)
        if room < 1:
            raise ValueError(f"the prompt of {len(token_ids)} tokens leaves no room in {self._limits.context_length}")
        handle = self._add_request(token_ids, generation_config(params, self._limits.eos_token_ids, room))
        ends = frozenset(params.stop_token_ids) | (
            frozenset() if params.ignore_eos else set(self._limits.eos_token_ids)
        )
        self._running[sequence_id] = _Running(handle, params, ends=ends)

    def abort(self, sequence_id: str) -> None:
        running = self._running.pop(sequence_id, None)
        if running is not None:
            running.handle.cancel()

    def next_events(self, timeout: float) -> list[TokenEvent]:
        if not self._running:
            return []
        if self._pipeline.has_non_finished_requests():
            self._pipeline.step()
        events: list[TokenEvent] = []
        for sequence_id, running in list(self._running.items()):
            event = self._read(sequence_id, running)
            if event is not None:
                events.append(event)
                if event.finish is not None:
                    del self._running[sequence_id]
        return events

    def stop(self) -> None:
        for sequence_id in list(self._running):
            self.abort(sequence_id)
        if self._pipeline is not None and self._pipeline.has_non_finished_requests():
            self._pipeline.step()  # Cancelled requests give their cache blocks back at the next step.
        self._free_pipeline()

    def _read(self, sequence_id: str, running: _Running) -> TokenEvent | None:
        handle = running.handle
        # The status is read first: tokens that come between the two reads are then delivered by the next step.
        status = handle.get_status()
        token_ids: list[int] = []
        logprobs: list[TokenLogprob] = []
        reason = openvino_genai.GenerationFinishReason.NONE
        while handle.can_read():
            for output in handle.read().values():
                token_ids.extend(output.generated_ids)
                if running.params.top_logprobs is not None:
                    logprobs.extend(map(TokenLogprob, output.generated_log_probs))
                reason = output.finish_reason
        running.generated += len(token_ids)
        if status == openvino_genai.GenerationStatus.RUNNING:
            return TokenEvent(sequence_id, tuple(token_ids), None, tuple(logprobs)) if token_ids else None
        if status == openvino_genai.GenerationStatus.FINISHED:
            ended = bool(token_ids) and token_ids[-1] in running.ends
            stopped = reason == openvino_genai.GenerationFinishReason.STOP or ended
            return TokenEvent(sequence_id, tuple(token_ids), Finish.STOP if stopped else Finish.LENGTH, tuple(logprobs))
        # Nobody cancelled it, because a cancelled one is not in the table: the scheduler found no memory for it.
        return TokenEvent(sequence_id, tuple(token_ids), Finish.KV_CACHE_EXHAUSTED, tuple(logprobs))

    def _add_request(self, token_ids: Sequence[int], config: Any) -> Any:
        self._next_request_id += 1
        ids = openvino.Tensor(np.asarray([token_ids], dtype=np.int64))
        return self._pipeline.add_request(self._next_request_id, ids, config)

    def _build(self, max_num_batched_tokens: int) -> Any:
        spec = self._spec
        scheduler = openvino_genai.SchedulerConfig()
        blocks = spec.options.get("num_kv_blocks")
        if blocks:
            scheduler.num_kv_blocks = int(blocks)
        else:
            # The runtime counts whole gigabytes, and 0 would let the cache grow until memory is gone.
            scheduler.cache_size = max(1, spec.kv_cache_bytes // _GIB)
        scheduler.max_num_seqs = spec.slots
        scheduler.max_num_batched_tokens = max_num_batched_tokens
        scheduler.dynamic_split_fuse = True
        scheduler.enable_prefix_caching = spec.prefix_caching
        properties: dict[str, Any] = dict(spec.properties)
        if spec.threads and spec.device.startswith("CPU"):
            properties["INFERENCE_NUM_THREADS"] = spec.threads
        return openvino_genai.ContinuousBatchingPipeline(str(spec.model_dir), scheduler, spec.device, properties)

    def _free_pipeline(self) -> None:
        self._pipeline = None
        gc.collect()

    def _timed_prefill(self, tokens: int) -> list[float]:
        """Milliseconds of each step of a prompt of `tokens` random ids, which the prefix cache cannot know."""
        tokens = min(tokens, self._limits.context_length - 2)
        vocabulary = max(self._limits.vocab_size, 2)
        ids = [random.randrange(vocabulary) for _ in range(tokens)]
        handle = self._add_request(ids, generation_config(SamplingParams(max_new_tokens=1), (), 1))
        steps: list[float] = []
        while handle.get_status() == openvino_genai.GenerationStatus.RUNNING:
            begin = time.perf_counter()
            self._pipeline.step()
            steps.append((time.perf_counter() - begin) * 1000)
        return steps
