"""What every engine must do behind our client, whatever it is; the modules say what each of them does besides."""

import asyncio
import urllib.request
import uuid
from contextlib import aclosing
from dataclasses import replace

import pytest
from real_engine import Running

from antiphon.core.errors import AntiphonError, EngineError
from antiphon.core.events import ChoiceEnded, FinishReason, Generated, TextDelta, TokenUsage
from antiphon.core.ports import EngineCall
from antiphon.core.specs import GenerateSpec, Message, Role, Sampling
from antiphon.engines.openai_compatible import OpenAICompatible

TOKENS = 12
PROMPT = (Message(Role.SYSTEM, "You are a helpful assistant."), Message(Role.USER, "Tell me a story about the sea."))
STREAM = GenerateSpec("public", PROMPT, sampling=Sampling(TOKENS, temperature=0.0), stream=True)
WHOLE = replace(STREAM, stream=False)
LONG = replace(STREAM, sampling=replace(STREAM.sampling, max_tokens=200))


def call() -> EngineCall:
    return EngineCall(str(uuid.uuid4()))


async def events(engine: OpenAICompatible, spec: GenerateSpec) -> list[Generated | TokenUsage]:
    async with aclosing(engine.generate(spec, call())) as produced:
        return [event async for batch in produced for event in batch]


def text(got: list[Generated | TokenUsage], choice: int = 0) -> str:
    return "".join(event.text for event in got if isinstance(event, TextDelta) and event.choice == choice)


async def streams(engine: OpenAICompatible, reason: FinishReason = FinishReason.LENGTH, counts: bool = True) -> str:
    """A stream of `TOKENS` tokens, ended by its bound; the text. `counts`: the server tells what it took."""
    got = await events(engine, STREAM)
    deltas = [event for event in got if isinstance(event, TextDelta)]
    assert len(deltas) > TOKENS // 2, "it came in pieces"
    assert got[-2:-1] == [ChoiceEnded(0, reason)]
    usage = got[-1]
    assert isinstance(usage, TokenUsage)
    assert usage.input > 10
    if counts:
        assert usage.output == TOKENS
    assert abs(sum(delta.tokens for delta in deltas) - TOKENS) <= 2
    return text(got)


async def answers(engine: OpenAICompatible, reason: FinishReason = FinishReason.LENGTH, counts: bool = True) -> str:
    """The same, whole."""
    got = await events(engine, WHOLE)
    assert [type(event) for event in got] == [TextDelta, ChoiceEnded, TokenUsage]
    assert got[1] == ChoiceEnded(0, reason)
    usage = got[2]
    assert isinstance(usage, TokenUsage)
    assert usage.input > 10
    assert usage.output == TOKENS if counts else usage.output > 0
    return text(got)


async def leaves(engine: OpenAICompatible) -> None:
    """Begins something long, and does not want the rest."""
    async with aclosing(engine.generate(LONG, call())) as produced:
        async for batch in produced:
            if any(isinstance(event, TextDelta) for event in batch):
                break


async def refuses(engine: OpenAICompatible, spec: GenerateSpec, kind: type[AntiphonError]) -> AntiphonError:
    with pytest.raises(kind) as refused:
        await events(engine, spec)
    assert PROMPT[1].text not in refused.value.message
    return refused.value


async def dies(engine: OpenAICompatible, kill: object) -> None:
    """Killed in mid-stream, which is the engine's failure; and after it there is nothing there."""
    assert callable(kill)
    async with aclosing(engine.generate(LONG, call())) as produced:
        await anext(produced)
        kill()
        with pytest.raises(EngineError):
            async for _ in produced:
                pass
    with pytest.raises(EngineError):
        await engine.check()
    with pytest.raises(EngineError):
        await events(engine, WHOLE)


async def comes_to_rest(running: Running) -> None:
    """vLLM's own metrics soon show that it generates nothing any more."""
    for _ in range(20):
        if _in_flight(running) == 0:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it goes on generating")


def _in_flight(running: Running) -> int:
    with urllib.request.urlopen(f"{running.url}/metrics", timeout=5) as told:
        lines = told.read().decode().splitlines()
    counts = [line for line in lines if line.startswith(("vllm:num_requests_running", "vllm:num_requests_waiting{"))]
    assert counts
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in counts))
