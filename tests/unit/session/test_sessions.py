import asyncio
import uuid

import pytest

from antiphon.core.errors import (
    BadMedia,
    CallerError,
    CapacityError,
    Draining,
    InternalError,
    LedgerUnavailable,
    Unauthenticated,
    UnknownModel,
)
from antiphon.core.events import Audio, Closed, End, Failed, Final
from antiphon.core.identity import Scope
from antiphon.core.wire import Opening, Url
from antiphon.session import sessions as module
from antiphon.slo.measure import Measured
from session_house import audio, pour, said

SPEECH = audio(900, 700)


@pytest.fixture
async def watching(house, monkeypatch):
    monkeypatch.setattr(module, "CHECK_S", 0.001)
    task = asyncio.create_task(house.sessions.watch())
    yield task
    assert not task.done()
    task.cancel()


async def ended(session):
    """The error a session ends with, once it does."""
    async with asyncio.timeout(10):
        events = await said(session)
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
        house.sessions.authenticate("secret", Scope.TRANSCRIBE)
    assert house.charged() == {0: 1600}


async def test_keys_that_cannot_be_read_do_not_end_the_watch(house, watching, caplog):
    house.keys.error = InternalError("the keys cannot be read")
    session = house.open()
    for _ in range(3):
        await asyncio.sleep(0.001)
    house.keys.error = None
    house.keys.revoked = True
    assert isinstance(await ended(session), Unauthenticated)


async def test_a_failed_ledger_stops_all_sessions_until_it_recovers(house, watching):
    silent, recording = house.open(), house.open(live=False)
    playing = asyncio.create_task(recording.play(Url("https://example.com")))
    house.ledger.error = LedgerUnavailable("full")
    assert not house.sessions.ready
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
    assert isinstance((await said(session))[-1], Closed)
    await session.close(delivered=True)


# -- draining ----------------------------------------------------------------------------------------------------------


async def listen_and_close(session):
    events = await said(session)
    await session.close(delivered=isinstance(events[-1], Closed))
    return events


async def test_a_drain_finalises_what_was_heard(house):
    session = house.open(endpointing_ms=None)
    await pour(session, audio(900))
    hearing = asyncio.create_task(listen_and_close(session))
    await house.sessions.drain(10)
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
    draining = asyncio.create_task(house.sessions.drain(10))
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
    await house.sessions.drain(0.01)
    assert isinstance((await hearing)[-1].error, Draining)
    playing.cancel()


async def test_a_drain_does_not_wait_for_one_that_does_not_listen(house, monkeypatch):
    monkeypatch.setattr(module, "LAST_WORDS_S", 0.01)
    session = house.open()
    await house.sessions.drain(0.01)
    await house.sessions.settle()
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
        house.observer.utterance(Measured(900.0, None, 2000.0))
    with pytest.raises(CapacityError):
        house.open()
    house.clock.advance_ms(31_000)
    house.open()


async def test_an_idempotency_key_has_a_bound(house):
    opening = Opening("POST", "/", headers={"idempotency-key": "x" * 300}, request_id=str(uuid.uuid4()))
    with pytest.raises(CallerError):
        await house.sessions.claim(house.principal, opening, "body")
    assert await house.sessions.claim(house.principal, Opening("POST", "/"), "body") is None


# -- what operators see ------------------------------------------------------------------------------------------------


async def test_metrics_count_sessions_refusals_and_audio(house):
    session = house.open()
    await session.feed(Audio(SPEECH))
    await session.feed(End())
    assert 'antiphon_sessions_open{surface="deepgram"} 1.0' in house.metrics()
    await said(session)
    await session.close(delivered=True)
    failed = house.open()
    failed.fail(BadMedia("damaged"))
    assert isinstance((await said(failed))[-1], Failed)
    await failed.close(delivered=True)
    house.sessions.refused("deepgram", CapacityError("full"))
    metrics = house.metrics()
    assert 'antiphon_sessions_open{surface="deepgram"} 0.0' in metrics
    assert 'antiphon_sessions_total{outcome="completed",surface="deepgram"} 1.0' in metrics
    assert 'antiphon_sessions_total{outcome="bad_media",surface="deepgram"} 1.0' in metrics
    assert 'antiphon_refused_total{code="over_capacity",surface="deepgram"} 1.0' in metrics
    assert 'antiphon_metered_total{dimension="stt.audio_ms",model="tiny",surface="deepgram"} 1600.0' in metrics
    assert 'antiphon_stt_utterances_total{good="true"} 1.0' in metrics
    assert "antiphon_streams_live 0.0" in metrics
