"""The messages of a caller on ElevenLabs' WebSockets. Where ElevenLabs' documentation and SDK differ, both forms are
accepted.

An unknown field does not end a connection: SDKs of later versions may send fields that this server does not know.
"""

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from antiphon.core.errors import UnsupportedParameter
from antiphon.surfaces.elevenlabs import wire

M = TypeVar("M")

MAX_UNKNOWN = 16  # unknown fields reported on one connection
MAX_CONTEXT_ID = 256
DEFAULT_CONTEXT = "default"


class GenerationConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The schedule of a text. ElevenLabs allows 50 to 500; a smaller number only means that speech begins earlier."""

    chunk_length_schedule: (
        Annotated[list[Annotated[float, Meta(ge=1, le=500)]], Meta(min_length=1, max_length=64)] | None
    ) = None


class TextMessage(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A caller's message about a text. Two fields have two spellings in ElevenLabs' documentation, and callers use
    both.
    """

    text: str | None = None
    voice_settings: wire.VoiceSettings | None = None
    generation_config: GenerationConfig | None = None
    generator_config: GenerationConfig | None = None
    pronunciation_dictionary_locators: list[object] | None = None
    try_trigger_generation: bool | None = None
    flush: bool | None = None
    xi_api_key: str | None = None
    dashed_key: str | None = msgspec.field(default=None, name="xi-api-key")
    authorization: str | None = None


class ContextMessage(TextMessage, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A caller's message about one of several texts."""

    context_id: Annotated[str, Meta(max_length=MAX_CONTEXT_ID)] | None = None
    camel_id: Annotated[str, Meta(max_length=MAX_CONTEXT_ID)] | None = msgspec.field(default=None, name="contextId")
    close_context: bool | None = None
    close_socket: bool | None = None

    @property
    def context(self) -> str:
        return self.context_id or self.camel_id or DEFAULT_CONTEXT


class DialogueInput(Struct, frozen=True):
    """A line or a part of one: further text of the same voice continues it."""

    text: str
    voice_id: str


class DialogueMessage(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A caller's message about one of several dialogues. `voices` are those of its lines, in its first message."""

    context_id: Annotated[str, Meta(max_length=MAX_CONTEXT_ID)] | None = None
    inputs: list[DialogueInput] | None = None
    flush: bool | None = None
    close_context: bool | None = None
    close_socket: bool | None = None
    keep_alive: bool | None = None
    voices: list[str] | None = None
    voice_settings: wire.VoiceSettings | None = None
    pronunciation_dictionary_locators: list[object] | None = None
    xi_api_key: str | None = None
    authorization: str | None = None


_STRUCTS = {
    "voice_settings": wire.VoiceSettings,
    "generation_config": GenerationConfig,
    "generator_config": GenerationConfig,
}


def read_message(decoder: msgspec.json.Decoder[M], message: str | bytes) -> tuple[M, tuple[str, ...]]:
    """Return the message, and the names of its unknown fields, which are left out. Raises `CallerError`."""
    try:
        return wire.read(lambda: decoder.decode(message)), ()
    except UnsupportedParameter:
        sent = wire.read(lambda: msgspec.json.decode(message))
    unknown = _leave_out_unknown(sent, decoder.type, "")
    for name, kind in _STRUCTS.items():
        if isinstance(sent.get(name), dict):
            unknown += _leave_out_unknown(sent[name], kind, f"{name}.")
    return wire.read(lambda: msgspec.convert(sent, decoder.type)), tuple(unknown)


def _leave_out_unknown(sent: dict[str, Any], kind: type, path: str) -> list[str]:
    """Remove the fields that `kind` does not have from `sent`, and return their names."""
    known = {field.encode_name for field in msgspec.structs.fields(kind)}
    unknown = [name for name in sent if name not in known]
    for name in unknown:
        del sent[name]
    return [f"{path}{name}"[: wire.MAX_SHOWN] for name in unknown]
