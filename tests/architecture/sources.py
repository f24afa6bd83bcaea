"""The project's Python files as data: which there are, and what each imports where."""

from __future__ import annotations

import ast
import functools
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVICES = ("gateway", "converter_worker", "inference_worker")
PRODUCT_FOLDERS = (*SERVICES, "shared", "deploy")


@dataclass(frozen=True)
class Import:
    """One imported module, dotted in full, and where the statement stands."""

    importer: str
    imported: str
    line: int
    at_top: bool

    def names(self, *modules: str) -> bool:
        """Say whether it is one of the modules or something inside of one."""
        return any(self.imported == module or self.imported.startswith(f"{module}.") for module in modules)

    def __str__(self) -> str:
        place = "at the top" if self.at_top else "in a function"
        return f"{self.importer}:{self.line} imports {self.imported} {place}"


@functools.cache
def repository_files() -> tuple[Path, ...]:
    """List what git tracks or would track: what is there and not ignored, absolute and sorted."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(sorted(ROOT / name for name in set(listed.split("\0")) if name and (ROOT / name).is_file()))


def python_files(*folders: str) -> list[Path]:
    """List the Python files below these top-level folders."""
    return [path for path in repository_files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders]


@functools.cache
def syntax_tree(path: Path) -> ast.Module:
    """Parse one file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def module_name(path: Path) -> str:
    """Name the module that a file is: gateway/chats/__init__.py is gateway.chats."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(*folders: str) -> list[Import]:
    """Collect every import below these folders; what stands under TYPE_CHECKING never runs and is left out."""
    return [found for path in python_files(*folders) for found in _imports_of(path)]


@functools.cache
def _imports_of(path: Path) -> tuple[Import, ...]:
    found: list[Import] = []
    pending: list[tuple[ast.AST, bool]] = [(syntax_tree(path), True)]
    while pending:
        node, at_top = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend((child, at_top) for child in node.orelse)
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.extend(Import(module_name(path), name, node.lineno, at_top) for name in _imported_names(node))
        inside = not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        pending.extend((child, at_top and inside) for child in ast.iter_child_nodes(node))
    return tuple(found)


def _imported_names(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    # `from package import name` may name a submodule or an attribute: the longer form answers for both.
    return [f"{node.module}.{alias.name}" for alias in node.names]
