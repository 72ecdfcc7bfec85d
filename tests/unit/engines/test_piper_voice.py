"""The server's side of a voice, against a process that says what a test tells it to."""

import asyncio
import signal
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from far_end import FarEnd, ready

from antiphon.core.errors import CallerError, CapacityError, EngineError, EngineTimeout, UnspeakableText
from antiphon.core.ports import Clause
from antiphon.engines import process
from antiphon.engines.piper import voice as voices
from antiphon.engines.piper.messages import (
    Drop,
    Failed,
    Load,
    More,
    Piece,
    Ready,
    Speak,
    command_decoder,
)
from antiphon.engines.piper.voice import MOST_CHARACTERS, PiperSettings, PiperVoice
from antiphon.engines.process import Unloadable

SETTINGS = PiperSettings(speaker=3, workers=2, threads=1, max_clauses=2)


class Process(FarEnd):
    decoder = command_decoder

    async def asked(self) -> Speak:
        command = await self.told()
        assert isinstance(command, Speak)
        return command


class Voice(PiperVoice):
    """Its processes are the test's."""

    processes: "asyncio.Queue[Process]"
    ends_with: int = -signal.SIGKILL

    async def _spawn(self) -> socket.socket:
        async def wait() -> int:
            return self.ends_with

        self._process = SimpleNamespace(returncode=self.ends_with, wait=wait, pid=0)  # type: ignore[assignment]
        return Process.spawned(self.processes)


House = tuple[Voice, Process]


@pytest.fixture
async def house() -> AsyncIterator[House]:
    Voice.processes = asyncio.Queue()
    starting = asyncio.create_task(Voice.start(Path("/voice.onnx"), SETTINGS))
    pipe = await Voice.processes.get()
    assert await pipe.told() == Load("/voice.onnx", 3, 2, 1)
    await pipe.say(Ready(22_050, "en-US"))
    voice = await starting
    assert isinstance(voice, Voice)
    yield voice, pipe
    await voice.close()


def begin(voice: Voice, text: str = "Hello.") -> tuple[AsyncGenerator[bytes, None], "asyncio.Task[bytes]"]:
    pieces = voice.synthesise(Clause(text, 1.5))
    return pieces, asyncio.create_task(anext(pieces))  # type: ignore[arg-type]


async def test_what_was_loaded_is_told(house: House) -> None:
    voice, _ = house
    assert (voice.sample_rate, voice.language, voice.workers) == (22_050, "en-US", 2)


async def test_a_piece_is_asked_for_only_when_it_is_wanted(house: House) -> None:
    voice, pipe = house
    pieces, first = begin(voice)
    asked = await pipe.asked()
    assert (asked.text, asked.speed) == ("Hello.", 1.5)
    await pipe.say(Piece(asked.number, b"ab", False))
    assert await first == b"ab"
    other, second = begin(voice)
    assert isinstance(await pipe.told(), Speak)  # and no More of the first before it
    await pipe.say(Piece(asked.number + 1, b"cd", True))
    assert await second == b"cd"
    assert [piece async for piece in other] == []
    rest = asyncio.create_task(anext(pieces))  # type: ignore[arg-type]
    assert await pipe.told() == More(asked.number)
    await pipe.say(Piece(asked.number, b"", True))
    with pytest.raises(StopAsyncIteration):
        await rest
    assert voice.stats().running == 0


async def test_a_clause_that_cannot_be_said_yields_nothing(house: House) -> None:
    voice, pipe = house
    running = asyncio.create_task(_all(voice, "..."))
    await pipe.say(Piece((await pipe.asked()).number, b"", True))
    assert await running == []


async def _all(voice: Voice, text: str) -> list[bytes]:
    return [piece async for piece in voice.synthesise(Clause(text))]


async def test_closing_drops_the_rest(house: House) -> None:
    voice, pipe = house
    pieces, first = begin(voice)
    number = (await pipe.asked()).number
    await pipe.say(Piece(number, b"ab", False))
    await first
    await pieces.aclose()
    assert await pipe.told() == Drop(number)
    assert voice.stats().running == 0


async def test_cancelling_who_waits_drops_the_clause(house: House) -> None:
    voice, pipe = house
    _, first = begin(voice)
    number = (await pipe.asked()).number
    first.cancel()
    assert await pipe.told() == Drop(number)
    await pipe.say(Piece(number, b"ab", False))  # what was under way goes nowhere
    running = asyncio.create_task(_all(voice, "On."))
    await pipe.say(Piece((await pipe.asked()).number, b"cd", True))
    assert await running == [b"cd"]


async def test_one_clause_that_fails_leaves_the_others(house: House) -> None:
    voice, pipe = house
    _, bad = begin(voice)
    _, good = begin(voice)
    number, other = (await pipe.asked()).number, (await pipe.asked()).number
    await pipe.say(Failed(number, False), Piece(other, b"ab", False))
    with pytest.raises(EngineError, match="failed to speak"):
        await bad
    assert await good == b"ab"


