"""The settings of a Realtime session and of a single response, to and from a `ConverseSpec`.

An update changes the fields it has; null clears a field where null has a meaning (`turn_detection`, `transcription`,
`noise_reduction`, `tracing`, `prompt`), else it counts as absent. Fields that only tune or observe a session and are
not supported are accepted, and the session is shown without them: `noise_reduction`, `tracing`, `reasoning`, and what
guides a transcription (`prompt`, `keywords`, `delay`). Errors name the field as OpenAI does:
`session.audio.input.format`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from antiphon.core.conversation.spec import ConverseSpec, Eagerness, Transcription, Turns
from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.specs import Tool, ToolChoice, ToolMode
from antiphon.surfaces.openai import generation as shared
from antiphon.surfaces.openai.realtime.shown import G711_RATE, INPUTS, LOGPROBS, OUTPUTS, PCM_RATE, UNLIMITED, kind_of

MAX_OUTPUT_TOKENS = 4096
MAX_PADDING_MS, MAX_SILENCE_MS, MAX_IDLE_MS = 5_000, 60_000, 3_600_000
MAX_METADATA_KEY, MAX_METADATA_VALUE = 64, 512

Object = dict[str, Any]
Idle = Annotated[int, Meta(ge=1, le=MAX_IDLE_MS)]
Share = Annotated[float, Meta(ge=0, le=1)]
OutputTokens = Annotated[int, Meta(ge=1, le=MAX_OUTPUT_TOKENS)] | str


# -- what callers send -------------------------------------------------------------------------------------------------


class FormatIn(Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    rate: int | None = None


class TranscriptionIn(Struct, frozen=True, forbid_unknown_fields=True):
    model: str | None = None
    language: str | None = None
    languages: list[str] | None = None
    prompt: str | None = None
    keywords: list[str] | None = None
    delay: Any = None


class TurnsIn(Struct, frozen=True, forbid_unknown_fields=True):
    type: str | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None
    eagerness: str | None = None
    threshold: Share | None = None
    prefix_padding_ms: Annotated[int, Meta(ge=0, le=MAX_PADDING_MS)] | None = None
    silence_duration_ms: Annotated[int, Meta(ge=0, le=MAX_SILENCE_MS)] | None = None
    idle_timeout_ms: Idle | UnsetType | None = UNSET


class InputIn(Struct, frozen=True, forbid_unknown_fields=True):
    format: FormatIn | None = None
    transcription: TranscriptionIn | UnsetType | None = UNSET
    turn_detection: TurnsIn | UnsetType | None = UNSET
    noise_reduction: Any = None


class VoiceIn(Struct, frozen=True, forbid_unknown_fields=True):
    id: str


class OutputIn(Struct, frozen=True, forbid_unknown_fields=True):
    format: FormatIn | None = None
    voice: str | VoiceIn | None = None
    speed: Annotated[float, Meta(ge=0.25, le=1.5)] | None = None


class AudioIn(Struct, frozen=True, forbid_unknown_fields=True):
    input: InputIn | None = None
    output: OutputIn | None = None


class NamedFunction(Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    name: str | None = None
    server_label: str | None = None


class FunctionTool(Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    name: str
    description: str | None = None
    parameters: Object | None = None


class _Kind(Struct, frozen=True):
    type: str | None = None


class RetentionRatio(Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    retention_ratio: Share
    token_limits: Any = None


class ReasoningIn(Struct, frozen=True, forbid_unknown_fields=True):
    effort: str | None = None


class Common(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The common fields of a session and a response."""

    instructions: str | None = None
    tools: list[Raw] | None = None
    tool_choice: str | NamedFunction | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: OutputTokens | None = None
    output_modalities: list[str] | None = None
    audio: AudioIn | None = None
    reasoning: ReasoningIn | None = None
    prompt: Any = None


class SessionIn(Common, frozen=True, kw_only=True):
    type: str | None = None
    model: str | None = None
    include: list[str] | None = None
    truncation: str | RetentionRatio | None = None
    tracing: Any = None


