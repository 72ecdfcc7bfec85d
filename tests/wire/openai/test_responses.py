"""Responses, byte by byte; what each parameter becomes; what is refused, with where it stands; and what is kept."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from json_script import AT_UNIX_MS, REQUEST_ID, Script, dump, play, scripts, user
from openai.types.responses import Response, ResponseItemList, ResponseStreamEvent
from pydantic import TypeAdapter

from antiphon.core.endpoints import AnswerRequest
from antiphon.core.errors import (
    AntiphonError,
    CallerError,
    Cancelled,
    CapacityError,
    Draining,
    NotFound,
    PolicyError,
    UnsupportedParameter,
)
from antiphon.core.events import (
    ChoiceEnded,
    Completed,
    Failed,
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
from antiphon.surfaces.openai.generation import MAX_ITEMS, MAX_PARTS
from antiphon.surfaces.openai.kept_responses import CancelResponse, DeleteResponse, InputItems, RetrieveResponse
from antiphon.surfaces.openai.responses import LOGPROBS, ResponseRequest, Responses

PATH = "/v1/responses"
ENDPOINT = Responses()
GOLDEN = scripts("responses.txt", PATH)
OPENING = Opening("POST", PATH, request_id=REQUEST_ID, received_unix_ms=AT_UNIX_MS)
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
HI = Message(Role.USER, "Hi")
TOOL = {"type": "function", "name": "f"}
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
USAGE = TokenUsage(3, 2)
ANSWERED = (Opened("m", kept=True), TextDelta(0, "Ho", 1), ChoiceEnded(0, FinishReason.STOP), Completed(USAGE))
ID = f"resp_{REQUEST_ID.replace('-', '')}"


def ask(**fields: Any) -> AnswerRequest:
    asked = ENDPOINT.negotiate(OPENING, json.dumps({"model": "m", "input": "Hi", **fields}).encode())
    assert isinstance(asked, AnswerRequest)
    return asked


def asked(**fields: Any) -> GenerateSpec:
    spec = ask(**fields).spec
    assert isinstance(spec, GenerateSpec)
    return spec


@pytest.mark.parametrize("item", [b'{"id":"\xff"}', b'{"role":"user","content":"\xff"}', b'{"id":' + b"[" * 5000])
def test_an_item_that_is_no_json_is_refused(item: bytes) -> None:
    with pytest.raises(CallerError, match="not a valid JSON object"):
        ENDPOINT.negotiate(OPENING, b'{"model":"m","input":[%b]}' % item)


def said(*items: dict[str, Any], **fields: Any) -> tuple[Message, ...]:
    prompt = asked(input=items, **fields).prompt
    assert not isinstance(prompt, str)
    return prompt


@pytest.mark.parametrize("script", GOLDEN)
def test_golden(script: Script) -> None:
    play(ENDPOINT, script)


@pytest.mark.parametrize("script", GOLDEN)
def test_the_official_sdk_accepts_what_leaves(script: Script) -> None:
    """The SDK itself is lenient; here its types are strict."""
    for message in script.sent():
        if message.get("object") == "response":
            Response.model_validate_json(json.dumps(message), strict=True)
        else:
            event = EVENT.validate_json(json.dumps(message), strict=True)
            assert event.type == message["type"]
            if "response" in message:
                Response.model_validate_json(json.dumps(message["response"]), strict=True)


# -- what is asked for -------------------------------------------------------------------------------------------------


def test_nothing_but_a_text() -> None:
    assert asked() == GenerateSpec("m", (HI,))
    assert (ask().keep, ask().previous, ask().background) == (None, "", False)


@pytest.mark.parametrize(
    ("fields", "sampling"),
    [
        ({"max_output_tokens": 7}, Sampling(max_tokens=7)),
        ({"temperature": 0}, Sampling(temperature=0.0)),
        ({"temperature": 2, "top_p": 0.5}, Sampling(temperature=2.0, top_p=0.5)),
        ({"include": [LOGPROBS]}, Sampling(logprobs=True)),
        ({"include": [LOGPROBS], "top_logprobs": 20}, Sampling(logprobs=True, top_logprobs=20)),
    ],
)
def test_sampling(fields: dict[str, Any], sampling: Sampling) -> None:
    assert asked(**fields).sampling == sampling


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt_cache_key": "k", "metadata": {}},
        {"service_tier": "default", "truncation": "disabled", "instructions": ""},
        {"reasoning": {}, "text": {"format": {"type": "text"}}, "include": [], "top_logprobs": 0},
        {"reasoning": {"effort": None, "summary": "auto"}, "tools": [], "tool_choice": "auto"},
        {"parallel_tool_calls": True, "stream": False, "background": False},
        dict.fromkeys(set(ResponseRequest.__struct_fields__) - {"input", "model"}),
    ],
)
def test_what_changes_nothing(fields: dict[str, Any]) -> None:
    assert asked(**fields) == asked()


@pytest.mark.parametrize(
    ("fields", "tags"),
    [
        ({"user": "u"}, ("subject=u",)),
        ({"user": "u", "safety_identifier": "s"}, ("subject=s",)),
        ({"user": "u", "metadata": {"subject": "m"}}, ("subject=m", "subject=u")),
        ({"user": ""}, ()),
    ],
)
def test_whom_it_is_about(fields: dict[str, Any], tags: tuple[str, ...]) -> None:
    assert asked(**fields).tags == tags


def test_everything_else() -> None:
    spec = asked(stream=True, parallel_tool_calls=False, metadata={"team": "a", "run": "7"})
    assert (spec.stream, spec.parallel_tool_calls, spec.tags) == (True, False, ("team=a", "run=7"))


@pytest.mark.parametrize("store", [True, False])
def test_what_is_to_be_kept(store: bool) -> None:
    call = ask(store=store, instructions="be brief", previous_response_id="resp_1")
    assert (call.keep, call.previous, call.lead) == (store, "resp_1", 1)
    assert ask(background=True).background


def test_instructions_come_first_and_are_no_part_of_the_conversation() -> None:
    call = ask(instructions="be brief")
    assert isinstance(call.spec, GenerateSpec)
    assert call.spec.prompt == (Message(Role.SYSTEM, "be brief"), HI)
    steps = [call.surface.emit(event, 0) for event in ANSWERED]
    keep = steps[-1].keep
    assert keep is not None
    assert keep.conversation == (HI, Message(Role.ASSISTANT, "Ho"))


@pytest.mark.parametrize(
    ("format", "wanted"),
    [
        ({"type": "text"}, Format()),
        ({"type": "json_object"}, Format(Shape.JSON)),
        (
            {"type": "json_schema", "name": "n", "schema": {"a": 1}, "strict": True, "description": "d"},
            Format(Shape.SCHEMA, '{"a":1}', "n", "d", True),
        ),
        ({"type": "json_schema", "name": "n", "schema": {}}, Format(Shape.SCHEMA, "{}", "n", "", False)),
    ],
)
def test_formats(format: dict[str, Any], wanted: Format) -> None:
    assert asked(text={"format": format}).format == wanted


def test_tools() -> None:
    described = {"description": "d", "parameters": {"type": "object"}, "strict": True}
    spec = asked(tools=[TOOL | described], tool_choice={"type": "function", "name": "f"})
    assert spec.tools == (Tool("f", "d", '{"type":"object"}', True),)
    assert spec.tool_choice == ToolChoice(ToolMode.REQUIRED, "f")
    for mode in ToolMode:
        assert asked(tools=[TOOL], tool_choice=mode).tool_choice == ToolChoice(mode)


@pytest.mark.parametrize(
    ("items", "messages"),
    [
        ([{"role": "user", "content": "a"}], [Message(Role.USER, "a")]),
        ([{"type": "message", "role": "developer", "content": "a"}], [Message(Role.SYSTEM, "a")]),
        ([{"role": "system", "content": "a", "id": "x", "status": "completed"}], [Message(Role.SYSTEM, "a")]),
        (
            [user({"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"})],
            [Message(Role.USER, "a\nb")],
        ),
        (
            [
                {
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "a", "annotations": []}],
                    "phase": None,
                }
            ],
            [Message(Role.ASSISTANT, "a")],
        ),
        (
            [{"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
            [Message(Role.ASSISTANT, "no")],
        ),
        (
            [
                {"role": "assistant", "content": "wait"},
                {"type": "reasoning", "id": "rs_1", "summary": []},
                CALL,
                CALL | {"call_id": "c2"},
                {"type": "function_call_output", "call_id": "c1", "output": "1"},
                {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "2"}]},
                CALL | {"call_id": "c3"},
            ],
            [
                Message(Role.ASSISTANT, "wait", tool_calls=(ToolCall("c1", "f", "{}"), ToolCall("c2", "f", "{}"))),
                Message(Role.TOOL, "1", tool_call_id="c1"),
                Message(Role.TOOL, "2", tool_call_id="c2"),
                Message(Role.ASSISTANT, "", tool_calls=(ToolCall("c3", "f", "{}"),)),
            ],
        ),
    ],
)
def test_input(items: list[dict[str, Any]], messages: list[Message]) -> None:
    assert said(*items) == tuple(messages)


def test_an_output_may_answer_a_call_of_an_earlier_turn() -> None:
    output = {"type": "function_call_output", "call_id": "c1", "output": "1"}
    assert said(output, previous_response_id="resp_1") == (Message(Role.TOOL, "1", tool_call_id="c1"),)
    with pytest.raises(CallerError) as caught:
        said(output)
    assert caught.value.param == "input[0].call_id"


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 1}, "model"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 7}, "input"),
        ({"input": [7]}, "input[0]"),
        ({"input": [{"content": "a"}]}, "input[0].role"),
        ({"input": [{"role": "tool", "content": "a"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [user({"text": "a"})]}, "input[0].content[0].type"),
        ({"input": [user({"type": "input_text"})]}, "input[0].content[0].text"),
        ({"input": [CALL | {"name": "a b"}]}, "input[0].name"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]}, "input[0].arguments"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {"a": "b" * 300}}, "metadata"),
        ({"tools": [TOOL | {"name": ""}]}, "tools[0].name"),
        ({"tools": [{"name": "f"}]}, "tools[0].type"),
        ({"tools": [TOOL] * 129}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "g"}}, "tool_choice.name"),
        ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "text", "name": "n"}}}, "text.format.name"),
        ({"stream_options": {"include_obfuscation": False}}, "stream_options"),
        ({"background": True, "store": False}, "background"),
    ],
)
def test_what_makes_no_sense(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(CallerError) as caught:
        ask(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        *(({name: "x"}, name) for name in ("conversation", "prompt", "max_tool_calls", "context_management")),
        *(({name: {}}, name) for name in ("moderation", "image", "background_options")),
        ({"truncation": "auto"}, "truncation"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"stream": True, "background": True}, "stream"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [TOOL | {"defer_loading": True}]}, "tools[0].defer_loading"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}}, "tool_choice.type"),
        ({"tool_choice": {"type": "web_search_preview"}}, "tool_choice.type"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"input": [{"type": "computer_call_output", "call_id": "c"}]}, "input[0].type"),
        ({"input": [user({"type": "input_image", "file_id": "f"})]}, "input[0].content[0].file_id"),
        ({"reasoning": {"effort": "utmost"}}, "reasoning.effort"),
        ({"text": {"verbosity": "loud"}}, "text.verbosity"),
        ({"input": [user({"type": "input_file", "file_id": "f"})]}, "input[0].content[0].type"),
        ({"input": [user({"type": "input_audio", "input_audio": {}})]}, "input[0].content[0].type"),
        ({"input": [user({"type": "output_text", "text": "a"})]}, "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": "a", "name": "bob"}]}, "input[0].name"),
        ({"seed": 1}, "seed"),
    ],
)
def test_what_is_not_supported(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        ask(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "items",
    [
        [{"role": "user", "content": "a"}] * (MAX_ITEMS + 1),
        [{"role": "user", "content": [{"type": "input_text", "text": "a"}] * (MAX_PARTS // 2 + 1)}] * 2,
    ],
)
def test_more_than_an_input_has(items: list[Any]) -> None:
    with pytest.raises(CallerError, match=r"^Invalid 'input': array too long\. Expected") as caught:
        asked(input=items)
    assert caught.value.param == "input"


def test_no_value_is_quoted() -> None:
    for fields in ({"input": [user({"type": "my-words"})]}, {"input": [{"role": "my-words", "content": "my-words"}]}):
        with pytest.raises(CallerError) as caught:
            ask(**fields)
        assert "my-words" not in caught.value.message


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (CallerError("No.", param="previous"), (400, "previous_response_not_found", "previous_response_id")),
        (CallerError("No.", param="keep"), (400, "unsupported_parameter", "store")),
        (CallerError("No.", param="input"), (400, "invalid_value", "input")),
        (PolicyError("No."), (403, "forbidden", None)),
    ],
)
def test_errors_have_openais_names(error: AntiphonError, wanted: tuple[int, str, str | None]) -> None:
    response = ENDPOINT.refuse(OPENING, error)
    about = msgspec.json.decode(response.body, type=wire.ErrorBody).error
    assert (response.status, about.code, about.param) == wanted


# -- what is kept ------------------------------------------------------------------------------------------------------


def kept(*events: LanguageOutput, **fields: Any) -> bytes:
    """What is kept last."""
    call = ask(**fields)
    keeps = [call.surface.emit(event, 0).keep for event in (Opened("m", kept=True), *events)]
    keep = [keep for keep in keeps if keep is not None][-1]
    assert keep.id == ID
    return keep.body


def shown(body: bytes, running: bool = False, **query: str) -> dict[str, Any]:
    endpoint = InputItems() if query else RetrieveResponse()
    response = endpoint.show(Opening("GET", f"{PATH}/{ID}", tuple(query.items())), body, running)
    assert response.status == 200
    answer: dict[str, Any] = json.loads(response.body)
    kind = ResponseItemList if query else Response
    kind.model_validate_json(response.body, strict=True)
    return answer


def test_nothing_is_kept_of_what_will_not_be() -> None:
    call = ask()
    steps = [call.surface.emit(event, 0) for event in (Opened("m"), *ANSWERED[1:])]
    assert all(step.keep is None for step in steps)


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_that_failed_is_not_kept(stream: bool) -> None:
    call = ask(stream=stream)
    events = (Opened("m", kept=True), TextDelta(0, "Ho", 1), Failed(NotFound("gone")))
    assert all(call.surface.emit(event, 0).keep is None for event in events)


def test_the_times_of_a_response() -> None:
    call = ask()
    call.surface.emit(Opened("m"), 10_000_000_000)
    step = call.surface.emit(Completed(USAGE), 13_500_000_000)
    assert isinstance(step.sends[1], bytes)
    answer = json.loads(step.sends[1])
    assert (answer["created_at"], answer["completed_at"]) == (1_767_225_600, 1_767_225_603)


def test_input_items_are_shown_as_they_came() -> None:
    items = [
        {"role": "developer", "content": "be brief"},
        {"type": "message", "id": "msg_7", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
        CALL,
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
    ]
    body = kept(Completed(USAGE), input=items)
    listed = shown(body, order="asc")["data"]
    assert [item["type"] for item in listed] == ["message", "message", "function_call", "function_call_output"]
    assert listed[0]["content"] == [{"type": "input_text", "text": "be brief"}]
    assert listed[1]["id"] == "msg_7"
    assert len({item["id"] for item in listed}) == 4
    assert shown(body, limit="2")["data"] == [listed[3], listed[2]]


@pytest.mark.parametrize(
    ("last", "status", "error"),
    [
        (Completed(USAGE), "completed", None),
        (Failed(Cancelled("enough")), "cancelled", None),
        (Failed(CallerError("too long")), "failed", {"code": "invalid_prompt", "message": "too long"}),
        (Failed(CapacityError("full")), "failed", {"code": "rate_limit_exceeded", "message": "full"}),
        (Failed(Draining("stopping")), "failed", {"code": "server_error", "message": "stopping"}),
    ],
)
def test_the_end_of_one_in_the_background(last: LanguageOutput, status: str, error: object) -> None:
    answer = shown(kept(TextDelta(0, "Ho", 1), ChoiceEnded(0, FinishReason.STOP), last, background=True))
    assert (answer["status"], answer["error"], answer["background"]) == (status, error, True)
    assert answer["output"][0]["content"][0]["text"] == "Ho"


def test_only_the_last_item_is_cut() -> None:
    calls = [ToolCallStarted(0, index, f"call_{index}", "f") for index in (0, 1)]
    ends = (ChoiceEnded(0, FinishReason.LENGTH), Completed(USAGE))
    answer = shown(kept(TextDelta(0, "Ho", 1), *calls, *ends))
    assert [item["status"] for item in answer["output"]] == ["completed", "completed", "incomplete"]


def test_one_that_does_not_run_and_has_no_end_was_interrupted() -> None:
    body = kept(background=True)
    assert shown(body, running=True)["status"] == "in_progress"
    assert shown(body)["status"] == "failed"
    assert shown(body)["error"]["code"] == "server_error"


@pytest.mark.parametrize("prefix", ["/v1", "/openai/v1", "/openai"])
def test_the_id_is_in_the_path(prefix: str) -> None:
    opening = Opening("GET", f"{prefix}/responses/{ID}")
    assert RetrieveResponse().named(opening) == ID
    for endpoint in (CancelResponse(), InputItems()):
        assert endpoint.named(Opening("GET", f"{prefix}/responses/{ID}/cancel")) == ID


def test_what_may_stand_in_the_url() -> None:
    path = f"{PATH}/{ID}"
    RetrieveResponse().named(Opening("GET", path, (("stream", "false"),)))
    RetrieveResponse().named(Opening("GET", f"/openai/responses/{ID}", (("api-version", "preview"),)))
    for endpoint, name, value in (
        (RetrieveResponse(), "stream", "true"),
        (RetrieveResponse(), "api-version", "preview"),
        (RetrieveResponse(), "starting_after", "1"),
        (DeleteResponse(), "stream", "false"),
        (InputItems(), "order", "random"),
        (InputItems(), "include[]", LOGPROBS),
    ):
        with pytest.raises(UnsupportedParameter) as caught:
            endpoint.named(Opening("GET", path, ((name, value),)))
        assert caught.value.param == name


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "", "²", "00010000"])
def test_a_page_has_a_bound(limit: str) -> None:
    with pytest.raises(CallerError):
        shown(kept(Completed(USAGE)), limit=limit)


# -- anything ----------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KINDS = ["message", "function_call", "function_call_output", "reasoning", "input_text", "output_text", "input_image"]
FIELDS = ["role", "content", "text", "call_id", "name", "arguments", "output", "summary", "id", "status"]
PART = st.fixed_dictionaries({"type": st.sampled_from(KINDS)}, optional=dict.fromkeys(FIELDS, JSON))
ITEM = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(FIELDS, JSON)
    | {
        "type": st.sampled_from(KINDS),
        "role": st.sampled_from(["user", "assistant", "developer"]),
        "content": st.text(max_size=4) | st.lists(PART, max_size=2),
    },
)
SENSIBLE = {
    "model": st.just("m"),
    "input": st.text(max_size=8) | st.lists(ITEM, max_size=3),
    "stream": st.booleans(),
    "background": st.booleans(),
    "store": st.booleans(),
    "instructions": st.text(max_size=8),
    "tools": st.lists(st.just(TOOL), max_size=2),
    "text": st.fixed_dictionaries({"format": st.just({"type": "json_object"})}),
}
NAMES = st.sampled_from(ResponseRequest.__struct_fields__)
OUTPUT = st.one_of(
    st.builds(TextDelta, st.just(0), st.text(max_size=5), st.just(1)),
    st.builds(ReasoningDelta, st.just(0), st.text(max_size=5), st.just(1)),
    st.builds(ToolCallDelta, st.just(0), st.integers(0, 1), st.text(max_size=5), st.just(1)),
)


@given(
    sensible=st.fixed_dictionaries({}, optional=SENSIBLE),
    wild=st.dictionaries(NAMES | st.text(max_size=8), JSON, max_size=2),
)
def test_any_object_is_honoured_or_refused(sensible: dict[str, Any], wild: dict[str, Any]) -> None:
    try:
        call = ENDPOINT.negotiate(OPENING, json.dumps(sensible | wild).encode())
    except AntiphonError as error:
        response = ENDPOINT.refuse(OPENING, error)
        assert 400 <= response.status < 500
        msgspec.json.decode(response.body, type=wire.ErrorBody, strict=True)
        return
    steps = [call.surface.emit(event, 0) for event in ANSWERED]
    assert [step.close is not None for step in steps].count(True) == 1
    keep = steps[-1].keep
    assert keep is not None
    shown(keep.body)


@given(body=st.binary(max_size=40))
def test_any_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(CallerError):
        ENDPOINT.negotiate(OPENING, body)


@given(outputs=st.lists(OUTPUT, max_size=12), reason=st.sampled_from(FinishReason))
def test_a_stream_adds_up_to_the_whole(outputs: list[LanguageOutput], reason: FinishReason) -> None:
    """Every item begins, grows and ends once, and its parts are what the end of the stream says."""
    calls = [ToolCallStarted(0, index, f"call_{index}", "f") for index in (0, 1)]
    events = [Opened("m"), *calls, *outputs, ChoiceEnded(0, reason), Completed(TokenUsage(3, 4, 2, 1))]
    whole, streamed = ask().surface, ask(stream=True).surface
    (answer,) = [json.loads(line) for event in events for line in dump(whole.emit(event, 0)) if line.startswith("{")]
    lines = [line for event in events for line in dump(streamed.emit(event, 0)) if line.startswith("data: {")]
    told = [EVENT.validate_json(line.removeprefix("data: "), strict=True) for line in lines]
    assert [event.sequence_number for event in told] == list(range(len(told)))
    assert told[-1].response.model_dump(exclude_unset=True) == Response.model_validate(answer).model_dump(
        exclude_unset=True
    )
    output = answer["output"]
    texts = [""] * len(output)
    for event in told:
        if event.type.endswith(".delta"):
            texts[event.output_index] += event.delta
    assert texts == [item["arguments"] if "arguments" in item else item["content"][0]["text"] for item in output]
    for kind in ("added", "done"):
        found = [event.output_index for event in told if event.type == f"response.output_item.{kind}"]
        assert sorted(found) == list(range(len(output)))
