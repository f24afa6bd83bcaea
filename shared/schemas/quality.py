"""The quality card: how near a variant comes to FP16, and how fast it is, measured on a fixed set of texts."""

from __future__ import annotations

from pydantic import Field

from shared.schemas.common import Message


class QualityFigures(Message):
    """What is measured of one variant. Both sides compute in float32, so that only the weights differ."""

    prompt_set: str = Field(description="Name of the texts; figures of different sets cannot be compared.")
    tokens: int = Field(description="Tokens that were predicted, each from the true ones before it.")
    top1_agreement: float = Field(ge=0, le=1, description="Share of the tokens where both find the same most likely.")
    kl_divergence: float = Field(description="Mean of KL(FP16 || variant) over the tokens, in nats.")
    perplexity: float
    reference_perplexity: float = Field(description="Perplexity of FP16 on the same texts.")
    perplexity_ratio: float = Field(description="Perplexity divided by that of FP16: above 1 is worse.")
    load_seconds: float = Field(description="From the files to a model that can be asked, on the CPU.")
    tokens_per_second: float = Field(description="One chat, greedy, on the CPU as the engine sets it up.")
    threads: int
    processor: str = Field(description="The host's processor; the two times hold for it only.")


class QualityCard(QualityFigures):
    """The figures with what they cost: the size."""

    weights_bytes: int
    compression_rate: float | None = Field(description="FP16 size divided by this size.")
    measured_at: str = Field(description="UTC, ISO 8601.")
