"""Lets a published variant answer in the serving engine and in optimum-intel, both in float32."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from converter_worker.stages.contract import ReportProgress, StageMessage
from inference_worker.engine import Engine, EngineSpec, SamplingParams
from inference_worker.engines.factory import create_engine
from tests.families.greedy import GreedyAnswer, greedy_answer

#: Anything less precise is no error, but cannot be told from one; dynamic quantization would round activations.
PRECISE = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
#: Smaller than the longest prompt, so that one is computed in parts.
_STEP_TOKENS = 48
_CACHE_BYTES = 64 << 20


_Answers: TypeAlias = tuple[tuple[int, ...], ...]


class Arguments(StageMessage):
    """`engine` serves; `by_optimum` asks for optimum-intel's answers too."""

    variant_dir: Path
    engine: str
    by_optimum: bool
    prompts: tuple[tuple[int, ...], ...]
    new_tokens: int


class Result(StageMessage):
    """Answers to each prompt; those of optimum-intel where asked for.

    `continued` are the engine's second halves where each prompt comes again with the first half of its answer, as in a
    chat's next turn: what was computed before is taken from the cache.
    """

    engine: tuple[tuple[int, ...], ...]
    continued: tuple[tuple[int, ...], ...]
    optimum: tuple[GreedyAnswer, ...]


def run(raw_arguments: dict[str, object], report: ReportProgress) -> Result:
    """Ask the engine all prompts at once, as a busy worker would, and optimum-intel one after the other."""
    arguments = Arguments.model_validate(raw_arguments)
    served, continued = _serve(arguments)
    report(0.5, "served")
    optimum = _by_optimum(arguments) if arguments.by_optimum else ()
    return Result(engine=served, continued=continued, optimum=optimum)


def _serve(arguments: Arguments) -> tuple[_Answers, _Answers]:
    half = arguments.new_tokens // 2
    engine = create_engine(
        EngineSpec(
            arguments.engine,
            arguments.variant_dir,
            slots=8,
            kv_cache_bytes=_CACHE_BYTES,
            max_num_batched_tokens=_STEP_TOKENS,
            properties=dict(PRECISE),
        )
    )
    engine.start()
    try:
        answers = _collect(engine, arguments.prompts, arguments.new_tokens)
        longer = [(*prompt, *answer[:half]) for prompt, answer in zip(arguments.prompts, answers, strict=True)]
        return answers, _collect(engine, longer, arguments.new_tokens - half)
    finally:
        engine.stop()


def _collect(engine: Engine, prompts: Sequence[tuple[int, ...]], new_tokens: int) -> _Answers:
    answers: dict[str, list[int]] = {str(at): [] for at in range(len(prompts))}
    params = SamplingParams(new_tokens, ignore_eos=True)
    for sequence_id, prompt in zip(answers, prompts, strict=True):
        engine.add(sequence_id, prompt, params)
    running = set(answers)
    while running:
        for event in engine.next_events(1.0):
            answers[event.sequence_id] += event.token_ids
            if event.finish is not None:
                if event.finish.is_error:
                    raise RuntimeError(f"the engine ended an answer with {event.finish}")
                running.discard(event.sequence_id)
    return tuple(map(tuple, answers.values()))


def _by_optimum(arguments: Arguments) -> tuple[GreedyAnswer, ...]:
    from optimum.intel import OVModelForCausalLM

    model = OVModelForCausalLM.from_pretrained(str(arguments.variant_dir), device="CPU", ov_config=dict(PRECISE))
    return tuple(greedy_answer(model, prompt, arguments.new_tokens) for prompt in arguments.prompts)
