"""Text in, speech out: order, contexts, charges, timings, deadlines, ends."""

import asyncio
import itertools
from contextlib import aclosing

import pytest

from antiphon.calls.synthesis import MAX_CONTEXTS, MAX_WAITING_CHARACTERS, PIECE_CHARACTERS
from antiphon.catalogue.voices import Voice, Voices
from antiphon.core.audio import Codec, SpeechFormat
from antiphon.core.entry import EntryKind
from antiphon.core.errors import (
    CallerError,
    CapacityError,
    Draining,
    EngineError,
    LedgerUnavailable,
    UnknownModel,
    UnknownVoice,
    UnsupportedParameter,
)
from antiphon.core.events import (
    AllSpoken,
    Begin,
    Clear,
    Cleared,
    ContextEnded,
    End,
    Failed,
    Finish,
    Flush,
    Flushed,
    Opened,
    Say,
    Spoken,
)
from antiphon.core.specs import Line
from antiphon.core.usage import Dimension
from antiphon.scheduler.steps import DOUBT_MS, FADE
from antiphon.testing import FakeSynthesiser
from session_house import events_of, listen, until

RAW = SpeechFormat(Codec.LINEAR16, sample_rate=16_000)


def spoken(events):
    return [event for event in events if isinstance(event, Spoken)]


def charged(house, session):
    sums = {}
    for entry in house.ledger.entries:
        if entry.session == session.call.id and entry.quantity.amount:
            sums[entry.quantity.dimension] = sums.get(entry.quantity.dimension, 0) + entry.quantity.amount
    return sums


async def speak(house, text, **spec):
    session = house.speak(text=text, format=RAW, **spec)
    events = await events_of(session)
    await session.close(delivered=True)
    return session, events


# -- a whole text ------------------------------------------------------------------------------------------------------


async def test_a_text_is_spoken_clause_by_clause_and_ends(house):
    _session, events = await speak(house, "one two. three four.")
    assert isinstance(events[0], Opened)
    assert events[0].model == "tone-2026"
    assert [clause.text for clause in house.synthesiser.clauses] == ["one two.", "three four."]
    assert isinstance(events[-1], AllSpoken)
    assert events[-1].characters == len("one two. three four.")


async def test_pieces_follow_each_other_without_a_gap_and_hold_what_they_say(house):
    _, events = await speak(house, "one two. three four.")
    pieces = spoken(events)
    assert pieces[0].start_ms == 0
    assert all(a.end_ms == b.start_ms for a, b in itertools.pairwise(pieces))
    assert pieces[-1].end_ms == events[-1].audio_ms
    assert sum(len(piece.audio) for piece in pieces) // 32 == events[-1].audio_ms


async def test_it_is_charged_in_characters_and_milliseconds(house):
    session, events = await speak(house, "one two. three four.")
    assert charged(house, session) == {
        Dimension.TTS_CHARACTERS: events[-1].characters,
        Dimension.TTS_AUDIO_MS: events[-1].audio_ms,
    }
    assert house.ledger.entries[-1].kind is EntryKind.COMPLETED


async def test_what_leaves_is_in_the_ledger_before(house):
    session = house.speak(text="one two. three four.", format=RAW)
    async for batch in session.events():
        for event in batch:
            if isinstance(event, Spoken):
                assert charged(house, session)[Dimension.TTS_AUDIO_MS] >= event.end_ms
    await session.close(delivered=True)


async def test_speed_reaches_the_engine(house):
    await speak(house, "one.", speed=1.5)
    assert house.synthesiser.clauses[0].speed == 1.5


async def test_an_answer_that_comes_whole_is_one_piece_charged_once(house):
    session, events = await speak(house, "one two. three four.", stream=False)
    assert len(spoken(events)) == 1
    assert spoken(events)[0].end_ms == events[-1].audio_ms
    assert len([e for e in house.ledger.entries if e.session == session.call.id and e.kind is EntryKind.USAGE]) == 2
    assert session.was_charged
    assert not session.in_doubt


