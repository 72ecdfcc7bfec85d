"""What a caller says on ElevenLabs' WebSockets, as its documents and its SDK write it: both where they differ."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from antiphon.surfaces.elevenlabs import wire

MAX_CONTEXT_ID = 256
DEFAULT_CONTEXT = "default"


class GenerationConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """ElevenLabs says 50 to 500; less only means that speech begins earlier."""

    chunk_length_schedule: (
        Annotated[list[Annotated[float, Meta(ge=1, le=500)]], Meta(min_length=1, max_length=64)] | None
    ) = None


class TextMessage(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a caller says about a text. ElevenLabs' documents write the two of some fields, and so do callers."""

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
    """The same, about one of several."""

    context_id: Annotated[str, Meta(max_length=MAX_CONTEXT_ID)] | None = None
    camel_id: Annotated[str, Meta(max_length=MAX_CONTEXT_ID)] | None = msgspec.field(default=None, name="contextId")
    close_context: bool | None = None
    close_socket: bool | None = None

    @property
    def context(self) -> str:
        return self.context_id or self.camel_id or DEFAULT_CONTEXT
