"""What engines are asked, byte by byte where it matters, and what is refused instead."""

import json
from typing import Any

import pytest

from antiphon.core.errors import CallerError, UnsupportedParameter
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
from antiphon.engines.openai_compatible.presets import PRESETS
from antiphon.engines.openai_compatible.request import encode, generation

PROMPT = (Message(Role.USER, "Hello"),)
TOOL = Tool("weather", "What it is like.", '{"type":"object"}', strict=True)


def body(spec: GenerateSpec, preset: str = "vllm") -> dict[str, Any]:
    told: dict[str, Any] = json.loads(encode(generation(spec, "served", PRESETS[preset])[1]))
    return told


def test_no_more_than_is_needed() -> None:
    path, told = generation(GenerateSpec("public", PROMPT), "served", PRESETS["openai"])
    assert path == "/chat/completions"
    assert encode(told) == b'{"model":"served","messages":[{"role":"user","content":"Hello"}]}'


def test_everything() -> None:
    sampling = Sampling(9, 0.0, 0.5, ("a", "b"), 7, 0.25, -0.25, True, 3)
    shape = Format(Shape.SCHEMA, '{"type":"integer"}', "number", "A number.")
    spec = GenerateSpec("public", PROMPT, 2, sampling, shape, stream=True)
    assert body(spec) == {
        "model": "served",
        "messages": [{"role": "user", "content": "Hello"}],
        "n": 2,
        "max_completion_tokens": 9,
        "temperature": 0.0,
        "top_p": 0.5,
        "stop": ["a", "b"],
        "seed": 7,
        "presence_penalty": 0.25,
        "frequency_penalty": -0.25,
        "logprobs": True,
        "top_logprobs": 3,
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "number",
                "description": "A number.",
                "schema": {"type": "integer"},
                "strict": True,
            },
        },
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }


def test_a_conversation_with_tools() -> None:
    called = ToolCall("call_1", "weather", '{"city":"Oslo"}')
    prompt = (
        Message(Role.SYSTEM, "Be brief.", name="boss"),
        Message(Role.ASSISTANT, "", tool_calls=(called,)),
        Message(Role.TOOL, "Rain.", tool_call_id="call_1"),
    )
    told = body(GenerateSpec("public", prompt, tools=(TOOL,), parallel_tool_calls=False))
    assert told["messages"] == [
        {"role": "system", "content": "Be brief.", "name": "boss"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city":"Oslo"}'},
                }
            ],
        },
        {"role": "tool", "content": "Rain.", "tool_call_id": "call_1"},
    ]
    assert told["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "What it is like.",
                "parameters": {"type": "object"},
                "strict": True,
            },
        }
    ]
    assert told["tool_choice"] == "auto"
    assert told["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (ToolChoice(ToolMode.NONE), "none"),
        (ToolChoice(ToolMode.REQUIRED), "required"),
        (ToolChoice(ToolMode.REQUIRED, "weather"), {"type": "function", "function": {"name": "weather"}}),
    ],
)
def test_the_choice_of_tools(choice: ToolChoice, told: object) -> None:
    assert body(GenerateSpec("public", PROMPT, tools=(TOOL,), tool_choice=choice))["tool_choice"] == told


def test_tools_that_a_server_cannot_be_kept_from_are_kept_from_it() -> None:
    spec = GenerateSpec("public", PROMPT, tools=(TOOL,), tool_choice=ToolChoice(ToolMode.NONE))
    assert "tools" not in body(spec, "ollama")
    assert "tool_choice" not in body(GenerateSpec("public", PROMPT, tools=(TOOL,)), "ollama")


def test_a_raw_text() -> None:
    spec = GenerateSpec("public", "Once", sampling=Sampling(5, logprobs=True))
    path, _ = generation(spec, "served", PRESETS["vllm"])
    assert path == "/completions"
    assert body(spec) == {"model": "served", "prompt": "Once", "max_tokens": 5, "logprobs": 1}


@pytest.mark.parametrize(("preset", "name"), [("vllm", "max_completion_tokens"), ("ollama", "max_tokens")])
def test_the_bound_in_the_servers_spelling(preset: str, name: str) -> None:
    assert body(GenerateSpec("public", PROMPT, sampling=Sampling(5)), preset)[name] == 5


@pytest.mark.parametrize(
    ("preset", "told"),
    [
        ("vllm", {"include_usage": True, "continuous_usage_stats": True}),
        ("ollama", {"include_usage": True}),
        ("litserve", None),
    ],
)
def test_usage_is_asked_for_where_it_can_be(preset: str, told: object) -> None:
    assert body(GenerateSpec("public", PROMPT, stream=True), preset).get("stream_options") == told


@pytest.mark.parametrize(
    ("preset", "spec", "param"),
    [
        ("ollama", GenerateSpec("m", PROMPT, 2), "n"),
        ("ollama", GenerateSpec("m", PROMPT, tools=(TOOL,), parallel_tool_calls=False), "parallel_tool_calls"),
        ("ollama", GenerateSpec("m", PROMPT, tools=(TOOL,), tool_choice=ToolChoice(ToolMode.REQUIRED)), "tool_choice"),
        ("litserve", GenerateSpec("m", PROMPT, sampling=Sampling(seed=1)), "seed"),
        ("litserve", GenerateSpec("m", PROMPT, sampling=Sampling(logprobs=True)), "logprobs"),
        ("triton", GenerateSpec("m", PROMPT, format=Format(Shape.JSON)), "response_format"),
    ],
)
def test_what_a_server_would_drop_is_refused(preset: str, spec: GenerateSpec, param: str) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        generation(spec, "served", PRESETS[preset])
    assert refused.value.param == param


def test_a_raw_text_where_there_is_chat_only() -> None:
    with pytest.raises(CallerError) as refused:
        generation(GenerateSpec("m", "Once"), "served", PRESETS["litserve"])
    assert refused.value.param == "prompt"
