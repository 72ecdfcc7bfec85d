"""Deepgram's official SDK, unmodified, against the real server and models over a real socket."""

import asyncio
import hashlib
import io
import threading
import time
import wave
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest
import websockets.exceptions
from deepgram import AsyncDeepgramClient, DeepgramClient
from deepgram.core.api_error import ApiError
from deepgram.errors import BadRequestError
from deepgram.listen.v1.types import (
    ListenV1Configure,
    ListenV1ConfigureFailure,
    ListenV1Error,
    ListenV1Metadata,
    ListenV1Results,
    ListenV1SpeechStarted,
    ListenV1UtteranceEnd,
)
from deepgram_environment import environment
from websockets.sync.client import connect

from antiphon.core.text import plain

MODEL = "nova-3"
CLIP_S = 10
RATE = 16_000
CHUNK_MS = 100
# Faster than speech, so that the tests are quick; slow enough for interim results to come.
PACE = 4
MAX_WER = 0.15
ONCE: Any = {"max_retries": 0}

# Name of the case, container and codec to make it with, and the query it is sent with.
LIVE_FORMATS = [
    ("mulaw", "mulaw", "pcm_mulaw", 8_000, {"encoding": "mulaw", "sample_rate": 8_000}),
    ("alaw", "alaw", "pcm_alaw", 8_000, {"encoding": "alaw", "sample_rate": 8_000}),
    ("linear16-44100", "s16le", "pcm_s16le", 44_100, {"encoding": "linear16", "sample_rate": 44_100}),
    ("ogg-opus", "ogg", "libopus", 48_000, {"encoding": "ogg-opus"}),
    ("webm", "webm", "libopus", 48_000, {}),
    ("flac", "flac", "flac", 16_000, {"encoding": "flac"}),
    ("wav", "wav", "pcm_s16le", 22_050, {}),
]


@pytest.fixture(scope="module")
def clip(two_cities: Path) -> bytes:
    """The first ten seconds, 16 kHz mono int16, without a header."""
    return encoded(two_cities.read_bytes(), "s16le", "pcm_s16le", RATE)[: CLIP_S * RATE * 2]


@pytest.fixture(scope="module")
def said(two_cities_text: str) -> str:
    return two_cities_text


# -- audio and words ---------------------------------------------------------------------------------------------------


def encoded(media: bytes, container: str, codec: str, rate: int, layout: str = "mono") -> bytes:
    buffer = io.BytesIO()
    with av.open(io.BytesIO(media)) as source, av.open(buffer, "w", format=container) as target:
        stream = target.add_stream(codec, rate=rate, layout=layout)
        fit = av.AudioResampler(format=stream.format, layout=layout, rate=rate, frame_size=stream.frame_size or 1024)
        frames = [fitted for frame in source.decode(audio=0) for fitted in fit.resample(frame)]
        for frame in [*frames, *fit.resample(None)]:
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return buffer.getvalue()


def opus_packets(media: bytes) -> list[bytes]:
    """20 ms a packet, without a container."""
    with av.open(io.BytesIO(encoded(media, "ogg", "libopus", 48_000))) as source:
        return [bytes(packet) for packet in source.demux(audio=0) if packet.size]


def wav(pcm: bytes) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(pcm)
    return buffer.getvalue()


def word_errors(heard: str, said: str) -> float:
    """Share of words wrong in `heard` against the beginning of `said` that fits it best."""
    hypothesis, reference = plain(heard).split(), plain(said).split()
    row = list(range(len(reference) + 1))
    for count, word in enumerate(hypothesis, start=1):
        diagonal, row[0] = row[0], count
        for column, expected in enumerate(reference, start=1):
            cost = min(row[column] + 1, row[column - 1] + 1, diagonal + (word != expected))
            diagonal, row[column] = row[column], cost
    return min(row) / max(1, len(hypothesis))


def test_word_errors() -> None:
    assert word_errors("It was, the best", "it was the best of times") == 0
    assert word_errors("it is the best", "it was the best of times") == 0.25


# -- live --------------------------------------------------------------------------------------------------------------


def chunks(audio: bytes, size: int) -> list[bytes]:
    return [audio[start : start + size] for start in range(0, len(audio), size)]


