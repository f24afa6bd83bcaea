"""Markdown to harmless HTML: what a model says is as little trusted as what a stranger says."""

from __future__ import annotations

import re
from collections.abc import Sequence

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token

_TAGS = {
    *("p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "li", "pre", "code"),
    *("em", "strong", "s", "a", "table", "thead", "tbody", "tr", "th", "td"),
}
_ATTRIBUTES = {"a": {"href", "title"}, "code": {"class"}, "ol": {"start"}, "th": {"align"}, "td": {"align"}}
_LINK_SCHEMES = {"http", "https", "mailto"}
_LANGUAGE_CLASS = re.compile(r"language-[A-Za-z0-9+#._-]{1,32}")


def _filter_attribute(tag: str, name: str, value: str) -> str | None:
    if tag == "code" and name == "class":
        return value if _LANGUAGE_CLASS.fullmatch(value) else None
    return value


# Images are off: a picture's address would tell a stranger's server what was talked about. They become links.
_PARSER = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"]).disable("image")
_CLEANER = nh3.Cleaner(
    tags=_TAGS,
    attributes=_ATTRIBUTES,
    attribute_filter=_filter_attribute,
    set_tag_attribute_values={"a": {"target": "_blank"}},
    url_schemes=_LINK_SCHEMES,
    url_relative="deny",
    link_rel="noopener noreferrer nofollow",
)


def render_markdown(text: str) -> str:
    """Return the HTML of a Markdown text: no raw HTML, no image, no script, no style, links to the web only.

    An unfinished text, such as one that is still being written, renders too: an open code fence is closed at the end.
    """
    tokens = _PARSER.parse(text)
    _align_by_attribute(tokens)
    return _CLEANER.clean(_PARSER.renderer.render(tokens, _PARSER.options, {}))


def _align_by_attribute(tokens: Sequence[Token]) -> None:
    """Say a table cell's alignment without a style, which the page's content security policy would refuse."""
    for token in tokens:
        style = token.attrs.pop("style", None)
        if style is not None:
            token.attrs["align"] = str(style).removeprefix("text-align:")
