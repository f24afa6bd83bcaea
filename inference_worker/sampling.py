"""From what a request asks for to what an engine is told."""

from __future__ import annotations

from inference_worker.answer_schema import check_schema
from inference_worker.engine import EngineInfo, SamplingParams
from inference_worker.engines.json_grammar import check_compile_time
from shared.errors import InvalidRequest
from shared.schemas.generation import EngineOptions, GenerationRequest

#: Fields of `EngineOptions` that an engine may lack, the request's own field, and what it asks for.
_REFUSABLE = (
    ("top_logprobs", "logprobs", "log probabilities"),
    ("json_schema", "response_format", "answers that follow a schema"),
)


def check_request(request: GenerationRequest, engine: EngineInfo) -> None:
    """Raises InvalidRequest for what this engine cannot do."""
    if request.params.temperature > 0 and "temperature" in engine.unsupported:
        raise InvalidRequest(
            "The model is served with a draft model, which answers greedily only: ask with temperature 0.",
            param="temperature",
        )
    _check_options(request.options, engine)


def _check_options(options: EngineOptions, engine: EngineInfo) -> None:
    for name, param, what in _REFUSABLE:
        if name in engine.unsupported and getattr(options, name) is not None:
            raise InvalidRequest(f"The model's engine, {engine.engine}, does not give {what}.", param=param)
    if (options.top_logprobs or 0) > engine.most_top_logprobs:
        raise InvalidRequest(
            f"The model's engine tells the log probabilities of at most {engine.most_top_logprobs} alternatives.",
            param="top_logprobs",
        )
    if options.json_schema is not None:
        check_compile_time(check_schema(options.json_schema))
        if options.ignore_eos or options.min_new_tokens:
            raise InvalidRequest(
                "An answer that follows a schema ends where the schema does.",
                param="ignore_eos" if options.ignore_eos else "min_tokens",
            )


def sampling_of(request: GenerationRequest, *, max_new_tokens: int, emitted_tokens: int) -> SamplingParams:
    """The engine's parameters of an answer of which `emitted_tokens` were made by an earlier attempt.

    These stand at the end of the engine's prompt. The repetition penalty counts them there; the runtime counts
    presence and frequency penalties over what it generated itself, so those begin anew at the seam, as a seed does.
    """
    params, options = request.params, request.options
    return SamplingParams(
        max_new_tokens=max_new_tokens - emitted_tokens,
        temperature=params.temperature,
        top_p=params.top_p,
        top_k=params.top_k,
        min_p=params.min_p,
        repetition_penalty=params.repetition_penalty,
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        seed=params.seed,
        stop_token_ids=options.stop_token_ids,
        ignore_eos=options.ignore_eos,
        min_new_tokens=max(0, options.min_new_tokens - emitted_tokens),
        top_logprobs=options.top_logprobs,
        json_schema=options.json_schema,
    )
