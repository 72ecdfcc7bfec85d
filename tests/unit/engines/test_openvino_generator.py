"""The server's side, against a pipeline that says what a test tells it to."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from far_end import FarEnd, ready

from antiphon.core.errors import CallerError, CapacityError, ContextLengthExceeded, EngineError
from antiphon.core.events import ChoiceEnded, FinishReason, TextDelta, TokenUsage
from antiphon.core.ports import EngineCall
from antiphon.core.specs import Format, GenerateSpec, Sampling, Shape
from antiphon.engines.openvino.generator import Events, OpenVinoGenerator
from antiphon.engines.openvino.messages import (
    LENGTH,
    OUT_OF_MEMORY,
    STOP,
    Begun,
    Cancel,
    Chunk,
    Generate,
    Load,
    Model,
    OpenVinoSettings,
    Ready,
    Refused,
    Stepped,
    Why,
    command_decoder,
)
from antiphon.engines.process import Unloadable

MODEL = Model([b"a", b"b", b"STOP", b""], 100, 8, False, None, None)
CALL = EngineCall("call")


class Pipeline(FarEnd):
    decoder = command_decoder

    async def asked(self) -> Generate:
        command = await self.told()
        assert isinstance(command, Generate)
        return command

    async def step(self, *chunks: Chunk, begun: Begun | None = None, refused: Refused | None = None) -> None:
        begins, refuses = [begun] if begun else [], [refused] if refused else []
        await self.say(Stepped(begins, refuses, list(chunks), 1000, 0.25))


class Engine(OpenVinoGenerator):
    """Its processes are the test's."""

    pipelines: "asyncio.Queue[Pipeline]"

    async def _spawn(self) -> socket.socket:
        return Pipeline.spawned(self.pipelines)


async def begin(settings: OpenVinoSettings = OpenVinoSettings()) -> tuple[Engine, Pipeline]:  # noqa: B008
    Engine.pipelines = asyncio.Queue()
    starting = asyncio.create_task(Engine.start(Path("/model.gguf"), settings, "f1"))
    pipeline = await Engine.pipelines.get()
    load = await pipeline.told()
    assert load == Load("/model.gguf", settings)
    await pipeline.say(Ready(MODEL))
    engine = await starting
    assert isinstance(engine, Engine)
    return engine, pipeline


@pytest.fixture
async def house() -> AsyncIterator[tuple[Engine, Pipeline]]:
    engine, pipeline = await begin()
    yield engine, pipeline
    await engine.close()


def spec(choices: int = 1, stop: tuple[str, ...] = ()) -> GenerateSpec:
    return GenerateSpec("m", "Once", choices, Sampling(stop=stop, seed=1))


async def rest(events: AsyncIterator[Events]) -> list[Events]:
    return [batch async for batch in events]


async def test_what_a_step_brings_comes_at_once(house: tuple[Engine, Pipeline]) -> None:
    engine, pipeline = house
    events = engine.generate(spec(), CALL)
    first = asyncio.create_task(anext(events))
    number = (await pipeline.asked()).number
    await pipeline.step(begun=Begun(number, 7, 3))
    assert await first == (TokenUsage(7, 0, 3),)
    await pipeline.step(Chunk(number, 0, [0], None, ""))
    assert await anext(events) == (TextDelta(0, "a", 1),)
    await pipeline.step(Chunk(number, 0, [1], None, LENGTH))
    end = (TextDelta(0, "b", 1), ChoiceEnded(0, FinishReason.LENGTH), TokenUsage(7, 2, 3))
    assert await rest(events) == [end]
    assert engine.stats().running == 0