async def test_an_answer_that_comes_whole_is_free_if_it_fails(house):
    session = house.speak(text="one two. three four.", format=RAW, stream=False)
    house.synthesiser.error = EngineError("It fell silent.")
    events = await events_of(session)
    await session.close(delivered=True)
    assert isinstance(events[-1], Failed)
    assert charged(house, session) == {}


async def test_a_stream_that_fails_is_charged_for_what_was_delivered(house):
    session = house.speak(text="one two. three four.", format=RAW)
    events = []
    async for batch in session.events():
        events += batch
        if len(spoken(events)) == 1:
            house.synthesiser.error = EngineError("It fell silent.")
    await session.close(delivered=True)
    assert isinstance(events[-1], Failed)
    assert charged(house, session)[Dimension.TTS_AUDIO_MS] == spoken(events)[-1].end_ms
    assert house.ledger.entries[-1].kind is EntryKind.ABANDONED


async def test_who_leaves_stops_the_work(house):
    session = house.speak(text="one two three four five six.", format=RAW)
    async with aclosing(session.events()) as produced:
        await anext(produced)
        await anext(produced)
    await session.close(delivered=False)
    assert house.synthesiser.dropped > 0


async def test_nothing_leaves_where_the_ledger_fails(house):
    house.ledger.error = LedgerUnavailable("The disk is full.")
    session = None
    with pytest.raises(LedgerUnavailable):
        session = house.speak(text="one.", format=RAW)
    house.ledger.error = None
    session = house.speak(text="one.", format=RAW)
    house.ledger.error = LedgerUnavailable("The disk is full.")
    events = await events_of(session)
    await session.close(delivered=True)
    assert spoken(events) == []
    assert isinstance(events[-1], Failed)


async def test_only_what_was_heard_is_charged_for(house):
    session, events = await speak(house, "one two. three four.")
    heard_ms = spoken(events)[0].end_ms
    await session.played(heard_ms)
    assert charged(house, session)[Dimension.TTS_AUDIO_MS] == heard_ms
    assert charged(house, session)[Dimension.TTS_CHARACTERS] < events[-1].characters
    corrections = [e for e in house.ledger.entries if e.kind is EntryKind.CORRECTION]
    assert {e.quantity.dimension for e in corrections} == {Dimension.TTS_CHARACTERS, Dimension.TTS_AUDIO_MS}


async def test_nobody_is_charged_more_because_more_was_heard_than_there_was(house):
    session, events = await speak(house, "one two.")
    await session.played(10_000_000)
    assert charged(house, session)[Dimension.TTS_AUDIO_MS] == events[-1].audio_ms


async def test_of_what_was_not_heard_at_all_no_character_is_charged(house):
    session, _ = await speak(house, "one two.")
    await session.played(0)
    assert not any(charged(house, session).values())


async def test_what_is_corrected_to_nothing_has_an_end_all_the_same(house):
    session = house.speak(text="one two.", format=RAW)
    await events_of(session)
    await session.played(0)
    await session.close(delivered=False)
    assert house.ledger.entries[-1].kind is EntryKind.ABANDONED


async def test_what_a_failure_overtakes_is_not_charged(house):
    session = house.speak(live=True, format=RAW)
    house.synthesiser.gate.clear()
    await session.feed(Say("one two. "))
    await session.feed(Flush())
    events = []
    telling = asyncio.create_task(listen(session, events))
    await until(lambda: house.synthesiser.clauses)
    session.fail(EngineError("It was given up."))
    house.synthesiser.gate.set()
    await telling
    await session.close(delivered=True)
    assert spoken(events) == []
    assert charged(house, session) == {}


@pytest.mark.parametrize(("stream", "live"), [(True, False), (False, False), (True, True)])
@pytest.mark.parametrize("delivered", [True, False])
async def test_a_whole_answer_that_did_not_leave_is_in_doubt(house, stream, live, delivered):
    """A stream is charged for what was sent, as far as that was."""
    session = house.speak(text="one.", format=RAW, stream=stream, live=live)
    if live:
        await session.feed(Say("one."))
        await session.feed(End())
    await events_of(session)
    await session.close(delivered)
    assert session.in_doubt == (not stream and not delivered)


