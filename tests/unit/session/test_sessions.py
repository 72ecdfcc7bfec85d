import asyncio
import uuid
from dataclasses import replace

import pytest

from antiphon.catalogue.language import Served
from antiphon.core.audio import Encoding
from antiphon.core.call import Call
from antiphon.core.errors import (
    BadMedia,
    CallerError,
    CapacityError,
    Draining,
    InternalError,
    KeysUnavailable,
    LedgerUnavailable,
    PolicyError,
    Unauthenticated,
    UnknownModel,
)
from antiphon.core.events import Audio, Closed, End, Failed, Final
from antiphon.core.identity import Scope
from antiphon.core.routing import CallRow, DialogueRow, LookupRow
from antiphon.core.specs import SpeakSpec, TranscribeSpec
from antiphon.core.wire import Bearer, Opening, Url
from antiphon.scheduler.steps import QueuedStep
from antiphon.session import open_sessions as module
from antiphon.session.places import CallKind
from antiphon.slo.measure import Measured
from antiphon.slo.shares import Bound, Shares
from antiphon.testing import FakeSpeechEngine
from session_house import audio, closed, events_of, pour, until

SPEECH = audio(900, 700)


def admit(house, secret, row=None, scope=Scope.TRANSCRIBE):
    """Who is let in with that secret, at a row of the table."""
    row = row or DialogueRow("/", "openai", None)
    return house.door.authenticate(row, Opening("GET", "/"), Bearer(secret), scope)[0]


@pytest.fixture
async def watching(house, monkeypatch):
    monkeypatch.setattr(module, "CHECK_S", 0.001)
    task = asyncio.create_task(house.sessions.all.watch())
    yield task
    assert not task.done()
    task.cancel()


async def ended(session):
    """The error a session ends with, once it does."""
    async with asyncio.timeout(60):
        events = await events_of(session)
    await session.close(delivered=True)
    return events[-1].error


def test_checks_are_made_several_times_a_second():
    assert module.CHECK_S <= 0.5


async def test_a_revoked_key_ends_its_open_streams_and_opens_no_more(house, watching):
    session = house.open()
    await session.feed(Audio(SPEECH))
    house.keys.revoked = True
    assert isinstance(await ended(session), Unauthenticated)
    with pytest.raises(Unauthenticated):
        admit(house, "secret")
    assert house.charged() == {0: 1600}


async def test_keys_that_cannot_be_read_do_not_end_the_watch(house, watching, caplog):
    house.keys.error = InternalError("the keys cannot be read")
    session = house.open()
    for _ in range(3):
        await asyncio.sleep(0.001)
    house.keys.error = None
    house.keys.revoked = True
    assert isinstance(await ended(session), Unauthenticated)


async def test_keys_that_are_lost_let_nobody_in_and_end_what_is_open_after_a_while(house, watching, caplog):
    session = house.open()
    made = house.sessions.secrets.mint(house.principal, "openai", b"", 60)
    house.keys.trouble = "control.db was removed"
    assert (house.sessions.trouble, house.sessions.ready) == ("control.db was removed", False)
    for secret in ("secret", made.secret):
        with pytest.raises(KeysUnavailable):
            admit(house, secret)
    house.keys.unknown_for_long = True
    assert isinstance(await ended(session), KeysUnavailable)
    house.keys.trouble = None
    assert admit(house, made.secret) == house.principal  # it was not used up
    assert "changes of API keys cannot be read" in caplog.text


async def test_a_token_never_may_more_than_its_key_and_ends_with_it(house):
    principal = replace(house.principal, scopes=frozenset({Scope.TRANSCRIBE}))
    token = house.sessions.secrets.mint(principal, "deepgram", b"", 60, once=False).secret
    rows = [shape("/", "deepgram", None) for shape in (DialogueRow, CallRow, LookupRow)]
    assert [admit(house, token, row) for row in rows] == [principal] * 3
    with pytest.raises(PolicyError):
        admit(house, token, rows[1], Scope.SPEAK)
    house.keys.revoked = True
    for row in rows:
        with pytest.raises(Unauthenticated):
            admit(house, token, row)


