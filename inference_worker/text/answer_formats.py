"""Chooses how an answer's text is sorted into channels, by the format names of a request."""

from __future__ import annotations

from typing import get_args

from inference_worker.text.channels import ChannelSplitter, PlainAnswer
from inference_worker.text.reasoning import CLOSE_TAG, OPEN_TAG, ThinkTags
from inference_worker.text.tool_calls import TOOL_MARKERS, ToolCalls
from shared.errors import InvalidRequest
from shared.schemas.generation import EngineOptions
from shared.text_formats import ReasoningFormat, ToolFormat


def create_splitter(options: EngineOptions, *, starts_in_reasoning: bool) -> ChannelSplitter:
    """A splitter for one answer. Raises InvalidRequest for a format that is not known."""
    answer: ChannelSplitter = PlainAnswer()
    for tool_format in get_args(ToolFormat):
        if options.tool_format == tool_format:
            answer = ToolCalls(tool_format)
            break
    else:
        if options.tool_format is not None:
            raise InvalidRequest(f"No tool format is called {options.tool_format}.", param="tools")
    if options.reasoning_format is None:
        return answer
    if options.reasoning_format not in get_args(ReasoningFormat):
        raise InvalidRequest(f"No reasoning format is called {options.reasoning_format}.", param="model")
    return ThinkTags(answer, starts_inside=starts_in_reasoning)


def markers(options: EngineOptions) -> frozenset[str]:
    """Special tokens that must be seen for the formats to be found."""
    tools = TOOL_MARKERS if options.tool_format is not None else frozenset()
    thoughts = frozenset({OPEN_TAG, CLOSE_TAG}) if options.reasoning_format is not None else frozenset()
    return tools | thoughts


def ends_in_reasoning(prompt_end: str) -> bool:
    """Whether a prompt has opened the reasoning already."""
    return prompt_end.rstrip().endswith(OPEN_TAG)
