"""What the official SDK knows of items and messages may be sent back as null: it is the same as leaving it out."""

from typing import Any, get_type_hints

import msgspec
import pytest
from openai.types import chat, responses

from antiphon.core.wire import Opening
from antiphon.surfaces.openai.chat import ChatCompletions
from antiphon.surfaces.openai.responses import Responses

CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "o"}
TEXT = {"type": "input_text", "text": "a"}
SAID = {"type": "output_text", "text": "a", "annotations": []}
HI = {"role": "user", "content": "Hi"}


def nulls(theirs: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The given object with every other field of the SDK's type as null."""
    fields = getattr(theirs, "model_fields", None)
    names = [field.alias or name for name, field in fields.items()] if fields else get_type_hints(theirs)
    return {**dict.fromkeys(names), **given}


def negotiated(endpoint: Any, **fields: Any) -> None:
    endpoint.negotiate(Opening("POST", "/"), msgspec.json.encode({"model": "m", **fields}))


@pytest.mark.parametrize(
    ("theirs", "items"),
    [
        (responses.ResponseFunctionToolCall, lambda given: [given(CALL), OUTPUT]),
        (responses.response_input_item_param.FunctionCallOutput, lambda given: [CALL, given(OUTPUT)]),
        (responses.ResponseReasoningItem, lambda given: [HI, given({"type": "reasoning", "id": "r", "summary": []})]),
        (responses.ResponseInputTextParam, lambda given: [{"role": "user", "content": [given(TEXT)]}]),
        (responses.ResponseOutputText, lambda given: [{"role": "assistant", "content": [given(SAID)]}]),
        (responses.EasyInputMessageParam, lambda given: [given(HI)]),
    ],
)
def test_items_of_a_response(theirs: Any, items: Any) -> None:
    negotiated(Responses(), input=items(lambda given: nulls(theirs, given)))


def test_a_tool_of_a_response() -> None:
    given = {"type": "function", "name": "f", "parameters": {}, "strict": False}
    negotiated(Responses(), input="Hi", tools=[nulls(responses.FunctionToolParam, given)])


def test_messages_of_a_chat() -> None:
    function = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    call = nulls(chat.ChatCompletionMessageFunctionToolCall, function)
    answer = nulls(chat.ChatCompletionMessage, {"role": "assistant", "tool_calls": [call]})
    parts = [nulls(chat.ChatCompletionContentPartTextParam, {"type": "text", "text": "a"})]
    user = nulls(chat.ChatCompletionUserMessageParam, {"role": "user", "content": parts})
    output = nulls(chat.ChatCompletionToolMessageParam, {"role": "tool", "content": "o", "tool_call_id": "c"})
    negotiated(ChatCompletions(), messages=[user, answer, output])


def test_reasoning_that_another_server_encrypted_stays_unread() -> None:
    item = {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "eA=="}
    negotiated(Responses(), input=[HI, item, HI])