async def test_a_session_that_cannot_be_checked_harms_no_other(house, watching, caplog, monkeypatch):
    broken, session = house.open(), house.open()
    monkeypatch.setattr(broken, "fail", lambda error: 1 / 0)
    house.keys.revoked = True
    assert isinstance(await ended(session), Unauthenticated)
    (said, *_) = [record for record in caplog.records if record.getMessage() == "a session could not be checked"]
    assert (said.session, said.key) == (broken.call.id, broken.call.principal.key_id)
    monkeypatch.undo()


async def test_a_failed_ledger_stops_all_sessions_until_it_recovers(house, watching):
    silent, recording = house.open(), house.open(live=False)
    playing = asyncio.create_task(recording.play(Url("https://example.com")))
    house.ledger.error = LedgerUnavailable("full")
    assert not house.sessions.ready
    assert house.sessions.trouble == house.ledger.trouble
    with pytest.raises(LedgerUnavailable):
        house.open()
    assert isinstance(await ended(silent), LedgerUnavailable)
    assert isinstance(await ended(recording), LedgerUnavailable)
    playing.cancel()
    house.ledger.error = None
    assert house.sessions.ready
    session = house.open()
    await session.feed(Audio(SPEECH))
    await session.feed(End())
    assert isinstance((await events_of(session))[-1], Closed)
    await session.close(delivered=True)


# -- draining ----------------------------------------------------------------------------------------------------------


async def listen_and_close(session):
    events = await events_of(session)
    await session.close(delivered=isinstance(events[-1], Closed))
    return events


async def test_a_drain_finalises_what_was_heard(house):
    session = house.open(endpointing_ms=None)
    await pour(session, audio(900))
    hearing = asyncio.create_task(listen_and_close(session))
    await house.sessions.all.drain(10)
    events = await hearing
    assert [event.transcript.text for event in events if isinstance(event, Final)] == ["one two three"]
    assert isinstance(events[-1], Closed)
    assert not house.sessions.ready
    with pytest.raises(Draining):
        house.open()


async def test_a_drain_lets_recordings_end_by_themselves(house):
    house.fetcher.media = SPEECH
    session = house.open(live=False, incremental=False)
    playing = asyncio.create_task(session.play(Url("https://example.com")))
    hearing = asyncio.create_task(listen_and_close(session))
    draining = asyncio.create_task(house.sessions.all.drain(10))
    for _ in range(5):
        await asyncio.sleep(0)
    house.fetcher.gate.set()
    await draining
    await playing
    assert (await hearing)[-1].audio_ms == 1600
    assert house.charged() == {0: 1600}


async def test_a_drain_is_bounded(house):
    session = house.open(live=False, incremental=False)
    playing = asyncio.create_task(session.play(Url("https://example.com")))  # never answers
    hearing = asyncio.create_task(listen_and_close(session))
    await house.sessions.all.drain(0.01)
    assert isinstance((await hearing)[-1].error, Draining)
    playing.cancel()


async def test_a_drain_does_not_wait_for_one_that_does_not_listen(house, monkeypatch):
    monkeypatch.setattr(module, "LAST_WORDS_S", 0.01)
    session = house.open()
    await house.sessions.all.drain(0.01)
    await house.sessions.all.settle()
    await session.close(delivered=False)


# -- who is let in -----------------------------------------------------------------------------------------------------


async def test_an_unknown_model_is_refused_with_what_there_is(house):
    with pytest.raises(UnknownModel, match=r"nova-9.*nova-3, tiny"):
        house.open(model="nova-9")
    assert house.open(model="tiny").model == "tiny"


async def test_no_more_live_streams_than_the_bound(house):
    opened = [house.open() for _ in range(4)]
    with pytest.raises(CapacityError) as refusal:
        house.open()
    assert refusal.value.retry_after_s
    await opened[0].close(delivered=True)
    house.open()


async def test_each_channel_counts(house):
    house.open()
    with pytest.raises(CapacityError):
        house.open(multichannel=True, channels=4)
    house.open(multichannel=True, channels=3)


