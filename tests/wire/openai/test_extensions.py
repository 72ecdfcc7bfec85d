"""What load tools and clients of open models send to chat and completions beyond OpenAI's API."""

import json
from typing import Any

import pytest

from antiphon.core.endpoints import AnswerRequest
from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.events import (
    ChoiceEnded,
    Completed,
    FinishReason,
    Opened,
    ReasoningDelta,
    TextDelta,
    TokenUsage,
    ToolCallDelta,
    ToolCallStarted,
)
from antiphon.core.specs import Format, GenerateSpec, Sampling, Shape
from antiphon.core.wire import Head, Opening
from antiphon.surfaces.openai.chat import ChatCompletions
from antiphon.surfaces.openai.completions import Completions

ENDPOINTS = {
    "/v1/chat/completions": (ChatCompletions(), {"messages": [{"role": "user", "content": "Hi"}]}),
    "/v1/completions": (Completions(), {"prompt": "Hi"}),
}
PATHS = pytest.mark.parametrize("path", ENDPOINTS)


def negotiated(path: str, fields: dict[str, Any]) -> AnswerRequest:
    endpoint, said = ENDPOINTS[path]
    body = json.dumps({"model": "m", **said, **fields}).encode()
    return endpoint.negotiate(Opening("POST", path, request_id="00000000-0000-4000-8000-000000000001"), body)


def asked(path: str, fields: dict[str, Any]) -> GenerateSpec:
    spec = negotiated(path, fields).spec
    assert isinstance(spec, GenerateSpec)
    return spec


@PATHS
@pytest.mark.parametrize(
    ("fields", "sampling"),
    [
        ({"top_k": 40}, {"top_k": 40}),
        ({"top_k": -1}, {"top_k": 0}),
        ({"min_p": 0.1, "repetition_penalty": 1.1}, {"min_p": 0.1, "repetition_penalty": 1.1}),
        ({"min_tokens": 8, "ignore_eos": True}, {"min_tokens": 8, "ignore_eos": True}),
        ({"stop_token_ids": [5], "include_stop_str_in_output": True}, {"stop_token_ids": (5,), "stop_in_output": True}),
        ({"skip_special_tokens": False}, {"special_tokens": True}),
        ({"bad_words": ["no"], "allowed_token_ids": [7]}, {"bad_words": ("no",), "allowed_token_ids": (7,)}),
    ],
)
def test_what_open_engines_know_of_sampling(path: str, fields: dict[str, Any], sampling: dict[str, Any]) -> None:
    bound = asked(path, {}).sampling.max_tokens
    assert asked(path, fields).sampling == Sampling(max_tokens=bound, **sampling)


@PATHS
@pytest.mark.parametrize(
    "fields",
    [
        {"ignore_eos": False, "min_tokens": 0, "top_k": None, "min_p": None, "repetition_penalty": None},
        {"skip_special_tokens": True, "spaces_between_special_tokens": True, "include_stop_str_in_output": False},
        {"length_penalty": 1.0, "use_beam_search": False, "stop_token_ids": [], "bad_words": [], "priority": 0},
        {"structured_outputs": None, "guided_json": None, "prompt_logprobs": None, "truncate_prompt_tokens": None},
        {"structured_outputs": {"json": None, "json_object": False}, "return_token_ids": False, "request_id": "r"},
        {"add_special_tokens": False, "allowed_token_ids": None, "echo": False},
        {"structured_outputs": {"disable_any_whitespace": False, "disable_fallback": True}},
    ],
)
def test_what_changes_nothing(path: str, fields: dict[str, Any]) -> None:
    assert asked(path, fields) == asked(path, {})


def test_a_penalty_of_one_is_said_although_it_changes_nothing() -> None:
    assert asked("/v1/completions", {"repetition_penalty": 1.0}).sampling.left_to_the_model is False
    assert asked("/v1/completions", {"seed": 7, "max_tokens": 5}).sampling.left_to_the_model is True


