"""Texts that crash espeak's library, and a voice whose process is killed in mid-speech: who sent the one pays for it,
nobody else is broken off, and what everybody hears is what they would have heard.
"""

import asyncio
import json
import os
import signal

import pytest
from callers import failures, http, metric
from speakers import BYTES_PER_MS, SENTENCES, TEXT, answered, deepgram, request, voice_of

from antiphon.core.errors import UnspeakableText
from antiphon.core.ports import Clause
from antiphon.engines.piper import PiperSettings, PiperVoice
from serving import API_KEY, VOICE, served

pytestmark = pytest.mark.xdist_group("faults")
POISONS = ("日." * 33, "ñ." * 49, "a." * 101, "U.S." * 53, "e.g." * 240, ".ğ" * 50, "語." * 900)
BRIEF = tuple(poison for poison in POISONS if len(poison) < 250)
EXPECTED = {"the voice's process ended"}


@pytest.fixture(scope="module")
def server(tmp_path_factory, models):
    with served(tmp_path_factory.mktemp("data"), models, VOICE) as server:
        yield server
    assert failures(server, API_KEY, "harbour") <= EXPECTED


async def speech(server, text, **more):
    """Status, sound, and whether it came to its end; asked again while a busy machine has no room for it."""
    while True:
        head, body, ended = await answered(server, request(text, **more))
        if head.status_code != 429:
            return head.status_code, body, ended
        await asyncio.sleep(0.5)


@pytest.mark.parametrize("poisons", [BRIEF, pytest.param(POISONS, marks=pytest.mark.long)], ids=["brief", "all"])
async def test_poisonous_texts_cost_nobody_else_anything(server, poisons):
    async with http(server) as session:
        restarts = await metric(session, "antiphon_engine_restarts_total")
        alone, whole = await speech(server, SENTENCES[0]), await speech(server, TEXT)
        voice, sent = voice_of(server), asyncio.Event()

        async def others():
            heard = []
            while not sent.is_set() or len(heard) < 3:
                heard.append(await speech(server, SENTENCES[0]))
            return heard

        running, beside = asyncio.create_task(speech(server, TEXT)), asyncio.create_task(others())
        answers = [await speech(server, poison) for poison in poisons]
        sent.set()
        assert {status for status, _, _ in answers} == {200}  # as they are read aloud they can be spoken
        assert all(ended and len(body) > 200 * BYTES_PER_MS for _, body, ended in answers)
        assert set(await beside) == {alone}
        assert await running == whole
        assert voice_of(server) == voice
        assert await metric(session, "antiphon_engine_restarts_total") == restarts


@pytest.mark.long
async def test_who_speaks_while_the_voice_is_killed_hears_the_whole(server):
    text = TEXT * 2
    whole = await speech(server, text)
    assert whole[0] == 200
    assert whole[2]

    async def killed():
        begun, received = asyncio.Event(), []

        def count(head, data):
            received.append(len(data))
            if sum(received) > 2000 * BYTES_PER_MS:
                begun.set()

        calls = [asyncio.create_task(answered(server, request(text), count)) for _ in range(2)]
        await begun.wait()
        os.kill(voice_of(server), signal.SIGKILL)
        new = asyncio.create_task(speech(server, SENTENCES[0]))  # who comes now waits until it is back
        return [(head.status_code, body, ended) for head, body, ended in await asyncio.gather(*calls)], await new

    heard, new = await killed()
    assert heard == [whole, whole]
    assert new == await speech(server, SENTENCES[0])


@pytest.mark.long
async def test_a_live_text_goes_on(server):
    async def spoken(kill):
        sound = b""
        async with deepgram(server) as socket:
            await socket.send(json.dumps({"type": "Speak", "text": TEXT}))
            await socket.send('{"type":"Flush"}')
            async for message in socket:
                if isinstance(message, bytes):
                    if kill and not sound:
                        os.kill(voice_of(server), signal.SIGKILL)
                    sound += message
                elif json.loads(message)["type"] == "Flushed":
                    break
        return sound

    async with asyncio.timeout(60):
        assert await spoken(kill=True) == await spoken(kill=False)


@pytest.mark.parametrize("unit", ["<", "& ", "<>@%", "½", "€\n"])
async def test_rows_of_signs_are_not_half_an_hour_of_speech(server, unit):
    status, sound, ended = await speech(server, (unit * 4000)[:4000])
    assert (status, ended) == (200, True)
    assert len(sound) < 30_000 * BYTES_PER_MS


async def test_a_text_that_crashes_the_library_is_its_callers_own(models):
    """Where nothing has broken it before: at the engine."""
    voice = await PiperVoice.start(models.path("en-us-joe-medium"), PiperSettings(workers=2, threads=1))
    try:

        async def said(text):
            return b"".join([piece async for piece in voice.synthesise(Clause(text))])

        async def crashes(text):
            """Memory that the library spoils is not always memory that it needs."""
            try:
                await said(text)
            except UnspeakableText:
                return True
            return False

        before = await said(SENTENCES[0])
        beside = asyncio.create_task(said(SENTENCES[0]))
        assert any([await crashes(poison) for poison in POISONS])
        assert await beside == await said(SENTENCES[0]) == before
        assert voice.stats().restarts == 0
    finally:
        await voice.close()
