"""What speech costs, end to end on the real voice: what was heard of a reply that was broken into, nothing for a text
that was cleared or a whole answer that failed.
"""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import time
import uuid
from base64 import b64decode

import pytest
from callers import metric, until
from speakers import (
    BYTES_PER_MS,
    SENTENCES,
    TEXT,
    deepgram,
    elevenlabs,
    event,
    parts,
    realtime,
    typed,
    voice_gone,
    voice_of,
)

from serving import API_KEY

pytestmark = pytest.mark.xdist_group("faults")
LONG = (TEXT * 19)[:4000]


def charged(server, *sessions):
    """Of each dimension; of all sessions where none is named."""
    query = "SELECT session, dimension, sum(amount) FROM entries GROUP BY session, dimension"
    sums = {}
    with contextlib.closing(sqlite3.connect(server.data_dir / "ledger.db")) as ledger:
        for session, dimension, amount in ledger.execute(query).fetchall():
            if amount and (not sessions or session in sessions):
                sums[dimension] = sums.get(dimension, 0) + amount
    return sums


async def ended(session):
    """When nothing is open any more."""

    async def quiet():
        return await metric(session, "antiphon_sessions_open") == 0

    await until(quiet, 20)


async def ask(session, text=TEXT, headers=None, **more):
    """Status, session and speech."""
    body = {"model": "tts-1", "voice": "alloy", "input": text, "response_format": "pcm", **more}
    async with session.post("/v1/audio/speech", json=body, headers=headers or {}) as response:
        return response.status, response.headers["x-request-id"], await response.read()


async def test_a_text_costs_its_characters_and_what_can_be_heard_of_it(server, session):
    _, id, pcm = await ask(session)
    bill = charged(server, id)
    assert bill["tts.characters"] == len(TEXT)
    assert abs(bill["tts.audio_ms"] - len(pcm) / BYTES_PER_MS) < 3


async def test_who_leaves_pays_for_what_was_sent(server, session):
    body = {"model": "tts-1", "voice": "alloy", "input": LONG, "response_format": "pcm"}
    async with session.post("/v1/audio/speech", json=body) as response:
        id, got = response.headers["x-request-id"], len(await response.content.readexactly(48_000))
        response.close()
    await ended(session)
    bill = charged(server, id)
    assert bill["tts.audio_ms"] >= got / BYTES_PER_MS
    assert 0 < bill["tts.characters"] < len(LONG)


async def test_what_was_cleared_costs_nothing(server, session):
    async with deepgram(server) as live:
        id = json.loads(await live.recv())["request_id"]
        await live.send(json.dumps({"type": "Speak", "text": LONG[:2000]}))
        await live.send('{"type":"Clear"}')
        await live.send(json.dumps({"type": "Speak", "text": SENTENCES[0]}))
        await live.send('{"type":"Close"}')
        heard, cleared = 0, False
        with contextlib.suppress(Exception):
            while True:
                message = await live.recv()
                cleared = cleared or isinstance(message, str)
                heard += len(message) if isinstance(message, bytes) else 0
    assert cleared
    await ended(session)
    bill = charged(server, id)
    assert abs(bill["tts.audio_ms"] - heard / BYTES_PER_MS) < 5
    assert len(SENTENCES[0]) <= bill["tts.characters"] < 400  # and of what was cleared the clauses that were begun


@pytest.mark.long
async def test_a_whole_answer_that_fails_is_free(server, session):
    """With timestamps ElevenLabs' answers come whole."""
    before = charged(server)
    url, headers = "/v1/text-to-speech/joe/with-timestamps?output_format=pcm_24000", {"xi-api-key": API_KEY}
    asking = asyncio.create_task(session.post(url, json={"text": LONG}, headers=headers).__aenter__())

    async def begun():
        return await metric(session, "antiphon_engine_running")

    await until(begun, 20)
    with voice_gone(server):
        os.kill(voice_of(server), signal.SIGKILL)
        async with await asking as response:
            assert response.status == 502, await response.text()
            assert "detail" in await response.json()
    assert charged(server) == before

    async def back():
        return (await ask(session, "Back."))[0] == 200

    await until(back, 60)


async def reply(live, text):
    """One that is spoken whole, of which so much was received: its item, and milliseconds."""
    await live.send(typed(text))
    await live.send(event("response.create", response={"max_output_tokens": 60}))
    item, ms = None, 0.0
    while True:
        told = json.loads(await live.recv())
        if told["type"] == "response.output_audio.delta":
            item, ms = told["item_id"], ms + len(b64decode(told["delta"])) / BYTES_PER_MS
        if told["type"] == "response.done":
            return item, ms


@pytest.mark.parametrize("says", [True, pytest.param(False, marks=pytest.mark.long)])
async def test_of_a_reply_that_is_not_heard_to_its_end_costs_what_was_heard(server, session, says):
    """As its caller says, or as the time that passed tells."""
    async with realtime(server) as live:
        id = str(uuid.UUID(json.loads(await live.recv())["session"]["id"].removeprefix("sess_")))
        begun = time.monotonic()
        item, ms = await reply(live, "Tell me about the sea.")
        assert ms > 2_500, "a reply that is long enough to be left"
        await asyncio.sleep(0.4)
        passed_ms = (time.monotonic() - begun) * 1000
        if says:
            heard_ms = round(min(passed_ms, ms)) // 2
            await live.send(event("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=heard_ms))
            while json.loads(await live.recv())["type"] != "conversation.item.truncated":
                pass
    await ended(session)
    bill = charged(server, *parts(id))
    assert 0 < bill["tts.audio_ms"] <= passed_ms + 50
    if says:
        assert bill["tts.audio_ms"] >= heard_ms
    assert bill["tts.audio_ms"] < ms
    assert bill["tts.characters"] > 0
    assert bill["llm.output_tokens"] > 0


@pytest.mark.parametrize("text", ["😀", "***", "... — (!)"])
async def test_a_text_without_anything_to_say_is_free_on_every_wire(server, session, text):
    """Whole, streamed and live."""
    labs = {"xi-api-key": API_KEY}
    token = {"Authorization": f"Token {API_KEY}"}
    before = charged(server)
    for more in ({}, {"stream_format": "sse"}, {"response_format": "mp3"}):
        assert (await ask(session, text, **more))[0] == 200
    for url, body, headers in (
        ("/v1/speak?model=aura-2-thalia-en", {"text": text}, token),
        ("/v1/text-to-speech/joe", {"text": text}, labs),
        ("/v1/text-to-speech/joe/stream", {"text": text}, labs),
        ("/v1/text-to-speech/joe/with-timestamps", {"text": text}, labs),
    ):
        async with session.post(url, json=body, headers=headers) as response:
            assert response.status == 200, await response.text()
            await response.read()
    async with deepgram(server) as live:
        await live.recv()
        await live.send(json.dumps({"type": "Speak", "text": text}))
        await live.send('{"type":"Flush"}')
        assert json.loads(await live.recv())["type"] == "Flushed"
        await live.send('{"type":"Close"}')
        async for _ in live:
            pass
    async with elevenlabs(server) as live:
        for piece in (" ", text, ""):
            await live.send(json.dumps({"text": piece}))
        async for _ in live:
            pass
    await ended(session)
    assert charged(server) == before
    _, id, _ = await ask(session, f"{text} Yes. {text}")
    assert charged(server, id)["tts.characters"] == len(f"{text} Yes. {text}")
