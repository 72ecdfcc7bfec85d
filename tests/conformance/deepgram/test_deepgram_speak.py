"""Deepgram's official SDK, unmodified, has texts spoken by the real server and its embedded voice."""

import asyncio
import threading
from typing import Any

import pytest
import websockets.exceptions
from deepgram import AsyncDeepgramClient, DeepgramClient
from deepgram.core.api_error import ApiError
from deepgram.core.events import EventType
from deepgram.errors import BadRequestError
from deepgram.speak.v1.types import (
    SpeakV1Cleared,
    SpeakV1Flushed,
    SpeakV1Metadata,
    SpeakV1Text,
    SpeakV1Warning,
)
from deepgram_environment import environment
from sound import assert_loud, length_s
from websockets.sync.client import connect

MODEL = "aura-2-thalia-en"
TEXT = "The sea was calm in the early morning, and nobody had seen the ship before."
ONCE: Any = {"max_retries": 0}

# What is asked for, the codec that comes, its sample rate, and its content type.
FORMATS = [
    ({}, "mp3", 22_050, "audio/mpeg"),
    ({"encoding": "mp3", "bit_rate": 32_000}, "mp3", 22_050, "audio/mpeg"),
    ({"encoding": "linear16"}, "pcm_s16le", 24_000, "audio/wav"),
    ({"encoding": "linear16", "container": "wav", "sample_rate": 48_000}, "pcm_s16le", 48_000, "audio/wav"),
    ({"encoding": "mulaw"}, "pcm_mulaw", 8_000, "audio/wav"),
    ({"encoding": "alaw", "sample_rate": 16_000}, "pcm_alaw", 16_000, "audio/wav"),
    ({"encoding": "opus", "container": "ogg"}, "opus", 48_000, "audio/ogg;codecs=opus"),
    ({"encoding": "flac", "sample_rate": 16_000}, "flac", 16_000, "audio/flac"),
    ({"encoding": "aac", "bit_rate": 64_000}, "aac", 22_050, "audio/aac"),
]


def assert_quiet(rest: list[Any]) -> None:
    """What may still come after the last `Flushed`: the end of the silence that pushed it out."""
    assert set(map(type, rest)) <= {bytes}
    pcm = b"".join(rest)
    assert len(pcm) < 48_000 * 2 / 10
    assert max(map(abs, memoryview(pcm).cast("h")), default=0) < 50


# -- requests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "codec", "rate", "content_type"), FORMATS)
def test_every_format(client: DeepgramClient, asked: Any, codec: str, rate: int, content_type: str) -> None:
    with client.speak.v1.audio.with_raw_response.generate(
        text=TEXT, model=MODEL, request_options=ONCE, **asked
    ) as answer:
        data = b"".join(answer.data)
        headers = answer.headers
    assert 3 < length_s(data, codec, rate) < 8
    assert headers["content-type"] == content_type
    assert headers["dg-char-count"] == str(len(TEXT))
    assert headers["dg-model-name"]
    assert len(headers["dg-model-uuid"]) == len(headers["dg-request-id"]) == 36
    assert headers["ai-disclosure"] == "mode=machine-generated"


def test_raw_sound(client: DeepgramClient) -> None:
    lengths = []
    for speed in (0.75, 1.5):
        pcm = b"".join(
            client.speak.v1.audio.generate(
                text=TEXT, encoding="linear16", container="none", sample_rate=16_000, speed=speed, tag=["a", "b"]
            )
        )
        assert_loud(pcm)
        lengths.append(len(pcm))
    assert 1.8 < lengths[0] / lengths[1] < 2.2


async def test_async(async_client: AsyncDeepgramClient) -> None:
    chunks = [chunk async for chunk in async_client.speak.v1.audio.generate(text=TEXT, mip_opt_out=True)]
    assert 3 < length_s(b"".join(chunks), "mp3", 22_050) < 8


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"text": ""}, 400, "Bad Request"),
        ({"text": "a" * 2_001}, 413, "PAYLOAD_TOO_LARGE"),
        ({"model": "none"}, 400, "Bad Request"),
        ({"model": "nova-3"}, 400, "Bad Request"),
        ({"encoding": "vorbis"}, 400, "INVALID_QUERY_PARAMETER"),
        ({"encoding": "mp3", "container": "wav"}, 400, "INVALID_QUERY_PARAMETER"),
        ({"encoding": "mp3", "sample_rate": 8_000}, 400, "INVALID_QUERY_PARAMETER"),
        ({"encoding": "flac", "bit_rate": 8_000}, 400, "INVALID_QUERY_PARAMETER"),
        ({"speed": 3.0}, 400, "INVALID_QUERY_PARAMETER"),
        ({"callback": "https://example.com"}, 400, "INVALID_QUERY_PARAMETER"),
    ],
)
def test_refusals(client: DeepgramClient, asked: Any, status: int, code: str) -> None:
    with pytest.raises(ApiError) as refused:
        b"".join(client.speak.v1.audio.generate(**{"text": "Hi", "request_options": ONCE, **asked}))
    assert refused.value.status_code == status
    assert isinstance(refused.value, BadRequestError) == (status == 400)
    assert refused.value.body["err_code"] == code
    assert refused.value.body["request_id"] == refused.value.headers["dg-request-id"]


