"""Writes a tiny random checkpoint and what transformers answers with it in float32. Runs as a stage's child does."""

import json
import shutil
from pathlib import Path
from typing import Any

from converter_worker.stages.contract import ReportProgress, StageMessage
from tests.families.greedy import GreedyAnswer, greedy_answer
from tests.helpers.tiny_checkpoints import random_model

SEED = 20
#: Large enough that attention is no mean over all tokens, where a wrong position would change nothing.
_WEIGHT_STD = 0.1
#: Smaller, because some families enlarge what they read from it; such a model would only repeat its last token.
_EMBEDDING_STD = 0.02
#: Two right computations differ by their rounding; where the best two tokens are nearer than that, they tell nothing.
_LEAST_MARGIN = 1e-3
#: Fewer different tokens than these in an answer would hide a wrong computation.
_LEAST_DISTINCT = 4
_MOST_DRAWS = 12
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


class Arguments(StageMessage):
    """`fields` are the family's configuration; `attention` is the reference's; `tokenizer_dir` has the tokenizer."""

    family: str
    fields: dict[str, Any]
    attention: str
    tokenizer_dir: Path
    output_dir: Path
    prompt_lengths: tuple[int, ...]
    new_tokens: int


class Result(StageMessage):
    """`prompts` in token ids, a greedy answer to each, and the version of transformers that gave it."""

    prompts: tuple[tuple[int, ...], ...]
    answers: tuple[GreedyAnswer, ...]
    transformers: str


def run(raw_arguments: dict[str, object], report: ReportProgress) -> Result:
    """Make the checkpoint in float16, read it again in float32 and let it answer.

    Raises:
        ValueError: no prompt was found to which the answer is varied and clear.
    """
    import torch
    import transformers

    arguments = Arguments.model_validate(raw_arguments)
    arguments.output_dir.mkdir(parents=True)
    vocabulary_size = _vocabulary_size(arguments.tokenizer_dir)
    model = random_model(arguments.family, SEED, vocab_size=vocabulary_size, **arguments.fields)
    _roughen(model)
    model.to(torch.float16).save_pretrained(arguments.output_dir)
    for name in _TOKENIZER_FILES:
        shutil.copyfile(arguments.tokenizer_dir / name, arguments.output_dir / name)
    report(0.5, "checkpoint written")
    reference = transformers.AutoModelForCausalLM.from_pretrained(
        str(arguments.output_dir), torch_dtype=torch.float32, attn_implementation=arguments.attention
    )
    reference.eval()
    asked = [_ask(reference, length, vocabulary_size, arguments.new_tokens) for length in arguments.prompt_lengths]
    return Result(
        prompts=tuple(prompt for prompt, _ in asked),
        answers=tuple(answer for _, answer in asked),
        transformers=transformers.__version__,
    )


def _roughen(model: Any) -> None:
    """Draw all weights anew; freshly made ones are so small and alike that a wrong computation gives the same tokens.

    Vectors (scales of norms, biases, what a family has beside) are only moved, because their starting values mean
    something.
    """
    import torch

    embedding = model.get_input_embeddings().weight
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, _EMBEDDING_STD if parameter is embedding else _WEIGHT_STD)
            else:
                parameter.add_(torch.randn_like(parameter) * _WEIGHT_STD)


def _ask(model: Any, length: int, vocabulary_size: int, new_tokens: int) -> tuple[tuple[int, ...], GreedyAnswer]:
    import torch

    for _ in range(_MOST_DRAWS):
        prompt = tuple(torch.randint(3, vocabulary_size, (length,)).tolist())
        answer = greedy_answer(model, prompt, new_tokens, use_cache=False)
        if min(answer.margins) >= _LEAST_MARGIN and len(set(answer.token_ids)) >= _LEAST_DISTINCT:
            return prompt, answer
    raise ValueError(f"none of {_MOST_DRAWS} prompts of {length} tokens has a varied and clear answer")


def _vocabulary_size(tokenizer_dir: Path) -> int:
    tokenizer = json.loads((tokenizer_dir / "tokenizer.json").read_text("utf-8"))
    return len({*tokenizer["model"]["vocab"], *(token["content"] for token in tokenizer["added_tokens"])})
