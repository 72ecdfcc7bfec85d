import asyncio
import hashlib
import logging
import random

import pytest

from antiphon.calls.recognition import MAX_UNREAD_EVENTS
from antiphon.calls.recording import Recording
from antiphon.core.audio import AudioFormat, Encoding
from antiphon.core.entry import EntryKind
from antiphon.core.errors import (
    AlreadyAnswered,
    BadMedia,
    CapacityError,
    Conflict,
    EngineError,
    InternalError,
    LedgerUnavailable,
    StillRunning,
)
from antiphon.core.events import (
    Audio,
    Cause,
    Closed,
    End,
    Failed,
    Final,
    Flush,
    Interim,
    Opened,
    Progress,
    Report,
    Transcript,
)
from antiphon.core.usage import Dimension
from antiphon.core.wire import Url
from session_house import audio, events_of, first_final, listen, pour, until

SPEECH = audio(900, 700)


def finals(events):
    return [event for event in events if isinstance(event, Final)]


def kinds(house, session):
    return [entry.kind for entry in house.ledger.entries if entry.session == session.call.id]


# -- what is said ------------------------------------------------------------------------------------------------------


async def test_a_live_stream_from_open_to_close(house):
    session = house.open(interims=True)
    hearing = asyncio.create_task(events_of(session))
    await pour(session, SPEECH)
    await session.feed(End())
    events = await hearing
    await session.close(delivered=True)
    assert events[0] == Opened("tiny", languages=("en",))
    assert [final.cause for final in finals(events)] == [Cause.ENDPOINT]
    assert finals(events)[0].transcript.text.startswith("one two three")
    assert events[-1] == Closed(1600, 1, hashlib.sha256(SPEECH).hexdigest())


@pytest.mark.parametrize("heard", [b"", SPEECH], ids=["silent", "spoken"])
async def test_the_time_that_a_stream_is_open_is_counted_where_it_is_charged(house, heard):
    session = house.open(charges_time=True)
    await session.feed(Audio(heard))
    house.clock.advance_ms(7_000)
    await session.close(delivered=False)
    charged = {each.quantity.dimension: each.quantity.amount for each in house.ledger.entries if each.quantity.amount}
    assert charged.pop(Dimension.STT_SESSION_MS) == 7_000
    assert charged == ({Dimension.STT_AUDIO_MS: 1_600} if heard else {})


async def test_a_stream_without_audio_is_free(house):
    session = house.open()
    await session.feed(Flush())
    await session.feed(End())
    flushed = Final(0, 0, 0, Transcript("", 0.0), Cause.FLUSH)
    assert await events_of(session) == [
        Opened("tiny", languages=("en",)),
        flushed,
        Closed(0, 1, hashlib.sha256().hexdigest()),
    ]
    await session.close(delivered=True)
    assert house.ledger.entries == []


async def test_a_flush_finalises_and_the_stream_goes_on(house):
    session = house.open(endpointing_ms=None)
    hearing = asyncio.create_task(events_of(session))
    for _ in range(2):
        await pour(session, audio(600))
        await session.feed(Flush())
    await session.feed(End())
    assert [final.cause for final in finals(await hearing)] == [Cause.FLUSH, Cause.FLUSH]
    await session.close(delivered=True)


async def test_one_channel_is_flushed_or_all_before_any_audio_too(house):
    session = house.open(format=AudioFormat(Encoding.LINEAR16, 16_000, 2), multichannel=True)
    for channel in (1, None, 7):
        await session.feed(Flush(channel=channel))
    await session.feed(End())
    assert sorted(final.channel for final in finals(await events_of(session))) == [0, 1, 1]
    await session.close(delivered=True)


