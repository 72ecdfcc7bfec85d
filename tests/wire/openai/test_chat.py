"""Chat completions, byte by byte; what each parameter becomes; and what is refused, with where it stands."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from json_script import REQUEST_ID, Script, dump, play, scripts, user
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from antiphon.core.errors import AntiphonError, CallerError, UnsupportedParameter
from antiphon.core.events import (
    ChoiceEnded,
    Completed,
    FinishReason,
    LanguageOutput,
    Opened,
    ReasoningDelta,
    TextDelta,
    TokenUsage,
    ToolCallDelta,
    ToolCallStarted,
)
from antiphon.core.specs import (
    Format,
    GenerateSpec,
    Message,
    Role,
    Sampling,
    Shape,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
)
from antiphon.core.wire import Opening
from antiphon.surfaces.openai import wire
from antiphon.surfaces.openai.chat import ChatCompletions, ChatRequest
from antiphon.surfaces.openai.generation import MAX_ITEMS, MAX_PARTS

PATH = "/v1/chat/completions"
ENDPOINT = ChatCompletions()
GOLDEN = scripts("chat.txt", PATH)
HI = {"role": "user", "content": "Hi"}
TEXT = {"type": "text", "text": "a"}
TOOL = {"type": "function", "function": {"name": "f"}}
NAMED = {"type": "function", "function": {"name": "f"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}


def assistant(**fields: Any) -> dict[str, Any]:
    return {"role": "assistant", **fields}


def function(**fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": fields}


def schema(**fields: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": fields}


def asked(**fields: Any) -> GenerateSpec:
    body = json.dumps({"model": "m", "messages": [HI], **fields}).encode()
    spec = ENDPOINT.negotiate(Opening("POST", PATH), body).spec
    assert isinstance(spec, GenerateSpec)
    return spec


def refused(body: bytes) -> CallerError:
    with pytest.raises(CallerError) as caught:
        ENDPOINT.negotiate(Opening("POST", PATH), body)
    return caught.value


@pytest.mark.parametrize("script", GOLDEN)
def test_golden(script: Script) -> None:
    play(ENDPOINT, script)


@pytest.mark.parametrize("script", GOLDEN)
def test_the_official_sdk_accepts_what_leaves(script: Script) -> None:
    """The SDK itself is lenient; here its types are strict."""
    for message in script.sent():
        kind = ChatCompletion if message["object"] == "chat.completion" else ChatCompletionChunk
        kind.model_validate_json(json.dumps(message), strict=True)


# -- what is asked for -------------------------------------------------------------------------------------------------


def test_nothing_but_a_message() -> None:
    assert asked() == GenerateSpec("m", (Message(Role.USER, "Hi"),))


@pytest.mark.parametrize(
    ("fields", "sampling"),
    [
        ({"max_tokens": 7}, Sampling(max_tokens=7)),
        ({"max_completion_tokens": 7}, Sampling(max_tokens=7)),
        ({"temperature": 0}, Sampling(temperature=0.0)),
        ({"temperature": 2, "top_p": 0.5}, Sampling(temperature=2.0, top_p=0.5)),
        ({"stop": "."}, Sampling(stop=(".",))),
        ({"stop": [".", "!", "?", "\n"]}, Sampling(stop=(".", "!", "?", "\n"))),
        ({"seed": -(2**63)}, Sampling(seed=-(2**63))),
        ({"presence_penalty": -2, "frequency_penalty": 2}, Sampling(presence_penalty=-2.0, frequency_penalty=2.0)),
        ({"presence_penalty": 0, "frequency_penalty": 0.0}, Sampling(presence_penalty=0.0, frequency_penalty=0.0)),
        ({"logprobs": True}, Sampling(logprobs=True)),
        ({"logprobs": True, "top_logprobs": 20}, Sampling(logprobs=True, top_logprobs=20)),
        ({"logit_bias": {"50256": -100, "7": 2.5}}, Sampling(logit_bias=(("50256", -100.0), ("7", 2.5)))),
    ],
)
def test_sampling(fields: dict[str, Any], sampling: Sampling) -> None:
    assert asked(**fields).sampling == sampling


@pytest.mark.parametrize(
    "fields",
    [
        {"user": "u", "safety_identifier": "s", "prompt_cache_key": "k"},
        {"store": False, "service_tier": "auto"},
        {"n": 1, "logit_bias": {}, "modalities": ["text"]},
        {"response_format": {"type": "text"}, "tools": [], "tool_choice": "auto", "parallel_tool_calls": True},
        {"logprobs": False, "stream": False, "metadata": {}, "stop": []},
        dict.fromkeys(set(ChatRequest.__struct_fields__) - {"messages", "model"}),
    ],
)
def test_what_changes_nothing(fields: dict[str, Any]) -> None:
    assert asked(**fields) == asked()


def test_everything_else() -> None:
    spec = asked(n=3, stream=True, parallel_tool_calls=False, metadata={"team": "a", "run": "7"})
    assert (spec.choices, spec.stream, spec.parallel_tool_calls) == (3, True, False)
    assert spec.tags == ("team=a", "run=7")


@pytest.mark.parametrize(
    ("given", "tool"),
    [
        ({"name": "f"}, Tool("f", "", '{"type":"object","properties":{}}')),
        ({"name": "f", "description": "d", "parameters": {"a": 1}, "strict": True}, Tool("f", "d", '{"a":1}', True)),
        (
            {"name": "f", "description": None, "parameters": None, "strict": None},
            Tool("f", "", '{"type":"object","properties":{}}'),
        ),
    ],
)
def test_tools(given: dict[str, Any], tool: Tool) -> None:
    assert asked(tools=[{"type": "function", "function": given}]).tools == (tool,)


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        (None, ToolChoice()),
        ("none", ToolChoice(ToolMode.NONE)),
        ("auto", ToolChoice(ToolMode.AUTO)),
        ("required", ToolChoice(ToolMode.REQUIRED)),
        (NAMED, ToolChoice(ToolMode.REQUIRED, "f")),
    ],
)
def test_tool_choices(given: object, choice: ToolChoice) -> None:
    assert asked(tools=[TOOL], tool_choice=given).tool_choice == choice


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"type": "text"}, Format()),
        ({"type": "json_object"}, Format(Shape.JSON)),
        (SCHEMA, Format(Shape.SCHEMA, '{"type":"object"}', "n", "", False)),
        (
            schema(name="n", schema={}, description="d", strict=True),
            Format(Shape.SCHEMA, "{}", "n", "d", True),
        ),
    ],
)
def test_formats(given: object, wanted: Format) -> None:
    assert asked(response_format=given).format == wanted


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"role": "developer", "content": "d"}, Message(Role.SYSTEM, "d")),
        ({"role": "system", "content": "s", "name": "n"}, Message(Role.SYSTEM, "s", "n")),
        (user(TEXT, {"type": "text", "text": "b"}), Message(Role.USER, "a\nb")),
        ({"role": "user", "content": ""}, Message(Role.USER, "")),
        (assistant(content="a"), Message(Role.ASSISTANT, "a")),
        (assistant(refusal="no"), Message(Role.ASSISTANT, "no")),
        (assistant(content="a", refusal="no"), Message(Role.ASSISTANT, "a\nno")),
        (assistant(content=[{"type": "refusal", "refusal": "no"}]), Message(Role.ASSISTANT, "no")),
        (
            assistant(content=None, tool_calls=[{"id": "c", **function(name="f", arguments="{}")}]),
            Message(Role.ASSISTANT, "", "", (ToolCall("c", "f", "{}"),)),
        ),
        ({"role": "tool", "content": "42", "tool_call_id": "c"}, Message(Role.TOOL, "42", "", (), "c")),
        (
            assistant(content="a", annotations=[], audio=None, parsed={"a": 1}, reasoning_content="hm"),
            Message(Role.ASSISTANT, "a"),
        ),
        (  # as vLLM, OpenRouter, LiteLLM and Copilot answered
            assistant(
                content="a",
                reasoning="hm",
                reasoning_details=[{"type": "reasoning.text", "text": "hm"}],
                reasoning_text="hm",
                reasoning_opaque="eA==",
                thinking_blocks=[],
                images=[],
                provider_specific_fields={"a": 1},
            ),
            Message(Role.ASSISTANT, "a"),
        ),
        (
            assistant(
                tool_calls=[
                    {
                        "id": "c",
                        "type": "function",
                        "function": {"name": "f", "arguments": "{}", "provider_specific_fields": {}},
                        "extra_content": {"google": {"thought_signature": "eA=="}},
                        "provider_specific_fields": {},
                    }
                ]
            ),
            Message(Role.ASSISTANT, "", "", (ToolCall("c", "f", "{}"),)),
        ),
        ({"role": "user", "content": "a", "tool_calls": [], "refusal": ""}, Message(Role.USER, "a")),
    ],
)
def test_messages(given: object, message: Message) -> None:
    assert asked(messages=[given]).prompt == (message,)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": [HI, {"content": "Hi"}]}, "messages[1].role"),
        ({"messages": [{"role": 1, "content": "Hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"messages": [user({"type": "text"})]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].tool_call_id"),
        ({"messages": [assistant(tool_calls=[{"id": "c"}])]}, "messages[0].tool_calls[0].function"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"model": 1}, "model"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "0"}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"seed": 2**63}, "seed"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"stream_options": {}}, "stream_options"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {"a": "b" * 255}}, "metadata"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [TOOL, function(name="f g")]}, "tools[1].function.name"),
        ({"tools": [function(name="f", parameters=[])]}, "tools[0].function.parameters"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}, "tools": [TOOL]}, "tool_choice.function"),
        ({"tool_choice": function(name="g"), "tools": [TOOL]}, "tool_choice.function.name"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": schema(name="n")}, "response_format.json_schema.schema"),
        ({"response_format": SCHEMA | {"type": "text"}}, "response_format.json_schema"),
        ({"response_format": schema(name="", schema={})}, "response_format.json_schema.name"),
    ],
)
def test_what_makes_no_sense(fields: dict[str, Any], param: str) -> None:
    error = refused(json.dumps({"model": "m", "messages": [HI], **fields}).encode())
    assert (error.status, error.code, error.param) == (400, "invalid_request", param)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"best": 1}, "best"),
        ({"messages": [HI | {"mood": "x"}]}, "messages[0].mood"),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages[0].role"),
        ({"messages": [user({"type": "input_audio", "input_audio": {}})]}, "messages[0].content[0]"),
        ({"messages": [user({"type": "file", "file": {}})]}, "messages[0].content[0]"),
        ({"messages": [user({"type": "refusal", "refusal": "no"})]}, "messages[0].content[0]"),
        ({"messages": [HI | {"tool_calls": [{"id": "c"}]}]}, "messages[0].tool_calls"),
        ({"messages": [HI | {"tool_call_id": "c"}]}, "messages[0].tool_call_id"),
        ({"messages": [assistant(function_call={"name": "f", "arguments": ""})]}, "messages[0].function_call"),
        ({"messages": [assistant(audio={"id": "a"})]}, "messages[0].audio"),
        (
            {"messages": [assistant(tool_calls=[{"id": "c", "type": "custom", "custom": {}}])]},
            "messages[0].tool_calls[0].type",
        ),
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "tools[0].type"),
        ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, "tool_choice.type"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"store": True}, "store"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"reasoning_effort": "utmost"}, "reasoning_effort"),
        ({"verbosity": "loud"}, "verbosity"),
        ({"messages": [assistant(content=[TEXT, {"type": "image_url"}])]}, "messages[0].content[1]"),
        *[
            ({name: {}}, name)
            for name in (
                *("audio", "function_call", "functions", "moderation"),
                "web_search_options",
            )
        ],
    ],
)
def test_what_is_not_honoured(fields: dict[str, Any], param: str) -> None:
    error = refused(json.dumps({"model": "m", "messages": [HI], **fields}).encode())
    assert isinstance(error, UnsupportedParameter)
    assert error.param == param


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b'"x"', b"{}x", b'{"model": NaN}', b'{"model": "\xff"}', b'{"model": "\\ud800"}'),
        b'{"tools":[{"type":"function","function":{"name":"f","parameters":' + b'{"a":' * 100_000,
    ],
)
def test_what_is_no_json_object(body: bytes) -> None:
    assert refused(body).status == 400


@pytest.mark.parametrize(
    "messages",
    [
        [HI] * (MAX_ITEMS + 1),
        [user(*[TEXT] * (MAX_PARTS // 2))] * 2 + [user(TEXT)],
        [assistant(tool_calls=[{"id": "c", "function": {"name": "f", "arguments": ""}}] * (MAX_PARTS + 1))],
    ],
)
def test_more_than_a_conversation_has(messages: list[Any]) -> None:
    with pytest.raises(CallerError, match=r"^Invalid 'messages': array too long\. Expected") as caught:
        asked(messages=messages)
    assert caught.value.param == "messages"


def test_no_value_is_quoted() -> None:
    """It may be part of a prompt."""
    for fields in (
        {"messages": [{"role": "sesame", "content": ""}]},
        {"tool_choice": "sesame"},
        {"stop": {"sesame": 1}},
    ):
        assert "sesame" not in refused(json.dumps({"model": "m", "messages": [HI], **fields}).encode()).message


# -- any body, any answer ----------------------------------------------------------------------------------------------

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
PART = st.fixed_dictionaries({"type": st.sampled_from(["text", "file"])}, optional={"text": st.text(max_size=5)})
CALL = st.fixed_dictionaries(
    {"id": st.text(max_size=3)}, optional={"function": st.just({"name": "f", "arguments": ""})}
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "system", "robot"])},
    optional={
        "content": st.text(max_size=5) | st.lists(PART, max_size=2),
        "tool_calls": st.lists(CALL, max_size=2),
        "tool_call_id": st.text(max_size=3),
        "name": LEAVES,
    },
)
SENSIBLE: dict[str, Any] = {
    "model": st.just("m"),
    "stream": st.booleans(),
    "tools": st.lists(st.sampled_from([TOOL, {"type": "custom"}, {"type": "function"}]), max_size=2),
    "tool_choice": st.sampled_from(["none", "required", NAMED, {"type": "function"}]),
    "response_format": st.sampled_from([SCHEMA, {"type": "json_object"}, {"type": "json_schema"}]),
    "n": st.integers(0, 3),
    "stop": st.lists(st.text(max_size=2), max_size=5),
    "logprobs": st.booleans(),
    "top_logprobs": st.integers(0, 21),
    "stream_options": st.dictionaries(st.sampled_from(["include_usage", "include_obfuscation"]), st.booleans()),
}
NAMES = st.sampled_from(ChatRequest.__struct_fields__)


@given(
    sensible=st.fixed_dictionaries({"messages": st.lists(MESSAGE, max_size=3)}, optional=SENSIBLE),
    wild=st.dictionaries(NAMES | st.text(max_size=8), JSON, max_size=2),
    texts=st.lists(st.text(max_size=8), max_size=4),
)
def test_any_object_is_honoured_or_refused(sensible: dict[str, Any], wild: dict[str, Any], texts: list[str]) -> None:
    """And any text leaves as UTF-8."""
    opening = Opening("POST", PATH, request_id=REQUEST_ID)
    try:
        accepted = ENDPOINT.negotiate(opening, json.dumps(sensible | wild).encode())
    except AntiphonError as error:
        response = ENDPOINT.refuse(opening, error)
        assert 400 <= response.status < 500
        msgspec.json.decode(response.body, type=wire.ErrorBody, strict=True)
        return
    accepted.surface.emit(Opened("m"), 0)
    for text in texts:
        dump(accepted.surface.emit(TextDelta(0, text, 1), 0))
    assert dump(accepted.surface.emit(Completed(TokenUsage(1, 1)), 0))[-1] == "CLOSE"


@given(body=st.binary(max_size=40))
def test_any_bytes_are_refused(body: bytes) -> None:
    refused(body)


OUTPUT = st.one_of(
    st.builds(TextDelta, st.integers(0, 1), st.text(max_size=5), st.just(1)),
    st.builds(ReasoningDelta, st.integers(0, 1), st.text(max_size=5), st.just(1)),
    st.builds(ToolCallDelta, st.integers(0, 1), st.integers(0, 1), st.text(max_size=5), st.just(1)),
)


@given(outputs=st.lists(OUTPUT, max_size=12))
def test_a_stream_adds_up_to_the_whole(outputs: list[LanguageOutput]) -> None:
    """As the official SDK adds it up, whichever choice speaks first."""
    calls = [ToolCallStarted(choice, index, f"call_{index}", "f") for choice in (0, 1) for index in (0, 1)]
    ends = [ChoiceEnded(1, FinishReason.TOOL_CALLS), ChoiceEnded(0, FinishReason.STOP)]
    events = [Opened("m", "fp"), *calls, *outputs, *ends, Completed(TokenUsage(3, 4, 2, 1))]
    opening = Opening("POST", PATH, request_id=REQUEST_ID)
    body = {"model": "m", "messages": [HI], "n": 2, "tools": [TOOL]}
    whole = ENDPOINT.negotiate(opening, json.dumps(body).encode()).surface
    streaming = {"stream": True, "stream_options": {"include_usage": True}}
    streamed = ENDPOINT.negotiate(opening, json.dumps(body | streaming).encode()).surface
    (answer,) = [line for event in events for line in dump(whole.emit(event, 0)) if line.startswith("{")]
    state = ChatCompletionStreamState()
    for line in (line for event in events for line in dump(streamed.emit(event, 0)) if line.startswith("data: {")):
        state.handle_chunk(ChatCompletionChunk.model_validate_json(line.removeprefix("data: "), strict=True))
    told = state.get_final_completion().model_dump(exclude_none=True)
    wanted = ChatCompletion.model_validate_json(answer, strict=True).model_dump(exclude_none=True)
    for choice in told["choices"]:
        for call in choice["message"]["tool_calls"]:
            call.pop("index")
        choice["message"].pop("parsed", None)
    assert told == wanted


@pytest.mark.parametrize(
    "part",
    [
        {**TEXT, "image_url": {"url": "https://x.example/a.png"}},
        {**TEXT, "input_audio": {"data": "", "format": "wav"}},
        {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}, "text": "Look."},
    ],
)
def test_a_part_has_content_of_its_own_type_alone(part: dict[str, Any]) -> None:
    """The rest would not reach the model."""
    error = refused(json.dumps({"model": "m", "messages": [{"role": "user", "content": [part]}]}).encode())
    assert error.param is not None
    assert error.param.startswith("messages[0].content[0].")
    empty = {**TEXT, "image_url": None, "refusal": ""}
    assert asked(messages=[{"role": "user", "content": [empty]}]).prompt == (Message(Role.USER, "a"),)
