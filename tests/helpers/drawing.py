"""Drawing what happens in a run of chaos; all of it follows from the dice's seed."""

import random
from collections.abc import Mapping
from typing import TypeVar

_Kind = TypeVar("_Kind")


def drawn_kinds(dice: random.Random, weights: Mapping[_Kind, int], count: int) -> list[_Kind]:
    """Return so many kinds of events in a random order; every kind comes once where there are enough of them."""
    kinds = list(weights)[:count]
    kinds += dice.choices(list(weights), list(weights.values()), k=count - len(kinds))
    dice.shuffle(kinds)
    return kinds
