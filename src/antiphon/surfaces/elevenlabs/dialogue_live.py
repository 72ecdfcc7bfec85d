"""ElevenLabs' WebSocket `/v1/text-to-dialogue/multi-stream-input`: several dialogues in parallel.

Every message is JSON with a `context_id`. A context's first message names its voices, the others bring lines. A clause
is spoken as soon as it is complete; `flush` speaks an incomplete one, and `close_context` the rest. A context without
messages for 20 seconds is closed in the same way; `keep_alive` prevents that. Messages to the caller are in snake case;
with `sync_alignment` the times of each are those of its own audio.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
from msgspec import Struct

from antiphon.core.endpoints import Accepted
from antiphon.core.errors import CallerError
from antiphon.core.events import Finish, Flush, Input, Say, Spoken
from antiphon.core.specs import Markup, SpeakSpec
from antiphon.core.wire import SYNTHETIC, Opening, no_effect
from antiphon.surfaces.elevenlabs import parameters, wire
from antiphon.surfaces.elevenlabs.dialogue import DEFAULT_MODEL, MAX_VOICES, DialogueQuery
from antiphon.surfaces.elevenlabs.live import TOKEN_TYPE, LiveEndpoint, ManyTexts, Text
from antiphon.surfaces.elevenlabs.messages import DialogueMessage, TextMessage
from antiphon.surfaces.elevenlabs.parameters import LiveQuery, Seed

_messages = msgspec.json.Decoder(DialogueMessage)


class LiveDialogueQuery(DialogueQuery, frozen=True, forbid_unknown_fields=True):
    """The query. `authorization` and `single_use_token` are credentials."""

    authorization: str | None = None
    single_use_token: str | None = None
    model_id: str | None = None
    language_code: str | None = None
    apply_text_normalization: str | None = None
    sync_alignment: bool = False
    seed: Seed | None = None


class LiveDialogueEndpoint(LiveEndpoint):
    """The endpoint."""

    def negotiate(self, opening: Opening, first: str | bytes | None = None) -> Accepted[SpeakSpec]:
        """Return the session to open. Raises a `CallerError`, whose `param` is the parameter's name."""
        wire.check_token(opening, TOKEN_TYPE)
        query = parameters.read_query(opening, LiveDialogueQuery)
        parameters.check_normalisation(query.apply_text_normalization)
        spec = SpeakSpec(
            model=query.model_id or DEFAULT_MODEL,
            format=parameters.speech_format(query.output_format, streamed=True),
            markup=Markup.BREAKS,
            timings=query.sync_alignment,
            live=True,
            language=query.language_code or "",
        )
        unused = no_effect(parameters.idle_parameters(seed=query.seed is not None))
        headers = (("request-id", opening.request_id), *SYNTHETIC, *unused)
        return Accepted(spec, Dialogues(LiveQuery(sync_alignment=query.sync_alignment)), headers=headers)


class Dialogues(ManyTexts):
    """One connection."""

    decoder = _messages

    def __init__(self, query: LiveQuery) -> None:
        super().__init__(query)
        self._casts: dict[str, frozenset[str]] = {}  # the voices of each text, by its key

    def _hear(self, message: Any, now_ns: int) -> Iterator[Input]:
        assert isinstance(message, DialogueMessage)
        if message.close_socket:
            yield self._end()
            return
        if message.context_id is None:
            raise CallerError("Field required", param="context_id")
        text = self._open.get(message.context_id)
        if text is None:
            if not (message.voices or message.inputs):
                return  # it concerns a context that has ended
            text, begin = self._register(message, message.context_id, now_ns)
            yield begin
        text.inactive_since_ns = now_ns
        yield from self._lines(text, message)
        if message.flush:
            text.flushing += 1
            yield Flush(text.key)
        if message.close_context:
            yield from self._close(text)

    def _register(self, message: DialogueMessage, id: str, now_ns: int) -> tuple[Text, Input]:
        if not message.voices or not all(message.voices) or len(message.voices) > MAX_VOICES:
            raise CallerError(
                f"The first message of a context must name its voices, at most {MAX_VOICES}.", param="voices"
            )
        text, begin = self._begin(TextMessage(voice_settings=message.voice_settings), id, now_ns)
        self._open[id] = text
        self._casts[text.key] = frozenset(message.voices)
        return text, replace(begin, schedule=())

    def _lines(self, text: Text, message: DialogueMessage) -> Iterator[Input]:
        for line in message.inputs or ():
            if line.voice_id not in self._casts[text.key]:
                raise CallerError("This voice is not one of the context's.", param="voice_id")
            if line.text:
                text.begun = True
                yield Say(line.text, text.key, voice=line.voice_id)

    def _close(self, text: Text) -> tuple[Input, ...]:
        del self._open[text.id]
        return (Finish(text.key),)

    # -- to the caller -------------------------------------------------------------------------------------------------

    def _audio(self, spoken: Spoken, text: Text | None, from_ms: tuple[int, int], warnings: tuple[str, ...]) -> str:
        alignment = wire.dialogue_alignment(spoken.characters, from_ms[0])
        named = text.id if text is not None else msgspec.UNSET
        return _write(wire.DialogueAudio(wire.base64(spoken.audio), alignment, named, warnings))

    def _flushed(self, text: Text) -> tuple[str, ...]:
        return (_write(wire.DialogueTurnEnd(True, text.id)),)

    def _ended(self, text: Text) -> tuple[str, ...]:
        self._casts.pop(text.key, None)
        return (_write(wire.DialogueEnd(True, text.id)),)


def _write(message: Struct) -> str:
    return wire.encode(message).decode()