async def test_choices_end_each_at_its_time(house: tuple[Engine, Pipeline]) -> None:
    engine, pipeline = house
    running = asyncio.create_task(rest(engine.generate(spec(2), CALL)))
    request = await pipeline.asked()
    assert request.seeds == [1, 2]
    number = request.number
    await pipeline.step(Chunk(number, 0, [0], None, STOP), begun=Begun(number, 7, 0))
    await pipeline.step(Chunk(number, 1, [1], None, ""))
    await pipeline.step(Chunk(number, 1, [1, 3], None, STOP))
    events = [event for batch in await running for event in batch]
    assert [event for event in events if isinstance(event, ChoiceEnded)] == [
        ChoiceEnded(0, FinishReason.STOP),
        ChoiceEnded(1, FinishReason.STOP),
    ]
    assert events[-1] == TokenUsage(7, 4, 0)


async def test_closing_cancels_the_work(house: tuple[Engine, Pipeline]) -> None:
    engine, pipeline = house
    events = engine.generate(spec(), CALL)
    first = asyncio.create_task(anext(events))
    number = (await pipeline.asked()).number
    await pipeline.step(begun=Begun(number, 7, 0))
    await first
    await events.aclose()
    assert await pipeline.told() == Cancel(number)
    await pipeline.step(Chunk(number, 0, [0], None, ""))  # what was under way goes nowhere
    assert engine.stats().running == 0


async def test_cancelling_who_waits_cancels_the_work(house: tuple[Engine, Pipeline]) -> None:
    engine, pipeline = house
    running = asyncio.create_task(rest(engine.generate(spec(), CALL)))
    number = (await pipeline.asked()).number
    running.cancel()
    assert await pipeline.told() == Cancel(number)


async def test_a_stop_text_ends_the_choice_inside_the_pipeline(house: tuple[Engine, Pipeline]) -> None:
    engine, pipeline = house
    running = asyncio.create_task(rest(engine.generate(spec(2, ("STOP",)), CALL)))
    number = (await pipeline.asked()).number
    await pipeline.step(Chunk(number, 1, [0, 2], None, ""), begun=Begun(number, 7, 0))
    assert await pipeline.told() == Cancel(number, 1)
    await pipeline.step(Chunk(number, 1, [1], None, ""), Chunk(number, 0, [1], None, STOP))
    events = [event for batch in await running for event in batch]
    assert events[-1] == TokenUsage(7, 3)
    assert [event.text for event in events if isinstance(event, TextDelta) and event.text] == ["a", "b"]


async def test_a_finished_request_is_not_cancelled(house: tuple[Engine, Pipeline]) -> None:
    engine, pipeline = house
    for _ in range(2):
        running = asyncio.create_task(rest(engine.generate(spec(), CALL)))
        request = await pipeline.told()
        assert isinstance(request, Generate)  # and no Cancel before the second
        await pipeline.step(Chunk(request.number, 0, [0], None, STOP), begun=Begun(request.number, 1, 0))
        await running


@pytest.mark.parametrize(
    ("why", "error", "param"),
    [
        (Why.TOO_LONG, ContextLengthExceeded, "prompt"),
        (Why.EMPTY, CallerError, "prompt"),
        (Why.GRAMMAR, CallerError, "response_format"),
    ],
)
async def test_what_the_pipeline_does_not_let_in_is_the_callers(
    house: tuple[Engine, Pipeline], why: Why, error: type[CallerError], param: str
) -> None:
    engine, pipeline = house
    asked = GenerateSpec("m", "Once", format=Format(Shape.SCHEMA, '{"type": "object"}'))
    running = asyncio.create_task(rest(engine.generate(asked, CALL)))
    number = (await pipeline.asked()).number
    await pipeline.step(refused=Refused(number, why, 120))
    with pytest.raises(error) as refused:
        await running
    assert refused.value.param == param
    assert "Once" not in refused.value.message


async def test_a_full_cache_is_a_lack_of_room(house: tuple[Engine, Pipeline]) -> None:
    engine, pipeline = house
    running = asyncio.create_task(rest(engine.generate(spec(), CALL)))
    number = (await pipeline.asked()).number
    await pipeline.step(Chunk(number, 0, [], None, OUT_OF_MEMORY), begun=Begun(number, 1, 0))
    with pytest.raises(CapacityError):
        await running


