"""Figures as people read them."""

from __future__ import annotations


def megabytes(size_bytes: int) -> str:
    """``86 MB``, with decimal megabytes as in the models' own descriptions."""
    return f"{size_bytes / 1e6:,.0f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:,.0f} kB"


def rate(compression_rate: float | None) -> str:
    """``3.13x``, or a dash where it is not known."""
    return "–" if compression_rate is None else f"{compression_rate:.2f}x"


def gigabytes(size_bytes: int) -> str:
    """Return a size of memory in GiB."""
    return f"{size_bytes / (1 << 30):.1f} GiB"
