"""``/api/v1/markdown``."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from gateway.markdown.rendering import render_markdown
from shared.schemas.common import StrictMessage

router = APIRouter(prefix="/api/v1/markdown", tags=["markdown"])

#: Characters of the longest text that is rendered: about a tenth of a second.
LONGEST_TEXT = 200_000


class MarkdownText(StrictMessage):
    """``POST /api/v1/markdown``."""

    text: str = Field(max_length=LONGEST_TEXT)


class RenderedMarkdown(BaseModel):
    """The sanitized HTML of a text."""

    html: str


@router.post("")
def post_markdown(request: MarkdownText) -> RenderedMarkdown:
    """Render Markdown to sanitized HTML; on a thread, because a long text takes a while."""
    return RenderedMarkdown(html=render_markdown(request.text))