def test_a_wrong_key(server: Any) -> None:
    client = DeepgramClient(api_key="wrong", environment=environment(server))
    with pytest.raises(ApiError) as refused:
        b"".join(client.speak.v1.audio.generate(text="Hi", request_options=ONCE))
    assert refused.value.status_code == 401
    with pytest.raises(websockets.exceptions.InvalidStatus) as live, client.speak.v1.connect():
        pass
    assert live.value.response.status_code == 401


# -- live --------------------------------------------------------------------------------------------------------------


def until_flushed(ws: Any) -> tuple[bytes, SpeakV1Flushed]:
    sound = b""
    while True:
        message = ws.recv()
        if isinstance(message, SpeakV1Flushed):
            return sound, message
        assert isinstance(message, bytes)
        sound += message


def test_a_conversation(client: DeepgramClient) -> None:
    with client.speak.v1.connect(model=MODEL, encoding="linear16", sample_rate="16000") as ws:
        opened = ws.recv()
        assert isinstance(opened, SpeakV1Metadata)
        assert len(opened.request_id) == len(opened.model_uuid) == 36
        for piece in ("The sea was calm in the ear", "ly morning, and nobody ", "had seen the ship before."):
            ws.send_text(SpeakV1Text(text=piece))
        ws.send_flush()
        first, flushed = until_flushed(ws)
        assert_loud(first)
        assert 3 < len(first) / 2 / 16_000 < 8
        assert flushed.sequence_id == 0
        ws.send_text(SpeakV1Text(text="Never"))
        ws.send_clear()
        cleared = ws.recv()
        assert isinstance(cleared, SpeakV1Cleared | SpeakV1Flushed)  # one form, of which the SDK takes the first
        assert (cleared.type, cleared.sequence_id) == ("Cleared", 1)
        ws.send_flush()
        assert until_flushed(ws) == (b"", SpeakV1Flushed(type="Flushed", sequence_id=2))
        ws.send_text(SpeakV1Text(text="Hello again."))
        ws.send_flush()
        again, _ = until_flushed(ws)
        assert 0.4 < len(again) / 2 / 16_000 < 3
        ws.send_close()
        assert_quiet(list(ws))  # up to close 1000


def test_clauses_are_spoken_as_they_come(client: DeepgramClient) -> None:
    """Without a `Flush`: a clause is spoken as soon as it is whole."""
    with client.speak.v1.connect(model=MODEL) as ws:
        assert isinstance(ws.recv(), SpeakV1Metadata)
        ws.send_text(SpeakV1Text(text="The sea was calm in the early morning. And nobody"))
        assert isinstance(ws.recv(), bytes)
        ws.send_close()
        assert [message for message in ws if not isinstance(message, bytes)] == []


def test_an_interruption(client: DeepgramClient) -> None:
    """Nothing is heard after `Cleared` of what was written before `Clear`, though all of it was flushed; and no
    `Flushed` comes of it, which a framework would take for the end of what is spoken next.
    """
    with client.speak.v1.connect(model=MODEL, encoding="linear16", sample_rate="8000") as ws:
        assert isinstance(ws.recv(), SpeakV1Metadata)
        ws.send_text(SpeakV1Text(text=" ".join([TEXT] * 25)))
        ws.send_flush()
        assert isinstance(ws.recv(), bytes)
        ws.send_clear()
        heard = b""
        while isinstance(message := ws.recv(), bytes):
            heard += message
        assert message.type == "Cleared"
        assert len(heard) / 2 / 8_000 < 30  # of two minutes
        ws.send_text(SpeakV1Text(text="Yes?"))
        ws.send_flush()
        sound, flushed = until_flushed(ws)
        assert 0.1 < len(sound) / 2 / 8_000 < 2
        assert flushed.sequence_id == 1