async def test_a_stream_that_broke_off_is_paid_for_and_so_is_what_comes_after_it(house):
    session = house.speak(text="one two. three four.", format=RAW)
    async for batch in session.events():
        if spoken(batch):
            house.synthesiser.error = EngineError("It fell silent.")
    await session.close(delivered=True)
    assert charged(house, session)
    assert not session.in_doubt


# -- what has no sound -------------------------------------------------------------------------------------------------

SILENT = ["😀", "***", "...", " \n", "— (!) \u200b", "```\n```"]


@pytest.mark.parametrize("text", SILENT)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_text_without_anything_to_say_is_free(house, text, stream):
    session, events = await speak(house, text, stream=stream)
    assert house.synthesiser.clauses == []
    assert events[-1] == AllSpoken(0, 0)
    assert house.ledger.entries == []
    assert not session.was_charged


@pytest.mark.parametrize("text", SILENT)
async def test_what_is_silent_is_charged_with_the_words_around_it(house, text):
    for whole in (f"{text} one two.", f"one two. {text}", f"one {text} two."):
        session, _ = await speak(house, whole)
        assert charged(house, session)[Dimension.TTS_CHARACTERS] == len(whole)


async def test_words_that_the_voice_makes_no_sound_of_are_free(house, monkeypatch):
    monkeypatch.setattr("antiphon.testing.voice._tone", lambda letter, speed: bytes(320))
    session, events = await speak(house, "one two. three.")
    assert len(house.synthesiser.clauses) == 2
    assert events[-1].characters == 0
    assert Dimension.TTS_CHARACTERS not in charged(house, session)


@pytest.mark.parametrize("text", SILENT)
async def test_of_live_texts_those_without_anything_to_say_are_free(house, text):
    """Texts are parted by flushes, and a context's end; nothing depends on when the next one comes."""
    given = [Say("one."), Flush(), Say(text), Flush(), Say(" two. 😀"), Flush(), Say(text)]
    session, _ = await live(house, *given, End())
    assert charged(house, session)[Dimension.TTS_CHARACTERS] == len("one. two. 😀")
    session, _ = await live(house, Say(text, "a"), Say("one.", "b"), Finish("a"), Finish("b"), End())
    assert charged(house, session)[Dimension.TTS_CHARACTERS] == len("one.")
    session, _ = await live(house, Say(text), Flush(), End())
    assert charged(house, session) == {}


async def test_a_clear_between_flushes_keeps_the_account(house):
    session, _ = await live(house, Say("one two."), Flush(), Clear(), Say("***"), Flush(), Say("four."), End())
    assert charged(house, session)[Dimension.TTS_CHARACTERS] == len("four.")


# -- timings -----------------------------------------------------------------------------------------------------------


async def test_every_character_has_its_time(house):
    text = "one two. three four!"
    _, events = await speak(house, text, timings=True)
    times = [time for piece in spoken(events) for time in piece.characters]
    assert "".join(time.text for time in times) == text
    assert all(a.end_ms <= b.start_ms or a.end_ms == b.start_ms for a, b in itertools.pairwise(times))
    assert times[-1].end_ms <= events[-1].audio_ms


async def test_what_is_read_differs_from_what_is_written(house):
    _, events = await speak(house, "I have 3.", timings=True)
    (piece,) = (piece for piece in spoken(events) if piece.characters)
    assert "".join(time.text for time in piece.characters) == "I have 3."
    assert "three" in "".join(time.text for time in piece.spelled)


async def test_times_that_follow_make_no_sound_wait(house):
    """They are the same, and come with the last sound of their clause."""
    text = "one two. three four!"
    _, waited = await speak(house, text, timings=True)
    _, followed = await speak(house, text, times_follow=True)
    _, untimed = await speak(house, text)
    assert [piece.audio for piece in spoken(followed)] == [piece.audio for piece in spoken(untimed)]
    assert not spoken(followed)[0].characters
    for kind in ("characters", "spelled"):
        assert [t for e in spoken(followed) for t in getattr(e, kind)] == [
            t for e in spoken(waited) for t in getattr(e, kind)
        ]
    timed = [piece for piece in spoken(followed) if piece.characters]
    assert [piece.characters[-1].end_ms for piece in timed] == [piece.end_ms for piece in timed]
    house.voices.aligner = None
    _, without = await speak(house, text, times_follow=True)
    assert spoken(without) == spoken(untimed)


