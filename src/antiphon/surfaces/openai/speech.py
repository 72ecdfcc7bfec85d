"""`POST /v1/audio/speech`: returns the speech of a text while it is generated, as bytes or as server-sent events.

Nothing is sent before the first audio, so an error until then has its own status. Later it is an event in a stream of
events; a stream of bytes has no place for it, so the connection is aborted, and no client takes the part for the whole.
Voices cannot be directed: the answer's head names `instructions` as without effect, unless they ask for the default.
"""

from binascii import b2a_base64
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.json import Decoder, Encoder

from antiphon.core.audio import Codec, Container, SpeechFormat
from antiphon.core.endpoints import AnswerRequest
from antiphon.core.errors import AntiphonError, CallerError
from antiphon.core.events import AllSpoken, Failed, Opened, SpeechOutput, Spoken
from antiphon.core.specs import SpeakSpec
from antiphon.core.wire import BROKEN_OFF, NOTHING, SYNTHETIC, Close, Head, Opening, Step, lifecycle, no_effect
from antiphon.surfaces.openai import wire
from antiphon.surfaces.openai.addressing import model_of
from antiphon.surfaces.openai.generation import decode, one_of

MAX_CHARACTERS = 4096  # OpenAI's own limit
MAX_BODY_BYTES = 1 << 20
SAMPLE_RATE = 24_000  # Hz, of every format: OpenAI's own

# Each `response_format` and its content type with OpenAI.
FORMATS: dict[str, tuple[SpeechFormat, str]] = {
    "mp3": (SpeechFormat(Codec.MP3, Container.NONE, SAMPLE_RATE), "audio/mpeg"),
    "opus": (SpeechFormat(Codec.OPUS, Container.OGG, SAMPLE_RATE), "audio/opus"),
    "aac": (SpeechFormat(Codec.AAC, Container.NONE, SAMPLE_RATE), "audio/aac"),
    "flac": (SpeechFormat(Codec.FLAC, Container.NONE, SAMPLE_RATE), "audio/flac"),
    "wav": (SpeechFormat(Codec.LINEAR16, Container.WAV, SAMPLE_RATE), "audio/wav"),
    "pcm": (SpeechFormat(Codec.LINEAR16, Container.NONE, SAMPLE_RATE), "audio/pcm"),
}
DEFAULT_FORMAT = "mp3"
# A WAV file of a text as short as this is sent whole, with its length in the header: what reads files believes the
# header, and takes the largest number, which a streamed file has there, for hours of speech.
WHOLE_CHARACTERS = 300

# The default of OpenAI's Agents SDK: to read out the text, and nothing else.
READ_OUT = frozenset(
    f"You will receive partial sentences. Do not complete the sentence{comma} just read out the text."
    for comma in ("", ",")
)

# OpenAI's own units: a token is 50 ms of output audio, and about four characters of text.
OUTPUT_TOKEN_MS = 50
TOKEN_CHARACTERS = 4


class Voice(Struct, frozen=True, forbid_unknown_fields=True):
    """A voice by its id."""

    id: str


class SpeechRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body. `None` is absent, as null is."""

    input: Annotated[str, Meta(max_length=MAX_CHARACTERS)]
    voice: str | Voice
    model: str | None = None
    instructions: str | None = None
    response_format: str | None = None
    speed: Annotated[float, Meta(ge=0.25, le=4)] | None = None
    stream_format: str | None = None


class SpeechDelta(Struct, frozen=True, tag="speech.audio.delta"):
    """More speech, in base64."""

    audio: str


class SpeechUsage(Struct, frozen=True):
    input_tokens: int
    output_tokens: int
    total_tokens: int


class SpeechDone(Struct, frozen=True, tag="speech.audio.done"):
    """The end of the speech."""

    usage: SpeechUsage


_decoder = Decoder(SpeechRequest)
_encode = Encoder().encode


class Speech(wire.Endpoint):
    """The endpoint."""

    max_body_bytes = MAX_BODY_BYTES

    def negotiate(self, opening: Opening, body: bytes) -> AnswerRequest:
        """Return the body as a spec. Raises a `CallerError`, whose `param` is the field's name."""
        request = decode(_decoder, body)
        model = model_of(opening, request.model)
        voice = request.voice.id if isinstance(request.voice, Voice) else request.voice
        if not voice:
            raise CallerError("you must provide a voice parameter", param="voice")
        if not request.input.strip():
            raise CallerError("'input' contains nothing that can be spoken.", param="input")
        directed = bool(request.instructions) and request.instructions not in READ_OUT
        one_of(request.response_format, tuple(FORMATS), "response_format")
        one_of(request.stream_format, ("audio", "sse"), "stream_format")
        form, content_type = FORMATS[request.response_format or DEFAULT_FORMAT]
        events = request.stream_format == "sse"
        whole = form.container is Container.WAV and len(request.input) <= WHOLE_CHARACTERS and not events
        speed = 1.0 if request.speed is None else request.speed
        spec = SpeakSpec(model, voice, request.input, form, speed=speed, stream=not whole)
        return AnswerRequest(spec, SpeechCall(self, opening, wire.EVENTS if events else content_type, events, directed))


class SpeechCall:
    """One call: sends its speech, as `events` or as bytes. `directed`: the caller gave instructions."""

    def __init__(self, endpoint: Speech, opening: Opening, content_type: str, events: bool, directed: bool) -> None:
        self._endpoint = endpoint
        self._opening = opening
        self._content_type = content_type
        self._events = events
        self._unused = no_effect(("instructions",) if directed else ())
        self._opened = Opened("")
        self._headed = False

    def emit(self, event: SpeechOutput, now_ns: int) -> Step:
        match event:
            case Opened():
                self._opened = event
            case Spoken() if event.audio:
                return self._send(_event(SpeechDelta(_base64(event.audio))) if self._events else event.audio)
            case AllSpoken():
                return self._send(_event(_done(event)) if self._events else b"", Close())
            case Failed():
                return self._fail(event.error)
        return NOTHING

    def _send(self, body: bytes, close: Close | None = None) -> Step:
        if self._headed:
            return Step((), (body,) if body else (), close)
        self._headed = True
        headers = wire.headers(self._opening, self._content_type) + SYNTHETIC + lifecycle(self._opened)
        headers += self._unused
        return Step((), (Head(200, headers), body), close)

    def _fail(self, error: AntiphonError) -> Step:
        if not self._headed:
            refusal = self._endpoint.refuse(self._opening, error)
            return Step((), (Head(refusal.status, refusal.headers), refusal.body), Close())
        if self._events:
            return Step((), (b"event: error\n" + _event(wire.error_body(error)),), Close())
        return Step(close=BROKEN_OFF)


def _event(message: Struct) -> bytes:
    return b"data: " + _encode(message) + b"\n\n"


def _base64(audio: bytes) -> str:
    return b2a_base64(audio, newline=False).decode()


def _done(spoken: AllSpoken) -> SpeechDone:
    """Return the end, with tokens rounded up."""
    read = -(-spoken.characters // TOKEN_CHARACTERS)
    audio_tokens = -(-spoken.audio_ms // OUTPUT_TOKEN_MS)
    return SpeechDone(SpeechUsage(read, audio_tokens, read + audio_tokens))
