"""Greedy answers of a transformers-like model, not ended by any token."""

from typing import Any

from converter_worker.stages.contract import StageMessage


class GreedyAnswer(StageMessage):
    """`margins`: how far each token's score stood before the next best one's, in standard deviations of all scores."""

    token_ids: tuple[int, ...]
    margins: tuple[float, ...]


def greedy_answer(model: Any, prompt: tuple[int, ...], new_tokens: int, *, use_cache: bool = True) -> GreedyAnswer:
    """Return the `new_tokens` ids with which the model goes on; without its cache it begins anew for every token."""
    import torch
    import transformers

    ids = torch.tensor([prompt])
    plan = transformers.GenerationConfig(
        max_new_tokens=new_tokens,
        do_sample=False,
        pad_token_id=0,
        use_cache=use_cache,
        output_scores=True,
        return_dict_in_generate=True,
    )
    # What came with the model may end, sample or penalize.
    model.generation_config = transformers.GenerationConfig()
    with torch.no_grad():
        output = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=plan)
    scores = torch.cat(output.scores).float()
    best = scores.topk(2, dim=-1).values
    margins = (best[:, 0] - best[:, 1]) / scores.std(dim=-1)
    return GreedyAnswer(token_ids=tuple(output.sequences[0, len(prompt) :].tolist()), margins=tuple(margins.tolist()))