async def test_times_need_an_aligner(house):
    house.voices.aligner = None
    with pytest.raises(UnsupportedParameter):
        house.speak(text="one.", timings=True)


# -- a live text -------------------------------------------------------------------------------------------------------


async def live(house, *given, **spec):
    session = house.speak(live=True, format=RAW, **spec)
    for each in given:
        await session.feed(each)
    events = await events_of(session)
    await session.close(delivered=True)
    return session, events


async def test_a_whole_sentence_does_not_wait_for_the_next_and_ends_a_word(house):
    """It is not a flush: it has no answer, and a clear takes it back."""
    session, events = await live(house, Say("one two", whole=True), Say("three", whole=True), End(), times_follow=True)
    assert [clause.text for clause in house.synthesiser.clauses] == ["one two", "three"]
    assert "".join(each.text for piece in spoken(events) for each in piece.characters) == "one two three "
    assert not any(isinstance(event, Flushed) for event in events)
    assert charged(house, session)[Dimension.TTS_CHARACTERS] == len("one twothree")


async def test_what_is_flushed_ends_with_a_space_written_or_not(house):
    _, events = await live(
        house, Say("one two"), Flush(), Say("three. "), Flush(), Say("four"), End(), times_follow=True
    )
    assert "".join(each.text for piece in spoken(events) for each in piece.characters) == "one two three. four "


async def test_pieces_of_text_become_one_speech(house):
    _, events = await live(house, Say("one t"), Say("wo. thr"), Say("ee four"), Flush(), End())
    assert [clause.text for clause in house.synthesiser.clauses] == ["one two.", "three four"]
    assert [type(event) for event in events if not isinstance(event, Spoken)] == [
        *(Opened, Flushed, ContextEnded, AllSpoken)
    ]


async def test_a_flush_is_answered_where_there_is_nothing_to_say(house):
    _, events = await live(house, Flush(), End())
    assert [type(event) for event in events] == [Opened, Flushed, AllSpoken]


async def test_a_clear_forgets_what_was_written_and_charges_nothing_for_it(house):
    session, events = await live(house, Say("one two three. "), Clear(), Say("four."), End())
    assert [clause.text for clause in house.synthesiser.clauses] == ["four."]
    assert any(isinstance(event, Cleared) for event in events)
    assert charged(house, session)[Dimension.TTS_CHARACTERS] == len("four.")


async def test_a_clear_throws_away_the_step_that_runs(house):
    session = house.speak(live=True, format=RAW)
    house.synthesiser.gate.clear()
    await session.feed(Say("one two three."))
    await session.feed(Flush())
    events = []
    telling = asyncio.create_task(listen(session, events))
    await until(lambda: house.synthesiser.clauses)
    await session.feed(Clear())
    house.synthesiser.gate.set()
    await session.feed(End())
    await telling
    await session.close(delivered=True)
    assert spoken(events) == []
    assert [type(event) for event in events] == [Opened, Cleared, ContextEnded, AllSpoken]
    assert charged(house, session) == {}


async def test_a_clear_takes_back_the_flushes_before_it_and_none_after(house):
    _, events = await live(
        house, Say("one two. "), Flush(), Say("three."), Flush(), Clear(), Say("four."), Flush(), End()
    )
    assert [clause.text for clause in house.synthesiser.clauses] == ["four."]
    told = [type(event) for event in events if not isinstance(event, Spoken)]
    assert told == [Opened, Cleared, Flushed, ContextEnded, AllSpoken]


async def test_contexts_speak_beside_each_other_each_in_its_order(house):
    _, events = await live(
        house,
        Begin("a", speed=2.0),
        Say("one two. three.", "a"),
        Say("four five. six.", "b"),
        Finish("a"),
        Finish("b"),
        End(),
    )
    assert {event.context for event in spoken(events)} == {"a", "b"}
    for name in "ab":
        pieces = [event for event in spoken(events) if event.context == name]
        assert pieces[0].start_ms == 0
        assert all(a.end_ms == b.start_ms for a, b in itertools.pairwise(pieces))
    assert {clause.speed for clause in house.synthesiser.clauses if "one" in clause.text} == {2.0}
    assert [e.context for e in events if isinstance(e, ContextEnded)] == ["a", "b"]


