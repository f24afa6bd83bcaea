"""Figures as people read them."""

from __future__ import annotations


def megabytes(size_bytes: int) -> str:
    """``86 MB``, ``1.2 GB`` or ``12 kB``: decimal units everywhere, as on the page and in models' own descriptions."""
    if size_bytes >= 1e9:
        return gigabytes(size_bytes)
    return f"{size_bytes / 1e6:,.0f} MB" if size_bytes >= 1e6 or not size_bytes else f"{size_bytes / 1e3:,.0f} kB"


def rate(compression_rate: float | None) -> str:
    """How often it is smaller than fp16, ``3.13x``, or a dash where it is not known."""
    return "–" if compression_rate is None else f"{compression_rate:.2f}x"


def percent(share: float | None) -> str:
    """``95.4 %``, or a dash where it is not known."""
    return "–" if share is None else f"{share:.1%}".replace("%", " %")


def speed(tokens_per_second: float | None) -> str:
    """``41 tok/s`` without its unit, or a dash where it is not known."""
    return "–" if tokens_per_second is None else f"{tokens_per_second:,.0f}"


def gigabytes(size_bytes: int) -> str:
    """``25.8 GB``."""
    return f"{size_bytes / 1e9:.1f} GB"
