"""The server's side of Whisper, against a process that says what a test tells it to."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from event_loop import move
from far_end import FarEnd, ready
from msgspec.structs import replace

from antiphon.core.capabilities import SpeechAbility, SpeechCapabilities
from antiphon.core.errors import EngineError
from antiphon.core.ports import Guidance, Hypothesis, Utterance
from antiphon.engines.whisper import Whisper, WhisperSettings, recogniser
from antiphon.engines.whisper.messages import (
    Failed,
    Load,
    Ready,
    Recognise,
    Recognised,
    Result,
    Row,
    command_decoder,
)

HI = Result((1,), (" Hi",), (0.0,), (0,), (20,), False)
BATCH = (Utterance(b"ab"),)


class Process(FarEnd):
    decoder = command_decoder

    async def asked(self) -> Recognise:
        command = await self.told()
        assert isinstance(command, Recognise)
        assert command.rows == (Row(b"ab", ()),)
        return command


class Model(Whisper):
    """Its processes are the test's."""

    processes: "asyncio.Queue[Process]"

    async def _spawn(self) -> socket.socket:
        async def wait() -> int:
            return -signal.SIGKILL

        self._process = SimpleNamespace(returncode=-signal.SIGKILL, wait=wait, pid=0)  # type: ignore[assignment]
        return Process.spawned(self.processes)


House = tuple[Model, Process]


@pytest.fixture
async def house() -> AsyncIterator[House]:
    Model.processes = asyncio.Queue()
    starting = asyncio.create_task(Model.start(Path("/model"), WhisperSettings(2, "de")))
    pipe = await Model.processes.get()
    assert await pipe.told() == Load("/model", 2, "de")
    await pipe.say(Ready(("de", "en")))
    model = await starting
    assert isinstance(model, Model)
    yield model, pipe
    await model.close()


def recognising(model: Model) -> "asyncio.Task[list[Hypothesis]]":
    return asyncio.create_task(asyncio.to_thread(model.recognise, BATCH))


async def test_a_batch_that_fails_leaves_the_process_to_others(house: House) -> None:
    model, pipe = house
    first = recognising(model)
    await pipe.say(Failed((await pipe.asked()).number))
    with pytest.raises(EngineError, match="could not recognise"):
        await first
    second = recognising(model)
    await pipe.say(Recognised((await pipe.asked()).number, (HI,)))
    assert [each.text for each in await second] == ["Hi"]
    assert (model.stats().running, model.stats().restarts) == (0, 0)


async def test_a_batch_whose_process_died_is_asked_once_more(house: House) -> None:
    model, pipe = house
    running = recognising(model)
    await pipe.asked()
    pipe.die()
    pipe = await model.processes.get()
    assert isinstance(await pipe.told(), Load)
    await pipe.say(Ready(("de", "en")))
    await pipe.say(Recognised((await pipe.asked()).number, (HI,)))
    assert [each.text for each in await running] == ["Hi"]


async def test_while_it_cannot_be_started_nobody_waits_longer_than_since_it_ended(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, pipe = house
    pipe.die()
    pipe = await model.processes.get()
    move(monkeypatch, recogniser.RESTART_S)
    begun_s = model._loop.time()
    for _ in range(8):  # as many as a batch has rows, each of which is tried alone
        with pytest.raises(EngineError, match="not available"):
            await recognising(model)
    assert model._loop.time() - begun_s < recogniser.RESTART_S
    assert isinstance(await pipe.told(), Load)
    await pipe.say(Ready(("de", "en")))
    await ready(model)
    running = recognising(model)
    await pipe.say(Recognised((await pipe.asked()).number, (HI,)))
    assert [each.text for each in await running] == ["Hi"]


async def test_it_can_what_its_model_can(house: House) -> None:
    model, _ = house
    assert model.capabilities == SpeechCapabilities(frozenset(("de", "en")), "de", frozenset(SpeechAbility))
    assert recogniser._capabilities(frozenset(("en",)), "") == SpeechCapabilities(
        frozenset(("en",)), "en", frozenset((SpeechAbility.GUIDANCE,))
    )


async def test_what_guides_it_reaches_its_process(house: House) -> None:
    model, pipe = house
    guided = Utterance(b"ab", guidance=Guidance(("de",), True, "Schiffe.", ("Antiphon",)))
    running = asyncio.create_task(asyncio.to_thread(model.recognise, [guided]))
    command = await pipe.told()
    assert isinstance(command, Recognise)
    assert command.rows == (Row(b"ab", (), ("de",), True, "Schiffe.", ("Antiphon",)),)
    await pipe.say(Recognised(command.number, (replace(HI, language="de", language_confidence=0.9),)))
    (heard,) = await running
    assert (heard.language, heard.language_confidence) == ("de", 0.9)