async def test_a_context_that_has_begun_cannot_begin_again(house):
    _, events = await live(house, Begin("a"), Begin("a"))
    assert isinstance(events[-1], Failed)
    assert isinstance(events[-1].error, CallerError)


async def test_contexts_and_waiting_text_are_bounded(house):
    _, events = await live(house, *(Say("one", str(n)) for n in range(MAX_CONTEXTS + 1)))
    assert isinstance(events[-1].error, CallerError)
    _, events = await live(house, Say("a " * MAX_WAITING_CHARACTERS))
    assert isinstance(events[-1].error, CapacityError)


@pytest.mark.parametrize("given", [Flush(), Flush("other"), Clear(), Finish("other")], ids=str)
async def test_what_waits_for_an_answer_is_bounded(house, monkeypatch, given):
    monkeypatch.setattr("antiphon.calls.synthesis.MAX_WAITING", 100)
    session = house.speak(live=True, format=RAW)
    await session.feed(Say("one two"))
    for _ in range(110):  # of a caller who reads nothing
        await session.feed(given)
    session.drain()
    events = await events_of(session)
    await session.close(delivered=False)
    assert isinstance(events[-1].error, CapacityError)


async def test_the_server_stops_with_what_was_written_said(house):
    session = house.speak(live=True, format=RAW)
    await session.feed(Say("one two"))
    session.drain()
    events = await events_of(session)
    await session.close(delivered=True)
    assert [clause.text for clause in house.synthesiser.clauses] == ["one two"]
    assert isinstance(events[-1], AllSpoken)


async def test_an_error_from_outside_ends_it(house):
    session = house.speak(live=True, format=RAW)
    events = []
    telling = asyncio.create_task(listen(session, events))
    await until(lambda: events)
    session.fail(Draining("The server is stopping."))
    await telling
    await session.close(delivered=True)
    assert isinstance(events[-1].error, Draining)


# -- who may speak, and when -------------------------------------------------------------------------------------------


async def test_names_that_nobody_has(house):
    with pytest.raises(UnknownVoice) as voice:
        house.speak(text="one.", voice="nobody")
    assert voice.value.param == "voice"
    with pytest.raises(UnknownModel):
        house.speak(text="one.", model="nothing")


async def test_a_voice_stands_for_its_model_and_a_model_for_its_first_voice(house):
    for model, voice in (("alloy", "alloy"), ("buzz", ""), ("tone", ""), ("tone-2026", "buzz")):
        _, events = await speak(house, "one.", model=model, voice=voice)
        assert events[0].model == "tone-2026"


async def test_first_sounds_are_measured_from_the_text_on(house):
    house.synthesiser.step_ms = 60
    await speak(house, "one two. three four.")
    metrics = house.metrics()
    assert 'antiphon_tts_speeches_total{good="true"} 1.0' in metrics
    house.synthesiser.step_ms = 80
    await speak(house, "one two. three four.")
    assert 'antiphon_tts_speeches_total{good="false"} 1.0' in house.metrics()


async def test_what_is_sent_whole_is_no_more_urgent_than_if_it_were_played(house, monkeypatch):
    steps, asked = house.voices.resolve("tone", "alloy")[1].steps, []
    place = steps.place

    def recorded(deadline_ns, project, weight):
        asked.append((deadline_ns, project, weight))
        return place(deadline_ns, project, weight)

    monkeypatch.setattr(steps, "place", recorded)
    _, events = await speak(house, "One two three. Four five six. Seven eight.", stream=False)
    deadlines = [deadline_ns for deadline_ns, *_ in asked]
    assert deadlines == sorted(deadlines)
    assert deadlines[-1] > deadlines[0]
    assert {(project, weight) for _, project, weight in asked} == {("acme", 1)}
    assert len(spoken(events)) == 1
    assert steps.line._made_ms > DOUBT_MS * FADE ** len(asked)


