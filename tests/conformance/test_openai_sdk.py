"""OpenAI's official SDK, unmodified, against the real server and models over a real socket."""

import difflib
import io
import re
import wave
from pathlib import Path
from typing import Any

import av
import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.audio import TranscriptionTextDeltaEvent, TranscriptionTextDoneEvent, TranscriptionVerbose

from antiphon.core.text import plain

MODEL = "whisper-1"
CLIP_S = 8.5  # ends between two sentences

# File name, container and codec for every kind of file that OpenAI takes.
CONTAINERS = [
    ("speech.flac", "flac", "flac"),
    ("speech.mp3", "mp3", "libmp3lame"),
    ("speech.mp4", "mp4", "aac"),
    ("speech.mpeg", "mpeg", "mp2"),
    ("speech.mpga", "mp2", "mp2"),
    ("speech.m4a", "ipod", "aac"),
    ("speech.ogg", "ogg", "vorbis"),
    ("speech.opus", "opus", "libopus"),
    ("speech.wav", "wav", "pcm_s16le"),
    ("speech.webm", "webm", "libopus"),
]


@pytest.fixture(scope="module")
def clip(two_cities: Path) -> bytes:
    """The first three sentences, as a WAV file."""
    with wave.open(str(two_cities)) as whole:
        rate = whole.getframerate()
        frames = whole.readframes(int(CLIP_S * rate))
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as cut:
        cut.setnchannels(1)
        cut.setsampwidth(2)
        cut.setframerate(rate)
        cut.writeframes(frames)
    return buffer.getvalue()


def encoded(clip: bytes, container: str, codec: str) -> bytes:
    buffer = io.BytesIO()
    # PyAV's own Vorbis encoder is the only one in its wheel; FFmpeg calls it experimental, and it knows stereo only.
    with av.open(io.BytesIO(clip)) as source, av.open(buffer, "w", format=container) as target:
        options = {"strict": "experimental"} if codec == "vorbis" else {}
        layout = "stereo" if codec == "vorbis" else "mono"
        stream = target.add_stream(codec, rate=48_000, layout=layout, options=options)
        fit = av.AudioResampler(format=stream.format, layout=layout, rate=48_000, frame_size=stream.frame_size or 1024)
        for frame in source.decode(audio=0):
            for fitted in fit.resample(frame):
                target.mux(stream.encode(fitted))
        for fitted in fit.resample(None):
            target.mux(stream.encode(fitted))
        target.mux(stream.encode(None))
    return buffer.getvalue()


def likeness(text: str, reference: str) -> float:
    """The share of words in common and in order with as much of the reference as was heard, 0..1."""
    heard = plain(text).split()
    assert len(heard) > 10, text
    return difflib.SequenceMatcher(None, heard, reference.split()[: len(heard)], autojunk=False).ratio()


# -- what comes back ---------------------------------------------------------------------------------------------------


def test_json(client: OpenAI, clip: bytes, two_cities_text: str) -> None:
    answer = client.audio.transcriptions.create(model=MODEL, file=("speech.wav", clip))
    assert likeness(answer.text, two_cities_text) > 0.9
    assert answer.usage is not None
    assert answer.usage.type == "duration"
    assert answer.usage.seconds == pytest.approx(CLIP_S, abs=0.01)
    assert answer.logprobs is None


async def test_json_async(async_client: AsyncOpenAI, clip: bytes, two_cities_text: str) -> None:
    answer = await async_client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("speech.wav", clip))
    assert likeness(answer.text, two_cities_text) > 0.9


def test_log_probabilities(client: OpenAI, clip: bytes) -> None:
    answer = client.audio.transcriptions.create(model=MODEL, file=("speech.wav", clip), include=["logprobs"])
    assert answer.logprobs
    assert all(each.logprob is not None and each.logprob <= 0 for each in answer.logprobs)
    assert "".join(each.token or "" for each in answer.logprobs) == answer.text
    assert all(bytes(map(int, each.bytes or [])).decode() == each.token for each in answer.logprobs)


def test_text(client: OpenAI, clip: bytes, two_cities_text: str) -> None:
    raw = client.audio.transcriptions.with_raw_response.create(
        model=MODEL, file=("speech.wav", clip), response_format="text"
    )
    assert raw.headers["content-type"] == "text/plain; charset=utf-8"
    assert raw.request_id
    text = raw.parse()
    assert isinstance(text, str)
    assert text.endswith("\n")
    assert likeness(text, two_cities_text) > 0.9


