"""Callers who have texts spoken and vanish, by the hundred, those who do not read, and a voice whose process is killed
again and again: nothing is left behind, errors are told in each vendor's words, and what was delivered is what is
charged.

`ANTIPHON_KILLS` sets how often the ledger's own tests kill; a voice is killed once for a hundred of those.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sqlite3
import uuid
from base64 import b64decode
from functools import partial

import pytest
from callers import (
    alive,
    children,
    crowd,
    descriptors,
    failures,
    held,
    http,
    left_as_found,
    metric,
    resident_mb,
    socket_of,
    until,
)
from speakers import (
    BYTES_PER_MS,
    SENTENCES,
    TEXT,
    VOICE,
    answered,
    deepgram,
    elevenlabs,
    event,
    header,
    realtime,
    request,
    typed,
    voice_gone,
    voice_of,
)
from websockets.exceptions import ConnectionClosed, InvalidStatus

from antiphon.engines.piper.voice import RESTART_S
from serving import API_KEY, served

pytestmark = pytest.mark.xdist_group("faults")
KILLS = max(1, int(os.environ.get("ANTIPHON_KILLS", "20")) // 100)
FLOOD = 200
POOL = 16  # threads of asyncio's own, which come when they are needed and stay
CUT_OFF_S = 90  # until what the network takes is full, and fifteen seconds more
LONG = (TEXT * 19)[:4000]
EXPECTED = {
    "the voice's process ended",
    "the voice could not be started again",
    "ASGI callable returned without completing response.",  # uvicorn's, of a stream of bytes that is broken off
}


@pytest.fixture(scope="module")
def server(tmp_path_factory, models):
    with served(tmp_path_factory.mktemp("data"), models) as server:
        yield server
        workers = children(server.pid)
    assert not [pid for pid in workers if alive(pid)]
    assert failures(server, API_KEY, "harbour") <= EXPECTED


@pytest.fixture
async def nothing_left(server):
    """Afterwards no session, clause inside the voice, descriptor or thread is left."""
    async with http(server) as session:
        await spoken(server)
        await held(session)
        async with left_as_found(server, session, POOL, 40):
            yield


async def spoken(server, text=SENTENCES[0]):
    """Its samples, from a caller who behaves; refusals for want of room apart."""
    while True:
        head, body, ended = await answered(server, request(text))
        assert head is not None
        if head.status_code == 200 and ended:
            return body
        assert head.status_code in (429, 503), body
        await asyncio.sleep(0.5)


# -- those who come and go ---------------------------------------------------------------------------------------------


async def leaves_http(server, chance):
    form = chance.choice(["pcm", "mp3", "opus", "aac", "flac", "wav"])
    asked = request(chance.choice((*SENTENCES, TEXT)), response_format=form)
    way = chance.choice(["half", "at once", "soon", "amid", "amid", "amid", "end"])
    reader, writer = await socket_of(server)
    writer.write(asked[: chance.randrange(1, len(asked))] if way == "half" else asked)
    if way == "soon":
        await asyncio.sleep(chance.uniform(0, 1))
    elif way == "amid":
        for _ in range(chance.randrange(1, 6)):
            await reader.read(300)
    elif way == "end":
        assert (await reader.read(12)).startswith((b"HTTP/1.1 200", b"HTTP/1.1 429"))
        await reader.readuntil(b"\r\n\r\n")
        await reader.read(1)
    if way == "at once" and chance.random() < 0.5:
        writer.close()
    else:
        writer.transport.abort()


async def leaves_socket(server, chance, opened, said):
    """Says some of it, hears some of it, and goes, with or without a word."""
    try:
        async with opened as live:
            for message in said[: chance.randrange(len(said) + 1)]:
                await live.send(message)
            for _ in range(chance.choice([0, 0, 1, 3, 8])):
                async with asyncio.timeout(chance.uniform(0, 4)):
                    await live.recv()
            if chance.random() < 0.6:
                live.transport.abort()
    except InvalidStatus as refused:
        assert refused.response.status_code == 429  # noqa: PT017
    except (ConnectionClosed, TimeoutError, OSError, EOFError):
        pass


def said_to_deepgram(chance):
    speak = [json.dumps({"type": "Speak", "text": text}) for text in SENTENCES]
    flush, clear, close = ('{"type":"Flush"}', '{"type":"Clear"}', '{"type":"Close"}')
    return [speak[0], flush, speak[1], chance.choice([clear, flush]), speak[2], chance.choice([close, flush])]


def said_to_elevenlabs(chance):
    return [
        json.dumps({"text": " "}),
        *(json.dumps({"text": text, "flush": chance.random() < 0.5}) for text in SENTENCES),
    ]


def said_in_conversation(chance):
    asked = event("response.create", response={"max_output_tokens": chance.randrange(1, 40)})
    return [
        typed("Tell me about the sea."),
        asked,
        chance.choice([event("response.cancel"), asked]),
        typed("Hm."),
        asked,
    ]


async def passer_by(server, chance, within_s=10):
    await asyncio.sleep(chance.uniform(0, within_s))
    match chance.choice(["http"] * 5 + ["deepgram", "deepgram", "elevenlabs", "elevenlabs", "conversation"]):
        case "http":
            await leaves_http(server, chance)
        case "deepgram":
            await leaves_socket(server, chance, deepgram(server), said_to_deepgram(chance))
        case "elevenlabs":
            await leaves_socket(server, chance, elevenlabs(server), said_to_elevenlabs(chance))
        case "conversation":
            await leaves_socket(server, chance, realtime(server), said_in_conversation(chance))


@pytest.mark.long
async def test_hundreds_who_come_and_go_leave_nothing(server, nothing_left):
    workers = children(server.pid)
    alone = await spoken(server, TEXT)
    # So that what is kept for ever is there before it is measured.
    await crowd(partial(passer_by, within_s=3), server, 5000, FLOOD // 5)
    before_mb = resident_mb(server.pid), sum(map(resident_mb, workers))
    flood = asyncio.create_task(crowd(passer_by, server, 0, FLOOD))
    async with http(server) as session:
        await until(lambda: metric(session, "antiphon_sessions_open"), 20)
        assert await spoken(server, TEXT) == alone  # who behaves notices nothing but the time it takes
        await flood
        cache_mb = await metric(session, "antiphon_engine_cache_bytes") / 2**20  # of prompts, within its bound
    assert children(server.pid) == workers  # nothing had to be started again
    assert resident_mb(server.pid) < before_mb[0] + 100
    # The sound that one asks for is more than half a megabyte.
    assert sum(map(resident_mb, workers)) < before_mb[1] + cache_mb + FLOOD / 2


# -- those who do not read ---------------------------------------------------------------------------------------------


def frame(text):
    """A masked message of a caller: RFC 6455, section 5.2."""
    data = text.encode()
    return bytes((0x81, 0xFE)) + len(data).to_bytes(2, "big") + bytes(4) + data


def upgrade(path):
    return (
        f"GET {path} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Authorization: Token {API_KEY}\r\nxi-api-key: {API_KEY}\r\n\r\n"
    ).encode()


def much_for_deepgram():
    opening = upgrade(f"/v1/speak?model={VOICE}&encoding=linear16&sample_rate=48000")
    return opening, [frame(json.dumps({"type": "Speak", "text": LONG[:2000]}))] * 10


def much_for_elevenlabs():
    opening = upgrade("/v1/text-to-speech/joe/stream-input?output_format=pcm_48000&auto_mode=true")
    return opening, [frame(json.dumps({"text": LONG}))] * 5


async def deaf(server, first, then=()):
    """A socket on which nothing is read, once it was let in: a busy machine has no room for so many at once."""
    loop = asyncio.get_running_loop()
    host, port = server.base_url.removeprefix("http://").split(":")
    refused = True
    while refused:
        caller = socket.socket()
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.setblocking(False)
        await loop.sock_connect(caller, (host, int(port)))
        await loop.sock_sendall(caller, first)
        await asyncio.sleep(0.5)
        head = b""
        with contextlib.suppress(BlockingIOError):
            head = caller.recv(12, socket.MSG_PEEK)
        refused = head.endswith((b" 429", b" 503"))
        if refused:
            caller.close()
    for message in then:
        await loop.sock_sendall(caller, message)
    return caller


@pytest.mark.long
async def test_who_does_not_read_is_cut_off(server, nothing_left):
    before_mb, before = resident_mb(server.pid), descriptors(server.pid)
    asked = ((request(LONG),), (request(LONG, stream_format="sse"),), much_for_deepgram(), much_for_elevenlabs())
    callers = await asyncio.gather(*(deaf(server, *each) for each in asked))
    async with http(server) as session:
        assert await metric(session, "antiphon_sessions_open") == len(callers)
        most_mb = 0

        async def cut_off():
            nonlocal most_mb
            most_mb = max(most_mb, resident_mb(server.pid))
            return not await held(session) and descriptors(server.pid) <= before + 1  # this one's own

        await until(cut_off, CUT_OFF_S)  # though they are still there
    for caller in callers:
        caller.close()
    assert most_mb < before_mb + 80


# -- a voice that dies, and does not come back -------------------------------------------------------------------------


class Speech:
    """One that is under way when the voice dies: what was received of which session, and what it was told last."""

    def __init__(self):
        self.session = None
        self.bytes = 0
        self.told = None

    @property
    def ms(self):
        return self.bytes / BYTES_PER_MS

    async def raw(self, server):
        head, _, ended = await answered(server, request(LONG), self._count)
        assert (head.status_code, ended) == (200, False)

    async def events(self, server):
        head, body, ended = await answered(server, request(LONG, stream_format="sse"), self._begun)
        assert (head.status_code, ended) == (200, True)
        deltas, _, error = body.partition(b"event: error\ndata: ")
        told = [json.loads(line[6:]) for line in deltas.splitlines() if line.startswith(b"data: ")]
        self.bytes = sum(len(b64decode(each["audio"])) for each in told)
        self.told = json.loads(error)
        assert self.told["error"]["type"] == "server_error"

    async def deepgram(self, server):
        async with deepgram(server) as live:
            self.session = json.loads(await live.recv())["request_id"]
            for start in range(0, len(LONG), 2000):
                await live.send(json.dumps({"type": "Speak", "text": LONG[start : start + 2000]}))
            with contextlib.suppress(ConnectionClosed):
                while True:
                    self.bytes += len(await live.recv())
            assert live.close_code == 1011
            assert live.close_reason.startswith("NET-0000: ")

    async def elevenlabs(self, server):
        async with elevenlabs(server) as live:
            self.session = live.response.headers["request-id"]
            await live.send(json.dumps({"text": LONG}))
            with contextlib.suppress(ConnectionClosed):
                while True:
                    self.told = json.loads(await live.recv())
                    self.bytes += len(b64decode(self.told.get("audio") or ""))
            assert self.told["error"]
            assert live.close_code == self.told["code"]

    def _begun(self, head, data):
        self.session = header(head, "x-request-id")
        self.bytes = self.bytes or 1

    def _count(self, head, data):
        self.session = header(head, "x-request-id")
        self.bytes += len(data)


async def conversation(server, begun):
    """One whose first reply breaks off, and whose second is given when the voice is back."""
    async with realtime(server) as live:
        told = await _told(live, "session.created")
        session = str(uuid.UUID(told[-1]["session"]["id"].removeprefix("sess_")))
        await live.send(typed("Write a long story about the sea."))
        await live.send(event("response.create", response={"max_output_tokens": 600}))
        await _told(live, "response.output_audio.delta")
        begun.set()
        broken = (await _told(live, "response.done"))[-1]["response"]
        assert broken["status"] == "failed", broken
        assert broken["status_details"]["error"]["type"] == "server_error"
        async with asyncio.timeout(60):
            while True:
                await live.send(event("response.create", response={"max_output_tokens": 5}))
                if (await _told(live, "response.done"))[-1]["response"]["status"] != "failed":
                    return session
                await asyncio.sleep(0.3)


async def _told(live, end):
    told = []
    async with asyncio.timeout(60):
        while not told or told[-1]["type"] != end:
            told.append(json.loads(await live.recv()))
            assert told[-1]["type"] != "error", told[-1]
    return told


async def _admitted(way, speech, server):
    """Comes again while there is no room, as on a machine that does much else."""
    while True:
        try:
            return await way(speech, server)
        except InvalidStatus as refused:
            if refused.response.status_code != 429:
                raise
            await asyncio.sleep(1)


@pytest.mark.long
async def test_a_voice_that_stays_away_ends_its_speeches_with_an_error(server, nothing_left):
    restarts = []
    async with http(server) as session:
        for _ in range(KILLS):
            speeches, begun = [Speech() for _ in range(4)], asyncio.Event()
            ways = (Speech.raw, Speech.events, Speech.deepgram, Speech.elevenlabs)
            async with asyncio.timeout(120), asyncio.TaskGroup() as group:
                for way, speech in zip(ways, speeches, strict=True):
                    group.create_task(_admitted(way, speech, server))

                    async def speaking(speech=speech):
                        return speech.bytes

                    await until(speaking, 60)
                group.create_task(conversation(server, begun))
                await begun.wait()
                with voice_gone(server):
                    os.kill(voice_of(server), signal.SIGKILL)
                    await asyncio.sleep(RESTART_S + 1)
            await spoken(server)  # it is back
            check(server, speeches)
            restarts.append(await metric(session, "antiphon_engine_restarts_total"))
    assert restarts == sorted(set(restarts))


def check(server, speeches):
    """What was delivered is what was charged."""
    query = "SELECT session, sum(amount) FROM entries WHERE dimension = 'tts.audio_ms' GROUP BY session"
    with contextlib.closing(sqlite3.connect(server.data_dir / "ledger.db")) as ledger:
        charged = dict(ledger.execute(query).fetchall())
    difference = [charged[speech.session] - speech.ms for speech in speeches]
    assert all(abs(ms) < 5 for ms in difference), difference
