"""Makes the README's settings table from ``shared/settings.py``.

``.venv/bin/python -m tests.architecture.settings_table`` writes it between the README's markers.
"""

from __future__ import annotations

from pydantic.fields import FieldInfo

from shared.settings import (
    PREFIX,
    ClientSettings,
    CommonSettings,
    ConverterSettings,
    GatewaySettings,
    InferenceSettings,
    LauncherSettings,
)
from tests.architecture.marked_section import MarkedSection
from tests.architecture.sources import ROOT

SECTION = MarkedSection(ROOT / "README.md", "<!-- settings: begin -->", "<!-- settings: end -->")
READERS: tuple[tuple[str, type[CommonSettings]], ...] = (
    ("all", CommonSettings),
    ("gateway", GatewaySettings),
    ("converter", ConverterSettings),
    ("inference", InferenceSettings),
    ("`ovchat up`", LauncherSettings),
    ("command line", ClientSettings),
)


def settings_table() -> str:
    """Return the table; a setting that several services read stands at the first of them."""
    lines = ["| setting | default | read by | what it does |", "| --- | --- | --- | --- |"]
    listed: set[str] = set()
    for reader, settings in READERS:
        for name, field in settings.model_fields.items():
            if name not in listed:
                listed.add(name)
                lines.append(f"| `{PREFIX}{name.upper()}` | {_default(field)} | {reader} | {_cell(field)} |")
    return "\n".join(lines)


def _default(field: FieldInfo) -> str:
    if field.default is None:
        return "–"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    return f"`{field.default}`" if str(field.default) else "empty"


def _cell(field: FieldInfo) -> str:
    return (field.description or "").replace("|", "\\|")


if __name__ == "__main__":
    SECTION.write(settings_table())