async def test_it_is_silent_while_there_is_nothing_to_speak(house):
    session = house.speak(live=True, format=RAW)
    assert session.silent
    await session.feed(Say("One two three. "))
    await session.feed(Flush())
    assert not session.silent
    await session.feed(End())
    await events_of(session)
    assert session.silent
    await session.close(delivered=True)


async def test_a_long_text_is_read_in_turns_with_everybody_else(house):
    session = house.speak(text="a-" * 5000, format=RAW)
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(others())
    produced = session.events()
    await anext(produced)
    await anext(produced)
    other.cancel()
    assert turns >= 10_000 // PIECE_CHARACTERS
    await produced.aclose()
    await session.close(delivered=False)


async def test_a_server_that_stops_speaks_a_text_that_it_is_reading(house):
    session = house.speak(live=True, format=RAW)
    feeding = asyncio.create_task(session.feed(Say("one two. " * 100)))
    await asyncio.sleep(0)
    session.drain()
    events = await events_of(session)
    await feeding
    assert events[-1].characters == 900
    await session.close(delivered=True)


# -- several voices ----------------------------------------------------------------------------------------------------


@pytest.fixture
def cast(house):
    """What a second voice was asked to say, beside the first."""
    other = FakeSynthesiser(house.clock)
    first = house.voices.resolve("tone", "alloy")[1]
    second = Voice("low", other, first.steps)
    house.sessions._voices = Voices(house.catalogue, {"tone-2026": [first, second]}, {"alloy": "buzz"})
    return other


async def test_each_line_of_a_dialogue_is_said_by_its_voice_after_the_one_before(house, cast):
    lines = (Line("low", "one two"), Line("alloy", "three. four"), Line("low", "five."), Line("low", "six."))
    session, events = await speak(house, "", voice="", lines=lines)
    assert [clause.text for clause in cast.clauses] == ["one two", "five.", "six."]
    assert [clause.text for clause in house.synthesiser.clauses] == ["three.", "four"]
    pieces = spoken(events)
    assert all(a.end_ms == b.start_ms for a, b in itertools.pairwise(pieces))
    assert charged(house, session) == {
        Dimension.TTS_CHARACTERS: sum(len(line.text) for line in lines),
        Dimension.TTS_AUDIO_MS: events[-1].audio_ms,
    }


async def test_a_live_dialogue_may_have_any_voice_that_there_is(house, cast):
    _, events = await live(house, Say("one.", whole=True, voice="low"), Say("two.", whole=True, voice="alloy"), End())
    assert [clause.text for clause in cast.clauses] == ["one."]
    assert [clause.text for clause in house.synthesiser.clauses] == ["two."]
    _, events = await live(house, Say("one.", voice="nobody"), End())
    assert isinstance(events[-1], Failed)
    assert isinstance(events[-1].error, UnknownVoice)


def test_voices_of_unlike_rates_do_not_speak_in_one_dialogue(house, cast):
    cast.sample_rate = 22_050
    with pytest.raises(UnsupportedParameter):
        house.speak(lines=(Line("low", "one"), Line("alloy", "two")))
    house.speak(voice="", lines=(Line("low", "one"), Line("low", "two")))
    with pytest.raises(UnknownVoice):
        house.speak(lines=(Line("nobody", "one"),))


@pytest.mark.parametrize(("asked", "spoken"), [("en-GB", True), ("EN", True), ("", True), ("de", False)])
async def test_a_voice_speaks_its_language(house, asked, spoken):
    if spoken:
        session = house.speak(text="one.", language=asked)
        assert isinstance((await events_of(session))[-1], AllSpoken)
        await session.close(delivered=True)
        return
    with pytest.raises(UnsupportedParameter) as refused:
        house.speak(text="one.", language=asked)
    assert refused.value.param == "language"
    with pytest.raises(UnsupportedParameter):
        house.speak(lines=(Line("alloy", "one."),), voice="", language=asked)


async def test_who_comes_to_a_live_dialogue_speaks_its_language_too(house):
    session = house.speak(live=True, voice="", language="de")
    await session.feed(Say("one. ", voice="alloy"))
    await session.feed(End())
    last = (await events_of(session))[-1]
    assert isinstance(last.error, UnsupportedParameter)
    await session.close(delivered=False)
    assert not house.durable()
