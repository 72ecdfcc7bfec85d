"""`POST /v1/text-to-speech/{voice_id}`, `/stream`, `/with-timestamps` and `/stream/with-timestamps`.

The answer is the audio, whole or while it is generated. With timestamps it is a JSON object, or as the SDKs read it,
one on each line; times count from the start of the answer. An error after the beginning of the answer aborts the
connection.
"""

from collections import deque
from typing import Protocol

import msgspec
from msgspec import Struct

from antiphon.core.endpoints import AnswerRequest
from antiphon.core.errors import AntiphonError, CallerError, TooLarge, UnsupportedParameter
from antiphon.core.events import AllSpoken, CharacterTime, Failed, Opened, SpeechOutput, Spoken
from antiphon.core.specs import Line, Markup, SpeakSpec
from antiphon.core.wire import (
    BROKEN_OFF,
    NOTHING,
    SYNTHETIC,
    Close,
    Head,
    Opening,
    Response,
    Step,
    lifecycle,
    no_effect,
)
from antiphon.surfaces.elevenlabs import parameters, wire
from antiphon.surfaces.elevenlabs.parameters import Seed, SpeechQuery

MAX_CHARACTERS = 40_000  # ElevenLabs' own limit, of its models with the largest
MAX_BODY_BYTES = 1 << 20
MAX_NEIGHBOURS = 3  # request ids before or after, ElevenLabs' own limit

LINES = "application/x-ndjson"


class SpeechRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body. `None` means absent or null."""

    text: str
    model_id: str | None = None
    language_code: str | None = None
    voice_settings: wire.VoiceSettings | None = None
    pronunciation_dictionary_locators: list[object] | None = None
    seed: Seed | None = None
    previous_text: str | None = None
    next_text: str | None = None
    previous_request_ids: list[str] | None = None
    next_request_ids: list[str] | None = None
    use_pvc_as_ivc: bool | None = None
    apply_text_normalization: str | None = None
    apply_language_text_normalization: bool | None = None
    audio_effects: dict[str, object] | None = None


_decoder = msgspec.json.Decoder(SpeechRequest)


class TextToSpeech(wire.Endpoint):
    """One of the four endpoints: streamed or whole, with timestamps or without."""

    max_body_bytes = MAX_BODY_BYTES

    def __init__(self, stream: bool, timed: bool) -> None:
        self.stream = stream
        self.timed = timed

    def negotiate(self, opening: Opening, body: bytes) -> AnswerRequest:
        """Return the request as a spec. Raises a `CallerError`, whose `param` is the field's name."""
        query = parameters.read_query(opening, SpeechQuery)
        request = wire.read(lambda: _decoder.decode(body))
        _refuse(request)
        spec = SpeakSpec(
            model=request.model_id or query.model_id or parameters.DEFAULT_MODEL,
            voice=voice_of(opening),
            text=request.text,
            format=parameters.speech_format(query.output_format, self.stream),
            markup=Markup.BREAKS,
            speed=wire.speed(request.voice_settings),
            timings=self.timed,
            stream=self.stream,
            language=request.language_code or "",
        )
        headers = no_effect(_without_effect(query, request))
        media_type = parameters.media_type(query.output_format)
        if self.timed:
            media_type = LINES if self.stream else wire.JSON
        return AnswerRequest(spec, Answer(self, opening, wire.headers(opening, media_type) + SYNTHETIC + headers))


def voice_of(opening: Opening) -> str:
    """Return the voice in `/v1/text-to-speech/{voice_id}/...`."""
    return opening.path.split("/")[3]


def _refuse(request: SpeechRequest) -> None:
    if not request.text.strip():
        raise CallerError("The text is empty.", param="text")
    if len(request.text) > MAX_CHARACTERS:
        raise TooLarge(f"The text can have at most {MAX_CHARACTERS} characters.", param="text")
    for name in ("previous_request_ids", "next_request_ids"):
        if len(getattr(request, name) or ()) > MAX_NEIGHBOURS:
            raise CallerError(f"At most {MAX_NEIGHBOURS} ids are allowed.", param=name)
    parameters.check_normalisation(request.apply_text_normalization)
    parameters.check_dictionaries(request.pronunciation_dictionary_locators)
    if any(value is not None for value in (request.audio_effects or {}).values()):
        raise UnsupportedParameter("Audio effects are not supported.", param="audio_effects")


