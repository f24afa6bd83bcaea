"""The demo model's quality cards against the same figures got in another way.

The platform asks OpenVINO for the logits and sums in numpy; here FP16 is the checkpoint itself in transformers, the
variants are asked through optimum's pipeline, and torch's own functions give the figures.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from converter_worker.stages import quality_texts
from shared.schemas.models import Manifest
from shared.schemas.quality import QualityCard
from tests.helpers.demo_store import MODEL, VARIANTS

if TYPE_CHECKING:
    import torch

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}


@pytest.fixture(scope="module")
def cards(demo_store: Path) -> dict[str, QualityCard]:
    manifests = [
        Manifest.model_validate_json((demo_store / MODEL / variant / "manifest.json").read_bytes())
        for variant in VARIANTS
    ]
    return {manifest.variant: manifest.quality for manifest in manifests if manifest.quality is not None}


def test_int8_is_nearer_to_fp16_than_int4(cards: dict[str, QualityCard]) -> None:
    fp16, int8, int4 = (cards[variant] for variant in VARIANTS)
    assert min(card.tokens for card in cards.values()) >= 2000
    assert (fp16.top1_agreement, fp16.kl_divergence, fp16.perplexity_ratio) == (1.0, 0.0, 1.0)
    assert fp16.top1_agreement > int8.top1_agreement > int4.top1_agreement > 0.5
    assert fp16.kl_divergence < int8.kl_divergence < int4.kl_divergence
    assert abs(int8.perplexity_ratio - 1) < abs(int4.perplexity_ratio - 1)
    assert fp16.weights_bytes > int8.weights_bytes > int4.weights_bytes
    assert all(card.load_seconds > 0 and card.tokens_per_second > 0 for card in cards.values())


def test_the_figures_are_those_of_transformers_and_torch(demo_store: Path, cards: dict[str, QualityCard]) -> None:
    import torch
    from optimum.intel import OVModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (checkpoint,) = (demo_store.parent / "demo").iterdir()
    tokenizer = AutoTokenizer.from_pretrained(demo_store / MODEL / "int8")
    texts = Path(quality_texts.__file__).with_name("quality_prompts.txt").read_text("utf-8").split("\n---\n")
    batches = [tokenizer(text.strip(), return_tensors="pt").input_ids[:, : quality_texts.TEXT_TOKENS] for text in texts]

    def log_probabilities(model: Any) -> "list[torch.Tensor]":
        with torch.inference_mode():
            rows = [model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, :-1] for ids in batches]
            return [torch.log_softmax(logits, dim=-1) for logits in rows]

    def losses(rows: "list[torch.Tensor]") -> "torch.Tensor":
        pairs = zip(rows, batches, strict=True)
        return torch.cat([torch.nn.functional.nll_loss(row, ids[0, 1:], reduction="none") for row, ids in pairs])

    reference = log_probabilities(AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32))
    for variant in ("int8", "int4"):
        model = OVModelForCausalLM.from_pretrained(
            demo_store / MODEL / variant, ov_config={**EXACT, "CACHE_DIR": ""}, use_cache=True
        )
        other = log_probabilities(model)
        pairs = list(zip(other, reference, strict=True))
        same = sum(int((row.argmax(-1) == truth.argmax(-1)).sum()) for row, truth in pairs)
        divergence = sum(
            torch.nn.functional.kl_div(row, truth, log_target=True, reduction="sum").item() for row, truth in pairs
        )
        loss = losses(other)
        card = cards[variant]
        assert card.tokens == len(loss)
        assert card.top1_agreement == pytest.approx(same / len(loss), rel=0.01)
        assert card.kl_divergence == pytest.approx(divergence / len(loss), rel=0.01)
        assert card.perplexity_ratio == pytest.approx((loss - losses(reference)).mean().exp().item(), rel=0.01)


def test_the_hashes_of_the_manifest_hold_beside_the_card(demo_store: Path) -> None:
    raw = json.loads((demo_store / MODEL / "int8" / "manifest.json").read_text())
    assert raw["quality"]["prompt_set"] == quality_texts.PROMPT_SET
    assert "manifest.json" not in raw["files"]
