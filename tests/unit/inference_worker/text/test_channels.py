"""Recorded formats go to the right channels, however the text is cut."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_worker.text.answer_formats import create_splitter, ends_in_reasoning
from inference_worker.text.channels import Part, joined
from shared.errors import InvalidRequest
from shared.schemas.generation import EngineOptions

Told = list[tuple[str, object]]
SUM = '{"name": "sum", "arguments": {"a": 1, "b": [2, "}"]}}'
SUM_TOLD = ("tool_call", {"index": 0, "name": "sum", "arguments": '{"a": 1, "b": [2, "}"]}'})

CASES: list[tuple[str | None, str | None, str, Told]] = [
    (None, None, SUM, [("answer", SUM)]),
    ("hermes", None, "Just text <b>.", [("answer", "Just text <b>.")]),
    ("hermes", None, f"<tool_call>\n{SUM}\n</tool_call>", [SUM_TOLD]),
    ("hermes", None, f"Let me see.\n<tool_call>{SUM}</tool_call>", [("answer", "Let me see."), SUM_TOLD]),
    (
        "hermes",
        None,
        f'<tool_call>\n{SUM}\n</tool_call>\n<tool_call>\n{{"arguments": {{}}, "name": "now"}}\n</tool_call>\nDone.',
        [SUM_TOLD, ("tool_call", {"index": 1, "name": "now", "arguments": "{}"}), ("answer", "\nDone.")],
    ),
    (
        "hermes",
        None,
        '<tool_call>{"name": "now"}</tool_call>',
        [("tool_call", {"index": 0, "name": "now", "arguments": "{}"})],
    ),
    (
        "hermes",
        None,
        '<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>',
        [("tool_call", {"index": 0, "name": "f", "arguments": '{"a": 1}'})],
    ),
    ("hermes", None, "<tool_call>no json</tool_call> x", [("answer", "<tool_call>no json</tool_call> x")]),
    ("hermes", None, '<tool_call>{"name": 5}', [("answer", '<tool_call>{"name": 5}')]),
    ("hermes", None, '<tool_call>{"na', [("answer", '<tool_call>{"na')]),
    (
        "hermes",
        None,
        '<tool_call>{"name": "f", "arguments": {"a": "lo',
        [("tool_call", {"index": 0, "name": "f", "arguments": '{"a": "lo'})],
    ),
    (
        "hermes",
        None,
        '<tool_call>{"name": "f", "arguments": {"a": 1}\n</tool_call>ok',
        [("tool_call", {"index": 0, "name": "f", "arguments": '{"a": 1}'}), ("answer", "ok")],
    ),
    (
        "llama3_json",
        None,
        ' {"name": "sum", "parameters": {"a": "1"}}',
        [("tool_call", {"index": 0, "name": "sum", "arguments": '{"a": "1"}'})],
    ),
    (
        "llama3_json",
        None,
        '{"type": "function", "name": "f", "parameters": {}}; {"name": "g", "parameters": {"b": 2}}',
        [
            ("tool_call", {"index": 0, "name": "f", "arguments": "{}"}),
            ("tool_call", {"index": 1, "name": "g", "arguments": '{"b": 2}'}),
        ],
    ),
    ("llama3_json", None, '{"name": "Bob", "age": 3}', [("answer", '{"name": "Bob", "age": 3}')]),
    ("llama3_json", None, '{"name": "Bob"}', [("answer", '{"name": "Bob"}')]),
    ("llama3_json", None, "It is {so}.", [("answer", "It is {so}.")]),
    (
        "mistral",
        None,
        '[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {}, "id": "x"}]',
        [
            ("tool_call", {"index": 0, "name": "f", "arguments": '{"a": 1}'}),
            ("tool_call", {"index": 1, "name": "g", "arguments": "{}"}),
        ],
    ),
    (
        "mistral",
        None,
        '[TOOL_CALLS][{"id": "abc", "name": "f", "arguments": {}}]',
        [("tool_call", {"index": 0, "id": "abc", "name": "f", "arguments": "{}"})],
    ),
    (
        "mistral",
        None,
        '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris", "n": [1]}[TOOL_CALLS]f[CALL_ID]a1B2c3D4e[ARGS]{}',
        [
            ("tool_call", {"index": 0, "name": "get_weather", "arguments": '{"city": "Paris", "n": [1]}'}),
            ("tool_call", {"index": 1, "id": "a1B2c3D4e", "name": "f", "arguments": "{}"}),
        ],
    ),
    (
        "mistral",
        None,
        'I look.[TOOL_CALLS]f[ARGS]{"a": "[TOOL_CALLS]}"}',
        [("answer", "I look."), ("tool_call", {"index": 0, "name": "f", "arguments": '{"a": "[TOOL_CALLS]}"}'})],
    ),
    ("mistral", None, "a [TOOL_CALLS]f[ARG] b", [("answer", "a[TOOL_CALLS]f[ARG] b")]),
    ("mistral", None, "a [TOOL_CALLS]f[ARGS", [("answer", "a[TOOL_CALLS]f[ARGS")]),
    ("mistral", None, "a [TOOL_CALLS]f[ARGS] b", [("answer", "a[TOOL_CALLS]f[ARGS] b")]),
    ("mistral", None, "a [TOOL_CALLS] b", [("answer", "a[TOOL_CALLS] b")]),
    (None, "think_tags", "<think>\nHm < 3.\n</think>\n\nYes.", [("reasoning", "Hm < 3."), ("answer", "Yes.")]),
    (None, "think_tags", "<think>\n\n</think>\n\nYes.", [("answer", "Yes.")]),
    (None, "think_tags", "No thought.", [("answer", "No thought.")]),
    (None, "think_tags", "<think>cut off </th", [("reasoning", "cut off </th")]),
    ("hermes", "think_tags", f"<think>x</think>\n<tool_call>{SUM}</tool_call>", [("reasoning", "x"), SUM_TOLD]),
]


def split(tool: str | None, reasoning: str | None, pieces: list[str], *, inside: bool = False) -> list[Part]:
    options = EngineOptions(tool_format=tool, reasoning_format=reasoning)
    splitter = create_splitter(options, starts_in_reasoning=inside)
    parts = [part for piece in pieces for part in splitter.push(piece)]
    return joined([*parts, *splitter.flush()])


def told(parts: list[Part]) -> Told:
    return [(part.channel, json.loads(part.text) if part.channel == "tool_call" else part.text) for part in parts]


@pytest.mark.parametrize(("tool", "reasoning", "text", "expected"), CASES)
def test_a_recording_goes_to_its_channels(tool: str | None, reasoning: str | None, text: str, expected: Told) -> None:
    whole = split(tool, reasoning, [text])
    assert told(whole) == expected
    assert split(tool, reasoning, list(text)) == whole


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hm.\n</think>\nYes.", [("reasoning", "Hm."), ("answer", "Yes.")]),
        ("<think>\nHm.</think>Yes.", [("reasoning", "Hm."), ("answer", "Yes.")]),
        ("Hm", [("reasoning", "Hm")]),
    ],
)
def test_an_answer_may_start_inside_the_reasoning(text: str, expected: Told) -> None:
    assert told(split(None, "think_tags", [text], inside=True)) == expected


TAGS = (
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "[CALL_ID]",
    "<",
    "\n",
    " ",
    "a",
    "é",
)
JSON = ('{"name": "f", ', '"arguments": ', '"parameters": ', '{"a": 1}', SUM, '"name"', *'[]{}"\\,;:')
PIECES = st.sampled_from(TAGS + JSON)


@given(
    words=st.lists(PIECES, max_size=20),
    cuts=st.lists(st.integers(0, 200), max_size=8),
    tool=st.sampled_from([None, "hermes", "llama3_json", "mistral"]),
    reasoning=st.sampled_from([None, "think_tags"]),
    inside=st.booleans(),
)
def test_the_cut_of_the_text_does_not_matter(
    words: list[str], cuts: list[int], tool: str | None, reasoning: str | None, inside: bool
) -> None:
    """Accident: the same answer is a tool call or a text, depending on how the engine's steps fell."""
    text = "".join(words)
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(bounds)]
    assert split(tool, reasoning, pieces, inside=inside) == split(tool, reasoning, [text], inside=inside)


def test_unknown_formats_are_refused() -> None:
    for options in (EngineOptions(tool_format="smoke"), EngineOptions(reasoning_format="smoke")):
        with pytest.raises(InvalidRequest):
            create_splitter(options, starts_in_reasoning=False)


def test_the_prompt_tells_whether_reasoning_is_open() -> None:
    assert ends_in_reasoning("<|im_start|>assistant\n<think>\n")
    assert not ends_in_reasoning("<think>\n\n</think>\n\n")
