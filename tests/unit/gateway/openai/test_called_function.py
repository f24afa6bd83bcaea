import json

import pytest

from gateway.openai.answer_format import AnswerFormat
from gateway.openai.called_function import CalledFunctionText
from gateway.openai.choice_deltas import ChoiceDelta, choice_deltas
from shared.schemas.generation import Channel, GenerationDelta

ARGUMENTS = '{"a": "}\\"]", "b": [{"c": 1}], "d": "é"}'
WRAPPED = ' {"name": "second", "arguments": ' + ARGUMENTS + " }"


def delta(text: str, channel: Channel = "answer") -> GenerationDelta:
    return GenerationDelta(generation_id="g", seq=1, text=text, channel=channel)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_the_arguments_are_cut_out_however_the_text_comes(size: int) -> None:
    text = CalledFunctionText(("first", "second"))
    pieces = [text.feed(WRAPPED[at : at + size]) for at in range(0, len(WRAPPED), size)]
    assert text.name == "second"
    assert "".join(pieces) == ARGUMENTS


def test_of_one_function_the_text_is_the_arguments() -> None:
    text = CalledFunctionText(("only",))
    assert text.name == "only"
    assert text.feed(ARGUMENTS) == ARGUMENTS


def test_a_forced_call_is_named_once_and_first() -> None:
    reader = choice_deltas(AnswerFormat(forced_calls=("first", "second")))
    told: list[ChoiceDelta] = [one for character in WRAPPED for one in reader.read(delta(character))]
    first, *rest = [one.call for one in told if one.call is not None]
    assert (first.name, first.arguments) == ("second", "")
    assert first.id is not None
    assert first.id.startswith("call_")
    assert all(call.id is None and call.name is None for call in rest)
    assert json.loads("".join(call.arguments for call in rest)) == json.loads(ARGUMENTS)
    assert reader.finish_reason("stop") == "tool_calls"
    assert reader.finish_reason("length") == "length"


def test_a_forced_call_that_was_cut_short_has_no_name() -> None:
    reader = choice_deltas(AnswerFormat(forced_calls=("first", "second")))
    assert reader.read(delta('{"name": "sec')) == []
    assert reader.finish_reason("length") == "length"


def test_parsed_calls_get_ids_and_only_the_first_is_told_where_one_is_wanted() -> None:
    calls = ['{"index":0,"name":"f","arguments":""}', '{"index":0,"arguments":"{}"}', '{"index":1,"name":"g"}']
    both, one = choice_deltas(AnswerFormat()), choice_deltas(AnswerFormat(one_call=True))
    told = [piece.call for text in calls for piece in both.read(delta(text, "tool_call"))]
    ids = [call.id for call in told if call is not None]
    assert ids[0] != ids[2]
    assert ids[1] is None
    assert len([piece for text in calls for piece in one.read(delta(text, "tool_call"))]) == 2
    assert both.finish_reason("stop") == "tool_calls"
    assert choice_deltas(AnswerFormat()).finish_reason("stop") == "stop"
