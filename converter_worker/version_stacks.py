"""The version stacks of this converter: the base environment, and overlay folders of packages that differ from it."""

from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from shared.catalog.stacks import Stack, load_stacks
from shared.errors import FamilyNotExported
from shared.log import get_logger

log = get_logger(__name__)


@dataclass(frozen=True)
class VersionStacks:
    """The stacks that can be used here; `folder` has an overlay folder of each stack's name but the default's."""

    folder: Path

    @property
    def default(self) -> str:
        """Name of the base environment's stack."""
        return load_stacks().default

    def installed(self) -> frozenset[str]:
        """Return the names of the stacks that are at hand; looks again every time, so one may be added meanwhile."""
        stacks = load_stacks()
        return frozenset({stacks.default, *(stack.name for stack in stacks.stacks[1:] if self._is_installed(stack))})

    def choose(self, model_type: str) -> str:
        """Return the name of the stack that exports a model type.

        Raises:
            FamilyNotExported: none does, or none that is installed here; the message says what to do.
        """
        stacks, installed = load_stacks(), self.installed()
        try:
            return stacks.choose(model_type, installed)
        except FamilyNotExported:
            log.warning("stack_missing", model_type=model_type, installed=sorted(installed), folder=str(self.folder))
            raise

    def overlay(self, name: str) -> Path | None:
        """Return the folder that a stack's processes put before their other packages; None for the default's.

        Raises:
            FamilyNotExported: the stack is not installed, or no longer.
        """
        stacks = load_stacks()
        if name == stacks.default:
            return None
        if name not in self.installed():
            raise FamilyNotExported(f"The version stack {name} is not installed. {stacks.remedy}", param="source_model")
        return self.folder / name

    def _is_installed(self, stack: Stack) -> bool:
        wanted = SpecifierSet(stack.transformers)
        for record in (self.folder / stack.name).glob("transformers-*.dist-info"):
            try:
                if Version(record.name.removeprefix("transformers-").removesuffix(".dist-info")) in wanted:
                    return True
            except InvalidVersion:
                continue
        return False