async def test_no_more_recordings_than_the_bound(house):
    for _ in range(2):
        house.open(live=False)
    with pytest.raises(CapacityError):
        house.open(live=False)
    house.open()


async def test_lateness_keeps_streams_out_until_it_is_past(house):
    for _ in range(2):  # half of the room
        house.open()
    for _ in range(100):
        house.observer.utterance(Measured(900.0, None, 2000.0), "acme", house.runner)
    with pytest.raises(CapacityError):
        house.open()
    house.clock.advance_ms(31_000)
    house.open()


# -- several projects --------------------------------------------------------------------------------------------------

OPENINGS = {
    CallKind.LIVE: lambda house: house.open(),
    CallKind.RECORDING: lambda house: house.open(live=False),
    CallKind.GENERATION: lambda house: house.generate(),
    CallKind.SPEECH: lambda house: house.speak(text="one"),
    CallKind.DECODER: lambda house: house.open(encoding=Encoding.CONTAINER),
}


def fill(house, opening):
    """Opens as many as there can be."""
    opened = []
    for _ in range(300):
        try:
            opened.append(opening(house))
        except CapacityError as refusal:
            assert refusal.retry_after_s  # noqa: PT017
            return opened
    raise AssertionError("there is no bound")


@pytest.mark.parametrize("kind", OPENINGS)
async def test_what_one_project_holds_keeps_no_other_out(house, kind):
    house.sessions._places.shares |= {each: Shares(Bound(5)) for each in CallKind}
    opened = fill(house, OPENINGS[kind])
    house.keys.project = "other"
    other = OPENINGS[kind](house)
    fill(house, OPENINGS[kind])  # and not all of it
    house.keys.project = "acme"
    fill(house, OPENINGS[kind])
    for session in (*opened, other):
        await session.close(delivered=True)


@pytest.mark.parametrize("kind", OPENINGS)
async def test_a_key_and_a_project_may_have_a_bound_of_their_own(house, kind):
    house.sessions._places.shares |= {each: Shares(Bound(200)) for each in CallKind}
    house.sessions._places.shares[kind] = Shares(Bound(200, per_key=2))
    assert len(fill(house, OPENINGS[kind])) == 2
    house.sessions._places.shares[kind] = Shares(Bound(200, per_project=3))
    assert len(fill(house, OPENINGS[kind])) == 3


async def test_what_is_closed_is_held_no_more(house):
    for opening in OPENINGS.values():
        await opening(house).close(delivered=True)
    assert {shares.held for shares in house.sessions._places.shares.values()} == {0}


@pytest.mark.parametrize("kind", OPENINGS)
async def test_whoever_was_served_may_come_again_before_the_ledger_knows(house, kind):
    house.sessions._places.shares[kind] = Shares(Bound(200, per_key=1))
    house.ledger.gate.clear()
    for _ in range(3):
        OPENINGS[kind](house).end(delivered=True)
    house.ledger.gate.set()
    await closed()
    assert not house.sessions.all
    assert house.sessions._places.shares[kind].held == 0


async def test_a_stream_in_which_nobody_speaks_counts_for_little(house, watching):
    shares = house.sessions._places.shares[CallKind.LIVE]
    silent, speaking = house.open(), house.open()
    await until(lambda: shares.weighed(0.1) == 2)  # they have just come
    house.clock.advance_ms(11_000)
    await speaking.feed(Audio(SPEECH))
    await until(lambda: shares.weighed(0.1) == pytest.approx(1.1))
    await silent.feed(Audio(SPEECH))
    await until(lambda: shares.weighed(0.1) == 2)
    for session in (silent, speaking):
        await session.close(delivered=False)
    assert shares.weighed(0.1) == 0


async def test_lateness_of_one_project_keeps_no_other_out(house):
    for _ in range(2):  # half of the room
        house.open()
    for _ in range(100):
        house.observer.utterance(Measured(900.0, None, 2000.0), "acme", house.runner)
    with pytest.raises(CapacityError):
        house.open()
    house.keys.project = "other"
    house.open()