async def test_so_many_requests_and_no_more() -> None:
    engine, pipeline = await begin(OpenVinoSettings(max_requests=1))
    running = asyncio.create_task(rest(engine.generate(spec(), CALL)))
    await pipeline.asked()
    with pytest.raises(CapacityError):
        await anext(engine.generate(spec(), CALL))
    running.cancel()
    await engine.close()


async def test_what_runs_fails_when_the_process_dies_and_another_is_started(house: tuple[Engine, Pipeline]) -> None:
    engine, pipeline = house
    told: list[int] = []
    engine.when_ready(lambda: told.append(1))
    running = asyncio.create_task(rest(engine.generate(spec(), CALL)))
    await pipeline.asked()
    pipeline.die()
    with pytest.raises(EngineError):
        await running
    with pytest.raises(EngineError):
        await engine.check()
    with pytest.raises(EngineError):
        await anext(engine.generate(spec(), CALL))
    again = await engine.pipelines.get()
    await again.told()
    assert not told
    await again.say(Ready(MODEL))
    await ready(engine)
    second = asyncio.create_task(rest(engine.generate(spec(), CALL)))
    number = (await again.asked()).number
    await again.step(Chunk(number, 0, [0], None, STOP), begun=Begun(number, 1, 0))
    assert (await second)[-1][-1] == TokenUsage(1, 1)
    assert engine.stats().restarts == 1
    assert told == [1]


async def test_a_model_that_cannot_be_loaded_says_why() -> None:
    Engine.pipelines = asyncio.Queue()
    starting = asyncio.create_task(Engine.start(Path("/model.gguf"), OpenVinoSettings()))
    pipeline = await Engine.pipelines.get()
    await pipeline.told()
    await pipeline.say(Unloadable("no such file"))
    with pytest.raises(EngineError, match="no such file"):
        await starting


async def test_a_process_that_dies_while_it_loads_is_an_error() -> None:
    Engine.pipelines = asyncio.Queue()
    starting = asyncio.create_task(Engine.start(Path("/model.gguf"), OpenVinoSettings()))
    pipeline = await Engine.pipelines.get()
    await pipeline.told()
    pipeline.die()
    with pytest.raises(EngineError):
        await starting


async def test_figures_are_the_last_steps(house: tuple[Engine, Pipeline]) -> None:
    engine, pipeline = house
    running = asyncio.create_task(rest(engine.generate(spec(), CALL)))
    number = (await pipeline.asked()).number
    await pipeline.step(Chunk(number, 0, [0], None, STOP), begun=Begun(number, 1, 0))
    await running
    stats = engine.stats()
    assert (stats.cache_bytes, stats.cache_used_bytes, stats.restarts) == (1000, 250, 0)


async def test_rewritten_weights_are_kept_where_it_is_told(tmp_path: Path) -> None:
    settings = OpenVinoSettings(weights="int8")
    with pytest.raises(CallerError) as refused:
        await Engine.start(Path("/model.gguf"), settings)
    assert refused.value.param == "weights"
    Engine.pipelines = asyncio.Queue()
    starting = asyncio.create_task(Engine.start(Path("/model.gguf"), settings, kept_in=tmp_path))
    pipeline = await Engine.pipelines.get()
    assert await pipeline.told() == Load("/model.gguf", settings, str(tmp_path))
    pipeline.die()
    with pytest.raises(EngineError):
        await starting


async def test_what_no_message_can_hold_is_the_callers_fault(house: tuple[Engine, Pipeline]) -> None:
    engine, _ = house
    with pytest.raises(CallerError):
        await anext(engine.generate(GenerateSpec("m", "half \ud800"), CALL))
    assert engine.stats().running == 0


async def test_what_the_pipeline_does_not_take_is_the_callers_fault(house: tuple[Engine, Pipeline]) -> None:
    engine, pipeline = house
    running = asyncio.create_task(rest(engine.generate(spec(), CALL)))
    number = (await pipeline.asked()).number
    await pipeline.step(refused=Refused(number, Why.REJECTED))
    with pytest.raises(CallerError):
        await running
