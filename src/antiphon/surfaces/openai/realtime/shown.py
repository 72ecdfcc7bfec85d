"""The settings of a Realtime session as shown to clients: complete, in OpenAI's order."""

from typing import Any

import msgspec

from antiphon.core.audio import AudioFormat, Codec, Encoding, SpeechFormat
from antiphon.core.conversation.spec import ConverseSpec, Transcription, Turns
from antiphon.core.specs import Tool, ToolChoice

PCM_RATE, G711_RATE = 24_000, 8_000
LOGPROBS = "item.input_audio_transcription.logprobs"
UNLIMITED = "inf"

Object = dict[str, Any]

INPUTS = {
    "audio/pcm": AudioFormat(Encoding.LINEAR16, PCM_RATE),
    "audio/pcmu": AudioFormat(Encoding.MULAW, G711_RATE),
    "audio/pcma": AudioFormat(Encoding.ALAW, G711_RATE),
}
OUTPUTS = {
    "audio/pcm": SpeechFormat(Codec.LINEAR16, sample_rate=PCM_RATE),
    "audio/pcmu": SpeechFormat(Codec.MULAW, sample_rate=G711_RATE),
    "audio/pcma": SpeechFormat(Codec.ALAW, sample_rate=G711_RATE),
}


def kind_of(spec: ConverseSpec) -> str:
    return "realtime" if spec.answers else "transcription"


def session(spec: ConverseSpec, id: str, expires_unix_s: int | None) -> Object:
    """Return a whole session object, without secrets."""
    audio_input = {
        "format": format_in(spec.input_format),
        "noise_reduction": None,
        "transcription": _transcription_shown(spec.transcription),
        "turn_detection": _turns_shown(spec.turns, spec.answers),
    }
    include = [LOGPROBS] if spec.transcription and spec.transcription.tokens else None
    if not spec.answers:
        return {
            "type": "transcription",
            "object": "realtime.transcription_session",
            "id": id,
            "expires_at": expires_unix_s,
            "audio": {"input": audio_input},
            "include": include,
        }
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": id,
        "model": spec.model or None,
        "output_modalities": modalities(spec),
        "instructions": spec.instructions,
        "tools": [_tool_shown(tool) for tool in spec.tools],
        "tool_choice": _choice_shown(spec.tool_choice),
        "parallel_tool_calls": spec.parallel_tool_calls,
        "max_output_tokens": most_tokens(spec),
        "truncation": _truncation_shown(spec.retain),
        "tracing": None,
        "prompt": None,
        "expires_at": expires_unix_s,
        "audio": {
            "input": audio_input,
            "output": {"format": format_out(spec.output_format), "voice": spec.voice or None, "speed": spec.speed},
        },
        "include": include,
    }


def modalities(spec: ConverseSpec) -> tuple[str, ...]:
    return ("audio",) if spec.speak else ("text",)


def most_tokens(spec: ConverseSpec) -> int | str:
    return UNLIMITED if spec.sampling.max_tokens is None else spec.sampling.max_tokens


def format_in(format: AudioFormat) -> Object:
    return _format_shown(next(name for name, each in INPUTS.items() if each == format))


def format_out(format: SpeechFormat) -> Object:
    return _format_shown(next(name for name, each in OUTPUTS.items() if each == format))


def _format_shown(name: str) -> Object:
    return {"type": name, "rate": PCM_RATE} if name == "audio/pcm" else {"type": name}


def _transcription_shown(transcription: Transcription | None) -> Object | None:
    if transcription is None:
        return None
    several = {"languages": list(transcription.languages)} if transcription.languages else {}
    return {"model": transcription.model or None, "language": transcription.language or None, **several, "prompt": None}


def _turns_shown(turns: Turns | None, answered: bool) -> Object | None:
    """Return the turn detection; fields about answers only in sessions that answer."""
    if turns is None:
        return None
    answers = {"create_response": turns.respond, "interrupt_response": turns.interrupt} if answered else {}
    if turns.eagerness is not None:
        return {"type": "semantic_vad", "eagerness": turns.eagerness.value, **answers}
    found = {
        "type": "server_vad",
        "threshold": turns.threshold,
        "prefix_padding_ms": turns.padding_ms,
        "silence_duration_ms": turns.silence_ms,
    }
    return {**found, "idle_timeout_ms": turns.idle_ms, **answers} if answered else found


def _tool_shown(tool: Tool) -> Object:
    parameters = msgspec.Raw(tool.parameters.encode())  # as it is: one that is deep could not be read here
    return {"type": "function", "name": tool.name, "description": tool.description, "parameters": parameters}


def _choice_shown(choice: ToolChoice) -> str | Object:
    return {"type": "function", "name": choice.name} if choice.name else choice.mode.value


def _truncation_shown(retain: float | None) -> str | Object:
    if retain is None:
        return "disabled"
    return "auto" if retain == 1 else {"type": "retention_ratio", "retention_ratio": retain}
