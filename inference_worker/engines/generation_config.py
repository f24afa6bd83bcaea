"""From the contract's sampling parameters to openvino-genai's."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import openvino_genai

from inference_worker.engine import SamplingParams, Speculation
from inference_worker.engines.json_grammar import compact_grammar

_MOST_MIN_P = 0.999999


def generation_config(
    params: SamplingParams, eos_token_ids: Sequence[int], room: int, speculation: Speculation | None = None
) -> Any:
    """openvino-genai's form of the parameters; `room` bounds the answer by what is left of the context."""
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = min(params.max_new_tokens, room)
    config.min_new_tokens = min(params.min_new_tokens, config.max_new_tokens)
    # The runtime's ignore_eos would switch the caller's stop tokens off as well; not naming the model's own is enough.
    config.ignore_eos = params.ignore_eos and not params.stop_token_ids
    ends = set(params.stop_token_ids)
    if not params.ignore_eos:
        ends |= set(eos_token_ids)
    if ends:
        # Where no end token is named, the runtime takes the model's own, which `ignore_eos` has switched off.
        own = [token_id for token_id in eos_token_ids if token_id in ends]
        config.eos_token_id = own[0] if own else min(ends)
    config.stop_token_ids = ends
    # The runtime tells the chosen token's log probability and no alternatives, hence `most_top_logprobs` is 0.
    config.logprobs = 1 if params.top_logprobs is not None else 0
    config.repetition_penalty = params.repetition_penalty
    config.presence_penalty = params.presence_penalty
    config.frequency_penalty = params.frequency_penalty
    if params.temperature > 0:
        config.do_sample = True
        config.temperature = params.temperature
        config.top_p = params.top_p
        # The runtime refuses 1, which leaves the likeliest token alone, and so does what stands here.
        config.min_p = min(params.min_p, _MOST_MIN_P)
        if params.top_k:
            config.top_k = params.top_k
        config.rng_seed = params.seed if params.seed is not None else random.getrandbits(31)
    if params.json_schema is not None:
        grammar = compact_grammar(json.loads(params.json_schema))
        config.structured_output_config = (
            openvino_genai.StructuredOutputConfig(json_schema=params.json_schema)
            if grammar is None
            else openvino_genai.StructuredOutputConfig(grammar=grammar)
        )
    if speculation is not None:
        config.num_assistant_tokens = speculation.tokens
        if speculation.max_ngram_size is not None:
            config.max_ngram_size = speculation.max_ngram_size
    config.validate()
    return config