async def test_a_report_says_how_far_each_channel_is_in_order_with_the_results(house):
    session = house.open(format=AudioFormat(Encoding.LINEAR16, 16_000, 2), multichannel=True)
    events = session.events()
    await anext(events)

    async def report():
        await session.feed(Report())
        return [event for _ in range(2) for event in await anext(events)]

    assert await report() == [Progress(0, 0, 0, 0.0), Progress(1, 0, 0, 0.0)]
    left = b"".join(SPEECH[at : at + 2] + bytes(2) for at in range(0, len(SPEECH), 2))
    await session.feed(Audio(left))
    (final,) = await anext(events)
    first, second = await report()
    assert (first.received_ms, second.received_ms) == (1_600, 1_600)
    assert final.end_ms <= first.settled_ms < 1_600
    assert (first.speech_probability, second.speech_probability) == (
        pytest.approx(1, abs=0.2),
        pytest.approx(0, abs=0.2),
    )
    assert [each.speech_probability for each in await report()] == [0.0, 0.0]  # nothing was heard since
    await session.feed(End())
    await session.feed(Report())
    assert not [each for batch in [batch async for batch in events] for each in batch if isinstance(each, Progress)]
    await session.close(delivered=True)


async def test_what_comes_after_the_end_is_not_heard(house):
    session = house.open()
    await session.feed(Audio(SPEECH))
    await session.feed(End())
    await session.feed(Audio(SPEECH))
    await session.feed(Flush())
    await session.feed(End())
    events = await events_of(session)
    await session.close(delivered=True)
    assert events[-1].sha256 == hashlib.sha256(SPEECH).hexdigest()
    assert house.charged() == {0: 1600}


class LateDecoder:
    """Audio comes out only at the end, after a while; asserts that its calls do not overlap."""

    def __init__(self):
        self.gate = asyncio.Event()
        self.busy = False
        self.finished = False
        self.closed = False

    async def feed(self, data):
        await self._alone()
        return []

    async def finish(self):
        await self._alone()
        self.finished = True
        return [SPEECH]

    async def _alone(self):
        assert not self.busy
        self.busy = True
        await self.gate.wait()
        self.busy = False

    def close(self):
        self.closed = True


async def test_a_drain_waits_for_the_input_that_is_at_work(house, monkeypatch):
    decoder = LateDecoder()
    session = house.open()
    monkeypatch.setattr(session, "_live_decoder", lambda: decoder)
    feeding = asyncio.create_task(session.feed(Audio(b"x")))
    await until(lambda: decoder.busy)
    session.drain()
    hearing = asyncio.create_task(events_of(session))
    await asyncio.sleep(0)
    decoder.gate.set()
    events = await hearing
    await feeding
    await session.close(delivered=True)
    assert len(finals(events)) == 1


async def test_a_session_is_not_over_before_its_decoder_is(house, monkeypatch):
    decoder = LateDecoder()
    session = house.open()
    monkeypatch.setattr(session, "_live_decoder", lambda: decoder)
    decoder.gate.set()
    await session.feed(Audio(b"x"))
    decoder.gate.clear()
    ending = asyncio.create_task(session.feed(End()))
    await until(lambda: decoder.busy)
    hearing = asyncio.create_task(events_of(session))
    for _ in range(5):
        await asyncio.sleep(0)
    decoder.gate.set()
    events = await hearing
    await ending
    await session.close(delivered=True)
    assert len(finals(events)) == 1
    assert house.charged() == {0: 1600}
    assert decoder.closed


async def test_closing_ends_a_drain(house, monkeypatch):
    decoder = LateDecoder()
    session = house.open()
    monkeypatch.setattr(session, "_live_decoder", lambda: decoder)
    decoder.gate.set()
    await session.feed(Audio(b"x"))
    decoder.gate.clear()
    session.drain()
    await until(lambda: decoder.busy)
    async with asyncio.timeout(60):
        await session.close(delivered=False)
    assert decoder.closed
    assert not decoder.finished


async def test_closing_ends_a_drain_that_was_asked_for_twice(house, monkeypatch):
    decoder = LateDecoder()
    session = house.open()
    monkeypatch.setattr(session, "_live_decoder", lambda: decoder)
    decoder.gate.set()
    await session.feed(Audio(b"x"))
    decoder.gate.clear()
    session.drain()
    await until(lambda: decoder.busy)
    session.drain()
    await session.close(delivered=False)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("drain")]


