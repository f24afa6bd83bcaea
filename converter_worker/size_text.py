"""Sizes as people read them."""


def gigabytes(size_bytes: int) -> str:
    """``1.5 GB``, with decimal gigabytes."""
    return f"{size_bytes / 1e9:.1f} GB"
