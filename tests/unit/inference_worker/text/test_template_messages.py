from __future__ import annotations

import json

from pydantic import JsonValue

from inference_worker.text.chat_template import ChatTemplate
from inference_worker.text.template_messages import template_messages, with_tools_described
from inference_worker.text.template_renderer import TemplateRenderer
from shared.schemas.generation import ChatTurn

CALL: dict[str, JsonValue] = {
    "id": "call_0123456789",
    "type": "function",
    "function": {"name": "sum", "arguments": '{"a": 1}'},
}
CHAT = (
    ChatTurn(role="user", content="1+1?"),
    ChatTurn(role="assistant", content="", tool_calls=(CALL,)),
    ChatTurn(role="tool", content="2", tool_call_id="call_0123456789"),
)
TOOLS: tuple[dict[str, JsonValue], ...] = (
    {"type": "function", "function": {"name": "sum", "parameters": {"type": "object"}}},
)


def test_arguments_become_objects_and_ids_pass() -> None:
    _user, assistant, tool = template_messages(CHAT)
    assert assistant["tool_calls"][0]["function"] == {"name": "sum", "arguments": {"a": 1}}
    assert tool["tool_call_id"] == assistant["tool_calls"][0]["id"] == CALL["id"]


def test_short_ids_agree_with_each_other() -> None:
    _user, assistant, tool = template_messages(CHAT, short_ids=True)
    assert tool["tool_call_id"] == assistant["tool_calls"][0]["id"]
    assert len(tool["tool_call_id"]) == 9


def test_arguments_that_are_no_json_stay_text() -> None:
    call: dict[str, JsonValue] = {"function": {"name": "sum", "arguments": "{oops"}}
    (assistant,) = template_messages([ChatTurn(role="assistant", content="", tool_calls=(call,))])
    assert assistant["tool_calls"][0]["function"]["arguments"] == "{oops"


def test_a_template_without_tools_gets_them_described() -> None:
    described = with_tools_described(CHAT, TOOLS)
    assert [message.role for message in described] == ["system", "user", "assistant", "user"]
    assert json.dumps(TOOLS[0], separators=(",", ":")) in described[0].content
    assert described[2].content == '<tool_call>\n{"name":"sum","arguments":{"a":1}}\n</tool_call>'
    assert described[3].content == "<tool_response>\n2\n</tool_response>"


def test_the_own_system_message_stays_in_front() -> None:
    (system, _user) = with_tools_described(
        [ChatTurn(role="system", content="Be brief."), ChatTurn(role="user", content="hi")], TOOLS
    )
    assert system.content.startswith("Be brief.\n\n# Tools")


async def test_tools_and_names_reach_a_template_that_reads_them() -> None:
    renderer = TemplateRenderer()
    template = ChatTemplate("{{ tools[0].function.name }} {{ enable_thinking }} {{ messages | length }}", {})
    try:
        text = await template.render(renderer, CHAT, tools=TOOLS, names={"enable_thinking": False})
    finally:
        await renderer.stop()
    assert text == "sum False 3"
