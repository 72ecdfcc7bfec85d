"""A session on an engine behind the port, which has neither our clock nor our memory."""

import asyncio

import pytest

from antiphon.calls.recognition import Recognition
from antiphon.core.audio import AudioFormat, Encoding
from antiphon.core.call import Call
from antiphon.core.capabilities import SpeechAbility, SpeechCapabilities
from antiphon.core.errors import BadMedia, EngineError
from antiphon.core.events import Audio, Cause, Closed, End, Failed, Final, Flush, Guide, Interim, Transcript
from antiphon.core.identity import Principal
from antiphon.core.ports import Guidance
from antiphon.core.specs import TranscribeSpec, TurnRules
from antiphon.core.speech import SpeechEvent, Wait
from antiphon.testing import FakeSpeechEngine
from session_house import events_of, until

SECOND = bytes(32_000)
SESSION = "00000000-0000-4000-8000-000000000001"
FORM = AudioFormat(Encoding.LINEAR16, 16_000, 1)


@pytest.fixture
def engine():
    return FakeSpeechEngine()


def opened(house, engine, **spec) -> Recognition:
    asked = TranscribeSpec("nova-3", FORM, live=True, incremental=True, interims=True, **spec)
    who = Principal("acme", "k1", frozenset(), 3)
    house.observer.opened("deepgram")
    return Recognition(house.services, Call(SESSION, who, "deepgram", asked), "tiny", engine, lambda session: None)


async def test_a_call_is_charged_for_what_was_received_whatever_the_engine_counts(house, engine):
    session = opened(house, engine)
    hearing = asyncio.create_task(events_of(session))
    for _ in range(3):
        await session.feed(Audio(SECOND))
    engine.streams[0].received = 1
    await session.feed(End())
    events = await hearing
    await session.close(delivered=True)
    assert isinstance(events[-1], Closed)
    assert events[-1].audio_ms == 3000
    assert engine.load().live == 0
    call = engine.streams[0].call
    assert (call.id, call.project, call.weight, call.deadline_ns) == (SESSION, "acme", 3, None)


async def test_lateness_counts_from_when_samples_arrived_here(house, engine, monkeypatch):
    measured = []
    monkeypatch.setattr(house.observer, "utterance", lambda *given: measured.append(given[0]))
    session = opened(house, engine)
    hearing = asyncio.create_task(events_of(session))
    for _ in range(4):  # a second each, in real time
        house.clock.advance_ms(1000)
        await session.feed(Audio(SECOND))
    stream = engine.streams[0]
    text = Transcript("one two", 0.9)
    house.clock.advance_ms(150)
    stream.say(SpeechEvent(Interim(0, 1000, 2000, text), onset=16_001))
    await until(lambda: session._channels[0].timer._first_sent_ns is not None)
    house.clock.advance_ms(350)
    stream.say(SpeechEvent(Final(0, 1000, 3000, text, Cause.ENDPOINT), onset=16_001, spoken=48_000, wished_ms=200))
    await until(lambda: measured)
    assert (measured[0].ttfb_ms, measured[0].final_ms) == (2150, 1300)  # it was fed with 4 s; speech was over at 3 s
    house.clock.advance_ms(100)
    await session.feed(Flush())
    house.clock.advance_ms(70)
    await until(lambda: len(measured) == 2)
    assert measured[1].final_ms == 70  # since the flush, and not since the audio before it
    await session.feed(End())
    await hearing
    await session.close(delivered=True)


