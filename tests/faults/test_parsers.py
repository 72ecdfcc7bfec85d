"""What callers send, damaged: every parser of the streaming vendors reads it or refuses it in its own words, soon.

`ANTIPHON_MESSAGES` sets how many are tried of each kind (`make parsers`: hundreds of thousands); each is made from its
number, so that a failure names what to reproduce.
"""

import json
import os
import random
import struct
import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from antiphon.core.endpoints import Accepted
from antiphon.core.errors import AntiphonError
from antiphon.core.wire import Body, Opening, Step
from antiphon.surfaces.amazon import events
from antiphon.surfaces.amazon.live import SocketEndpoint
from antiphon.surfaces.assemblyai.live import StreamEndpoint
from antiphon.surfaces.assemblyai.sync import SyncEndpoint
from antiphon.surfaces.elevenlabs.speech_to_text import SpeechToText
from antiphon.surfaces.elevenlabs.speech_to_text_live import RealtimeSpeechToText
from antiphon.surfaces.google import messages
from antiphon.surfaces.google.dialect import V1, V2, Dialect
from antiphon.surfaces.google.live import StreamingRecognize
from antiphon.surfaces.google.recognise import V1_REST, V2_REST, Recognize

MESSAGES = int(os.environ.get("ANTIPHON_MESSAGES", "1500"))
SOON_S = 5.0  # of processor time, for one
ID = "8c8ebea9-dbec-45fa-a035-e4632cb05b5f"
TOKENS = (b"null", b"-1", b"1e999", b"[]", b"{}", b'"\\ud800"', b"\\u0000", b"true", b'"', b"9" * 40, b"[" * 300)
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def damaged(corpus: Sequence[bytes], number: int) -> bytes:
    """One of them, or two spliced, with some damage."""
    rng = random.Random(number)
    data = bytearray(rng.choice(corpus))
    if rng.random() < 0.1:
        data = data[: rng.randrange(len(data) + 1)] + rng.choice(corpus)
    for _ in range(rng.choice((0, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(7):
            case 0:
                del data[at:]
            case 1:
                data[at : at + 1] = bytes((rng.randrange(256),))
            case 2:
                data[at:at] = rng.choice(TOKENS)
            case 3:
                data[at : at + 4] = struct.pack(">I", rng.choice(EXTREMES))
            case 4:
                del data[at : at + rng.choice((1, 2, 8, 64))]
            case 5:
                data[at:at] = data[at : at + rng.choice((1, 8, 64))] * rng.choice((1, 2, 50))
            case 6:
                data[at:at] = rng.randbytes(rng.choice((1, 2, 8)))
    return bytes(data)


class Refused(Exception):
    """The caller would be told why."""


def refused(step: Step) -> None:
    """Raises `Refused` where a stream ends."""
    if step.close is not None:
        assert step.sends or step.close.reason
        raise Refused


# -- frames of event streams -------------------------------------------------------------------------------------------


def mended(data: bytes) -> bytes:
    """With the right length and checksums, so that what stands in the frame is read."""
    if len(data) < 16:
        return data
    lengths = struct.pack(">I", len(data)) + data[4:8]
    whole = lengths + struct.pack(">I", zlib.crc32(lengths)) + data[12:-4]
    return whole + struct.pack(">I", zlib.crc32(whole))


AUDIO = ((":message-type", "event"), (":event-type", "AudioEvent"), (":content-type", "application/octet-stream"))
SIGNED = events.timestamp(":date", 1_796_083_200_000) + events.octets(":chunk-signature", bytes(32))
FRAMES = (
    events.encode(AUDIO, bytes(64)),
    events.framed(SIGNED, events.encode(AUDIO, b"ab")),
    events.framed(b"\x01a\x00\x01b\x01\x01c\x02\xff\x01d\x09" + bytes(16), b""),
)
PRESIGNED = {
    "language-code": "en-US",
    "sample-rate": "16000",
    "media-encoding": "pcm",
    "X-Amz-Expires": "60",
    "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
    "X-Amz-Credential": "ant_x/20261201/r/transcribe/aws4_request",
    "X-Amz-Date": "20261201T000000Z",
    "X-Amz-SignedHeaders": "host",
    "X-Amz-Signature": "0" * 64,
}


def frames(data: bytes) -> None:
    found = list(events.Decoder().feed(data))
    if not found:
        raise Refused


def amazon(data: bytes) -> None:
    opening = Opening("GET", "/", tuple(PRESIGNED.items()), {"host": "h"}, (), ID, 1_796_083_200_000)
    refused(SocketEndpoint().negotiate(opening).surface.receive(mended(data), 0))


# -- protobuf, and its JSON --------------------------------------------------------------------------------------------

NAME = "projects/p/locations/global/recognizers/_"
FEATURES = {"enable_word_time_offsets": True, "max_alternatives": 1}
CONFIG_2 = {"explicit_decoding_config": {"encoding": 1, "sample_rate_hertz": 16_000, "audio_channel_count": 1}}
CONFIG_2 |= {"language_codes": ["en-US"], "model": "long", "features": FEATURES}
CONFIG_1 = {"encoding": 1, "sample_rate_hertz": 16_000, "language_code": "en-US"}


def written(dialect: Dialect, kind: str, **fields: Any) -> bytes:
    data: bytes = messages.kind(dialect.name(kind))(**fields).SerializeToString()
    return data


FIRST = {
    V1: [written(V1, "StreamingRecognizeRequest", streaming_config={"config": CONFIG_1, "interim_results": True})],
    V2: [written(V2, "StreamingRecognizeRequest", recognizer=NAME, streaming_config={"config": CONFIG_2})],
}
WHOLE = {
    V1: [written(V1, "RecognizeRequest", config=CONFIG_1, audio={"content": b"abc"})],
    V2: [written(V2, "RecognizeRequest", recognizer=NAME, config=CONFIG_2, content=b"abc")],
}
SHOWN = [
    json.dumps({"config": {"languageCodes": ["en-US"], "autoDecodingConfig": {}}, "content": "YWJj"}).encode(),
    json.dumps({"config": {"languageCode": "en-US", "encoding": "MP3"}, "audio": {"content": "YWJj"}}).encode(),
]
REST = Opening("POST", f"/v2/{NAME}:recognize", request_id=ID)


def google_first(dialect: Dialect) -> Callable[[bytes], object]:
    return lambda data: StreamingRecognize(dialect).negotiate(REST, data)


def google_later(data: bytes) -> None:
    negotiated = StreamingRecognize(V2).negotiate(REST, FIRST[V2][0])
    assert isinstance(negotiated, Accepted)
    negotiated.surface.receive(FIRST[V2][0], 0)
    refused(negotiated.surface.receive(data, 0))


def google_whole(dialect: Dialect, *, rest: bool) -> Callable[[bytes], object]:
    shown = (V1_REST if dialect.first else V2_REST)[1] if rest else None
    opening = replace(REST, path="/v1/speech:recognize") if dialect.first else REST
    return lambda data: Recognize(dialect, rest=shown).negotiate(opening, data)


# -- JSON --------------------------------------------------------------------------------------------------------------

ASSEMBLYAI = [
    b'{"type":"Terminate"}',
    b'{"type":"UpdateConfiguration","min_turn_silence":100,"format_turns":true,"keyterms_prompt":["a"]}',
]
ASSEMBLYAI_CONFIG = [b'{"language_code":"en","sample_rate":16000,"channels":1,"timestamps":true}']
CHUNKS = [b'{"message_type":"input_audio_chunk","audio_base_64":"%s","commit":true}' % b64encode(bytes(64))]
EXPORTS = [
    b'[{"format":"srt","max_characters_per_line":42},{"format":"txt","include_timestamps":true}]',
    b'[{"format":"srt","max_characters_per_line":1e99942}]',
]


def text_of(data: bytes) -> str:
    """As a WebSocket gives it: no half characters."""
    return data.decode(errors="replace")


def assemblyai(data: bytes) -> None:
    opening = Opening("GET", "/v3/ws", (("sample_rate", "16000"),), request_id=ID)
    refused(StreamEndpoint().negotiate(opening).surface.receive(text_of(data), 0))


def assemblyai_whole(data: bytes) -> None:
    body = Body(b"abc", (("config", text_of(data)),), has_file=True)
    SyncEndpoint().negotiate(Opening("POST", "/v1/transcribe/live", request_id=ID), body)


def elevenlabs(data: bytes) -> None:
    opening = Opening("GET", "/v1/speech-to-text/realtime", request_id=ID)
    refused(RealtimeSpeechToText().negotiate(opening).surface.receive(text_of(data), 0))


def elevenlabs_form(data: bytes) -> None:
    fields = ("model_id", "scribe_v2"), ("additional_formats", text_of(data))
    headers = {"content-type": "multipart/form-data; boundary=x"}
    SpeechToText().negotiate(Opening("POST", "/", headers=headers, request_id=ID), Body(b"a", fields, has_file=True))


PARSERS: dict[str, tuple[Sequence[bytes], Callable[[bytes], object]]] = {
    "frames": (FRAMES, frames),
    "headers of frames": (FRAMES, lambda data: frames(mended(data))),
    "amazon": (FRAMES[:1], amazon),
    "google v1, first message": (FIRST[V1], google_first(V1)),
    "google v2, first message": (FIRST[V2], google_first(V2)),
    "google v2, later message": ([*FIRST[V2], b"\x2a\x04abcd"], google_later),
    "google v1, whole": (WHOLE[V1], google_whole(V1, rest=False)),
    "google v2, whole": (WHOLE[V2], google_whole(V2, rest=False)),
    "google v1, JSON": (SHOWN, google_whole(V1, rest=True)),
    "google v2, JSON": (SHOWN, google_whole(V2, rest=True)),
    "assemblyai": (ASSEMBLYAI, assemblyai),
    "assemblyai, whole": (ASSEMBLYAI_CONFIG, assemblyai_whole),
    "elevenlabs": (CHUNKS, elevenlabs),
    "elevenlabs, formats": (EXPORTS, elevenlabs_form),
}


@pytest.mark.parametrize("name", PARSERS)
def test_what_is_damaged_is_read_or_refused(name: str) -> None:
    corpus, parse = PARSERS[name]
    read = 0
    for number in range(MESSAGES):
        data, began = damaged(corpus, number), time.process_time()
        try:
            parse(data)
            read += 1
        except (AntiphonError, Refused):
            pass
        except Exception as error:
            raise AssertionError(f"message {number} raised {error!r}: {data[:200]!r}") from error
        assert time.process_time() - began < SOON_S, number
    assert 0 < read < MESSAGES, "nothing was damaged, or nothing could be read"
