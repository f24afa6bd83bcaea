"""Whether the engine that would serve a variant computes what the model means: eight greedy tokens, at full precision.

Paged attention is silently wrong with some families, such as those with ALiBi or with state-space layers. Of the usual
ones it is known (`stacks.toml` and `engines.toml` of `shared/catalog/`); every other is checked here. An engine that
`engines.toml` rules out for a model's configuration is not tried.
"""

import gc
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from converter_worker.redaction import first_line
from converter_worker.stages.compiled_variant import EXACT, CompiledVariant
from converter_worker.stages.contract import ReportProgress, StageMessage
from shared.catalog.engines import load_engine_facts
from shared.errors import VerificationFailed
from shared.schemas.models import EngineCheck, EngineName

#: Longer than one block of the cache: what paged attention does with Falcon's ALiBi changed nothing in eight tokens
#: after a prompt of five, and everything after one of 75.
PROMPT = (
    "A lighthouse keeper wrote one line into his book every evening: the wind, the height of the waves, and the ships "
    "that had gone by. After forty years there were fourteen thousand lines. His daughter read all of them in one "
    "winter and found that the number of ships had doubled, that the storms had not, and that the shortest line of "
    "all, written on the day of her own birth, said only"
)
_MOST_PROMPT_TOKENS = 96
NEW_TOKENS = 8
#: The engines, the best first.
PREFERENCE: tuple[EngineName, ...] = ("continuous_batching", "stateful", "optimum")
#: What rounds nothing; the defaults of some processors are bf16, an 8-bit cache and 8-bit activations.
_FULL_PRECISION = {name: value for name, value in EXACT.items() if name != "PERFORMANCE_HINT"}
#: Enough for the prompt and the answer, and far less than the runtime would take.
_KV_BLOCKS = 32

#: Greedy continuation of a prompt's token ids by the variant in a folder.
Generate = Callable[[Path, list[int]], tuple[int, ...]]


class Arguments(StageMessage):
    """`variant_dir`: a whole variant, IR and tokenizer files."""

    variant_dir: Path


class Result(StageMessage):
    """What each engine said; it only exists where one of them is right."""

    engine_check: EngineCheck


def run(raw_arguments: dict[str, object], report: ReportProgress) -> Result:
    """Find the engine that serves the variant.

    Raises:
        VerificationFailed: none computes it right.
    """
    variant_dir = Arguments.model_validate(raw_arguments).variant_dir
    from tokenizers import Tokenizer

    report(None, "comparing engines")
    tokenizer = Tokenizer.from_file(str(variant_dir / "tokenizer.json"))
    prompt_ids = tokenizer.encode(PROMPT).ids[:_MOST_PROMPT_TOKENS]
    return Result(engine_check=check_engines(variant_dir, prompt_ids, _candidates(variant_dir)))


def _candidates(variant_dir: Path) -> Sequence[EngineName]:
    config = json.loads((variant_dir / "config.json").read_text("utf-8"))
    fact = load_engine_facts().of_configuration(config)
    return PREFERENCE if fact is None else PREFERENCE[PREFERENCE.index(fact.engine) :]


def check_engines(variant_dir: Path, prompt_ids: list[int], engines: Sequence[EngineName] = PREFERENCE) -> EngineCheck:
    """Compare engines with `OVModelForCausalLM`, in the given order, until one agrees.

    Raises:
        VerificationFailed: none agrees, or there is nothing to compare with.
    """
    reference = _reference(variant_dir, prompt_ids)
    outputs: dict[EngineName, tuple[int, ...]] = {}
    failures: list[str] = []
    for engine in engines:
        try:
            outputs[engine] = _ENGINES[engine](variant_dir, prompt_ids)
        except (RuntimeError, ValueError) as error:
            failures.append(f"{engine} fails ({first_line(error)})")
            continue
        if outputs[engine] == reference:
            return EngineCheck(engine=engine, reference=reference, outputs=outputs)
        failures.append(f"{engine} differs from token {_first_difference(outputs[engine], reference)} on")
    raise VerificationFailed(
        f"No engine computes this model as OpenVINO itself does: {', '.join(failures)}. "
        "Its family cannot be served; choose another model."
    )


def _reference(variant_dir: Path, prompt_ids: list[int]) -> tuple[int, ...]:
    """Return what the IR's own inference gives, by transformers' loop where optimum-intel can load it."""
    try:
        return _optimum(variant_dir, prompt_ids)
    except (OSError, RuntimeError, ValueError, KeyError):
        # Its configuration is code that is not here, and will not be where the model is served.
        return _plain(variant_dir, prompt_ids)


def _plain(variant_dir: Path, prompt_ids: list[int]) -> tuple[int, ...]:
    return tuple(CompiledVariant(variant_dir, dict(_FULL_PRECISION)).generate(prompt_ids, NEW_TOKENS))


def _optimum(variant_dir: Path, prompt_ids: list[int]) -> tuple[int, ...]:
    import torch
    from optimum.intel import OVModelForCausalLM
    from transformers import GenerationConfig

    model = OVModelForCausalLM.from_pretrained(str(variant_dir), device="CPU", ov_config=dict(_FULL_PRECISION))
    # An answer that ends early would leave nothing to compare.
    model.generation_config = GenerationConfig()
    ids = torch.tensor([prompt_ids])
    config = GenerationConfig(max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0)
    try:
        output = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
        return tuple(output[0, len(prompt_ids) :].tolist())
    finally:
        # Before the next engine takes as much.
        del model
        gc.collect()


def _continuous_batching(variant_dir: Path, prompt_ids: list[int]) -> tuple[int, ...]:
    import openvino_genai

    scheduler = openvino_genai.SchedulerConfig()
    scheduler.num_kv_blocks = _KV_BLOCKS
    pipeline = openvino_genai.ContinuousBatchingPipeline(str(variant_dir), scheduler, "CPU", dict(_FULL_PRECISION))
    try:
        [result] = pipeline.generate([_tensor(prompt_ids)], [_greedy()])
        return tuple(result.m_generation_ids[0])
    finally:
        del pipeline
        gc.collect()


def _stateful(variant_dir: Path, prompt_ids: list[int]) -> tuple[int, ...]:
    import openvino_genai

    pipeline = openvino_genai.LLMPipeline(str(variant_dir), "CPU", **_FULL_PRECISION, ATTENTION_BACKEND="SDPA")
    try:
        return tuple(pipeline.generate(_tensor(prompt_ids), _greedy()).tokens[0])
    finally:
        del pipeline
        gc.collect()


_ENGINES: dict[EngineName, Generate] = {
    "continuous_batching": _continuous_batching,
    "stateful": _stateful,
    "optimum": _optimum,
}


def _greedy() -> Any:
    import openvino_genai

    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = NEW_TOKENS
    config.ignore_eos = True
    config.do_sample = False
    return config


def _tensor(prompt_ids: list[int]) -> Any:
    import numpy as np
    import openvino

    return openvino.Tensor(np.asarray([prompt_ids], dtype=np.int64))


def _first_difference(found: tuple[int, ...], wanted: tuple[int, ...]) -> int:
    """Return the number, from 1, of the first token that is another one."""
    pairs = zip(found, wanted, strict=False)
    return next((number for number, (one, other) in enumerate(pairs, start=1) if one != other), len(found) + 1)