def test_srt(client: OpenAI, clip: bytes, two_cities_text: str) -> None:
    text = client.audio.transcriptions.create(model=MODEL, file=("speech.wav", clip), response_format="srt")
    cues = [cue.split("\n", 2) for cue in text.strip().split("\n\n")]
    assert [number for number, _, _ in cues] == [str(place) for place in range(1, len(cues) + 1)]
    assert all(re.fullmatch(r"00:00:\d\d,\d{3} --> 00:00:\d\d,\d{3}", times) for _, times, _ in cues)
    assert likeness(" ".join(said for _, _, said in cues), two_cities_text) > 0.9


def test_vtt(client: OpenAI, clip: bytes, two_cities_text: str) -> None:
    text = client.audio.transcriptions.create(model=MODEL, file=("speech.wav", clip), response_format="vtt")
    head, *cues = text.strip().split("\n\n")
    assert head == "WEBVTT"
    split = [cue.split("\n", 1) for cue in cues]
    assert all(re.fullmatch(r"00:00:\d\d\.\d{3} --> 00:00:\d\d\.\d{3}", times) for times, _ in split)
    assert likeness(" ".join(said for _, said in split), two_cities_text) > 0.9


def check_verbose(answer: TranscriptionVerbose, reference: str) -> None:
    assert answer.language == "english"
    assert answer.duration == pytest.approx(CLIP_S, abs=0.01)
    assert likeness(answer.text, reference) > 0.9


def test_segments(client: OpenAI, clip: bytes, two_cities_text: str) -> None:
    answer = client.audio.transcriptions.create(
        model=MODEL, file=("speech.wav", clip), response_format="verbose_json", temperature=0, language="en"
    )
    check_verbose(answer, two_cities_text)
    assert answer.segments
    assert answer.words is None
    assert "".join(segment.text for segment in answer.segments).strip() == answer.text
    last = 0.0
    for place, segment in enumerate(answer.segments):
        assert segment.id == place
        assert last <= segment.start < segment.end <= answer.duration
        assert segment.tokens
        assert -1 < segment.avg_logprob <= 0
        assert 0 < segment.compression_ratio < 2.4
        last = segment.end


async def test_words_async(async_client: AsyncOpenAI, clip: bytes, two_cities_text: str) -> None:
    answer = await async_client.audio.transcriptions.create(
        model=MODEL,
        file=("speech.wav", clip),
        response_format="verbose_json",
        timestamp_granularities=["word"],
    )
    check_verbose(answer, two_cities_text)
    assert answer.segments is None
    assert answer.words
    assert " ".join(word.word for word in answer.words) == answer.text
    starts = [word.start for word in answer.words]
    assert starts == sorted(starts)
    assert all(0 <= word.start <= word.end <= answer.duration for word in answer.words)
    assert starts[-1] - starts[0] > CLIP_S / 2