def speak(connection: Any, pieces: list[bytes], wait_s: float) -> None:
    for piece in pieces:
        connection.send_media(piece)
        time.sleep(wait_s)
    connection.send_close_stream()


def converse(client: DeepgramClient, pieces: list[bytes], wait_s: float = 0.0, **query: Any) -> list[Any]:
    """Everything the server says to these pieces of audio."""
    with client.listen.v1.connect(model=MODEL, **query) as connection:
        speaker = threading.Thread(target=speak, args=(connection, pieces, wait_s))
        speaker.start()
        messages = list(connection)
        speaker.join()
    return messages


def finals(messages: list[Any], channel: int = 0) -> list[ListenV1Results]:
    return [m for m in messages if isinstance(m, ListenV1Results) and m.is_final and m.channel_index[0] == channel]


def transcript(messages: list[Any], channel: int = 0) -> str:
    return " ".join(final.channel.alternatives[0].transcript for final in finals(messages, channel)).strip()


LIVE: dict[str, Any] = {
    "encoding": "linear16",
    "sample_rate": RATE,
    "interim_results": True,
    "punctuate": True,
    "vad_events": True,
    "utterance_end_ms": 1000,
    "endpointing": 300,
}


def assert_a_good_conversation(messages: list[Any], clip: bytes, said: str) -> None:
    assert word_errors(transcript(messages), said) <= MAX_WER
    assert "," in transcript(messages)
    assert isinstance(messages[0], ListenV1SpeechStarted)
    first_final = next(n for n, m in enumerate(messages) if isinstance(m, ListenV1Results) and m.is_final)
    assert any(isinstance(m, ListenV1Results) and m.channel.alternatives[0].transcript for m in messages[:first_final])
    for final in finals(messages):
        alternative = final.channel.alternatives[0]
        if not alternative.transcript:
            continue
        assert 0 < alternative.confidence <= 1
        assert " ".join(word.punctuated_word or "" for word in alternative.words) == alternative.transcript
        times = [time for word in alternative.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert final.start - 0.5 <= times[0] < times[-1] <= final.start + final.duration + 0.5
    summary = messages[-1]
    assert isinstance(summary, ListenV1Metadata)
    assert summary.duration == pytest.approx(CLIP_S, abs=0.1)
    assert summary.channels == 1
    assert summary.sha256 == hashlib.sha256(clip).hexdigest()


def test_live(client: DeepgramClient, clip: bytes, said: str) -> None:
    pieces = chunks(clip, RATE * 2 * CHUNK_MS // 1000)
    messages = converse(client, pieces, CHUNK_MS / 1000 / PACE, **LIVE)
    assert_a_good_conversation(messages, clip, said)


async def test_live_async(async_client: AsyncDeepgramClient, clip: bytes, said: str) -> None:
    messages: list[Any] = []
    async with async_client.listen.v1.connect(model=MODEL, **LIVE) as connection:

        async def listen() -> None:
            messages.extend([message async for message in connection])

        listening = asyncio.create_task(listen())
        for piece in chunks(clip, RATE * 2 * CHUNK_MS // 1000):
            await connection.send_media(piece)
            await asyncio.sleep(CHUNK_MS / 1000 / PACE)
        await connection.send_close_stream()
        await listening
    assert_a_good_conversation(messages, clip, said)


def test_an_utterance_ends_in_silence(client: DeepgramClient, beckett: Path) -> None:
    audio = encoded(beckett.read_bytes(), "s16le", "pcm_s16le", RATE)[: 4 * RATE * 2] + bytes(3 * RATE * 2)
    messages = converse(client, chunks(audio, 3_200), **LIVE)
    ends = [message for message in messages if isinstance(message, ListenV1UtteranceEnd)]
    assert ends
    assert ends[-1].channel == [0, 1]
    assert (
        ends[-1].last_word_end
        == finals([m for m in messages if transcript([m])])[-1].channel.alternatives[0].words[-1].end
    )
    assert any(final.speech_final for final in finals(messages))


def test_a_short_endpoint_costs_no_words(client: DeepgramClient, two_cities: Path, said: str) -> None:
    """Finals come in the middle of sentences, and go on where the last one ended."""
    audio = encoded(two_cities.read_bytes(), "s16le", "pcm_s16le", RATE)
    usual, short = (converse(client, chunks(audio, 3_200), **LIVE | {"endpointing": ms}) for ms in (300, 10))
    assert len(finals(short)) > len(finals(usual)) + 2
    assert word_errors(transcript(short), said) <= word_errors(transcript(usual), said)
    for messages in (usual, short):
        ends = [0.0, *(final.start + final.duration for final in finals(messages))]
        assert all(end <= final.start + 0.001 for end, final in zip(ends, finals(messages), strict=False))
        heard = [word for final in finals(messages) for word in final.channel.alternatives[0].words]
        assert all(a.start <= b.start for a, b in pairwise(heard))


@pytest.mark.parametrize(
    ("container", "codec", "rate", "query"), [row[1:] for row in LIVE_FORMATS], ids=[row[0] for row in LIVE_FORMATS]
)
def test_live_formats(
    client: DeepgramClient, clip: bytes, said: str, container: str, codec: str, rate: int, query: dict[str, Any]
) -> None:
    audio = encoded(wav(clip), container, codec, rate)
    messages = converse(client, chunks(audio, 4_096), **query)
    assert word_errors(transcript(messages), said) <= MAX_WER
    assert messages[-1].duration == pytest.approx(CLIP_S, abs=0.2)
    assert transcript(messages) == plain(transcript(messages))


def test_live_opus_packets(client: DeepgramClient, clip: bytes, said: str) -> None:
    messages = converse(client, opus_packets(wav(clip)), encoding="opus", sample_rate=48_000)
    assert word_errors(transcript(messages), said) <= MAX_WER


def test_live_channels(client: DeepgramClient, clip: bytes, said: str) -> None:
    silence = bytes(len(clip))
    stereo = b"".join(clip[n : n + 2] + silence[n : n + 2] for n in range(0, len(clip), 2))
    query = {"encoding": "linear16", "sample_rate": RATE, "channels": 2, "multichannel": True}
    messages = converse(client, chunks(stereo, 6_400), **query)
    assert word_errors(transcript(messages, 0), said) <= MAX_WER
    assert transcript(messages, 1) == ""
    assert {tuple(final.channel_index) for final in finals(messages)} <= {(0, 2), (1, 2)}
    assert messages[-1].channels == 2


def test_finalize_keep_alive_and_configure(client: DeepgramClient, clip: bytes) -> None:
    with client.listen.v1.connect(
        model=MODEL, encoding="linear16", sample_rate=RATE, endpointing="false"
    ) as connection:
        connection.send_keep_alive()
        connection.send_configure(ListenV1Configure(type="Configure", keyterms=["Dickens"]))
        failure = connection.recv()
        assert isinstance(failure, ListenV1ConfigureFailure)
        for piece in chunks(clip[: 2 * RATE * 2], 3_200):
            connection.send_media(piece)
        connection.send_finalize()
        final = connection.recv()
        assert isinstance(final, ListenV1Results)
        assert final.from_finalize
        assert final.is_final
        assert final.channel.alternatives[0].transcript.startswith("it was the best")
        connection.send_close_stream()
        assert isinstance(list(connection)[-1], ListenV1Metadata)


def test_live_bytes_that_are_no_audio(client: DeepgramClient) -> None:
    messages: list[Any] = []

    def speak_and_listen() -> None:
        speak(connection, [b"This is not audio. " * 400] * 100, 0)
        while True:
            messages.append(connection.recv())

    with client.listen.v1.connect(model=MODEL) as connection:
        with pytest.raises(websockets.exceptions.ConnectionClosedError) as closed:
            speak_and_listen()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
        assert closed.value.rcvd.reason.startswith("DATA-0000")
        assert all(isinstance(message, ListenV1Error) for message in messages)


@pytest.mark.parametrize("query", [{"redact": "phi"}, {"model": "nova-99"}])
def test_live_refusals(client: DeepgramClient, query: dict[str, Any]) -> None:
    with (
        pytest.raises(websockets.exceptions.InvalidStatus) as refused,
        client.listen.v1.connect(**{"model": MODEL, **query}),
    ):
        pass
    assert refused.value.response.status_code == 400


def test_live_with_a_wrong_key(server: Any) -> None:
    stranger = DeepgramClient(api_key="wrong", environment=environment(server))
    with pytest.raises(websockets.exceptions.InvalidStatus) as refused, stranger.listen.v1.connect(model=MODEL):
        pass
    assert refused.value.response.status_code == 401


async def test_live_with_a_wrong_key_async(server: Any) -> None:
    stranger = AsyncDeepgramClient(api_key="wrong", environment=environment(server))
    with pytest.raises(ApiError) as refused:
        async with stranger.listen.v1.connect(model=MODEL):
            pass
    assert refused.value.status_code == 401


def test_a_refused_opening_says_why_in_its_headers(server: Any) -> None:
    with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
        connect(
            f"{server.ws_url}/v1/listen?redact=phi", additional_headers={"Authorization": f"Token {server.api_key}"}
        )
    answer = refused.value.response
    assert answer.status_code == 400
    assert "redact" in answer.headers["dg-error"]
    assert answer.headers["dg-request-id"]
    assert b'"err_code":"INVALID_QUERY_PARAMETER"' in answer.body


def test_a_browsers_key_stands_in_the_subprotocol(server: Any) -> None:
    with connect(f"{server.ws_url}/v1/listen", subprotocols=["token", server.api_key]) as socket:
        assert socket.subprotocol == "token"
        socket.send('{"type":"CloseStream"}')
        assert '"type":"Metadata"' in str(socket.recv(10))


# -- recordings --------------------------------------------------------------------------------------------------------


def test_a_recording(client: DeepgramClient, clip: bytes, said: str) -> None:
    answer: Any = client.listen.v1.media.transcribe_file(
        request=wav(clip), model=MODEL, smart_format=True, utterances=True, tag="conformance", extra="order:12"
    )
    assert_a_good_answer(answer, wav(clip), said)


async def test_a_recording_async(async_client: AsyncDeepgramClient, clip: bytes, said: str) -> None:
    answer: Any = await async_client.listen.v1.media.transcribe_file(
        request=wav(clip), model=MODEL, smart_format=True, utterances=True, tag="conformance", extra="order:12"
    )
    assert_a_good_answer(answer, wav(clip), said)


def assert_a_good_answer(answer: Any, sent: bytes, said: str) -> None:
    assert answer.metadata.duration == pytest.approx(CLIP_S, abs=0.1)
    assert answer.metadata.sha256 == hashlib.sha256(sent).hexdigest()
    assert answer.metadata.tags == ["conformance"]
    assert answer.metadata.extra == {"order": "12"}
    assert [warning["parameter"] for warning in answer.metadata.warnings] == ["smart_format"]
    [channel] = answer.results.channels
    [alternative] = channel.alternatives
    assert word_errors(alternative.transcript, said) <= MAX_WER
    assert " ".join(word.punctuated_word for word in alternative.words) == alternative.transcript
    sentences = [s.text for p in alternative.paragraphs.paragraphs for s in p.sentences]
    assert " ".join(sentences) == alternative.transcript
    assert " ".join(utterance.transcript for utterance in answer.results.utterances) == alternative.transcript


def test_a_recording_and_a_stream_agree(client: DeepgramClient, clip: bytes) -> None:
    recorded: Any = client.listen.v1.media.transcribe_file(request=wav(clip), model=MODEL)
    streamed = converse(client, chunks(clip, 3_200), encoding="linear16", sample_rate=RATE)
    assert word_errors(recorded.results.channels[0].alternatives[0].transcript, transcript(streamed)) <= 0.1


@pytest.mark.parametrize(("container", "codec"), [("mulaw", "pcm_mulaw"), ("s16le", "pcm_s16le")])
def test_a_recording_without_a_header(
    client: DeepgramClient, clip: bytes, said: str, container: str, codec: str
) -> None:
    encoding: Any = {"mulaw": "mulaw", "s16le": "linear16"}[container]
    answer: Any = client.listen.v1.media.transcribe_file(
        request=encoded(wav(clip), container, codec, 8_000),
        model=MODEL,
        encoding=encoding,
        request_options={"additional_query_parameters": {"sample_rate": 8_000}},
    )
    assert word_errors(answer.results.channels[0].alternatives[0].transcript, said) <= MAX_WER


@pytest.mark.parametrize(("container", "codec", "rate"), [("webm", "libopus", 48_000), ("mp3", "libmp3lame", RATE)])
def test_a_recording_says_itself_what_it_is(
    client: DeepgramClient, clip: bytes, said: str, container: str, codec: str, rate: int
) -> None:
    answer: Any = client.listen.v1.media.transcribe_file(
        request=encoded(wav(clip), container, codec, rate),
        model=MODEL,
        encoding="linear16",
        request_options={"additional_query_parameters": {"sample_rate": RATE}},
    )
    assert word_errors(answer.results.channels[0].alternatives[0].transcript, said) <= MAX_WER


def test_a_recording_with_two_channels(client: DeepgramClient, clip: bytes, said: str) -> None:
    stereo = encoded(wav(clip), "wav", "pcm_s16le", RATE, "stereo")
    answer: Any = client.listen.v1.media.transcribe_file(request=stereo, model=MODEL, multichannel=True)
    assert len(answer.results.channels) == answer.metadata.channels == 2
    for channel in answer.results.channels:
        assert word_errors(channel.alternatives[0].transcript, said) <= MAX_WER


class _OneFile(BaseHTTPRequestHandler):
    """Serves the same bytes for every path that ends in `.wav`."""

    def __init__(self, data: bytes, *rest: Any) -> None:
        self._data = data
        super().__init__(*rest)

    def do_GET(self) -> None:
        found = self.path.endswith(".wav")
        self.send_response(200 if found else 404)
        self.send_header("content-length", str(len(self._data) if found else 0))
        self.end_headers()
        if found:
            self.wfile.write(self._data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web(clip: bytes) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_OneFile, wav(clip))) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{site.server_port}"
        site.shutdown()
        thread.join()


def test_a_recording_elsewhere(client: DeepgramClient, web: str, said: str) -> None:
    answer: Any = client.listen.v1.media.transcribe_url(url=f"{web}/speech.wav", model=MODEL)
    assert word_errors(answer.results.channels[0].alternatives[0].transcript, said) <= MAX_WER


async def test_a_recording_elsewhere_async(async_client: AsyncDeepgramClient, web: str, said: str) -> None:
    answer: Any = await async_client.listen.v1.media.transcribe_url(url=f"{web}/speech.wav", model=MODEL)
    assert word_errors(answer.results.channels[0].alternatives[0].transcript, said) <= MAX_WER


@pytest.mark.parametrize("path", ["/nothing", "/"])
def test_a_recording_that_is_not_there(client: DeepgramClient, web: str, path: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        client.listen.v1.media.transcribe_url(url=web + path, model=MODEL, request_options=ONCE)
    assert refused.value.body["err_code"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"redact": "phi"}, "INVALID_QUERY_PARAMETER"),
        ({"language": "de"}, "INVALID_QUERY_PARAMETER"),
        ({"model": "nova-99"}, "Bad Request"),
    ],
)
def test_refusals(client: DeepgramClient, clip: bytes, query: dict[str, Any], code: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        client.listen.v1.media.transcribe_file(request=wav(clip), request_options=ONCE, **{"model": MODEL, **query})
    assert refused.value.body["err_code"] == code
    assert refused.value.headers is not None
    assert refused.value.body["request_id"] == refused.value.headers["dg-request-id"]


@pytest.mark.parametrize("body", [b"", b"This is not audio. " * 100])
def test_a_body_that_is_no_audio(client: DeepgramClient, body: bytes) -> None:
    with pytest.raises(BadRequestError) as refused:
        client.listen.v1.media.transcribe_file(request=body, model=MODEL, request_options=ONCE)
    assert refused.value.body["err_code"] == "Bad Request"


async def test_a_wrong_key(server: Any, clip: bytes) -> None:
    stranger = AsyncDeepgramClient(api_key="wrong", environment=environment(server))
    with pytest.raises(ApiError) as refused:
        await stranger.listen.v1.media.transcribe_file(request=wav(clip), model=MODEL, request_options=ONCE)
    assert refused.value.status_code == 401
    assert refused.value.body["err_code"] == "INVALID_AUTH"


def test_a_bearer_token(server: Any, clip: bytes) -> None:
    bearer = DeepgramClient(access_token=server.api_key, environment=environment(server))
    answer: Any = bearer.listen.v1.media.transcribe_file(request=wav(clip[: 2 * RATE * 2]), model=MODEL)
    assert answer.results.channels[0].alternatives[0].transcript.startswith("it was the best")