class ResponseIn(Common, frozen=True, kw_only=True):
    conversation: str | None = None
    input: list[Raw] | None = None
    metadata: shared.Metadata | None = None


_TOOL = msgspec.json.Decoder(FunctionTool)
_KIND = msgspec.json.Decoder(_Kind)
_SESSION = msgspec.json.Decoder(SessionIn)

_EAGERNESS = {"auto": Eagerness.MEDIUM} | {each.value: each for each in Eagerness}
# The fields of a session that only transcribes; all others concern answers. The last two cannot guide the models here.
_OF_TRANSCRIPTION = ("type", "audio", "include", "instructions", "prompt")
# Models whose sessions have no turn detection with OpenAI: their clients commit the audio.
_COMMITTED = ("gpt-realtime-whisper", "gpt-live-transcribe")


# -- sessions ----------------------------------------------------------------------------------------------------------


def initial(kind: str, model: str) -> ConverseSpec:
    """Return a new session's settings. `model` is the language model, or the recogniser of a transcription."""
    if kind == "transcription":
        return ConverseSpec(answers=False, transcription=Transcription(model), turns=_usual_turns(model))
    return ConverseSpec(model)


def settled(data: bytes) -> SessionIn:
    """Return a `session` object from its JSON."""
    return shared.decode(_SESSION, data, "session")


def updated(spec: ConverseSpec, session: SessionIn) -> ConverseSpec:
    """Return the updated settings. Raises a `CallerError`, whose `param` is the path of the field."""
    kind = kind_of(spec)
    if session.type is not None and session.type != kind:
        raise CallerError(f"This session is of type '{kind}', which cannot be changed.", param="session.type")
    if not spec.answers:
        for name in session.__struct_fields__:
            if name not in _OF_TRANSCRIPTION and getattr(session, name) is not None:
                message = "A session that transcribes has no such parameter."
                raise UnsupportedParameter(message, param=f"session.{name}")
        if session.audio is not None and session.audio.output is not None:
            raise UnsupportedParameter("A transcription session produces no output.", param="session.audio.output")
    if session.model is not None and session.model != spec.model:
        raise CallerError("The model of a session cannot be changed.", param="session.model")
    if session.truncation is not None:
        spec = replace(spec, retain=_retained(session.truncation))
    spec = _common(spec, session, "session")
    if session.audio is not None and session.audio.input is not None:
        spec = _audio_input(spec, session.audio.input)
    return _including(spec, session.include)


def response(spec: ConverseSpec, fields: ResponseIn) -> ConverseSpec:
    """Return the settings of one response in the session of `spec`. Raises as `updated`."""
    if fields.audio is not None and fields.audio.input is not None:
        raise UnsupportedParameter("The audio input can be set only for the session.", param="response.audio.input")
    if fields.audio is not None and fields.audio.output is not None and fields.audio.output.speed is not None:
        raise UnsupportedParameter("The speed can be set only for the session.", param="response.audio.output.speed")
    return _common(spec, fields, "response")


def check_conversation(fields: ResponseIn) -> None:
    shared.one_of(fields.conversation, ("auto", "none"), "response.conversation")


def metadata(fields: ResponseIn) -> tuple[tuple[str, str], ...]:
    """Return labels that the response repeats, within OpenAI's limits of length."""
    pairs = tuple((fields.metadata or {}).items())
    if any(len(key) > MAX_METADATA_KEY or len(value) > MAX_METADATA_VALUE for key, value in pairs):
        message = f"A key has at most {MAX_METADATA_KEY} characters, a value {MAX_METADATA_VALUE}."
        raise CallerError(message, param="response.metadata")
    return pairs


# -- what both have ----------------------------------------------------------------------------------------------------