async def test_a_text_that_cannot_be_spoken_is_the_callers_own(house: House) -> None:
    voice, pipe = house
    _, bad = begin(voice)
    await pipe.say(Failed((await pipe.asked()).number, True))
    with pytest.raises(UnspeakableText) as caught:
        await bad
    assert caught.value.status == 400  # which no SDK sends again


@pytest.mark.parametrize(
    "clause", [Clause("a" * (MOST_CHARACTERS + 1)), Clause("a", 0.2), Clause("a", 4.1), Clause("a", float("nan"))]
)
async def test_what_is_out_of_bounds_is_refused(house: House, clause: Clause) -> None:
    with pytest.raises(CallerError):
        await anext(house[0].synthesise(clause))


async def test_clauses_are_bounded(house: House) -> None:
    voice, pipe = house
    begun = [begin(voice) for _ in range(2)]
    first = await pipe.asked()
    await pipe.asked()
    with pytest.raises(CapacityError):
        await anext(voice.synthesise(Clause("One more.")))
    await pipe.say(Piece(first.number, b"ab", True))
    await begun[0][1]
    await begun[0][0].aclose()
    begin(voice)
    assert isinstance(await pipe.told(), Speak)


async def test_a_lone_surrogate_does_not_stop_the_voice(house: House) -> None:
    voice, pipe = house
    _, first = begin(voice, "a\ud800b")
    asked = await pipe.asked()
    assert asked.text == "a?b"
    await pipe.say(Piece(asked.number, b"ab", True))
    assert await first == b"ab"


# -- a process that dies -----------------------------------------------------------------------------------------------


async def back(voice: Voice) -> Process:
    """The next process, at work."""
    pipe = await voice.processes.get()
    assert isinstance(await pipe.told(), Load)
    await pipe.say(Ready(22_050, "en-US"))
    await ready(voice)
    return pipe


async def at_work(voice: Voice, pipe: Process, text: str) -> "asyncio.Task[list[bytes]]":
    """A clause that has been asked for."""
    running = asyncio.create_task(_all(voice, text))
    assert (await pipe.asked()).text == text
    return running


async def test_a_clause_goes_on_where_it_was_heard(house: House) -> None:
    voice, pipe = house
    pieces, first = begin(voice)
    await pipe.say(Piece((await pipe.asked()).number, b"abcd", False))
    assert await first == b"abcd"
    pipe.die()  # between two pieces: it was at work on nothing
    rest = asyncio.create_task(anext(pieces))  # type: ignore[arg-type]
    pipe = await back(voice)
    asked = await pipe.asked()
    assert asked.text == "Hello."
    await pipe.say(Piece(asked.number, b"abc", False))  # made again in other pieces, as another version might
    assert await pipe.told() == More(asked.number)
    await pipe.say(Piece(asked.number, b"def", False))
    assert await rest == b"ef"
    last = asyncio.create_task(_rest(pieces))
    assert await pipe.told() == More(asked.number)
    await pipe.say(Piece(asked.number, b"gh", True))
    assert await last == [b"gh"]
    assert (voice.stats().restarts, voice.stats().running) == (1, 0)


async def _rest(pieces: AsyncGenerator[bytes, None]) -> list[bytes]:
    return [piece async for piece in pieces]


async def test_what_was_at_work_alone_in_a_crash_is_not_tried_again(house: House) -> None:
    voice, pipe = house
    voice.ends_with = -signal.SIGSEGV
    voice._process.returncode = -signal.SIGSEGV  # type: ignore[union-attr, misc]
    running = await at_work(voice, pipe, "Poison.")
    pipe.die()
    pipe = await back(voice)
    with pytest.raises(UnspeakableText):
        await running
    other = await at_work(voice, pipe, "On.")  # the first that the new process is told
    other.cancel()


async def test_what_was_at_work_in_a_process_that_was_killed_has_one_more_try(house: House) -> None:
    voice, pipe = house
    running = await at_work(voice, pipe, "Hello.")
    pipe.die()
    pipe = await back(voice)
    assert (await pipe.asked()).text == "Hello."
    pipe.die()
    pipe = await back(voice)
    with pytest.raises(UnspeakableText):
        await running
    assert voice.stats().restarts == 2


