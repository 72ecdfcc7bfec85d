import asyncio
from contextlib import aclosing

import pytest

from antiphon.core.errors import EngineError
from antiphon.core.events import ChoiceEnded, FinishReason, TextDelta, TokenUsage, ToolCallDelta, ToolCallStarted
from antiphon.core.ports import EngineCall
from antiphon.core.specs import GenerateSpec, Sampling, Tool, ToolChoice, ToolMode
from antiphon.testing import FakeEmbedder, FakeGenerator


def spec(**given):
    return GenerateSpec("m", "count for me", **given)


async def batches(generator, asked):
    async with aclosing(generator.generate(asked, EngineCall("a"))) as produced:
        return [batch async for batch in produced]


async def text_of(generator, asked, choice=0):
    events = [event for batch in await batches(generator, asked) for event in batch]
    return "".join(e.text for e in events if isinstance(e, TextDelta) and e.choice == choice)


async def test_it_counts():
    generator = FakeGenerator(tokens=3)
    assert await batches(generator, spec()) == [
        (TextDelta(0, "one", 1),),
        (TextDelta(0, " two", 1),),
        (TextDelta(0, " three", 1),),
        (ChoiceEnded(0, FinishReason.STOP),),
        (TokenUsage(3, 3),),
    ]
    assert (generator.running, generator.cancelled) == ([], [])
    assert [call.id for _, call in generator.calls] == ["a"]


async def test_it_counts_no_further_than_the_spec_says_and_for_each_choice():
    produced = await batches(FakeGenerator(tokens=9, early_usage=True), spec(choices=2, sampling=Sampling(2)))
    assert produced[0] == (TokenUsage(3, 0),)
    assert produced[-2:] == [
        (ChoiceEnded(0, FinishReason.LENGTH), ChoiceEnded(1, FinishReason.LENGTH)),
        (TokenUsage(3, 4),),
    ]
    assert await text_of(FakeGenerator(), spec(choices=2), choice=1) == "one two three four five"


async def test_it_scores_its_tokens():
    asked = spec(sampling=Sampling(max_tokens=1, logprobs=True, top_logprobs=2))
    (piece,), *_ = await batches(FakeGenerator(), asked)
    (scored,) = piece.scored
    assert scored.text == piece.text == scored.top[0].text
    assert len(scored.top) == 2


async def test_it_calls_a_tool_where_it_must():
    asked = spec(tools=(Tool("f"), Tool("g")), tool_choice=ToolChoice(ToolMode.REQUIRED, "g"))
    produced = [batch[0] for batch in await batches(FakeGenerator(tokens=2), asked)]
    assert produced[0] == ToolCallStarted(0, 0, "call_0", "g")
    assert "".join(e.arguments for e in produced if isinstance(e, ToolCallDelta)) == '{"one": 1, "two": 2}'
    assert produced[-2] == ChoiceEnded(0, FinishReason.TOOL_CALLS)


@pytest.mark.parametrize(("fails_at", "heard"), [(0, 0), (2, 2), (7, 7)])
async def test_it_fails_where_it_is_told(fails_at, heard):
    generator = FakeGenerator(error=EngineError("asked for"), fails_at=fails_at)
    produced = generator.generate(spec(), EngineCall("a"))
    for _ in range(heard):
        await anext(produced)
    with pytest.raises(EngineError):
        await anext(produced)
    assert (generator.running, generator.cancelled) == ([], [])


async def test_it_waits_at_the_gate_and_knows_who_left():
    generator = FakeGenerator(holds_at=1)
    generator.gate.clear()
    produced = generator.generate(spec(), EngineCall("a"))
    await anext(produced)
    waiting = asyncio.ensure_future(anext(produced))
    while not generator.held:  # noqa: ASYNC110
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (generator.running, generator.held, generator.cancelled) == ([], [], ["a"])
    left = generator.generate(spec(), EngineCall("b"))
    await anext(left)
    assert generator.running == ["b"]
    await left.aclose()
    assert generator.cancelled == ["a", "b"]
    generator.gate.set()
    assert len(await batches(generator, spec())) == 7


async def test_it_says_what_it_is_told():
    script = [(TextDelta(0, "hi", 1), ChoiceEnded(0, FinishReason.STOP), TokenUsage(1, 1))]
    assert await batches(FakeGenerator(lambda asked: script), spec()) == script


async def test_it_embeds():
    embedder = FakeEmbedder(dimensions=2)
    embedded = await embedder.embed(("two words", (4, 5, 6)), EngineCall("a"))
    assert embedded.vectors == ((2.0, 0.0), (3.0, 0.0))
    assert embedded.input_tokens == 5
    embedder.error = EngineError("asked for")
    with pytest.raises(EngineError):
        await embedder.embed(("x",), EngineCall("b"))
    embedder.gate.clear()
    embedding = asyncio.create_task(embedder.embed(("x",), EngineCall("c")))
    await asyncio.sleep(0)
    embedding.cancel()
    await asyncio.gather(embedding, return_exceptions=True)
    assert embedder.cancelled == ["c"]


@pytest.mark.parametrize("engine", [FakeGenerator(), FakeEmbedder()])
async def test_they_are_unwell_when_told(engine):
    await engine.check()
    engine.unwell = EngineError("asked for")
    with pytest.raises(EngineError):
        await engine.check()
    await engine.close()
    assert engine.closed