def _common(spec: ConverseSpec, fields: Common, path: str) -> ConverseSpec:
    if fields.prompt is not None and spec.answers:
        raise UnsupportedParameter("Prompt templates are not supported.", param=f"{path}.prompt")
    if fields.instructions is not None:
        spec = replace(spec, instructions=fields.instructions)
    if fields.parallel_tool_calls is not None:
        spec = replace(spec, parallel_tool_calls=fields.parallel_tool_calls)
    if fields.max_output_tokens is not None:
        most = _most(fields.max_output_tokens, f"{path}.max_output_tokens")
        spec = replace(spec, sampling=replace(spec.sampling, max_tokens=most))
    if fields.output_modalities is not None:
        if fields.output_modalities not in (["audio"], ["text"]):
            raise UnsupportedParameter(
                f"Supported values for '{path}.output_modalities': ['audio'], which has a transcript, or ['text'].",
                param=f"{path}.output_modalities",
            )
        spec = replace(spec, speak=fields.output_modalities == ["audio"])
    if fields.tools is not None:
        spec = replace(spec, tools=_tools(fields.tools, f"{path}.tools"))
    if fields.tool_choice is not None:
        spec = replace(spec, tool_choice=_choice(fields.tool_choice, f"{path}.tool_choice"))
    if fields.tools is not None or fields.tool_choice is not None:
        _check_choice(spec, f"{path}.tool_choice")
    if fields.audio is not None and fields.audio.output is not None:
        spec = _audio_output(spec, fields.audio.output, f"{path}.audio.output")
    return spec


def _most(limit: int | str, path: str) -> int | None:
    if isinstance(limit, int):
        return limit
    if limit != UNLIMITED:
        raise CallerError(f"'{path}' must be a number up to {MAX_OUTPUT_TOKENS}, or '{UNLIMITED}'.", param=path)
    return None


def _tools(definitions: list[Raw], path: str) -> tuple[Tool, ...]:
    if len(definitions) > shared.MAX_TOOLS:
        raise CallerError(f"'{path}' has at most {shared.MAX_TOOLS} items.", param=path)
    tools = []
    for place, raw in enumerate(definitions):
        here = f"{path}[{place}]"
        shared.one_of(shared.decode(_KIND, raw, here).type, ("function",), f"{here}.type")
        one = shared.decode(_TOOL, raw, here)
        tools.append(shared.tool(one.name, one.description, one.parameters, False, here))
    return tuple(tools)


def _choice(choice: str | NamedFunction, path: str) -> ToolChoice:
    if isinstance(choice, str):
        shared.one_of(choice, tuple(ToolMode), path)
        return ToolChoice(ToolMode(choice))
    shared.one_of(choice.type, ("function",), f"{path}.type")
    if choice.name is None:
        raise CallerError(f"Missing required parameter: '{path}.name'.", param=f"{path}.name")
    return ToolChoice(ToolMode.REQUIRED, choice.name)


def _check_choice(spec: ConverseSpec, path: str) -> None:
    choice = spec.tool_choice
    if choice.mode is ToolMode.REQUIRED and not spec.tools:
        raise CallerError("This choice requires tools, but none are given.", param=path)
    if choice.name and all(tool.name != choice.name for tool in spec.tools):
        raise CallerError("The chosen function is not one of the tools.", param=path)


def _audio_output(spec: ConverseSpec, fields: OutputIn, path: str) -> ConverseSpec:
    if fields.format is not None:
        spec = replace(spec, output_format=OUTPUTS[_format(fields.format, f"{path}.format")])
    if fields.voice is not None:
        spec = replace(spec, voice=fields.voice.id if isinstance(fields.voice, VoiceIn) else fields.voice)
    if fields.speed is not None:
        spec = replace(spec, speed=fields.speed)
    return spec


def _format(audio_format: FormatIn, path: str) -> str:
    shared.one_of(audio_format.type, tuple(INPUTS), f"{path}.type")
    rate = PCM_RATE if audio_format.type == "audio/pcm" else G711_RATE
    if audio_format.rate not in (None, rate):
        raise UnsupportedParameter(f"The rate of this format must be {rate}.", param=f"{path}.rate")
    return audio_format.type


# -- what only a session has -------------------------------------------------------------------------------------------


