"""Callers who have texts spoken, or hold conversations, on a real server, and know what they received."""

import asyncio
import contextlib
import json
import uuid
from base64 import b64decode, b64encode
from collections import Counter
from pathlib import Path

import aiohttp
import h11
import numpy as np
from callers import children, socket_of
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from serving import API_KEY

BYTES_PER_MS = 48  # of 24 kHz, 16 bits
GONE = (OSError, EOFError, aiohttp.ClientError, WebSocketException)  # what a caller sees of a dead server
VOICE = "aura-2-thalia-en"
SENTENCES = (
    "The harbour was quiet that morning, and nobody had come down to the boats yet. ",
    "She counted forty seven gulls on the wall, which was more than usual. ",
    "When the bell rang, all of them rose at once and turned towards the sea. ",
)
TEXT = "".join(SENTENCES)


class Received:
    """Of each session: milliseconds of speech, characters of texts that were spoken to their end, and milliseconds of
    the caller's own speech whose words were told. `ended` are those that came to their proper end.
    """

    def __init__(self):
        self.spoken_ms = Counter()
        self.characters = Counter()
        self.heard_ms = Counter()
        self.ended = set()


def parts(conversation):
    """The ids that a conversation's parts may have."""
    return [str(uuid.uuid5(uuid.UUID(conversation), str(n))) for n in range(1, 500)]


def voice_of(server):
    """Its process."""
    named = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children(server.pid)}
    return next((pid for pid, command in named.items() if b"engines.piper.worker" in command), None)


# -- texts -------------------------------------------------------------------------------------------------------------


