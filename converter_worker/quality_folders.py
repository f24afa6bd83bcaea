"""Names of what quality cards need below the store's staging folder."""

WORK_PREFIX = "quality_"
REFERENCE_PREFIX = "reference_"


def is_card_work(name: str) -> bool:
    """Tell whether a folder is that of a card at work."""
    return name.startswith(WORK_PREFIX)


def is_reference(name: str) -> bool:
    """Tell whether a folder holds a base IR that variants are to be compared with."""
    return name.startswith(REFERENCE_PREFIX)