def _audio_input(spec: ConverseSpec, fields: InputIn) -> ConverseSpec:
    path = "session.audio.input"
    if fields.format is not None:
        spec = replace(spec, input_format=INPUTS[_format(fields.format, f"{path}.format")])
    if fields.transcription is None:
        if not spec.answers:
            raise CallerError("This is a transcription session.", param=f"{path}.transcription")
        spec = replace(spec, transcription=None)
    elif fields.transcription is not UNSET:
        now = spec.transcription
        transcription = _transcription(now, fields.transcription, f"{path}.transcription")
        usual = _usual_turns(transcription.model)
        if not spec.answers and usual != _usual_turns(now.model if now else ""):
            spec = replace(spec, turns=usual)
        spec = replace(spec, transcription=transcription)
    if fields.turn_detection is None:
        spec = replace(spec, turns=None)
    elif fields.turn_detection is not UNSET:
        spec = replace(spec, turns=_turns(spec.turns, fields.turn_detection, f"{path}.turn_detection"))
    return spec


def _transcription(now: Transcription | None, fields: TranscriptionIn, path: str) -> Transcription:
    """Return the transcription's settings; the session checks whether the model supports the language."""
    transcription = now or Transcription()
    if fields.model is not None:
        transcription = replace(transcription, model=fields.model)
    if fields.languages and fields.language and fields.language not in fields.languages:
        raise CallerError("'language' is not among 'languages'.", param=f"{path}.languages")
    if fields.languages:
        transcription = replace(transcription, language="", languages=tuple(fields.languages))
    return replace(transcription, language=fields.language, languages=()) if fields.language else transcription


def _usual_turns(model: str) -> Turns | None:
    """Return the default turn detection of a session that transcribes with that model."""
    return None if model.startswith(_COMMITTED) else Turns()


def _turns(now: Turns | None, fields: TurnsIn, path: str) -> Turns:
    """Return the turn detection; absent fields keep their value if its type stays the same."""
    shared.one_of(fields.type, ("server_vad", "semantic_vad"), f"{path}.type")
    semantic = fields.type == "semantic_vad" if fields.type else now is not None and now.eagerness is not None
    foreign = (
        ("threshold", "prefix_padding_ms", "silence_duration_ms", "idle_timeout_ms") if semantic else ("eagerness",)
    )
    for name in foreign:
        if getattr(fields, name) not in (None, UNSET):
            kind = "server_vad" if semantic else "semantic_vad"
            raise UnsupportedParameter(f"Only turn detection of type '{kind}' has this.", param=f"{path}.{name}")
    if now is None or (now.eagerness is not None) != semantic:
        now = Turns(eagerness=Eagerness.MEDIUM if semantic else None)
    if fields.eagerness is not None:
        shared.one_of(fields.eagerness, tuple(_EAGERNESS), f"{path}.eagerness")
        now = replace(now, eagerness=_EAGERNESS[fields.eagerness])
    changes: Object = {
        "threshold": fields.threshold,
        "padding_ms": fields.prefix_padding_ms,
        "silence_ms": fields.silence_duration_ms,
        "respond": fields.create_response,
        "interrupt": fields.interrupt_response,
    }
    now = replace(now, **{name: value for name, value in changes.items() if value is not None})
    return now if isinstance(fields.idle_timeout_ms, UnsetType) else replace(now, idle_ms=fields.idle_timeout_ms)


def _retained(truncation: str | RetentionRatio) -> float | None:
    if isinstance(truncation, str):
        shared.one_of(truncation, ("auto", "disabled"), "session.truncation")
        return 1.0 if truncation == "auto" else None
    shared.one_of(truncation.type, ("retention_ratio",), "session.truncation.type")
    if truncation.token_limits is not None:
        message = "A conversation may become as long as the model reads."
        raise UnsupportedParameter(message, param="session.truncation.token_limits")
    return truncation.retention_ratio


def _including(spec: ConverseSpec, include: Sequence[str] | None) -> ConverseSpec:
    if include is None:
        return spec
    for place, name in enumerate(include):
        shared.one_of(name, (LOGPROBS,), f"session.include[{place}]")
    if spec.transcription is not None:
        return replace(spec, transcription=replace(spec.transcription, tokens=bool(include)))
    if include:
        raise CallerError("Log-probabilities need 'audio.input.transcription'.", param="session.include")
    return spec
