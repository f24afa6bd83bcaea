"""A quality card of chosen figures."""

from shared.schemas.quality import QualityCard


def a_card(agreement: float = 0.9, *, weights_bytes: int = 4, measured_at: str = "2026-01-01T00:00:00Z") -> QualityCard:
    """Return a card whose divergence and perplexity are as bad as its agreement."""
    return QualityCard(
        prompt_set="ovchat-1",
        tokens=2100,
        top1_agreement=agreement,
        kl_divergence=1 - agreement,
        perplexity=20 / agreement,
        reference_perplexity=20.0,
        perplexity_ratio=1 / agreement,
        load_seconds=1.25,
        tokens_per_second=40.0,
        threads=2,
        processor="A processor",
        weights_bytes=weights_bytes,
        compression_rate=None,
        measured_at=measured_at,
    )