# -- speeches ----------------------------------------------------------------------------------------------------------


def busy(house, step_ms, made_ms, waiting=(), project="acme"):
    """A voice whose steps take that long, with none of its places free."""
    line = house.voices.resolve("tone", "alloy")[1].steps.line
    for _ in range(2000):
        line.took(QueuedStep(0, made_ms=made_ms), step_ms)
    for deadline_ns in (0, 0, *waiting):
        line.enter(QueuedStep(deadline_ns, project))
    return line


async def test_a_voice_speaks_no_more_than_it_can_as_fast_as_it_is_heard(house):
    busy(house, 40, 200)  # a fifth of a place for each, so eight on two places
    assert len(fill(house, OPENINGS[CallKind.SPEECH])) == 8
    house.keys.project = "other"
    house.speak(text="one")


def speak(house, **asked):
    return house.sessions.speak(
        Call(str(uuid.uuid4()), house.principal, "deepgram", SpeakSpec("tone", "alloy")), **asked
    )


async def test_a_lone_caller_may_speak_however_slow_the_voice_is_believed_to_be(house):
    line = busy(house, 1000, 200)  # five places each
    house.speak(text="one")
    with pytest.raises(CapacityError):
        house.speak(text="two")
    while not line.idle:
        line.following(house.clock.now_ns())
    house.speak(text="two")  # the first has nothing to say any more, though that is not known yet


async def test_a_lone_caller_may_speak_beside_its_silent_connections(house):
    busy(house, 1000, 200)
    for _ in range(9):
        session = speak(house)
        house.sessions._places.notice(session, house.sessions.all._holds[session])
    house.speak(text="one")
    with pytest.raises(CapacityError):
        house.speak(text="one")


async def test_a_reply_waits_for_the_step_of_one_that_was_cut_however_long_that_takes(house):
    line = busy(house, 1000, 200)
    speak(house, part=True)
    line.enter(QueuedStep(0, "other"))
    with pytest.raises(CapacityError):
        speak(house, part=True)


async def test_a_queue_that_stands_takes_nobody_more_and_that_of_another_project_does(house):
    line = busy(house, 40, 10_000, waiting=[0] * 10)
    house.speak(text="one")  # a burst may wait
    house.clock.advance_ms(600)
    with pytest.raises(CapacityError):
        house.speak(text="one")
    house.keys.project = "other"
    house.speak(text="one")
    house.keys.project = "acme"
    house.sessions.speak(Call(str(uuid.uuid4()), house.principal, "openai", SpeakSpec("tone", "alloy")), part=True)
    while line.following(house.clock.now_ns()):
        pass
    house.speak(text="one")


async def test_an_idempotency_key_has_a_bound(house):
    opening = Opening("POST", "/", headers={"idempotency-key": "x" * 300}, request_id=str(uuid.uuid4()))
    with pytest.raises(CallerError):
        await house.sessions.claim(house.principal, opening, "body")
    assert await house.sessions.claim(house.principal, Opening("POST", "/"), "body") is None


async def test_an_idempotency_key_ends_by_a_time_that_is_not_set_back(house):
    house.keys.unix_ms = lambda: house.clock.unix_ms() + 1_000
    opening = Opening("POST", "/", headers={"idempotency-key": "once"}, request_id=str(uuid.uuid4()))
    claim = await house.sessions.claim(house.principal, opening, "body")
    assert claim.at_unix_ms == house.clock.unix_ms() + 1_000


# -- what operators see ------------------------------------------------------------------------------------------------