# -- what is bounded ---------------------------------------------------------------------------------------------------


async def test_unread_interims_are_replaced_channel_by_channel(house):
    session = house.open(interims=True, multichannel=True, channels=2, endpointing_ms=None)
    both = b"".join(2 * audio(1)[n : n + 2] for n in range(0, 32, 2))
    events = session.events()
    await anext(events)
    for _ in range(8):
        before = len(house.recogniser.calls)
        await session.feed(Audio(both * 500))
        await until(lambda before=before: len(house.recogniser.calls) > before)
    await session.feed(End())
    heard = [event async for batch in events for event in batch]
    await session.close(delivered=True)
    for channel in (0, 1):
        # One that waited, and those that came while it was read.
        assert len([e for e in heard if isinstance(e, Interim) and e.channel == channel]) <= 3
        assert len([e for e in finals(heard) if e.channel == channel]) >= 1


async def test_a_caller_who_does_not_read_loses_the_session(house):
    session = house.open()
    await pour(session, audio(*(320, 640) * (MAX_UNREAD_EVENTS + 20)), piece_ms=10_000)
    await until(lambda: sum(map(len, house.recogniser.calls)) > MAX_UNREAD_EVENTS + 10)
    await session.feed(End())
    events = await events_of(session)
    await session.close(delivered=False)
    assert isinstance(events[-1].error, CapacityError)
    assert finals(events) == []
    assert house.charged() == {}


# -- what goes wrong ---------------------------------------------------------------------------------------------------


async def test_a_defect_is_told_without_its_content(house, monkeypatch, caplog):
    class Broken(LateDecoder):
        async def feed(self, data):
            raise ValueError("the caller's words")

    session = house.open()
    monkeypatch.setattr(session, "_live_decoder", Broken)
    await session.feed(Audio(b"x"))
    await session.feed(Audio(b"more"))
    events = await events_of(session)
    await session.close(delivered=True)
    assert isinstance(events[-1].error, InternalError)
    assert "words" not in events[-1].error.message
    assert [r.exc_info[0] for r in caplog.records if r.exc_info] == [ValueError]


async def test_a_defect_of_a_recording_does_not_leave_its_caller_waiting(house, monkeypatch):
    async def broken(self, data):
        raise ValueError

    session = house.open(live=False, incremental=False)
    monkeypatch.setattr(Recording, "channels", broken)
    playing = asyncio.create_task(session.play(SPEECH))
    async with asyncio.timeout(60):
        events = await events_of(session)
    await playing
    await session.close(delivered=True)
    assert isinstance(events[-1], Failed)


async def test_an_engine_that_fails_costs_nothing(house):
    house.recogniser.fails = lambda utterance: True
    session = house.open()
    await pour(session, SPEECH)
    await session.feed(End())
    events = await events_of(session)
    await session.close(delivered=True)
    assert isinstance(events[-1].error, EngineError)
    assert house.ledger.entries == []


async def test_the_callers_own_error_does_not_make_free_what_was_heard(house):
    session = house.open()
    await session.feed(Audio(SPEECH))
    session.fail(BadMedia("It is damaged."))
    session.fail(InternalError("later"))
    events = await events_of(session)
    await session.close(delivered=True)
    assert isinstance(events[-1].error, BadMedia)
    assert house.charged() == {0: 1600}
    assert kinds(house, session) == [EntryKind.USAGE, EntryKind.ABANDONED]


# -- the ledger --------------------------------------------------------------------------------------------------------


async def test_no_result_before_it_is_durable(house):
    house.ledger.gate.clear()
    session = house.open(interims=True)
    events = []
    hearing = asyncio.create_task(listen(session, events))
    await pour(session, SPEECH)
    await session.feed(End())
    await house.ledger.entered.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not [event for event in events if isinstance(event, Final | Closed)]
    house.ledger.gate.set()
    await hearing
    await session.close(delivered=True)
    assert isinstance(events[-1], Closed)
    assert finals(events)


