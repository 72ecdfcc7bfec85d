"""vLLM, its CPU build."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import engine_behaviour as behaviour
import pytest
from real_engine import Engine, Running, client

from antiphon.core.errors import CallerError, ContextLengthExceeded, EngineError
from antiphon.core.events import ChoiceEnded, FinishReason, TextDelta, TokenUsage, ToolCallDelta, ToolCallStarted
from antiphon.core.specs import Format, Image, Message, Role, Sampling, Shape, Tool, ToolChoice, ToolMode
from antiphon.engines.openai_compatible import OpenAICompatible


def command(port: int, model: Path) -> tuple[str | Path, ...]:
    where = ("--host", "127.0.0.1", "--port", str(port), "--served-model-name", "smollm2")
    tools = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")
    counts = ("--max-model-len", "2048", "--enable-prompt-tokens-details")
    return ("vllm", "serve", model / "smollm2", *where, *tools, *counts, "--enforce-eager")  # compiling takes minutes


ENGINE = Engine("vllm", "vllm", command, environment=(("VLLM_CPU_KVCACHE_SPACE", "1"),))
SCHEMA = '{"type":"object","properties":{"age":{"type":"integer"}},"required":["age"],"additionalProperties":false}'


async def test_it_streams(engine: OpenAICompatible) -> None:
    assert await behaviour.streams(engine) == await behaviour.answers(engine)


async def test_several_choices_with_scores(engine: OpenAICompatible) -> None:
    spec = replace(behaviour.STREAM, choices=2, sampling=Sampling(6, 0.01, seed=1, logprobs=True, top_logprobs=2))
    got = await behaviour.events(engine, spec)
    assert behaviour.text(got, 0)
    assert behaviour.text(got, 1)
    scored = [token for event in got if isinstance(event, TextDelta) for token in event.scored]
    assert len(scored) == 12
    assert all(len(token.top) == 2 and token.top[0].logprob >= token.logprob for token in scored)
    assert isinstance(got[-1], TokenUsage)
    assert got[-1].output == 12
    assert sum(event.tokens for event in got if isinstance(event, TextDelta)) == 12


async def test_a_raw_text(engine: OpenAICompatible) -> None:
    for stream in (True, False):
        spec = replace(behaviour.STREAM, prompt="One, two, three,", stream=stream)
        got = await behaviour.events(engine, replace(spec, sampling=Sampling(4, 0.0, logprobs=True, top_logprobs=1)))
        assert "four" in behaviour.text(got)
        assert sum(len(event.scored) for event in got if isinstance(event, TextDelta)) == 4


async def test_a_bias_decides(engine: OpenAICompatible) -> None:
    """Token 2 of SmolLM2's vocabulary is `<|im_end|>`: forbidden, nothing but the bound ends the output."""
    short = replace(behaviour.WHOLE, prompt=(Message(Role.USER, "Say hi."),), sampling=Sampling(200, 0.0))
    ended = (await behaviour.events(engine, short))[-2]
    biased = replace(short, sampling=Sampling(200, 0.0, logit_bias=(("2", -100.0), ("0", -100.0))))
    assert (await behaviour.events(engine, biased))[-2] == ChoiceEnded(0, FinishReason.LENGTH)
    assert ended == ChoiceEnded(0, FinishReason.STOP)


async def test_what_asks_how_to_reason_is_taken(engine: OpenAICompatible) -> None:
    assert behaviour.text(await behaviour.events(engine, replace(behaviour.WHOLE, reasoning_effort="low")))


async def test_a_model_that_sees_no_pictures_says_so(engine: OpenAICompatible) -> None:
    parts = ("What is this?", Image("data:image/png;base64,iVBORw0KGgo="))
    blind = replace(behaviour.WHOLE, prompt=(Message(Role.USER, "What is this?", parts=parts),))
    await behaviour.refuses(engine, blind, CallerError)


async def test_a_format_is_kept(engine: OpenAICompatible) -> None:
    spec = replace(behaviour.STREAM, format=Format(Shape.SCHEMA, SCHEMA, "person"), sampling=Sampling(40, 0.0))
    told = json.loads(behaviour.text(await behaviour.events(engine, spec)))
    assert isinstance(told["age"], int)


async def test_a_tool_is_called(engine: OpenAICompatible) -> None:
    tool = Tool("set_age", "Sets the age.", SCHEMA, strict=True)  # without, vLLM enforces no schema
    for stream in (True, False):
        spec = replace(behaviour.STREAM, tools=(tool,), tool_choice=ToolChoice(ToolMode.REQUIRED, "set_age"))
        got = await behaviour.events(engine, replace(spec, sampling=Sampling(120, 0.0), stream=stream))
        (started,) = (event for event in got if isinstance(event, ToolCallStarted))
        assert started.name == "set_age"
        arguments = "".join(event.arguments for event in got if isinstance(event, ToolCallDelta))
        assert isinstance(json.loads(arguments)["age"], int)
        (ended,) = (event for event in got if isinstance(event, ChoiceEnded))
        assert ended.reason == "tool_calls"


async def test_a_repeated_prefix_is_cached(engine: OpenAICompatible) -> None:
    long = replace(behaviour.PROMPT[1], text="The sea is wide and the sea is deep. " * 20)
    spec = replace(behaviour.WHOLE, prompt=(behaviour.PROMPT[0], long))
    await behaviour.events(engine, spec)
    usage = (await behaviour.events(engine, spec))[-1]
    assert isinstance(usage, TokenUsage)
    assert 100 < usage.cached < usage.input


async def test_whoever_leaves_stops_it(engine: OpenAICompatible, running: Running) -> None:
    await behaviour.stops(engine, running)


async def test_errors(engine: OpenAICompatible, running: Running) -> None:
    hot = replace(behaviour.STREAM, sampling=Sampling(5, temperature=-1.0))
    refused = await behaviour.refuses(engine, hot, CallerError)
    assert refused.param == "temperature"
    long = replace(behaviour.PROMPT[1], text="sea " * 3000)
    await behaviour.refuses(engine, replace(behaviour.STREAM, prompt=(long,)), ContextLengthExceeded)
    other = client(ENGINE, running, "no-such-model")
    await behaviour.refuses(other, behaviour.STREAM, EngineError)
    await other.close()


BAD: dict[str, dict[str, Any]] = {
    "a schema": {"format": Format(Shape.SCHEMA, '{"type":"strange"}', "person")},
    "a regular expression": {"format": Format(Shape.REGEX, "[0-9")},
    "a grammar": {"format": Format(Shape.GRAMMAR, "root ::= nothing")},
    "a bias": {"sampling": Sampling(5, 0.0, logit_bias=(("999999", 5.0),))},
    "tokens": {"sampling": Sampling(5, 0.0, allowed_token_ids=(999_999,))},
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_what_it_refuses_late_is_the_callers_mistake(
    engine: OpenAICompatible, bad: dict[str, Any], stream: bool
) -> None:
    """These it examines after a stream's status has been sent."""
    await behaviour.refuses(engine, replace(behaviour.STREAM, stream=stream, **bad), CallerError)


async def test_it_dies(engine: OpenAICompatible, running: Running) -> None:
    await behaviour.dies(engine, running.kill)