async def test_metrics_count_sessions_refusals_and_audio(house):
    session = house.open()
    await session.feed(Audio(SPEECH))
    await session.feed(End())
    assert 'antiphon_sessions_open{surface="deepgram"} 1.0' in house.metrics()
    await events_of(session)
    await session.close(delivered=True)
    failed = house.open()
    failed.fail(BadMedia("damaged"))
    assert isinstance((await events_of(failed))[-1], Failed)
    await failed.close(delivered=True)
    house.sessions.count_refusal("deepgram", CapacityError("full"))
    metrics = house.metrics()
    assert 'antiphon_sessions_open{surface="deepgram"} 0.0' in metrics
    assert 'antiphon_sessions_total{outcome="completed",surface="deepgram"} 1.0' in metrics
    assert 'antiphon_sessions_total{outcome="bad_media",surface="deepgram"} 1.0' in metrics
    assert 'antiphon_refused_total{code="over_capacity",surface="deepgram"} 1.0' in metrics
    assert 'antiphon_metered_total{dimension="stt.audio_ms",model="tiny",surface="deepgram"} 1600.0' in metrics
    assert 'antiphon_stt_utterances_total{good="true"} 1.0' in metrics
    assert "antiphon_streams_live 0.0" in metrics


async def test_recordings_are_decoded_by_turns_of_their_projects(house, monkeypatch):
    decoded, gate = [], asyncio.Event()

    async def decode(data, *, multichannel, hold):
        decoded.append(data)
        await gate.wait()
        raise BadMedia("damaged")

    monkeypatch.setattr(house.sessions._services.decoder, "decode", decode)
    house.sessions._places.shares |= {each: Shares(Bound(200)) for each in CallKind}
    sessions, playing = [], []
    for project in ["acme"] * 8 + ["other"] * 2:
        house.keys.project = project
        sessions.append(house.open(live=False, encoding=Encoding.CONTAINER))
        playing.append(asyncio.create_task(sessions[-1].play(project.encode())))
        await asyncio.sleep(0)
    line = house.sessions._services.decoding.line
    await until(lambda: len(line._waiting) == 8)
    assert len(decoded) == 2  # at once
    house.clock.advance_ms(1000)
    gate.set()
    await asyncio.gather(*playing)
    assert b"other" in decoded[2:4]
    assert decoded[2:6].count(b"other") == 2
    for session in sessions:
        await session.close(delivered=False)


async def test_urls_that_answer_slowly_keep_no_other_project_waiting(house):
    house.sessions._places.shares |= {each: Shares(Bound(200)) for each in CallKind}
    playing, sessions = [], []
    for project in ["acme"] * 9 + ["other"]:
        house.keys.project = project
        sessions.append(house.open(live=False))
        playing.append(asyncio.create_task(sessions[-1].play(Url("https://example.com"))))
        await asyncio.sleep(0)
    assert [session._error is not None for session in sessions] == [False] * 8 + [True, False]
    assert sessions[8]._error.retry_after_s >= 1
    house.fetcher.media = SPEECH
    house.fetcher.gate.set()
    await asyncio.gather(*playing)
    assert house.sessions._services.fetching.held == 0
    for session in sessions:
        await session.close(delivered=False)


async def test_each_choice_holds_a_place(house):
    shares = house.sessions._places.shares[CallKind.GENERATION] = Shares(Bound(10))
    first = house.generate(choices=6)
    assert shares.held == 6
    with pytest.raises(CapacityError):
        house.generate(choices=6)
    second = house.generate(choices=4)
    for generation in (first, second):
        await generation.close(delivered=False)
    assert shares.held == 0
    every = house.generate(choices=128)  # more than there are, when all are free
    assert shares.held == 10
    await every.close(delivered=False)
    assert shares.held == 0


async def test_each_recogniser_has_room_of_its_own(house):
    busy = FakeSpeechEngine()
    busy.stream_share = 2.0  # two workers cannot hear a second stream
    house.served["busy"] = Served("busy", busy, TranscribeSpec)
    assert house.open(model="busy") in house.sessions.all
    with pytest.raises(CapacityError):
        house.open(model="busy")
    house.observer._recent.extend((0, False, "acme", busy) for _ in range(100))  # and it is late with everything
    sessions = [house.open() for _ in range(3)]
    assert house.observer.late(recogniser=house.runner) == 0.0
    assert house.observer.late(recogniser=busy) == 1.0
    for session in (*sessions, *tuple(house.sessions.all)):
        await session.close(delivered=True)
