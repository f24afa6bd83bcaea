"""The chat page keeps to its content security policy: own files only, nothing inline, one door for markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import gateway

WEB = Path(gateway.__file__).parent / "web"
#: A name, which nothing is loaded from.
SVG_NAMESPACE = "http://www.w3.org/2000/svg"


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def _tags() -> list[tuple[str, dict[str, str | None]]]:
    parser = _Tags()
    parser.feed((WEB / "index.html").read_text("utf-8"))
    return parser.tags


def test_the_page_has_nothing_inline() -> None:
    assert [tag for tag, _ in _tags() if tag == "style"] == []
    assert [attributes for tag, attributes in _tags() if tag == "script" and "src" not in attributes] == []
    inline = [name for _, attributes in _tags() for name in attributes if name == "style" or name.startswith("on")]
    assert inline == []


def _scripts() -> dict[str, str]:
    return {script.name: script.read_text("utf-8") for script in sorted((WEB / "scripts").glob("*.js"))}


def test_what_the_page_loads_is_there() -> None:
    loaded = [attributes.get("src") or attributes.get("href") or "" for _, attributes in _tags()]
    files = [address for address in loaded if address and not address.startswith("#")]
    assert len(files) >= 3
    assert [address for address in files if not (WEB / address.removeprefix("/static/")).is_file()] == []


def test_every_imported_script_is_there_and_every_script_is_used() -> None:
    scripts = _scripts()
    imported = {name for text in scripts.values() for name in re.findall(r'from "\./([^"]+)"', text)}
    loaded = {(attributes.get("src") or "").rpartition("/")[2] for tag, attributes in _tags() if tag == "script"}
    assert imported | loaded == set(scripts)


def test_no_script_is_too_long() -> None:
    assert {name: text.count("\n") for name, text in _scripts().items() if text.count("\n") > 300} == {}


def test_only_sanitized_markdown_becomes_markup() -> None:
    forbidden = re.compile(r"outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|https?://|srcdoc")
    assert [name for name, text in _scripts().items() if forbidden.search(text.replace(SVG_NAMESPACE, ""))] == []
    assert [(name, text.count("innerHTML")) for name, text in _scripts().items() if "innerHTML" in text] == [
        ("markdown.js", 1)
    ]


def test_the_styles_load_nothing_from_elsewhere() -> None:
    for sheet in (WEB / "styles").glob("*.css"):
        assert re.findall(r"@import|url\((?!\"/static/)", sheet.read_text("utf-8")) == []


def test_every_element_that_the_scripts_name_is_on_the_page() -> None:
    named = {name for text in _scripts().values() for name in re.findall(r'\belement\("([^"]+)"\)', text)}
    assert named <= {attributes.get("id") for _, attributes in _tags()}


def test_every_field_has_a_label() -> None:
    labelled = {attributes.get("for") for tag, attributes in _tags() if tag == "label"}
    fields = [
        attributes for tag, attributes in _tags() if tag in ("input", "select", "textarea") and "id" in attributes
    ]
    inside_their_label = {"remote-code"}
    assert {field["id"] for field in fields} - labelled - inside_their_label == set()
