"""What clients of each protocol say and hear, against what the server's surfaces say and hear."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import aiohttp
import msgspec
import pytest

from antiphon.bench.protocols import assemblyai, deepgram, google
from antiphon.bench.protocols.amazon import PATH, results
from antiphon.bench.protocols.elevenlabs import ElevenLabsLine
from antiphon.bench.protocols.eventstream import Signer, audio_event, whole_frames
from antiphon.bench.protocols.google import field, fields
from antiphon.bench.protocols.line import Broken, Result, Target
from antiphon.bench.protocols.table import PROTOCOLS
from antiphon.bench.speech import Span
from antiphon.core.errors import CapacityError, EngineError
from antiphon.core.events import Audio, Cause, End, Final, Interim, Opened, Transcript, Word
from antiphon.core.wire import HALF_CLOSED, Opening, Signed
from antiphon.surfaces.amazon.live import StreamEndpoint
from antiphon.surfaces.amazon.wire import exception_event
from antiphon.surfaces.assemblyai.live import StreamEndpoint as AssemblyAiEndpoint
from antiphon.surfaces.elevenlabs.speech_to_text_live import RealtimeSpeechToText
from antiphon.surfaces.google.dialect import V2
from antiphon.surfaces.google.live import StreamingRecognize
from antiphon.trust.signatures import holds

TARGET = Target("http://127.0.0.1:8080", "ant_key", "any", endpointing_ms=300)
WORDS = (Word("Hello,", 500, 900, 0.9), Word("you.", 900, 1_250, 0.9))
INTERIM = Interim(0, 500, 900, Transcript("Hello", 0.9, WORDS[:1]))
FINAL = Final(0, 500, 1_750, Transcript("Hello, you.", 0.9, WORDS), Cause.ENDPOINT)


def test_google() -> None:
    endpoint, first = StreamingRecognize(V2), google.first_request(TARGET)
    accepted = endpoint.negotiate(Opening("POST", google.METHOD), first)
    spec = accepted.spec
    assert (spec.model, spec.endpointing_ms, spec.interims, spec.word_times) == ("any", 300, True, True)
    surface = accepted.surface
    surface.receive(first, 0)
    assert surface.receive(field(5, b"ab"), 0).inputs == (Audio(b"ab"),)
    assert surface.receive(HALF_CLOSED, 0).inputs == (End(),)
    reader = google.Reader()
    read = [each for event in (INTERIM, FINAL, INTERIM) for each in reader.read(surface.emit(event, 0).sends[0])]
    assert read == [
        Result(Span(0, 14_400), False, "Hello"),
        Result(Span(8_000, 28_000), True, "Hello, you."),
        Result(Span(14_400, 14_400), False, "Hello"),
    ]


@pytest.mark.parametrize("message", [b"\x0a", b"\x0a\x05ab", b"\x80", b"\x0b", b"\xff" * 12])
def test_what_is_no_message_of_protobuf(message: bytes) -> None:
    with pytest.raises(ValueError, match="a "):
        list(fields(message))


def test_amazon() -> None:
    signer, now = Signer("ant_key"), datetime(2026, 12, 1, 23, 59, 59, 999_999, tzinfo=UTC)
    asked = {"language-code": "en-US", "media-encoding": "pcm", "sample-rate": "16000"}
    given = {"host": "h:1", **{f"x-amzn-transcribe-{name}": value for name, value in asked.items()}}
    unix_ms = int(now.timestamp() * 1000)
    headers = signer.opening(PATH, given, now)
    opening = Opening("POST", PATH, (), headers, (), "8c8ebea9-dbec-45fa-a035-e4632cb05b5f", unix_ms)
    endpoint = StreamEndpoint()
    credential = endpoint.credential(opening)
    assert isinstance(credential, Signed)
    assert holds(credential, "ant_key")
    surface = endpoint.negotiate(replace(opening, signed_with="ant_key")).surface
    for pcm in (b"ab", b"cd"):
        now = now.replace(microsecond=1_600)
        assert surface.receive(signer.event(audio_event(pcm), now), 0).inputs == (Audio(pcm),)
    assert surface.receive(signer.event(b"", now), 0).inputs == (End(),)
    said = b"".join(surface.emit(event, 0).sends[0] for event in (INTERIM, FINAL))
    buffer, read = bytearray(), []
    for at in range(0, len(said), 7):
        buffer += said[at : at + 7]
        read += [result for frame in whole_frames(buffer) for result in results(frame)]
    assert read == [
        Result(Span(8_000, 14_400), False, "Hello"),
        Result(Span(8_000, 28_000), True, "Hello, you."),
    ]
    with pytest.raises(Broken, match="LimitExceededException"):
        list(results(*whole_frames(bytearray(exception_event(CapacityError("full"))))))


def test_assemblyai() -> None:
    line = PROTOCOLS["assemblyai"].line(TARGET, None)
    assert isinstance(line, assemblyai.AssemblyAiLine)
    opening = Opening("GET", line.path, tuple(line.query().items()), line.headers())
    accepted = AssemblyAiEndpoint().negotiate(opening)
    assert (accepted.spec.model, accepted.spec.turns.timeout_ms) == ("any", 300)
    said = [send for event in (INTERIM, FINAL) for send in accepted.surface.emit(event, 0).sends]
    read = [found for text in said if (found := assemblyai.result(text)) is not None]
    assert read == [
        Result(Span(8_000, 14_400), False, "hello"),
        Result(Span(8_000, 20_000), True, "hello you"),
    ]
    assert assemblyai.result('{"type":"Begin","id":"x","expires_at":1}') is None
    with pytest.raises(Broken, match="too much"):
        assemblyai.result('{"type":"Error","error_code":3005,"error":"too much"}')


def test_elevenlabs() -> None:
    line = ElevenLabsLine(TARGET, None)  # type: ignore[arg-type]
    accepted = RealtimeSpeechToText().negotiate(Opening("GET", line.path, tuple(line.query().items()), line.headers()))
    assert (accepted.spec.model, accepted.spec.endpointing_ms) == ("any", 300)
    surface = accepted.surface
    surface.emit(Opened("tiny", languages=("en",)), 0)
    assert surface.receive(line.audio(bytes(32_000)), 0).inputs == (Audio(bytes(32_000)),)
    said = [send for event in (INTERIM, FINAL, INTERIM) for send in surface.emit(event, 0).sends]
    assert [found for text in said if (found := line.read(text)) is not None] == [
        Result(Span(0, 16_000), False, "Hello"),
        Result(Span(8_000, 20_000), True, "Hello, you."),
        Result(Span(20_000, 16_000), False, "Hello"),
    ]


# -- Deepgram ----------------------------------------------------------------------------------------------------------


def test_results_become_what_was_heard_in_samples() -> None:
    text = (
        '{"type":"Results","channel_index":[0,1],"duration":1.25,"start":0.5,"is_final":true,"speech_final":true,'
        '"channel":{"alternatives":[{"transcript":"Hello.","confidence":0.9,"words":[]}]},"metadata":{}}'
    )
    assert deepgram.result(text) == Result(Span(8_000, 28_000), True, "Hello.")


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"Metadata","channels":1,"duration":2.0}',
        '{"type":"SpeechStarted","channel":[0,1],"timestamp":0.3}',
        '{"type":"UtteranceEnd","channel":[0,1],"last_word_end":1.0}',
    ],
)
def test_other_messages_are_not_results(text: str) -> None:
    assert deepgram.result(text) is None


@pytest.mark.parametrize("text", ["", "[]", '{"type":"Results"}', '{"type":"Results","channel":[0,1]}'])
def test_a_message_that_is_not_deepgrams_is_an_error(text: str) -> None:
    with pytest.raises(msgspec.MsgspecError):
        deepgram.result(text)


# -- all ---------------------------------------------------------------------------------------------------------------


def test_each_is_loaded_when_it_is_spoken() -> None:
    asks = (
        "import sys, antiphon.bench.client; print(*(name for name in ('grpc', 'h2', 'google') if name in sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", asks], check=True, capture_output=True, text=True).stdout
    assert said.split() == []


@pytest.mark.parametrize("protocol", ["assemblyai", "elevenlabs"])
async def test_a_server_of_another_protocol_is_said_in_one_line(protocol: str) -> None:
    class Elsewhere:
        """A server whose first message is another's."""

        async def ws_connect(self, *_: object, **__: object) -> "Elsewhere":
            return self

        async def receive(self) -> aiohttp.WSMessage:
            return aiohttp.WSMessage(aiohttp.WSMsgType.TEXT, '["hello"]', None)

    line = PROTOCOLS[protocol].line(TARGET, Elsewhere())  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="not of the protocol"):
        await line.open()


@pytest.mark.parametrize(
    ("url", "secure", "address"),
    [("ws://h:1", False, "h:1"), ("https://h:1/", True, "h:1"), ("grpcs://h:1", True, "h:1"), ("h:1", False, "h:1")],
)
def test_addresses(url: str, secure: bool, address: str) -> None:
    target = Target(url, "k")
    assert (target.secure, target.address) == (secure, address)