def request(text, **more):
    """The bytes of a `POST /v1/audio/speech`."""
    body = json.dumps({"model": "tts-1", "voice": "alloy", "input": text, "response_format": "pcm", **more}).encode()
    head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {API_KEY}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def answered(server, asked, on_data=lambda head, data: None):
    """The head of the answer, its body and whether that came to its end. What has come counts, however it ends."""
    reader, writer = await socket_of(server)
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="POST", target="/", headers=[("host", "h"), ("content-length", "0")]))
    parser.send(h11.EndOfMessage())
    head, body, ended = None, b"", False
    writer.write(asked)
    try:
        while not ended:
            data = await reader.read(65_536)
            parser.receive_data(data)
            while (event := parser.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                if isinstance(event, h11.Response):
                    head = event
                elif isinstance(event, h11.Data):
                    body += event.data
                    on_data(head, event.data)
                elif isinstance(event, h11.EndOfMessage):
                    ended = True
                    break
                elif isinstance(event, h11.ConnectionClosed):
                    return head, body, False
    except (h11.RemoteProtocolError, *GONE):
        pass
    finally:
        writer.transport.abort()
    return head, body, ended


def header(head, name):
    return dict(head.headers)[name.encode()].decode()


async def http_speech(server, received, text=TEXT):
    """A stream, whose status and end are returned."""

    def count(head, data):
        received.spoken_ms[header(head, "x-request-id")] += len(data) / BYTES_PER_MS

    head, body, ended = await answered(server, request(text), count)
    if head is not None and ended and head.status_code == 200:
        session = header(head, "x-request-id")
        received.characters[session] = len(text)
        received.ended.add(session)
    return head, body, ended


def deepgram(server, **options):
    url = f"{server.ws_url}/v1/speak?model={VOICE}&encoding=linear16&sample_rate=24000"
    return connect(url, additional_headers={"Authorization": f"Token {API_KEY}"}, compression=None, **options)


async def deepgram_speech(server, received, texts=SENTENCES):
    """Text after text over one connection."""
    async with deepgram(server) as socket:
        session = json.loads(await socket.recv())["request_id"]
        for text in texts:
            await socket.send(json.dumps({"type": "Speak", "text": text}))
            await socket.send('{"type":"Flush"}')
        await socket.send('{"type":"Close"}')
        unspoken = list(texts)
        async for message in socket:
            if isinstance(message, bytes):
                received.spoken_ms[session] += len(message) / BYTES_PER_MS
            elif json.loads(message)["type"] == "Flushed":
                received.characters[session] += len(unspoken.pop(0).rstrip())
    assert not unspoken
    received.ended.add(session)


def elevenlabs(server, **options):
    url = f"{server.ws_url}/v1/text-to-speech/joe/stream-input?output_format=pcm_24000&auto_mode=true"
    return connect(url, additional_headers={"xi-api-key": API_KEY}, compression=None, **options)


async def elevenlabs_speech(server, received, texts=SENTENCES):
    async with elevenlabs(server) as socket:
        session = socket.response.headers["request-id"]
        for text in (" ", *texts, ""):
            await socket.send(json.dumps({"text": text}))
        async for message in socket:
            told = json.loads(message)
            assert "error" not in told, told
            if told.get("audio"):
                received.spoken_ms[session] += len(b64decode(told["audio"])) / BYTES_PER_MS
            if told["isFinal"]:
                received.characters[session] = len("".join(texts).rstrip())
                received.ended.add(session)


# -- conversations -----------------------------------------------------------------------------------------------------


def realtime(server, **options):
    url = f"{server.ws_url}/v1/realtime?model=gpt-4o-mini"
    return connect(url, additional_headers={"Authorization": f"Bearer {API_KEY}"}, compression=None, **options)


def house_rate_to_24(pcm):
    """16 kHz to 24 kHz."""
    samples = np.frombuffer(pcm, "<i2").astype(np.float32)
    at = np.arange(len(samples) * 3 // 2) * 2 / 3
    return np.interp(at, np.arange(len(samples)), samples).astype("<i2").tobytes()


def event(kind, **fields):
    return json.dumps({"type": kind, **fields})


def typed(text):
    content = [{"type": "input_text", "text": text}]
    return event("conversation.item.create", item={"type": "message", "role": "user", "content": content})


async def conversation(server, received, speech, turns=2, tokens=40):
    """Spoken questions, each answered aloud."""
    async with realtime(server) as socket:
        session = str(uuid.UUID(json.loads(await socket.recv())["session"]["id"].removeprefix("sess_")))
        audio = {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}}
        await socket.send(event("session.update", session={"type": "realtime", "audio": audio}))
        for _ in range(turns):
            for start in range(0, len(speech), 48_000):
                piece = b64encode(speech[start : start + 48_000]).decode()
                await socket.send(event("input_audio_buffer.append", audio=piece))
            await socket.send(event("input_audio_buffer.commit"))
            await socket.send(event("response.create", response={"max_output_tokens": tokens}))
            async for message in socket:
                told = json.loads(message)
                assert told["type"] != "error", told
                if told["type"] == "response.output_audio.delta":
                    received.spoken_ms[session] += len(b64decode(told["delta"])) / BYTES_PER_MS
                elif told["type"] == "conversation.item.input_audio_transcription.completed":
                    received.heard_ms[session] += round(told["usage"]["seconds"] * 1000)
                elif told["type"] == "response.done":
                    ending, details = told["response"]["status"], told["response"]["status_details"]
                    # While a voice is slow, it may have no room for a reply.
                    full = ending == "failed" and details["error"]["code"] == "rate_limit_exceeded"
                    assert full or ending in ("completed", "incomplete"), details
                    break
    received.ended.add(session)


async def forever(call, *given):
    """Again and again, until the server has gone."""
    with contextlib.suppress(*GONE):
        while True:
            before = asyncio.get_running_loop().time()
            await call(*given)
            if asyncio.get_running_loop().time() - before < 0.01:
                await asyncio.sleep(0.01)


@contextlib.contextmanager
def voice_gone(server):
    """Its model cannot be loaded meanwhile: what it was saying cannot go on."""
    models = server.data_dir / "models"
    target = models.readlink()
    models.unlink()
    try:
        yield
    finally:
        models.symlink_to(target)
