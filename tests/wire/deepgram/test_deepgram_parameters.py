"""What Deepgram's parameters ask of a session, where credentials stand, and that the documentation says the same."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import get_args
from urllib.parse import parse_qsl

import pytest
from deepgram.listen.v1.client import V1Client
from deepgram.listen.v1.media.client import MediaClient
from deepgram.listen.v2.client import V2Client as FluxClient
from deepgram.speak.v1.audio.client import AudioClient
from deepgram.speak.v1.client import V1Client as SpeakClient
from deepgram.types.listen_v1model import ListenV1Model
from deepgram.types.listen_v2model import ListenV2Model
from deepgram.types.speak_v1model import SpeakV1Model

from antiphon.config import MODELS, VOICES
from antiphon.core.audio import AudioFormat, Codec, Container, Encoding, SpeechFormat
from antiphon.core.capabilities import SpeechCapabilities, settle_speech
from antiphon.core.errors import CallerError, Unauthenticated, UnsupportedParameter
from antiphon.core.specs import SpeakSpec, TranscribeSpec
from antiphon.core.wire import Bearer, Body, Opening
from antiphon.surfaces.deepgram import speak_parameters
from antiphon.surfaces.deepgram.flux_parameters import TABLE as FLUX_TABLE
from antiphon.surfaces.deepgram.live import LiveListenEndpoint
from antiphon.surfaces.deepgram.parameters import DEFAULT_ENDPOINTING_MS, DEFAULT_MODEL, TABLE
from antiphon.surfaces.deepgram.prerecorded import PrerecordedListenEndpoint
from antiphon.surfaces.deepgram.query import Parameter, Use
from antiphon.surfaces.deepgram.speak_parameters import TABLE as SPEAK_TABLE

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "surfaces" / "deepgram.md"


def opening(query: str = "", headers: dict[str, str] | None = None, subprotocols: tuple[str, ...] = ()) -> Opening:
    return Opening("GET", "/v1/listen", tuple(parse_qsl(query)), headers or {}, subprotocols)


def live(query: str) -> TranscribeSpec:
    return LiveListenEndpoint().negotiate(opening(query)).spec


def test_a_live_stream_with_everything() -> None:
    query = (
        "model=nova-3-general&language=en-GB&encoding=linear16&sample_rate=44100&channels=2&multichannel=true"
        "&interim_results=true&endpointing=500&utterance_end_ms=1500&vad_events=True&tag=x&tag=y&no_delay=true"
    )
    assert live(query) == TranscribeSpec(
        model="nova-3-general",
        format=AudioFormat(Encoding.LINEAR16, 44_100, 2),
        live=True,
        incremental=True,
        multichannel=True,
        interims=True,
        endpointing_ms=500,
        utterance_end_ms=1_500,
        speech_events=True,
        word_times=True,
        tags=("x", "y"),
        language="en-GB",
    )


def test_a_live_stream_with_nothing() -> None:
    assert live("") == TranscribeSpec(
        model=DEFAULT_MODEL,
        format=AudioFormat(Encoding.CONTAINER),
        live=True,
        incremental=True,
        endpointing_ms=DEFAULT_ENDPOINTING_MS,
        word_times=True,
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("encoding=linear32&sample_rate=48000", AudioFormat(Encoding.LINEAR32, 48_000, 1)),
        ("encoding=mulaw", AudioFormat(Encoding.MULAW, 8_000, 1)),
        ("encoding=alaw&sample_rate=16000&channels=2", AudioFormat(Encoding.ALAW, 16_000, 2)),
        ("encoding=opus", AudioFormat(Encoding.OPUS, 48_000, 1)),
        ("encoding=opus&sample_rate=16000&channels=2", AudioFormat(Encoding.OPUS, 16_000, 2)),
        ("encoding=flac", AudioFormat(Encoding.CONTAINER)),
        ("encoding=ogg-opus", AudioFormat(Encoding.CONTAINER)),
    ],
)
def test_encodings(query: str, expected: AudioFormat) -> None:
    assert live(query).format == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [("endpointing=false", None), ("endpointing=true", DEFAULT_ENDPOINTING_MS), ("endpointing=0", 0)],
)
def test_endpointing(query: str, expected: int | None) -> None:
    assert live(query).endpointing_ms == expected


def test_a_file() -> None:
    asked = opening("model=nova-3&multichannel=true&encoding=mulaw&channels=2&tag=x")
    accepted = PrerecordedListenEndpoint().negotiate(asked, Body(b"audio"))
    assert accepted.media == b"audio"
    assert accepted.spec == TranscribeSpec(
        model="nova-3",
        format=AudioFormat(Encoding.MULAW, 8_000, 2),
        multichannel=True,
        word_times=True,
        tags=("x",),
    )


@pytest.mark.parametrize(
    ("headers", "subprotocols", "expected"),
    [
        ({"authorization": "Token abc"}, (), "abc"),
        ({"authorization": "bearer abc"}, (), "abc"),
        ({"authorization": "TOKEN  abc "}, (), "abc"),
        ({"authorization": "Basic abc"}, (), None),
        ({"authorization": "Token "}, (), None),
        ({"authorization": "abc"}, (), None),
        ({}, ("token", "abc"), "abc"),
        ({}, ("Bearer", "abc"), "abc"),
        ({}, ("token",), None),
        ({}, ("chat", "abc"), None),
        ({"authorization": "Token abc"}, ("token", "xyz"), "abc"),
        ({}, (), None),
    ],
)
def test_credential(headers: dict[str, str], subprotocols: tuple[str, ...], expected: str | None) -> None:
    asked = opening("", headers, subprotocols)
    assert LiveListenEndpoint().credential(asked) == (expected and Bearer(expected))
    assert PrerecordedListenEndpoint().credential(asked) == (expected and Bearer(expected))


@pytest.mark.parametrize(
    ("offered", "chosen"), [(("token", "k"), "token"), (("Bearer", "k"), "Bearer"), (("chat", "k"), None), ((), None)]
)
def test_only_an_offered_subprotocol_is_chosen(offered: tuple[str, ...], chosen: str | None) -> None:
    assert LiveListenEndpoint().negotiate(opening("", {}, offered)).subprotocol == chosen


def test_a_message_cannot_break_out_of_its_header() -> None:
    answer = LiveListenEndpoint().refuse(opening(), Unauthenticated("a\r\nset-cookie: b\u2028" + "c" * 2_000))
    value = dict(answer.headers)["dg-error"]
    assert value.startswith("a??set-cookie: b?c")
    assert value.isascii()
    assert len(value) == 512


def test_the_documentation_shows_the_table() -> None:
    documented = [line for line in DOCUMENTATION.read_text().splitlines() if line.startswith("| `")]
    for table in (TABLE, FLUX_TABLE, SPEAK_TABLE):
        rows = [f"| `{row.name}` | {row.use} | {row.how} |" for row in table]
        first = documented.index(rows[0])
        assert documented[first : first + len(rows)] == rows


@pytest.mark.parametrize(
    ("table", "methods"),
    [
        (TABLE, (V1Client.connect, MediaClient.transcribe_file, MediaClient.transcribe_url)),
        (FLUX_TABLE, (FluxClient.connect,)),
        (SPEAK_TABLE, (SpeakClient.connect, AudioClient.generate)),
    ],
)
def test_the_table_knows_every_parameter_of_the_sdk(
    table: tuple[Parameter, ...], methods: tuple[Callable[..., object], ...]
) -> None:
    ours = {row.name for row in table}
    beside = {"self", "request", "url", "text", "authorization", "request_options"}
    for method in methods:
        assert set(inspect.signature(method).parameters) - beside <= ours
    assert len(ours) == len(table)


# What the frameworks send without being asked: LiveKit Agents 1.8, Pipecat 1.14, LiteLLM, the AI SDK.
LIVE_DEFAULTS = (
    "model=nova-3&punctuate=true&smart_format=false&no_delay=true&interim_results=true&encoding=linear16"
    "&vad_events=true&sample_rate=16000&channels=1&endpointing=25&filler_words=true&profanity_filter=false"
    "&numerals=false&mip_opt_out=false&language=en-US",
    "model=nova-3-general&language=en&encoding=linear16&channels=1&multichannel=false&sample_rate=16000"
    "&detect_entities=false&diarize=false&dictation=false&interim_results=true&numerals=false&punctuate=true"
    "&smart_format=false",
    "model=nova-2-phonecall&language=multi&keywords=ship:1.5&keyterm=one&keyterm=two&diarize=true&numerals=true",
)
FILE_DEFAULTS = (
    "model=nova-3&punctuate=true&detect_language=false&smart_format=false&keywords=ship:1.5&profanity_filter=false"
    "&numerals=false&mip_opt_out=false&language=en-US",
    "model=nova-2&punctuate=true&language=en",
    "model=nova-3-medical&diarize=true",
)


@pytest.mark.parametrize("query", LIVE_DEFAULTS)
def test_what_frameworks_send_opens_a_stream(query: str) -> None:
    assert settle_speech(live(query), SpeechCapabilities())[0].model in MODELS


@pytest.mark.parametrize("query", FILE_DEFAULTS)
def test_what_frameworks_send_is_taken_with_a_recording(query: str) -> None:
    accepted = PrerecordedListenEndpoint().negotiate(opening(query), Body(b"RIFF"))
    assert accepted.spec.model in MODELS


def test_every_english_model_of_the_sdk_has_an_answer() -> None:
    listen = {*get_args(get_args(ListenV1Model)[0]), *get_args(get_args(ListenV2Model)[0])} - {"custom"}
    assert listen <= set(MODELS)
    assert {name for name in get_args(get_args(SpeakV1Model)[0]) if name.endswith("-en")} <= set(VOICES)


@pytest.mark.parametrize(
    "query", ["language=de", "language_hint=es", "detect_language=true", "detect_language=es", "redact=phi"]
)
def test_what_would_betray_the_caller_is_refused(query: str) -> None:
    with pytest.raises(UnsupportedParameter):
        settle_speech(PrerecordedListenEndpoint().negotiate(opening(query), Body(b"RIFF")).spec, SpeechCapabilities())


@pytest.mark.parametrize("query", ["", "language=en-US", "language=EN", "language=multi", "language_hint=en_GB"])
def test_what_hears_english_is_asked_for_english(query: str) -> None:
    spec, unmet = settle_speech(live(query), SpeechCapabilities())
    assert (spec.language, spec.languages, unmet) == ("en", ("en",), frozenset())


def test_how_it_is_to_be_heard() -> None:
    query = "language=de&keyterm=Antiphon&keyterm=&keywords=ship:1.5&keywords=shop:-3&keywords=12:30&detect_language=fr"
    spec = PrerecordedListenEndpoint().negotiate(opening(query), Body(b"RIFF")).spec
    assert (spec.language, spec.detect, spec.keyterms) == ("de", True, ("Antiphon", "ship", "12"))
    spec = live("language=multi&language_hint=de&language_hint=fr")
    assert (spec.language, spec.languages, spec.detect) == ("", ("de", "fr"), False)


@pytest.mark.parametrize(
    "query", [f"keyterm={'a' * 129}", f"search={'a' * 129}", "&".join(f"search=a{n}" for n in range(26))]
)
def test_terms_are_bounded(query: str) -> None:
    with pytest.raises(CallerError):
        live(query)


def test_every_use_is_used() -> None:
    assert {row.use for row in TABLE} == set(Use)


@pytest.mark.parametrize(
    ("query", "expected", "content_type"),
    [
        ("", SpeechFormat(Codec.MP3, Container.NONE, 22_050, 48_000), "audio/mpeg"),
        ("bit_rate=32000", SpeechFormat(Codec.MP3, Container.NONE, 22_050, 32_000), "audio/mpeg"),
        ("encoding=linear16", SpeechFormat(Codec.LINEAR16, Container.WAV, 24_000), "audio/wav"),
        (
            "encoding=linear16&container=none&sample_rate=48000",
            SpeechFormat(Codec.LINEAR16, Container.NONE, 48_000),
            "audio/l16;rate=48000",
        ),
        ("encoding=mulaw", SpeechFormat(Codec.MULAW, Container.WAV, 8_000), "audio/wav"),
        ("encoding=mulaw&container=none", SpeechFormat(Codec.MULAW, Container.NONE, 8_000), "audio/mulaw;rate=8000"),
        (
            "encoding=alaw&container=none&sample_rate=16000",
            SpeechFormat(Codec.ALAW, Container.NONE, 16_000),
            "audio/alaw;rate=16000",
        ),
        ("encoding=opus", SpeechFormat(Codec.OPUS, Container.OGG, 48_000, 12_000), "audio/ogg;codecs=opus"),
        (
            "encoding=opus&container=ogg&bit_rate=650000",
            SpeechFormat(Codec.OPUS, Container.OGG, 48_000, 256_000),
            "audio/ogg;codecs=opus",
        ),
        ("encoding=aac&bit_rate=4000", SpeechFormat(Codec.AAC, Container.NONE, 22_050, 16_000), "audio/aac"),
        ("encoding=aac&bit_rate=192000", SpeechFormat(Codec.AAC, Container.NONE, 22_050, 132_300), "audio/aac"),
        ("encoding=flac&sample_rate=32000", SpeechFormat(Codec.FLAC, Container.NONE, 32_000), "audio/flac"),
        ("encoding=aac&sample_rate=22050", SpeechFormat(Codec.AAC, Container.NONE, 22_050, 48_000), "audio/aac"),
    ],
)
def test_formats_of_speech(query: str, expected: SpeechFormat, content_type: str) -> None:
    form = speak_parameters.read(opening(query).query, "Hi").format
    assert form == expected
    assert speak_parameters.content_type(form) == content_type


def test_live_speech_is_raw() -> None:
    assert speak_parameters.read(()) == SpeakSpec(
        "aura-asteria-en", "aura-asteria-en", format=SpeechFormat(), live=True
    )