async def test_a_wait_names_the_pause_that_it_is_about(house, engine):
    session = opened(house, engine, turns=TurnRules())
    hearing = asyncio.create_task(events_of(session))
    await session.feed(Audio(SECOND))
    stream = engine.streams[0]
    paused = Interim(0, 0, 1000, Transcript("That is all.", 0.9), paused=True)
    stream.say(SpeechEvent(paused, onset=1, spoken=14_000))
    await until(lambda: any(isinstance(mark, Wait) for mark in stream.marks))
    (wait,) = [mark for mark in stream.marks if isinstance(mark, Wait)]
    assert wait.pause == 14_000
    session.wait(500)
    assert stream.marks[-1] == Wait(14_000, 500)
    stream.say(SpeechEvent(Interim(0, 0, 1000, Transcript("That is all. And", 0.9)), onset=1))
    await until(lambda: session._channels[0].pause is None)
    session.wait(700)
    assert stream.marks[-1] == Wait(14_000, 500)  # nobody is silent any more
    await session.feed(End())
    await hearing
    await session.close(delivered=True)


async def test_a_turn_is_as_surely_over_as_the_text_was_that_ended_it(house, engine):
    rules = TurnRules(confidence=0.6, timeout_ms=5_000)
    session = opened(house, engine, turns=rules)
    hearing = asyncio.create_task(events_of(session))
    await session.feed(Audio(SECOND))
    stream = engine.streams[0]
    paused = Interim(0, 0, 1000, Transcript("The ship was painted blue.", 0.9), paused=True)
    stream.say(SpeechEvent(paused, onset=1, spoken=14_000))
    await until(lambda: any(isinstance(mark, Wait) for mark in stream.marks))
    final = Final(0, 0, 1500, Transcript("The ship was painted blue,", 0.9), Cause.ENDPOINT)
    stream.say(SpeechEvent(final, onset=1, spoken=14_000))
    await session.feed(End())
    ended = next(event for event in await hearing if isinstance(event, Final))
    await session.close(delivered=True)
    assert ended.turn_over == pytest.approx(rules.confidence, abs=0.005)


@pytest.mark.parametrize("abilities", [frozenset(), frozenset((SpeechAbility.GUIDANCE,))])
async def test_an_engine_is_guided_anew_if_it_can_be(house, engine, abilities):
    engine.capabilities = SpeechCapabilities(abilities=abilities)
    session = opened(house, engine, languages=("en",), multichannel=True)
    hearing = asyncio.create_task(events_of(session))
    await session.feed(Guide("before the audio", ("one",)))
    await session.feed(Audio(SECOND))
    await session.feed(Guide("later"))
    await session.feed(End())
    told, *_ = await hearing
    await session.close(delivered=True)
    (stream,) = engine.streams
    guided = [mark for mark in stream.marks if isinstance(mark, Guidance)]
    first = Guidance(("en",), prompt="before the audio", keyterms=("one",))
    assert told.guided == bool(abilities)
    assert (stream.spec.guidance == first, guided) == (
        (True, [Guidance(("en",), prompt="later")]) if abilities else (False, [])
    )


async def test_an_engine_that_fails_ends_the_call(house, engine):
    session = opened(house, engine)
    hearing = asyncio.create_task(events_of(session))
    await session.feed(Audio(SECOND))
    engine.streams[0].say(EngineError("it is gone"))
    events = await hearing
    await session.close(delivered=True)
    assert isinstance(events[-1], Failed)
    assert events[-1].error.message == "it is gone"
    assert engine.streams[0].closed


async def test_an_engine_that_takes_no_stream_ends_the_call(house, engine):
    engine.error = EngineError("it is away")
    session = opened(house, engine)
    hearing = asyncio.create_task(events_of(session))
    await session.feed(Audio(SECOND))
    events = await hearing
    await session.close(delivered=True)
    assert isinstance(events[-1], Failed)


async def test_a_container_with_more_channels_than_were_let_in_is_refused(house, engine):
    session = opened(house, engine, multichannel=True)

    class Decoder:
        async def feed(self, data):
            return [data, data]

        def close(self):
            pass

    session._decoder = Decoder()
    await session.feed(Audio(SECOND))
    events = await events_of(session)
    await session.close(delivered=True)
    assert isinstance(events[-1].error, BadMedia)
    assert engine.streams == []
