"""The chat page keeps to its content security policy: own files only, nothing inline, server text never as markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import gateway

WEB = Path(gateway.__file__).parent / "web"


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


def test_what_the_page_loads_is_there() -> None:
    loaded = [attributes.get("src") or attributes.get("href") or "" for _, attributes in _tags()]
    for script in WEB.glob("*.js"):
        loaded += re.findall(r'from "([^"]+)"', script.read_text("utf-8"))
    files = [address for address in loaded if address and not address.startswith("data:")]
    assert len(files) == 3
    assert [address for address in files if not (WEB / address.removeprefix("/static/")).is_file()] == []


def test_what_the_server_sends_is_never_markup_or_code() -> None:
    forbidden = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|https?://")
    assert [script.name for script in WEB.glob("*.js") if forbidden.search(script.read_text("utf-8"))] == []


def test_every_element_that_the_script_names_is_on_the_page() -> None:
    named = set(re.findall(r'element\("([^"]+)"\)', (WEB / "page.js").read_text("utf-8")))
    assert named <= {attributes.get("id") for _, attributes in _tags()}
