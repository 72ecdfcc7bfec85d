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
ENDLESS = replace(STREAM, sampling=Sampling(1500, temperature=0.0, ignore_eos=True))  # half a minute at least


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
    async with aclosing(engine.generate(WHOLE, call())) as produced:
        (got,) = [list(batch) async for batch in produced]
    assert got[-2] == ChoiceEnded(0, reason)
    usage = got[-1]
    assert isinstance(usage, TokenUsage)
    assert usage.input > 10
    assert usage.output == TOKENS if counts else usage.output > 0
    return text(got)


async def leaves(engine: OpenAICompatible, spec: GenerateSpec = LONG) -> None:
    """Begins something long, and does not want the rest."""
    async with aclosing(engine.generate(spec, call())) as produced:
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


async def stops(engine: OpenAICompatible, running: Running) -> None:
    """Who leaves a stream, or gives up on an answer, ends it: vLLM's own metrics stop counting tokens."""
    await leaves(engine, ENDLESS)
    await _comes_to_rest(running)
    waiting = asyncio.create_task(events(engine, replace(ENDLESS, stream=False)))
    while not await _metric(running, "num_requests_running"):
        assert not waiting.done()
    waiting.cancel()
    await asyncio.wait((waiting,))
    await _comes_to_rest(running)


async def _comes_to_rest(running: Running) -> None:
    for _ in range(10):
        written = await _metric(running, "generation_tokens_total")
        await asyncio.sleep(1)
        if written == await _metric(running, "generation_tokens_total"):
            assert await _metric(running, "num_requests_running") == 0
            return
    raise AssertionError("it goes on generating")


async def _metric(running: Running, name: str) -> float:
    def read() -> str:
        with urllib.request.urlopen(f"{running.url}/metrics", timeout=20) as told:
            text: str = told.read().decode()
        return text

    lines = (await asyncio.to_thread(read)).splitlines()
    (line,) = (line for line in lines if line.startswith(f"vllm:{name}{{"))
    return float(line.rsplit(" ", 1)[1])