def test_words_and_segments(client: OpenAI, clip: bytes) -> None:
    answer = client.audio.transcriptions.create(
        model=MODEL,
        file=("speech.wav", clip),
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert answer.segments
    assert answer.words
    for word in answer.words:
        assert any(segment.start <= word.start and word.end <= segment.end for segment in answer.segments), word


def test_a_longer_silence_makes_fewer_segments(client: OpenAI, two_cities: Path) -> None:
    def segments(silence_ms: int) -> int:
        answer = client.audio.transcriptions.create(
            model=MODEL,
            file=two_cities,
            response_format="verbose_json",
            chunking_strategy={"type": "server_vad", "silence_duration_ms": silence_ms},
        )
        return len(answer.segments or [])

    assert segments(200) > segments(1500) >= 1


@pytest.mark.parametrize("head", ["", "\r\nContent-Type: audio/wav"])
def test_a_file_without_a_name(client: OpenAI, clip: bytes, head: str) -> None:
    """No SDK sends one; what makes its forms by hand does."""
    parts = (("model", MODEL.encode(), ""), ("file", clip, head), ("response_format", b"text", ""))
    body = b"".join(
        f'--B\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + data + b"\r\n"
        for name, data, more in parts
    )
    answer = httpx.post(
        f"{client.base_url}audio/transcriptions",
        headers={"authorization": f"Bearer {client.api_key}", "content-type": "multipart/form-data; boundary=B"},
        content=body + b"--B--\r\n",
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    assert answer.text.strip() == client.audio.transcriptions.create(model=MODEL, file=("a.wav", clip)).text


@pytest.mark.parametrize(("name", "container", "codec"), CONTAINERS, ids=[name for name, _, _ in CONTAINERS])
def test_containers(client: OpenAI, clip: bytes, two_cities_text: str, name: str, container: str, codec: str) -> None:
    answer = client.audio.transcriptions.create(
        model=MODEL, file=(name, encoded(clip, container, codec)), chunking_strategy="auto"
    )
    assert likeness(answer.text, two_cities_text) > 0.85
    assert answer.usage is not None
    assert answer.usage.type == "duration"
    assert answer.usage.seconds == pytest.approx(CLIP_S, abs=0.2)  # lossy codecs pad


# -- streams -----------------------------------------------------------------------------------------------------------


def check_stream(told: list[Any], reference: str) -> str:
    *deltas, done = told
    assert len(deltas) > 1
    assert all(isinstance(delta, TranscriptionTextDeltaEvent) for delta in deltas)
    assert isinstance(done, TranscriptionTextDoneEvent)
    assert "".join(delta.delta for delta in deltas) == done.text
    assert likeness(done.text, reference) > 0.9
    assert done.usage is not None
    assert done.usage.input_tokens == pytest.approx(440, abs=10)  # 44 s, one for each 100 ms
    assert done.usage.output_tokens > len(done.text.split()) / 2
    return done.text


def test_stream(client: OpenAI, two_cities: Path, two_cities_text: str) -> None:
    with client.audio.transcriptions.create(
        model=MODEL, file=two_cities, stream=True, response_format="text"
    ) as stream:
        text = check_stream(list(stream), two_cities_text)
    whole = client.audio.transcriptions.create(model=MODEL, file=two_cities)
    assert whole.text == text


async def test_stream_async(async_client: AsyncOpenAI, two_cities: Path, two_cities_text: str) -> None:
    stream = await async_client.audio.transcriptions.create(
        model="gpt-4o-mini-transcribe", file=two_cities, stream=True, include=["logprobs"]
    )
    told = [event async for event in stream]
    check_stream(told, two_cities_text)
    for event in told:
        said = event.text if isinstance(event, TranscriptionTextDoneEvent) else event.delta
        assert "".join(each.token for each in event.logprobs) == said


# -- models ------------------------------------------------------------------------------------------------------------


async def test_models(client: OpenAI, async_client: AsyncOpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert MODEL in names
    assert [model.id async for model in async_client.models.list()] == names
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("whisper-9")


# -- errors ------------------------------------------------------------------------------------------------------------


def test_a_wrong_key(client: OpenAI, clip: bytes) -> None:
    stranger = client.with_options(api_key="sk-wrong")
    with pytest.raises(openai.AuthenticationError) as caught:
        stranger.audio.transcriptions.create(model=MODEL, file=("speech.wav", clip))
    assert caught.value.code == "invalid_api_key"
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()


async def test_an_unknown_model(async_client: AsyncOpenAI, clip: bytes) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await async_client.audio.transcriptions.create(model="whisper-9", file=("speech.wav", clip))
    assert caught.value.code == "model_not_found"
    assert MODEL in caught.value.message
    assert caught.value.request_id


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("language", {"language": "de"}),
    ("response_format", {"response_format": "diarized_json"}),
    ("include[]", {"response_format": "text", "include": ["logprobs"]}),
    ("chunking_strategy[threshold]", {"chunking_strategy": {"type": "server_vad", "threshold": 0.3}}),
    ("known_speaker_names[]", {"known_speaker_names": ["agent"]}),
    ("speed", {"extra_body": {"speed": 2}}),
]


@pytest.mark.parametrize(("param", "given"), REFUSED, ids=[param for param, _ in REFUSED])
def test_refused_parameters(client: OpenAI, clip: bytes, param: str, given: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(model=MODEL, file=("speech.wav", clip), **given)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


def test_what_has_no_effect_is_named(client: OpenAI, clip: bytes) -> None:
    given: dict[str, Any] = {"prompt": "Dickens", "temperature": 0.7, "timestamp_granularities": ["segment"]}
    answer = client.audio.transcriptions.with_raw_response.create(model=MODEL, file=("speech.wav", clip), **given)
    assert answer.headers["antiphon-no-effect"] == "prompt, temperature, timestamp_granularities[]"


@pytest.mark.parametrize("stream", [False, True])
def test_bytes_that_are_no_audio(client: OpenAI, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(model=MODEL, file=("speech.mp3", b"no audio at all " * 64), stream=stream)
    assert caught.value.param == "file"


def test_an_empty_file(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(model=MODEL, file=("speech.wav", b""))
    assert caught.value.param == "file"


def test_too_large_a_file(client: OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.audio.transcriptions.create(model=MODEL, file=("speech.wav", bytes(25 * 2**20 + 1)))
    assert caught.value.status_code == 413
