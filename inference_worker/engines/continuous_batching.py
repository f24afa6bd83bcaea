"""openvino-genai's paged attention: many sequences in one batch, on CPU and GPU."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import openvino
import openvino_genai

from inference_worker.engine import (
    Engine,
    EngineFigures,
    EngineInfo,
    EngineSpec,
    Finish,
    ProgressCallback,
    SamplingParams,
    TokenEvent,
    TokenLogprob,
)
from inference_worker.engines.generation_config import generation_config
from inference_worker.engines.prefix_cache import PrefixCache
from inference_worker.engines.step_sizing import PROBE_TOKENS, measure_step_cost, tokens_per_step
from inference_worker.variant_files import ModelLimits, read_model_limits

_GIB = 1 << 30
#: The runtime's KV blocks have 32 tokens on a CPU and 16 on a GPU.
_SMALL_BLOCK_TOKENS = 16


@dataclass(slots=True)
class _Running:
    params: SamplingParams
    handle: Any = None
    """The request is dropped without a word when its handle is garbage collected, so it is kept until the end."""
    generated: int = 0
    ends: frozenset[int] = field(default_factory=frozenset)
    cached_tokens: int | None = None
    """Told with the first event."""
    stepped: bool = False
    decoding: bool = False
    """The last step made a token of it."""


@dataclass(frozen=True, slots=True)
class _HeldBack:
    """A sequence that the runtime has not got yet."""

    sequence_id: str
    token_ids: Sequence[int]
    config: Any
    running: _Running


class ContinuousBatchingEngine(Engine):
    """`ContinuousBatchingPipeline` driven step by step; `next_events` computes or returns, and never waits."""

    def __init__(self, spec: EngineSpec) -> None:
        self._spec = spec
        self._pipeline: Any = None
        self._limits = ModelLimits(0, (), 0)
        self._running: dict[str, _Running] = {}
        self._leaving: list[Any] = []
        """Handles of aborted requests whose prompt is still being computed."""
        self._held_back: list[_HeldBack] = []
        self._ends_in_use: set[tuple[int, tuple[int, ...]]] = set()
        """Ends of cached texts that a sequence goes on from which the next step begins."""
        self._prefixes: PrefixCache | None = None
        self._next_request_id = 0
        self._preemptions = 0

    def start(self, report_progress: ProgressCallback | None = None) -> EngineInfo:
        report = report_progress or (lambda _progress: None)
        limits = read_model_limits(self._spec.model_dir)
        # One long text would change the positions of all that are computed with it, and of its own cached part.
        self._limits = replace(limits, context_length=limits.paged_context_length)
        tokens = self._spec.max_num_batched_tokens
        if not self._spec.dynamic_split_fuse:
            # A prompt that is not split and longer than a step would wait for ever.
            tokens = max(tokens or 0, self._limits.context_length)
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
        self._prefixes = self._follow_prefixes()
        report(1.0)
        return EngineInfo(
            engine="continuous_batching",
            slots=self._spec.slots,
            context_length=self._limits.context_length,
            eos_token_ids=self._limits.eos_token_ids,
            max_num_batched_tokens=tokens,
            kv_cache_bytes=int(self._pipeline.get_metrics().cache_size_in_bytes),
            unsupported=("temperature",) if self._is_greedy_only else (),
            versions={"openvino": openvino.__version__, "openvino_genai": openvino_genai.__version__},
        )

    def add(self, sequence_id: str, token_ids: Sequence[int], params: SamplingParams) -> None:
        if sequence_id in self._running:
            raise ValueError(f"sequence {sequence_id} is running")
        if not token_ids:
            raise ValueError("the prompt is empty")
        if params.temperature > 0 and self._is_greedy_only:
            raise ValueError("a draft model proposes for greedy answers only")
        room = self._limits.context_length - len(token_ids)
        if room < 1:
            raise ValueError(f"the prompt of {len(token_ids)} tokens leaves no room in {self._limits.context_length}")
        config = generation_config(params, self._limits.eos_token_ids, room, self._spec.speculation)
        ends = frozenset(params.stop_token_ids) | (
            frozenset() if params.ignore_eos else set(self._limits.eos_token_ids)
        )
        running = self._running[sequence_id] = _Running(params, ends=ends)
        self._held_back.append(_HeldBack(sequence_id, token_ids, config, running))
        try:
            self._begin_held_back()
        except BaseException:
            del self._running[sequence_id]
            raise

    def _begin_held_back(self) -> None:
        """Hand over what waits, but of those that go on from one end of a cached text one a step.

        The runtime would give them the same half-filled block of the cache, and each would write into it.
        """
        waiting, self._held_back = self._held_back, []
        for held in waiting:
            end = self._prefixes.shared_end(held.token_ids) if self._prefixes is not None else None
            if end is not None and end in self._ends_in_use:
                self._held_back.append(held)
                continue
            if end is not None:
                self._ends_in_use.add(end)
            held.running.handle = self._add_request(held.token_ids, held.config)
            if self._prefixes is not None:
                held.running.cached_tokens = self._prefixes.add(held.sequence_id, held.token_ids)

    @property
    def _is_greedy_only(self) -> bool:
        """A sampled token that refuses a draft model's proposal fails a check of the runtime, which ends the engine."""
        return self._spec.speculation is not None and self._spec.speculation.draft_dir is not None

    def abort(self, sequence_id: str) -> None:
        running = self._running.pop(sequence_id, None)
        if running is None:
            return
        if running.handle is None:
            self._held_back = [held for held in self._held_back if held.running is not running]
            return
        if self._prefixes is not None:
            self._prefixes.release(sequence_id)
        if running.stepped and not running.generated and self._spec.prefix_caching:
            # The runtime takes the block in which a cancelled prompt ends for computed to its end, and a later
            # prompt with the same beginning would read memory that nobody wrote. So the prompt is computed first.
            self._leaving.append(running.handle)
        else:
            running.handle.cancel()

    def next_events(self, timeout: float) -> list[TokenEvent]:
        if not self._running and not self._leaving:
            return []
        self._begin_held_back()
        if self._pipeline.has_non_finished_requests():
            self._pipeline.step()
        self._ends_in_use.clear()
        self._let_go()
        events: list[TokenEvent] = []
        for sequence_id, running in list(self._running.items()):
            if running.handle is None:
                continue
            event = self._read(sequence_id, running)
            # A step computes all that decode, so one that made a token and now makes none lost its cache.
            self._preemptions += running.decoding and event is None
            running.decoding = event is not None
            if event is not None:
                events.append(event)
                if event.finish is not None:
                    del self._running[sequence_id]
                    if self._prefixes is not None:
                        self._prefixes.release(sequence_id)
        return events

    def figures(self) -> EngineFigures:
        if not self._running:
            # The runtime still tells of its last step, whose blocks are free again.
            return EngineFigures(kv_cache_usage=0.0, preemptions=self._preemptions)
        metrics = self._pipeline.get_metrics()
        return EngineFigures(
            waiting=max(0, len(self._running) - int(metrics.scheduled_requests)),
            kv_cache_usage=round(float(metrics.cache_usage) / 100, 4),
            preemptions=self._preemptions,
        )

    def stop(self) -> None:
        for handle in (*(running.handle for running in self._running.values()), *self._leaving):
            if handle is not None:
                handle.cancel()
        self._running.clear()
        self._held_back.clear()
        self._leaving.clear()
        if self._pipeline is not None and self._pipeline.has_non_finished_requests():
            self._pipeline.step()  # Cancelled requests give their cache blocks back at the next step.
        self._free_pipeline()

    def _read(self, sequence_id: str, running: _Running) -> TokenEvent | None:
        handle = running.handle
        running.stepped = True
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
        cached_tokens = None if running.generated else running.cached_tokens
        running.generated += len(token_ids)
        if self._prefixes is not None:
            self._prefixes.generated(sequence_id, token_ids)
        finish: Finish | None = None
        if status == openvino_genai.GenerationStatus.FINISHED:
            ended = bool(token_ids) and token_ids[-1] in running.ends
            stopped = reason == openvino_genai.GenerationFinishReason.STOP or ended
            finish = Finish.STOP if stopped else Finish.LENGTH
        elif status != openvino_genai.GenerationStatus.RUNNING:
            # Nobody cancelled it, because a cancelled one is not in the table: the scheduler found no memory for it.
            finish = Finish.KV_CACHE_EXHAUSTED
        if finish is None and not token_ids:
            return None
        return TokenEvent(sequence_id, tuple(token_ids), finish, tuple(logprobs), cached_tokens)

    def _let_go(self) -> None:
        """Cancel the aborted requests whose prompt is computed."""
        left: list[Any] = []
        for handle in self._leaving:
            if handle.get_status() != openvino_genai.GenerationStatus.RUNNING:
                continue
            if handle.can_read():
                handle.cancel()
            else:
                left.append(handle)
        self._leaving = left

    def _follow_prefixes(self) -> PrefixCache | None:
        """Warm up with one block, or two small ones, and learn from the memory that took how large blocks are."""
        self._timed_prefill(_SMALL_BLOCK_TOKENS)
        one_block = self._pipeline.get_metrics().cache_usage
        self._timed_prefill(2 * _SMALL_BLOCK_TOKENS)
        usage = self._pipeline.get_metrics().cache_usage
        # Tokens that were proposed and refused are in the runtime's cache, too: nobody can tell from outside.
        if not self._spec.prefix_caching or one_block <= 0 or self._spec.speculation is not None:
            return None
        small = usage > 1.5 * one_block
        return PrefixCache(
            capacity_blocks=round(100 / one_block),
            block_tokens=_SMALL_BLOCK_TOKENS if small else 2 * _SMALL_BLOCK_TOKENS,
        )

    def _add_request(self, token_ids: Sequence[int], config: Any) -> Any:
        self._next_request_id += 1
        ids = openvino.Tensor(np.asarray([token_ids], dtype=np.int64))
        return self._pipeline.add_request(self._next_request_id, ids, config)

    def _build(self, max_num_batched_tokens: int) -> Any:
        spec = self._spec
        scheduler = openvino_genai.SchedulerConfig()
        if spec.num_kv_blocks:
            scheduler.num_kv_blocks = spec.num_kv_blocks
        else:
            # The runtime counts whole gigabytes, and 0 would let the cache grow until memory is gone.
            scheduler.cache_size = max(1, spec.kv_cache_bytes // _GIB)
        scheduler.max_num_seqs = spec.slots
        scheduler.max_num_batched_tokens = max_num_batched_tokens
        scheduler.dynamic_split_fuse = spec.dynamic_split_fuse
        scheduler.enable_prefix_caching = spec.prefix_caching
        properties: dict[str, Any] = dict(spec.properties)
        if spec.threads and spec.device.startswith("CPU"):
            properties["INFERENCE_NUM_THREADS"] = spec.threads
        if spec.speculation is not None and spec.speculation.draft_dir is not None:
            draft_dir = str(spec.speculation.draft_dir)
            properties["draft_model"] = openvino_genai.draft_model(draft_dir, spec.device, **properties)
        elif spec.speculation is not None:
            properties["prompt_lookup"] = True
        return openvino_genai.ContinuousBatchingPipeline(str(spec.model_dir), scheduler, spec.device, properties)

    def _free_pipeline(self) -> None:
        self._pipeline = None
        gc.collect()

    def _timed_prefill(self, tokens: int) -> list[float]:
        """Milliseconds of each step of a prompt of `tokens` random ids, which the prefix cache cannot know."""
        tokens = min(tokens, self._limits.context_length - 2)
        vocabulary = max(self._limits.vocab_size, 2)
        ids = [random.randrange(vocabulary) for _ in range(tokens)]
        config = generation_config(SamplingParams(max_new_tokens=1), (), 1, self._spec.speculation)
        handle = self._add_request(ids, config)
        steps: list[float] = []
        while handle.get_status() == openvino_genai.GenerationStatus.RUNNING:
            begin = time.perf_counter()
            self._pipeline.step()
            steps.append((time.perf_counter() - begin) * 1000)
        return steps