@pytest.mark.parametrize("seed", range(4))
async def test_what_is_charged_is_what_was_received_on_each_channel(house, seed):
    chance = random.Random(seed)
    channels = chance.choice([1, 2, 3])
    session = house.open(multichannel=True, channels=channels)
    hearing = asyncio.create_task(events_of(session))
    sent = 0
    for _ in range(30):
        ms = chance.randrange(1, 400)
        loud = chance.random() < 0.6
        await session.feed(Audio((audio(1) if loud else audio(0, 1)) * ms * channels))
        sent += ms
        if chance.random() < 0.1:
            await session.feed(Flush())
    await session.feed(End())
    events = await hearing
    await session.close(delivered=True)
    assert house.charged() == dict.fromkeys(range(channels), sent)
    assert (events[-1].audio_ms, events[-1].channels) == (sent, channels)
    assert kinds(house, session)[-1] is EntryKind.COMPLETED
    assert [entry.sequence for entry in house.ledger.entries] == list(range(len(house.ledger.entries)))


async def test_each_final_is_charged_before_the_next_audio(house):
    session = house.open()
    await pour(session, SPEECH)
    final = await first_final(session)
    assert house.charged() == {0: final.end_ms}
    await session.close(delivered=False)
    assert house.charged() == {0: 1600}
    assert kinds(house, session) == [EntryKind.USAGE, EntryKind.USAGE, EntryKind.ABANDONED]


async def test_a_live_caller_who_vanishes_pays_for_what_was_heard(house):
    session = house.open()
    await session.feed(Audio(audio(500)))
    await session.close(delivered=False)
    assert house.charged() == {0: 500}
    assert kinds(house, session) == [EntryKind.USAGE, EntryKind.ABANDONED]


@pytest.mark.parametrize("write_first", [True, False])
async def test_a_caller_who_vanishes_while_an_entry_is_written_is_charged_once(house, write_first):
    house.ledger.gate.clear()
    house.ledger.write_first = write_first
    session = house.open()
    hearing = asyncio.create_task(events_of(session))
    await pour(session, SPEECH)
    await house.ledger.entered.wait()
    hearing.cancel()
    await asyncio.gather(hearing, return_exceptions=True)
    house.ledger.gate.set()
    await session.close(delivered=False)
    assert house.charged() == {0: 1600}
    assert kinds(house, session) == [EntryKind.USAGE, EntryKind.USAGE, EntryKind.ABANDONED]


async def test_a_failed_ledger_delivers_nothing(house):
    session = house.open()
    await pour(session, SPEECH)
    house.ledger.error = LedgerUnavailable("usage cannot be recorded")
    events = await events_of(session)
    house.ledger.error = None
    await session.close(delivered=True)
    assert isinstance(events[-1].error, LedgerUnavailable)
    assert finals(events) == []
    assert house.ledger.entries == []
    assert 'outcome="ledger_unavailable"' in house.metrics()


async def test_closing_goes_on_where_its_caller_is_cancelled(house):
    house.ledger.gate.clear()
    session = house.open()
    await session.feed(Audio(audio(500)))
    closing = asyncio.create_task(session.close(delivered=False))
    await house.ledger.entered.wait()
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    assert 'antiphon_sessions_open{surface="deepgram"} 1.0' in house.metrics()
    house.ledger.gate.set()
    await house.sessions.all.settle()
    assert house.charged() == {0: 500}
    assert 'antiphon_sessions_open{surface="deepgram"} 0.0' in house.metrics()


# -- recordings --------------------------------------------------------------------------------------------------------


async def play(house, pcm=SPEECH, claim=None, delivered=True, **spec):
    session = house.open(claim, **{"live": False, "incremental": False} | spec)
    await session.play(pcm)
    events = await events_of(session)
    await session.close(delivered)
    return session, events