def _without_effect(query: SpeechQuery, request: SpeechRequest) -> tuple[str, ...]:
    return wire.without_effect(request.voice_settings) + parameters.idle_parameters(
        optimize_streaming_latency=query.optimize_streaming_latency == parameters.NO_NORMALISER,
        seed=request.seed is not None,
        previous_text=request.previous_text,
        next_text=request.next_text,
        previous_request_ids=request.previous_request_ids,
        next_request_ids=request.next_request_ids,
        use_pvc_as_ivc=request.use_pvc_as_ivc,
        apply_language_text_normalization=request.apply_language_text_normalization,
    )


class SpeechEndpoint(Protocol):
    """The endpoint as its answer uses it."""

    stream: bool
    timed: bool

    def refuse(self, opening: Opening, error: AntiphonError) -> Response: ...


class Segments:
    """The lines of a dialogue to which characters belong. Characters come in order, and are counted from the first."""

    def __init__(self, lines: tuple[Line, ...]) -> None:
        self._lines = deque((index, line.voice, len(line.text)) for index, line in enumerate(lines) if line.text)
        self._place = 0

    def of(self, times: tuple[CharacterTime, ...]) -> list[wire.VoiceSegment]:
        segments: list[wire.VoiceSegment] = []
        at = 0
        while at < len(times) and self._lines:
            index, voice, left = self._lines.popleft()
            here = times[at : at + left]
            at += len(here)
            if len(here) < left:
                self._lines.appendleft((index, voice, left - len(here)))
            start, self._place = self._place, self._place + len(here)
            span = here[0].start_ms / 1000, here[-1].end_ms / 1000
            segments.append(wire.VoiceSegment(voice, *span, start, self._place, index))
        return segments


class Answer:
    """The answer to one call: a whole answer is sent at its end, with its cost; a streamed one while it is made."""

    def __init__(
        self,
        endpoint: SpeechEndpoint,
        opening: Opening,
        headers: tuple[tuple[str, str], ...],
        lines: tuple[Line, ...] = (),
    ) -> None:
        self._endpoint = endpoint
        self._segments = Segments(lines) if lines else None
        self._opening = opening
        self._headers = headers
        self._begun = False
        self._whole = b""

    def emit(self, event: SpeechOutput, now_ns: int) -> Step:
        match event:
            case Opened():
                self._headers += lifecycle(event)
            case Spoken() if self._endpoint.stream:
                return Step(sends=(*self._head(), self._piece(event)))
            case Spoken():
                self._whole = self._piece(event)
            case AllSpoken() if self._endpoint.stream:
                return Step(sends=self._head(), close=Close())
            case AllSpoken():
                cost = (("character-cost", str(event.characters)),)
                return Step(sends=(Head(200, self._headers + cost), self._whole), close=Close())
            case Failed() if self._begun:
                return Step(close=BROKEN_OFF)
            case Failed():
                refusal = self._endpoint.refuse(self._opening, event.error)
                return Step(sends=(Head(refusal.status, refusal.headers), refusal.body), close=Close())
        return NOTHING

    def _head(self) -> tuple[Head, ...]:
        begun, self._begun = self._begun, True
        return () if begun else (Head(200, self._headers),)

    def _piece(self, spoken: Spoken) -> bytes:
        """Return the body's bytes of a piece of speech."""
        if not self._endpoint.timed:
            return spoken.audio
        written, read = wire.alignment(spoken.characters), wire.alignment(spoken.spelled)
        line = wire.encode(wire.TimedAudio(wire.base64(spoken.audio), written, read))
        if self._segments is not None:
            segments = self._segments.of(spoken.characters)
            line = wire.encode(wire.TimedDialogue(wire.base64(spoken.audio), written, read, segments))
        return line + b"\n" if self._endpoint.stream else line
