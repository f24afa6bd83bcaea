"""Where the files of a worker's variants come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack

from shared.model_store import ModelStore


class VariantSupply:
    """A model store that is mounted: everything is there already, and stays.

    Attributes:
        published: what may be asked for, by its manifests.
        files: where the files of a variant that is held are.
    """

    def __init__(self, store: ModelStore) -> None:
        self.published = store
        self.files = store

    async def hold(self, variants: Iterable[str], report: Callable[[float], None]) -> ExitStack:
        """Have the files of ``model:variant`` names ready, until the stack that is returned is closed.

        `report` is told which share of what had to be fetched is there, if anything had to.

        Raises:
            PlatformError: the files cannot be had; the message says what to do.
        """
        return ExitStack()

    async def run(self) -> None:
        """Do what has to be done from time to time, until cancelled."""