@PATHS
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"use_beam_search": True}, "use_beam_search"),
        ({"prompt_logprobs": 1}, "prompt_logprobs"),
        ({"length_penalty": 0.5}, "length_penalty"),
        ({"structured_outputs": {"structural_tag": {}}}, "structural_tag"),
        ({"structured_outputs": {"json": {}, "disable_any_whitespace": True}}, "disable_any_whitespace"),
        ({"structured_outputs": {"json": {}, "disable_additional_properties": True}}, "disable_additional_properties"),
        ({"structured_outputs": {"json": {}, "whitespace_pattern": " ?"}}, "whitespace_pattern"),
        ({"echo": True}, "echo"),
    ],
)
def test_what_is_refused_by_name(path: str, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        asked(path, fields)
    assert caught.value.param == param


@PATHS
@pytest.mark.parametrize(
    ("fields", "format"),
    [
        ({"structured_outputs": {"json": {"type": "object"}}}, Format(Shape.SCHEMA, '{"type":"object"}', "output")),
        ({"guided_json": '{"type": "object"}'}, Format(Shape.SCHEMA, '{"type":"object"}', "output")),
        ({"structured_outputs": {"json_object": True}}, Format(Shape.JSON)),
        ({"structured_outputs": {"choice": ["yes", "no"]}}, Format(Shape.CHOICE, '["yes","no"]')),
        ({"guided_choice": ["yes", "no"]}, Format(Shape.CHOICE, '["yes","no"]')),
        ({"structured_outputs": {"regex": "a+"}}, Format(Shape.REGEX, "a+")),
        ({"guided_grammar": 'root ::= "a"'}, Format(Shape.GRAMMAR, 'root ::= "a"')),
        ({"response_format": {"type": "json_object"}}, Format(Shape.JSON)),
    ],
)
def test_the_form_of_the_output(path: str, fields: dict[str, Any], format: Format) -> None:
    assert asked(path, fields).format == format


@PATHS
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"structured_outputs": {"choice": []}}, "structured_outputs"),
        ({"guided_choice": [""]}, "guided_choice"),
        ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "structured_outputs"),
        ({"guided_regex": "a", "response_format": {"type": "json_object"}}, "guided_regex"),
        ({"guided_regex": ""}, "guided_regex"),
        ({"guided_grammar": ""}, "guided_grammar"),
        ({"guided_json": "{bad"}, "guided_json"),
        ({"guided_json": '{}}},"model":"another","x":{"y":{"z":{}'}, "guided_json"),  # it ends what it stands in
        ({"structured_outputs": {"json": "[]"}}, "structured_outputs"),
        ({"structured_outputs": {"json": "[" * 5000}}, "structured_outputs"),
        ({"top_k": -2}, "top_k"),
        ({"min_p": 2}, "min_p"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
    ],
)
def test_what_makes_no_sense(path: str, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(CallerError) as caught:
        asked(path, fields)
    assert caught.value.param == param


def test_what_the_template_is_told() -> None:
    path = "/v1/chat/completions"
    assert asked(path, {"chat_template_kwargs": {"enable_thinking": False}}).template_arguments == (
        '{"enable_thinking":false}'
    )
    assert asked(path, {"chat_template_kwargs": {}, "add_generation_prompt": True}) == asked(path, {})


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("wanted", [None, True, False])
def test_reasoning_may_be_left_out(stream: bool, wanted: bool | None) -> None:
    surface = negotiated("/v1/chat/completions", {"stream": stream, "include_reasoning": wanted}).surface
    sent = b""
    said = ReasoningDelta(0, "Hm", 1), TextDelta(0, "One", 1), ChoiceEnded(0, FinishReason.STOP)
    for event in (Opened("m"), *said, Completed(TokenUsage(9, 2))):
        sent += b"".join(each for each in surface.emit(event, 0).sends if isinstance(each, bytes))
    assert (b'"reasoning_content":"Hm"' in sent) == (wanted is not False)
    assert b'"content":"One"' in sent


def test_both_names_of_one_bound() -> None:
    assert asked("/v1/chat/completions", {"max_tokens": 5, "max_completion_tokens": 5}).sampling.max_tokens == 5


# -- usage with each chunk ---------------------------------------------------------------------------------------------

EVENTS = (
    TokenUsage(9, 0, 4),
    TextDelta(0, "One ", 2),
    ReasoningDelta(1, "Hm", 1),
    ToolCallStarted(1, 0, "call_1", "f"),
    ToolCallDelta(1, 0, "{}", 3),
    TextDelta(0, "two", 1),
    ChoiceEnded(0, FinishReason.STOP),
    ChoiceEnded(1, FinishReason.STOP),
)


def chunks(path: str, options: dict[str, Any]) -> list[dict[str, Any]]:
    fields = {"stream": True, "n": 2, "stream_options": options}
    surface = negotiated(path, fields).surface
    sent = b""
    for event in (Opened("m"), *EVENTS, Completed(TokenUsage(9, 7, 4))):
        sends = surface.emit(event, 0).sends
        sent += b"".join(each for each in sends if isinstance(each, bytes) and not isinstance(each, Head))
    lines = [line.removeprefix(b"data: ") for line in sent.split(b"\n\n") if line]
    assert lines.pop() == b"[DONE]"
    return [json.loads(line) for line in lines]


@PATHS
def test_each_chunk_says_the_usage_of_its_choice_so_far(path: str) -> None:
    told = chunks(path, {"include_usage": True, "continuous_usage_stats": True})
    counts = [(chunk["choices"][0]["index"], chunk["usage"]["completion_tokens"]) for chunk in told if chunk["choices"]]
    chat = path.endswith("chat/completions")
    opening = [(0, 0), (1, 0)] if chat else []
    beside = [(1, 1), (1, 1), (1, 4)] if chat else []
    assert counts == [*opening, (0, 2), *beside, (0, 3), (0, 3), (1, 4)]
    for chunk in told:
        usage = chunk["usage"]
        assert usage["prompt_tokens"] == 9
        assert usage["total_tokens"] == 9 + usage["completion_tokens"]
    assert told[-1]["choices"] == []
    assert told[-1]["usage"]["completion_tokens"] == 7


@PATHS
def test_without_the_end_no_chunk_says_any(path: str) -> None:
    told = chunks(path, {"continuous_usage_stats": True})
    assert all("usage" not in chunk for chunk in told)


@PATHS
def test_a_stream_is_asked_to_say_what_was_read_only_where_that_is_wanted(path: str) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    assert asked(path, {"stream": True, "stream_options": options}).counts
    assert not asked(path, {"stream": True, "stream_options": {"include_usage": True}}).counts
