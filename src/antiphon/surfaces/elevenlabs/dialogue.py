"""`POST /v1/text-to-dialogue`, `/stream`, `/with-timestamps` and `/stream/with-timestamps`: the speech of lines of
several voices, in order. The answers are those of text to speech; with timestamps they also name the voice of each
part.
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from antiphon.core.endpoints import AnswerRequest
from antiphon.core.errors import CallerError, TooLarge
from antiphon.core.specs import Line, Markup, SpeakSpec
from antiphon.core.wire import SYNTHETIC, Opening, no_effect
from antiphon.surfaces.elevenlabs import parameters, wire
from antiphon.surfaces.elevenlabs.parameters import Seed
from antiphon.surfaces.elevenlabs.speech import LINES, MAX_BODY_BYTES, MAX_CHARACTERS, Answer

DEFAULT_MODEL = "eleven_v3"
MAX_VOICES = 10  # ElevenLabs' own limit

VoiceId = Annotated[str, Meta(min_length=1)]  # without one, a line would have the voice of the line before


class DialogueQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """The query. Nothing is logged or kept, whatever `enable_logging` says."""

    output_format: str = parameters.DEFAULT_FORMAT
    enable_logging: bool | None = None


class DialogueInput(Struct, frozen=True):
    """A line of a dialogue."""

    text: str
    voice_id: VoiceId


class DialogueSettings(Struct, frozen=True):
    """Settings of the voices, none of which can be changed here."""

    stability: float | None = None
    similarity: float | None = None
    clone_strength: float | None = None


class DialogueRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body. `None` means absent or null."""

    inputs: Annotated[list[DialogueInput], Meta(min_length=1)]
    model_id: str | None = None
    language_code: str | None = None
    settings: DialogueSettings | None = None
    previous_text: str | None = None
    future_text: str | None = None
    pronunciation_dictionary_locators: list[object] | None = None
    seed: Seed | None = None
    apply_text_normalization: str | None = None
    use_pvc_as_ivc: bool | None = None
    previous_request_ids: list[str] | None = None
    next_request_ids: list[str] | None = None


_decoder = msgspec.json.Decoder(DialogueRequest)


class TextToDialogue(wire.Endpoint):
    """One of the four endpoints: streamed or whole, with timestamps or without."""

    max_body_bytes = MAX_BODY_BYTES

    def __init__(self, stream: bool, timed: bool) -> None:
        self.stream = stream
        self.timed = timed

    def negotiate(self, opening: Opening, body: bytes) -> AnswerRequest:
        """Return the request as a spec. Raises a `CallerError`, whose `param` is the field's name."""
        query = parameters.read_query(opening, DialogueQuery)
        request = wire.read(lambda: _decoder.decode(body))
        _refuse(request)
        lines = tuple(Line(each.voice_id, each.text) for each in request.inputs)
        spec = SpeakSpec(
            model=request.model_id or DEFAULT_MODEL,
            lines=lines,
            format=parameters.speech_format(query.output_format, self.stream),
            markup=Markup.BREAKS,
            timings=self.timed,
            stream=self.stream,
            language=request.language_code or "",
        )
        media_type = parameters.media_type(query.output_format)
        if self.timed:
            media_type = LINES if self.stream else wire.JSON
        headers = wire.headers(opening, media_type) + SYNTHETIC + no_effect(_without_effect(request))
        return AnswerRequest(spec, Answer(self, opening, headers, lines))


def _refuse(request: DialogueRequest) -> None:
    if not any(each.text.strip() for each in request.inputs):
        raise CallerError("The text is empty.", param="inputs")
    if sum(len(each.text) for each in request.inputs) > MAX_CHARACTERS:
        raise TooLarge(f"A dialogue has at most {MAX_CHARACTERS} characters.", param="inputs")
    if len({each.voice_id for each in request.inputs}) > MAX_VOICES:
        raise CallerError(f"A dialogue has at most {MAX_VOICES} voices.", param="inputs")
    parameters.check_normalisation(request.apply_text_normalization)
    parameters.check_dictionaries(request.pronunciation_dictionary_locators)


def _without_effect(request: DialogueRequest) -> tuple[str, ...]:
    settings = request.settings or DialogueSettings()
    usual = {"stability": 0.5, "similarity": 0.75, "clone_strength": 0.0}
    values = ((name, getattr(settings, name)) for name in usual)
    unlike = tuple(f"settings.{name}" for name, value in values if value is not None and value != usual[name])
    return unlike + parameters.idle_parameters(
        previous_text=request.previous_text,
        future_text=request.future_text,
        seed=request.seed is not None,
        use_pvc_as_ivc=request.use_pvc_as_ivc,
        previous_request_ids=request.previous_request_ids,
        next_request_ids=request.next_request_ids,
    )