@pytest.mark.parametrize(("encoding", "rate"), [("mulaw", 8_000), ("alaw", 8_000), ("mulaw", 16_000)])
def test_telephones(client: DeepgramClient, encoding: str, rate: int) -> None:
    with client.speak.v1.connect(model=MODEL, encoding=encoding, sample_rate=str(rate)) as ws:
        assert isinstance(ws.recv(), SpeakV1Metadata)
        ws.send_text(SpeakV1Text(text=TEXT))
        ws.send_flush()
        sound, _ = until_flushed(ws)
    assert 3 < len(sound) / rate < 8


def test_events(client: DeepgramClient) -> None:
    """The way of the SDK's own examples: callbacks, and `Close` right after `Flush`."""
    heard: list[Any] = []
    closed = threading.Event()
    with client.speak.v1.connect(model=MODEL, speed=1.2) as ws:
        ws.on(EventType.MESSAGE, heard.append)
        ws.on(EventType.ERROR, heard.append)
        ws.on(EventType.CLOSE, lambda _: closed.set())
        ws.send_text(SpeakV1Text(text=TEXT))
        ws.send_flush()
        ws.send_close()
        ws.start_listening()
        assert closed.wait(10)
    kinds = [type(each) for each in heard]
    assert kinds[0] is SpeakV1Metadata
    flushed = kinds.index(SpeakV1Flushed)
    assert set(kinds[1:flushed]) == {bytes}
    assert_loud(b"".join(heard[1:flushed]))
    assert_quiet(heard[flushed + 1 :])


async def test_live_async(async_client: AsyncDeepgramClient) -> None:
    async with async_client.speak.v1.connect(model=MODEL) as ws:
        assert isinstance(await ws.recv(), SpeakV1Metadata)
        await ws.send_text(SpeakV1Text(text=TEXT))
        await ws.send_flush()
        sound = b""
        async with asyncio.timeout(30):
            while not isinstance(message := await ws.recv(), SpeakV1Flushed):
                sound += message
        assert_loud(sound)
        await ws.send_close()


def test_too_many_flushes(client: DeepgramClient) -> None:
    with client.speak.v1.connect() as ws:
        assert isinstance(ws.recv(), SpeakV1Metadata)
        for _ in range(21):
            ws.send_flush()
        told = [ws.recv() for _ in range(21)]
        assert [type(each) for each in told].count(SpeakV1Flushed) == 20
        (warning,) = [each for each in told if isinstance(each, SpeakV1Warning)]
        assert warning.code == "EXCESSIVE_FLUSH"
        ws.send_text(SpeakV1Text(text="It goes on."))
        ws.send_close()
        assert all(isinstance(each, bytes) for each in ws)


@pytest.mark.parametrize(
    ("message", "code", "payload"),
    [
        (b"sound", 1003, "MESSAGE-0000"),
        ("hello", 1008, "DATA-0000"),
        ('{"type":"Finalize"}', 1008, "DATA-0000"),
        ('{"type":"Speak","text":"%s"}' % ("a" * 2_001), 1009, "BIG-0001"),
    ],
)
def test_what_is_no_message(client: DeepgramClient, message: str | bytes, code: int, payload: str) -> None:
    with client.speak.v1.connect() as ws:
        assert isinstance(ws.recv(), SpeakV1Metadata)
        ws._websocket.send(message)
        with pytest.raises(websockets.exceptions.ConnectionClosedError) as closed:
            ws._websocket.recv(timeout=20)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code
    assert closed.value.rcvd.reason.startswith(payload)


@pytest.mark.parametrize("asked", [{"encoding": "mp3"}, {"sample_rate": "22050"}, {"model": "none"}, {"speed": 9.0}])
def test_openings_refused(client: DeepgramClient, asked: Any) -> None:
    with pytest.raises(websockets.exceptions.InvalidStatus) as refused, client.speak.v1.connect(**asked):
        pass
    assert refused.value.response.status_code == 400
    assert refused.value.response.headers["dg-error"]


def test_a_browser(server: Any) -> None:
    """It cannot set headers: its key is a subprotocol."""
    with connect(f"{server.ws_url}/v1/speak", subprotocols=["token", server.api_key]) as ws:
        assert ws.subprotocol == "token"
        assert ws.response is not None
        assert ws.response.headers["ai-disclosure"] == "mode=machine-generated"
        assert ws.response.headers["dg-request-id"] in str(ws.recv(timeout=10))