async def test_what_was_cleared_is_no_suspect_of_the_next_crash(house: House) -> None:
    voice, pipe = house
    running = await at_work(voice, pipe, "Hello.")
    pipe.die()  # somebody killed it
    pipe = await back(voice)
    asked = await pipe.asked()
    await pipe.say(Piece(asked.number, b"ab", False))
    assert await pipe.told() == More(asked.number)
    await pipe.say(Piece(asked.number, b"", True))
    assert await running == [b"ab"]
    pieces, first = begin(voice)
    await pipe.asked()
    pipe.die()
    pipe = await back(voice)
    await pipe.say(Piece((await pipe.asked()).number, b"ab", False))
    assert await first == b"ab"
    voice.ends_with = voice._process.returncode = -signal.SIGSEGV  # type: ignore[union-attr, misc]
    poison = await at_work(voice, pipe, "Poison.")
    pipe.die()
    pipe = await back(voice)
    with pytest.raises(UnspeakableText):
        await poison
    rest = asyncio.create_task(_rest(pieces))
    await pipe.say(Piece((await pipe.asked()).number, b"abcd", True))
    assert await rest == [b"cd"]


async def test_several_suspects_are_tried_one_at_a_time(house: House) -> None:
    voice, pipe = house
    voice.ends_with = -signal.SIGSEGV
    voice._process.returncode = -signal.SIGSEGV  # type: ignore[union-attr, misc]
    poison = await at_work(voice, pipe, "Poison.")
    good = await at_work(voice, pipe, "Hello.")
    pipe.die()
    pipe = await back(voice)
    assert (await pipe.asked()).text == "Poison."
    pipe.die()  # and the other was not at work
    pipe = await back(voice)
    with pytest.raises(UnspeakableText):
        await poison
    asked = await pipe.asked()
    assert asked.text == "Hello."
    await pipe.say(Piece(asked.number, b"ab", True))
    assert await good == [b"ab"]


async def test_what_waited_inside_the_process_is_no_suspect(monkeypatch: pytest.MonkeyPatch, house: House) -> None:
    voice, pipe = house
    voice.ends_with = -signal.SIGSEGV
    voice._process.returncode = -signal.SIGSEGV  # type: ignore[union-attr, misc]
    monkeypatch.setattr(voice, "workers", 1)
    poison = await at_work(voice, pipe, "Poison.")
    good = await at_work(voice, pipe, "Hello.")
    pipe.die()
    pipe = await back(voice)
    with pytest.raises(UnspeakableText):
        await poison
    asked = await pipe.asked()
    await pipe.say(Piece(asked.number, b"ab", True))
    assert await good == [b"ab"]


async def test_who_asks_while_it_is_started_again_waits(house: House) -> None:
    voice, pipe = house
    pipe.die()
    pipe = await voice.processes.get()
    with pytest.raises(EngineError):
        await voice.check()
    running = asyncio.create_task(_all(voice, "On."))
    assert isinstance(await pipe.told(), Load)
    await pipe.say(Ready(22_050, "en-US"))
    await pipe.say(Piece((await pipe.asked()).number, b"cd", True))
    assert await running == [b"cd"]


async def test_who_waits_for_it_is_told_so_in_the_end(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    voice, pipe = house
    monkeypatch.setattr(voices, "RESTART_S", 0.05)
    running = await at_work(voice, pipe, "Hello.")
    pipe.die()
    with pytest.raises(EngineError, match="not available"):
        await running
    with pytest.raises(EngineError):  # and nobody waits after that
        await anext(voice.synthesise(Clause("On.")))
    assert voice.stats().running == 0


async def test_what_a_stuck_process_was_at_work_on_ends_with_that_error(house: House) -> None:
    voice, pipe = house
    running = await at_work(voice, pipe, "Hello.")
    stuck = EngineTimeout("The voice's process was stuck; it is started again.")
    voice.forsaken(stuck)
    pipe.die()
    await back(voice)
    with pytest.raises(EngineTimeout):
        await running


async def test_closing_ends_who_waits(house: House) -> None:
    voice, pipe = house
    running = await at_work(voice, pipe, "Hello.")
    await voice.close()
    with pytest.raises(EngineError):
        await running


async def test_a_voice_that_does_not_load_again_is_tried_later_and_later(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice, pipe = house
    pauses = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(process.asyncio, "sleep", pause)
    pipe.die()
    for _ in range(8):
        pipe = await voice.processes.get()
        await pipe.told()
        await pipe.say(Unloadable("it is gone"))
        pipe.die()
    pipe = await voice.processes.get()
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_a_voice_that_cannot_be_loaded_says_why() -> None:
    Voice.processes = asyncio.Queue()
    starting = asyncio.create_task(Voice.start(Path("/voice.onnx"), SETTINGS))
    pipe = await Voice.processes.get()
    await pipe.told()
    await pipe.say(Unloadable("there is no such speaker"))
    pipe.die()
    with pytest.raises(EngineError, match="no such speaker"):
        await starting


@pytest.mark.parametrize("setting", ["speaker", "workers", "threads", "max_clauses"])
def test_settings_have_bounds(setting: str) -> None:
    with pytest.raises(CallerError) as caught:
        PiperSettings(**{setting: -1})
    assert caught.value.param == setting
