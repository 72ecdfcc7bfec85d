"""What engines are asked, byte by byte where it matters, and what is refused instead."""

import json
from typing import Any

import pytest

from antiphon.core.capabilities import Ability
from antiphon.core.specs import (
    Format,
    GenerateSpec,
    Image,
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
    ("preset", "cannot"),
    [
        ("ollama", {Ability.CHOICES, Ability.ONE_TOOL_CALL, Ability.TOOL_CHOICE, Ability.LOGIT_BIAS}),
        ("litserve", {Ability.SEED, Ability.LOGPROBS, Ability.RAW_TEXT}),
        ("triton", {Ability.JSON_OUTPUT, Ability.IMAGES}),
        ("openai", {Ability.TOP_K, Ability.IGNORE_EOS, Ability.TEMPLATE_ARGUMENTS, Ability.REGEX_OUTPUT}),
    ],
)
def test_what_a_server_would_drop_it_says_that_it_cannot(preset: str, cannot: set[Ability]) -> None:
    assert not cannot & PRESETS[preset].abilities


@pytest.mark.parametrize("preset", ["vllm", "sglang", "tensorrt-llm", "ollama", "llama.cpp", "kserve", "openai"])
def test_pictures_and_efforts_are_passed_on(preset: str) -> None:
    assert PRESETS[preset].abilities >= {Ability.IMAGES, Ability.REASONING_EFFORT}
    parts = ("What is ", Image("data:image/png;base64,iVBORw0KGgo=", "low", "there"), "this?", Image("data:,"))
    told = body(GenerateSpec("m", (Message(Role.USER, "What is this?", parts=parts),), reasoning_effort="low"), preset)
    assert told["reasoning_effort"] == "low"
    assert told["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is "},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}},
                {"type": "text", "text": "this?"},
                {"type": "image_url", "image_url": {"url": "data:,"}},
            ],
        }
    ]


@pytest.mark.parametrize(
    ("preset", "asked", "told"),
    [
        ("vllm", "minimal", "minimal"),
        ("openai", "max", "xhigh"),
        ("ollama", "minimal", "low"),
        ("ollama", "xhigh", "high"),
        ("tensorrt-llm", "minimal", "low"),
        ("tensorrt-llm", "none", "none"),
    ],
)
def test_an_effort_is_the_nearest_that_the_server_knows(preset: str, asked: str, told: str) -> None:
    assert body(GenerateSpec("m", PROMPT, reasoning_effort=asked), preset)["reasoning_effort"] == told


@pytest.mark.parametrize("preset", ["vllm", "sglang", "tensorrt-llm", "llama.cpp", "kserve", "openai"])
@pytest.mark.parametrize("prompt", [PROMPT, "Once"])
def test_biases_are_passed_on(preset: str, prompt: Any) -> None:
    assert Ability.LOGIT_BIAS in PRESETS[preset].abilities
    biased = Sampling(logit_bias=(("50256", -100.0), ("7", 2.5)))
    assert body(GenerateSpec("m", prompt, sampling=biased), preset)["logit_bias"] == {"50256": -100, "7": 2.5}


def test_a_verbosity_is_passed_on() -> None:
    assert body(GenerateSpec("m", PROMPT, verbosity="low"), "openai")["verbosity"] == "low"


def test_what_only_some_open_engines_know() -> None:
    sampling = Sampling(
        stop_token_ids=(1,), stop_in_output=True, special_tokens=True, bad_words=("x",), allowed_token_ids=(2, 3)
    )
    assert body(GenerateSpec("m", PROMPT, sampling=sampling)) == {
        "model": "served",
        "messages": [{"role": "user", "content": "Hello"}],
        "stop_token_ids": [1],
        "include_stop_str_in_output": True,
        "skip_special_tokens": False,
        "bad_words": ["x"],
        "allowed_token_ids": [2, 3],
    }


OPEN = Sampling(top_k=5, min_p=0.1, repetition_penalty=1.1, min_tokens=3, ignore_eos=True)


def test_what_open_engines_know_is_told_in_their_spelling() -> None:
    told = body(GenerateSpec("m", PROMPT, sampling=OPEN, template_arguments='{"enable_thinking":false}'))
    extras = {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "min_tokens": 3, "ignore_eos": True}
    assert told.items() >= (extras | {"chat_template_kwargs": {"enable_thinking": False}}).items()
    renamed = body(GenerateSpec("m", PROMPT, sampling=Sampling(repetition_penalty=1.1)), "llama.cpp")
    assert renamed["repeat_penalty"] == 1.1


@pytest.mark.parametrize("preset", PRESETS)
def test_what_changes_nothing_is_told_to_nobody(preset: str) -> None:
    neutral = Sampling(top_k=0, min_p=0.0, repetition_penalty=1.0, presence_penalty=0.0, frequency_penalty=0.0)
    assert body(GenerateSpec("m", PROMPT, sampling=neutral), preset) == body(GenerateSpec("m", PROMPT), preset)


@pytest.mark.parametrize(
    ("format", "told"),
    [
        (Format(Shape.CHOICE, '["yes","no"]'), {"choice": ["yes", "no"]}),
        (Format(Shape.REGEX, "a+"), {"regex": "a+"}),
        (Format(Shape.GRAMMAR, "root ::= x"), {"grammar": "root ::= x"}),
    ],
)
def test_forms_that_are_vllms_own(format: Format, told: dict[str, Any]) -> None:
    asked = body(GenerateSpec("m", PROMPT, format=format))
    assert asked["structured_outputs"] == told
    assert "response_format" not in asked