async def test_a_recording_is_charged_once_before_its_answer(house):
    house.ledger.gate.clear()
    session = house.open(live=False, incremental=False, multichannel=True, channels=2)
    playing = asyncio.create_task(session.play(audio(*(400, 600) * 5)))
    heard = []
    hearing = asyncio.create_task(listen(session, heard))
    await house.ledger.entered.wait()
    await playing
    assert not [event for event in heard if isinstance(event, Closed)]
    house.ledger.gate.set()
    await hearing
    assert house.ledger.appends == 1
    assert house.charged() == {0: 2500, 1: 2500}
    await session.close(delivered=True)
    assert kinds(house, session) == [EntryKind.USAGE, EntryKind.USAGE, EntryKind.COMPLETED]


async def test_a_recording_told_piece_by_piece_is_paid_whole_at_its_first_piece(house):
    session = house.open(live=False)
    await session.play(audio(*(400, 600) * 10))
    await first_final(session)
    assert house.charged() == {0: 10_000}
    await session.close(delivered=False)
    assert house.charged() == {0: 10_000}


async def test_what_a_recording_decodes_to_is_held_until_its_session_ends(house):
    budget = house.sessions._services.decoder.budget
    budget.total_bytes = 3 * len(SPEECH)
    # 8 kHz, 8 bits: one byte becomes two samples of two bytes
    mulaw = AudioFormat(Encoding.MULAW, 8_000, 1)
    first = house.open(live=False, incremental=False, format=mulaw)
    await first.play(bytes(len(SPEECH) // 2))
    assert budget.taken_bytes == 2 * len(SPEECH)
    second = house.open(live=False, incremental=False, format=mulaw)
    await second.play(bytes(len(SPEECH) // 2))
    (failed,) = [event for event in await events_of(second) if isinstance(event, Failed)]
    assert (failed.error.status, failed.error.retry_after_s) == (429, 5)
    await second.close(delivered=True)
    assert budget.taken_bytes == 2 * len(SPEECH)
    await first.close(delivered=False)
    assert budget.taken_bytes == 0
    _, events = await play(house)
    assert isinstance(events[-1], Closed)


async def test_a_recording_whose_caller_left_before_its_answer_is_free(house):
    session = house.open(live=False, incremental=False)
    await session.play(SPEECH)
    await session.close(delivered=False)
    assert house.ledger.entries == []


async def test_a_recording_from_elsewhere(house):
    house.fetcher.media = SPEECH
    house.fetcher.gate.set()
    _, events = await play(house, Url("https://example.com/a.wav"))
    assert isinstance(events[-1], Closed)
    assert house.charged() == {0: 1600}


@pytest.mark.parametrize(
    ("part", "words", "charged_ms"),
    [
        ({"from_ms": 1_000}, "one two three", 1_600),
        ({"until_ms": 400}, "one", 400),
        ({"from_ms": 300, "until_ms": 900}, "one two", 600),
        ({"from_ms": 300, "until_ms": 99_000}, "one two | one two three", 2_300),
    ],
)
async def test_a_part_of_a_recording_is_heard_and_charged(house, part, words, charged_ms):
    _, events = await play(house, audio(900, 700, 600, 400), **part)
    assert " | ".join(final.transcript.text for final in finals(events) if final.transcript.text) == words
    assert house.charged() == {0: charged_ms}
    assert events[-1].audio_ms == charged_ms


async def test_a_part_that_is_not_there_is_refused(house):
    _, events = await play(house, SPEECH, from_ms=1_600)
    assert isinstance(events[-1].error, BadMedia)
    assert house.ledger.entries == []


async def test_a_long_recording_is_heard_whole(house):
    _, events = await play(house, audio(*(2000, 2000) * 15))
    assert len(finals(events)) == 15
    assert house.charged() == {0: 60_000}


async def test_the_same_request_again_is_charged_once(house):
    _, events = await play(house, claim=await house.claim("retry", "body"), delivered=False)
    again, events_again = await play(house, claim=await house.claim("retry", "body"))
    assert finals(events) == finals(events_again)
    assert isinstance(events_again[-1], Closed)
    assert house.charged() == {0: 1600}
    assert house.charged(again) == {}
    assert 'antiphon_metered_total{dimension="stt.audio_ms",model="tiny",surface="deepgram"} 1600.0' in house.metrics()
    with pytest.raises(Conflict):
        await house.claim("retry", "another body")
    with pytest.raises(AlreadyAnswered):
        await house.claim("retry", "body")


async def test_of_the_same_request_at_the_same_time_one_is_answered(house):
    claims = [await house.claim("retry", "body") for _ in range(3)]
    told = await asyncio.gather(*(play(house, claim=claim) for claim in claims), return_exceptions=True)
    refused = [each for each in told if isinstance(each, StillRunning)]
    assert len(refused) == 2
    assert house.charged() == {0: 1600}


# -- the log -----------------------------------------------------------------------------------------------------------


async def test_the_log_names_the_session_and_nothing_of_what_was_said(house, caplog):
    caplog.set_level(logging.INFO, "antiphon")
    session, _ = await play(house)
    (record,) = [record for record in caplog.records if record.getMessage() == "session ended"]
    told = {name: getattr(record, name) for name in ("session", "project", "key", "outcome", "charged")}
    assert told == {
        "session": session.call.id,
        "project": "acme",
        "key": "k1",
        "outcome": "completed",
        "charged": {"stt.audio_ms": 1600},
    }
    assert not any("one two" in str(value) for value in vars(record).values())


# -- lateness ----------------------------------------------------------------------------------------------------------


async def test_an_utterance_of_nothing_does_not_age_the_next_ones_first_interim(house):
    heard = iter(["noise", "", "", "", "", ""])
    house.recogniser.hear = lambda utterance: next(heard, "one two")
    measured = []
    house.observer.utterance = lambda one, project, recogniser: measured.append(one)
    session = house.open(interims=True)
    events = session.events()
    await anext(events)
    await session.feed(Audio(audio(200)))
    assert isinstance((await anext(events))[0], Interim)
    await session.feed(Audio(audio(0, 700)))
    assert (await anext(events))[0].transcript.text == ""
    house.clock.advance_ms(5000)
    house.recogniser.hear = lambda utterance: "one two"
    await session.feed(Audio(audio(0, 100, 600, 700)))
    await session.feed(End())
    rest = [event async for batch in events for event in batch]
    await session.close(delivered=True)
    assert finals(rest)[0].transcript.text == "one two"
    assert len(measured) == 1  # nothing was said in the first one, so there was nothing to be late with
    assert measured[0].ttfb_ms >= 0


async def test_a_caller_is_charged_although_what_the_call_held_cannot_be_freed(house, monkeypatch):
    async def fail():
        raise EngineError("gone")

    session = house.open()
    await session.feed(Audio(audio(1000)))
    monkeypatch.setattr(session, "_free", fail)
    await session.close(delivered=False)
    assert sum(house.charged().values()) == 1000
    assert house.ledger.entries[-1].kind is EntryKind.ABANDONED


async def test_a_channel_that_cannot_be_closed_leaves_nothing_of_the_others(house, monkeypatch):
    opened, closed = house.runner.open, []

    async def open_stream(spec, call):
        stream = await opened(spec, call)
        close = stream.close

        async def closes():
            closed.append(spec.channel)
            await close()
            raise RuntimeError("the engine is gone")

        monkeypatch.setattr(type(stream), "close", lambda self: closes())
        return stream

    monkeypatch.setattr(house.runner, "open", open_stream)
    session = house.open(channels=2)
    given = []
    monkeypatch.setattr(session, "_held", type("Held", (), {"give_back": lambda self: given.append(True)})())
    await pour(session, bytes(64 * 1000))
    await session.close(delivered=False)
    assert given == [True]
