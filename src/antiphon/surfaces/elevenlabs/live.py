"""ElevenLabs' WebSockets: `/v1/text-to-speech/{voice_id}/stream-input`, one text that comes in pieces, and
`/multi-stream-input`, several texts in parallel.

Every message is JSON with a `text`. A text's first message may have settings; a single space in it only opens the text.
With one text, an empty message is the end; with several, it keeps its context alive. Text waits until it is as long as
its schedule says, unless it is flushed. With `auto_mode` every message is a whole sentence or phrase: it is spoken at
once, and its end is the end of a word. No message for `inactivity_timeout` seconds ends a context, or a connection that
has none, which is an error and 1008. A connection without an error is closed with 1000.

With `sync_alignment` times count from the start of a message's own audio. Without it they are sent when a clause is
complete, and count from the end of the clauses before: clients add them up.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import msgspec
from msgspec import UNSET

from antiphon.core.endpoints import Accepted
from antiphon.core.errors import AntiphonError, CallerError
from antiphon.core.events import (
    AllSpoken,
    Begin,
    Clear,
    ContextEnded,
    End,
    Failed,
    Finish,
    Flush,
    Flushed,
    Input,
    Opened,
    Say,
    SpeechOutput,
    Spoken,
)
from antiphon.core.specs import Markup, SpeakSpec
from antiphon.core.units import NS_PER_S
from antiphon.core.wire import NOTHING, SYNTHETIC, Bearer, Close, Opening, Pending, Step, bearer, make_close, no_effect
from antiphon.surfaces.elevenlabs import parameters, wire
from antiphon.surfaces.elevenlabs.messages import (
    MAX_UNKNOWN,
    ContextMessage,
    GenerationConfig,
    TextMessage,
    read_message,
)
from antiphon.surfaces.elevenlabs.parameters import LiveQuery
from antiphon.surfaces.elevenlabs.speech import voice_of

# ElevenLabs' own.
DEFAULT_SCHEDULE = (120, 160, 250, 290)
# `try_trigger_generation` has no effect on shorter text, nor within a clause: ElevenLabs' models take the earlier text
# into account, the voices here do not.
MIN_TRIGGER_CHARACTERS = 50
CLAUSE_ENDS = (".", ",", ";", ":", "!", "?", "…", "—")

TOKEN_TYPE = "tts_websocket"
MAX_CONTEXTS = 16  # open at once; ElevenLabs allows 5

_texts = msgspec.json.Decoder(TextMessage)
_contexts = msgspec.json.Decoder(ContextMessage)


class LiveEndpoint(wire.Endpoint):
    """The common part of the WebSockets. As browsers cannot set a header, a single-use token may be in the query, or
    the key in the first message.
    """

    def credential(self, opening: Opening, first: str | bytes | None = None) -> Bearer | Pending | None:
        if first is None:
            token = dict(opening.query).get("single_use_token", "").strip()
            return Bearer(token) if token else super().credential(opening) or Pending.PENDING
        try:
            message, _ = read_message(_contexts, first)
        except CallerError:
            return None
        return bearer(message.xi_api_key or message.dashed_key or "") or wire.bearer(message.authorization or "")


class LiveSpeechEndpoint(LiveEndpoint):
    """The endpoint of one WebSocket: for one text, or for `many`."""

    def __init__(self, many: bool) -> None:
        self._many = many

    def negotiate(self, opening: Opening, first: str | bytes | None = None) -> Accepted[SpeakSpec]:
        """Return the session to open. Raises a `CallerError`, whose `param` is the parameter's name."""
        wire.check_token(opening, TOKEN_TYPE)
        query = parameters.read_query(opening, LiveQuery)
        parameters.check_normalisation(query.apply_text_normalization)
        spec = SpeakSpec(
            model=query.model_id or parameters.DEFAULT_MODEL,
            voice=voice_of(opening),
            format=parameters.speech_format(query.output_format, streamed=True),
            markup=Markup.BREAKS if query.enable_ssml_parsing else Markup.NONE,
            timings=query.sync_alignment,
            times_follow=not query.sync_alignment,
            live=True,
            language=query.language_code or "",
        )
        unused = parameters.idle_parameters(
            optimize_streaming_latency=query.optimize_streaming_latency == parameters.NO_NORMALISER,
            apply_language_text_normalization=query.apply_language_text_normalization,
            seed=query.seed is not None,
        )
        headers = (("request-id", opening.request_id), *SYNTHETIC, *no_effect(unused))
        return Accepted(spec, ManyTexts(query) if self._many else OneText(query), headers=headers)


# -- a text ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Text:
    """One text so far. `key` is its id in the session, never reused; `id` is the caller's, who may reuse it. With
    `whole` each of its messages is one sentence or phrase. `waiting` is the number of characters since the last flush,
    `flushing` the number of open flushes, `timed_ms` the position up to which times were sent, of the text as it was
    written and as it was read aloud.
    """

    key: str
    id: str
    inactive_since_ns: int
    settings: wire.VoiceSettings | None
    config: GenerationConfig | None
    warnings: tuple[str, ...]
    whole: bool
    begun: bool = False
    waiting: int = 0
    flushing: int = 0
    timed_ms: tuple[int, int] = (0, 0)

    def take(self, message: TextMessage) -> Iterator[Input]:
        """Yield the session's inputs of a message."""
        if message.text and (self.begun or not message.text.isspace()):
            self.begun = True
            self.waiting += len(message.text)
            yield Say(message.text, self.key, self.whole)
        if message.flush or (message.try_trigger_generation and self._may_be_triggered(message.text or "")):
            self.waiting = 0
            self.flushing += 1
            yield Flush(self.key)

    def _may_be_triggered(self, last: str) -> bool:
        return self.waiting >= MIN_TRIGGER_CHARACTERS and last.rstrip().endswith(CLAUSE_ENDS)

    def close(self) -> tuple[Input, ...]:
        """Return the inputs that end the text: flushed text is still spoken, the rest is dropped."""
        return (Finish(self.key),) if self.flushing else (Clear(self.key), Finish(self.key))

    def still(self, message: TextMessage) -> None:
        """Raise `CallerError` if a later message has other settings."""
        if message.voice_settings not in (None, self.settings):
            raise CallerError("Settings are allowed only in the first message of a text.", param="voice_settings")
        if (message.generation_config or message.generator_config) not in (None, self.config):
            raise CallerError("Settings are allowed only in the first message of a text.", param="generation_config")


class _State(Enum):
    OPEN = auto()
    ENDING = auto()  # the caller has ended; speech is still sent
    CLOSED = auto()


class Connection(ABC):
    """The common part of both kinds of connection."""

    decoder: msgspec.json.Decoder[Any]

    def __init__(self, query: LiveQuery) -> None:
        self._auto = query.auto_mode
        self._schedule = () if query.auto_mode else DEFAULT_SCHEDULE
        self._timeout_s = query.inactivity_timeout
        self._synchronous = query.sync_alignment
        self._state = _State.OPEN
        self._inactive_since_ns: int | None = None
        self._texts: dict[str, Text] = {}  # by key, until they have ended
        self._keys = 0
        self._unknown: set[str] = set()  # unknown fields that were reported
        self._notes: tuple[str, ...] = ()

    # -- from the caller -----------------------------------------------------------------------------------------------

    def receive(self, message: str | bytes, now_ns: int) -> Step:
        if self._state is not _State.OPEN:
            return NOTHING
        self._inactive_since_ns = now_ns
        try:
            fields, unknown = read_message(self.decoder, message)
            self._note(unknown)
            parameters.check_dictionaries(fields.pronunciation_dictionary_locators)
            return Step(inputs=tuple(self._hear(fields, now_ns)))
        except AntiphonError as error:
            return self._fail(error)

    @abstractmethod
    def _hear(self, message: Any, now_ns: int) -> Iterator[Input]:
        """Yield the session's inputs of a message. Raises `AntiphonError`."""

    def _note(self, unknown: tuple[str, ...]) -> None:
        """Add unknown fields of a message, each once, to the warnings of the next speech."""
        for name in unknown:
            if name not in self._unknown and len(self._unknown) < MAX_UNKNOWN:
                self._unknown.add(name)
                self._notes += (f"{name} has no effect",)

    def _end(self) -> Input:
        self._state = _State.ENDING
        return End()

    def _begin(self, message: TextMessage, id: str, now_ns: int) -> tuple[Text, Begin]:
        """Return a new text, and the input that begins it; `message` is its first."""
        if len(self._texts) >= MAX_CONTEXTS:
            raise CallerError(f"A connection has at most {MAX_CONTEXTS} contexts at once.", param="context_id")
        config = message.generation_config or message.generator_config
        lengths = config.chunk_length_schedule if config else None
        schedule = self._schedule if lengths is None else tuple(int(length) for length in lengths)
        warnings = tuple(f"{name} has no effect" for name in wire.without_effect(message.voice_settings))
        self._keys += 1
        text = Text(str(self._keys), id, now_ns, message.voice_settings, config, warnings, self._auto)
        begin = Begin(text.key, wire.speed(message.voice_settings), schedule)
        self._texts[text.key] = text
        return text, begin

    def _silent(self) -> Step:
        message = f"No text came for {self._timeout_s} seconds; send some in time, or an empty one when done."
        return self._break(wire.LiveError(message, "input_timeout_exceeded", wire.POLICY_VIOLATION))

    # -- from the session ----------------------------------------------------------------------------------------------

    def emit(self, event: SpeechOutput, now_ns: int) -> Step:
        if self._state is _State.CLOSED:
            return NOTHING
        match event:
            case Opened():
                self._inactive_since_ns = now_ns
            case Spoken():
                return Step(sends=(self._render(event),))
            case Flushed():
                if text := self._texts.get(event.context):
                    text.flushing -= 1
                    return Step(sends=self._flushed(text))
            case ContextEnded():
                if text := self._texts.pop(event.context, None):
                    self._inactive_since_ns = now_ns
                    return Step(sends=self._ended(text))
            case AllSpoken():
                self._state = _State.CLOSED
                return Step(sends=self._goodbye(), close=Close(wire.NORMAL))
            case Failed():
                return self._fail(event.error)
        return NOTHING

    def _render(self, spoken: Spoken) -> str:
        text = self._texts.get(spoken.context)
        warnings, self._notes = self._notes, ()
        from_ms = (spoken.start_ms, spoken.start_ms)
        if text is not None:
            warnings, text.warnings = text.warnings + warnings, ()
            if not self._synchronous:
                from_ms = text.timed_ms
            written_ms, read_ms = text.timed_ms
            text.timed_ms = (
                spoken.characters[-1].end_ms if spoken.characters else written_ms,
                spoken.spelled[-1].end_ms if spoken.spelled else read_ms,
            )
        return self._audio(spoken, text, from_ms, warnings)

    def _audio(self, spoken: Spoken, text: Text | None, from_ms: tuple[int, int], warnings: tuple[str, ...]) -> str:
        """Return the message of a piece of speech; times count from `from_ms`: of the text as it was written, and as it
        was read aloud. A client adds up either.
        """
        written_ms, read_ms = from_ms
        return _write(
            wire.LiveAudio(
                audio=wire.base64(spoken.audio),
                is_final=False,
                normalized_alignment=wire.live_alignment(spoken.spelled, read_ms),
                alignment=wire.live_alignment(spoken.characters, written_ms),
                context_id=self._named(text),
                warnings=warnings,
            )
        )

    def _named(self, text: Text | None) -> str | msgspec.UnsetType:
        """Return the field that tells the caller which text a message is about."""
        return UNSET

    def _flushed(self, text: Text) -> tuple[str, ...]:
        """Return the messages after all flushed text was spoken."""
        return ()

    def _ended(self, text: Text) -> tuple[str, ...]:
        """Return the messages after the end of a text."""
        return ()

    def _goodbye(self) -> tuple[str, ...]:
        """Return the last messages of the connection."""
        return ()

    def _fail(self, error: AntiphonError) -> Step:
        return self._break(wire.live_error(error))

    def _break(self, error: wire.LiveError) -> Step:
        self._state = _State.CLOSED
        return Step(sends=(wire.encode(error).decode(),), close=make_close(error.code, error.message))


class OneText(Connection):
    """A connection of `stream-input`."""

    decoder = _texts

    def _hear(self, message: Any, now_ns: int) -> Iterator[Input]:
        assert isinstance(message, TextMessage)
        if message.text is None and not message.flush:
            raise CallerError("Field required", param="text")
        if text := next(iter(self._texts.values()), None):
            text.still(message)
            yield from text.take(message)
        elif message.text:
            text, begin = self._begin(message, "", now_ns)
            yield begin
            yield from text.take(message)
        if message.text == "":
            yield self._end()

    def deadline_ns(self) -> int | None:
        if self._state is not _State.OPEN or self._inactive_since_ns is None:
            return None
        return self._inactive_since_ns + self._timeout_s * NS_PER_S

    def expire(self, now_ns: int) -> Step:
        deadline_ns = self.deadline_ns()
        return NOTHING if deadline_ns is None or now_ns < deadline_ns else self._silent()

    def _goodbye(self) -> tuple[str, ...]:
        return (_write(wire.LiveAudio(audio=None, is_final=True, normalized_alignment=None, alignment=None)),)


class ManyTexts(Connection):
    """A connection of `multi-stream-input`. A closed context may still speak while a new one has the same id."""

    decoder: msgspec.json.Decoder[Any] = _contexts

    def __init__(self, query: LiveQuery) -> None:
        super().__init__(query)
        self._open: dict[str, Text] = {}  # by the caller's id, until closed

    def _hear(self, message: Any, now_ns: int) -> Iterator[Input]:
        assert isinstance(message, ContextMessage)
        text = self._open.get(message.context)
        if message.close_socket:
            yield self._end()
        elif message.close_context:
            if text is not None:
                yield from self._close(text)
        elif text is not None:
            text.inactive_since_ns = now_ns
            text.still(message)
            yield from text.take(message)
        elif message.text:  # else it concerns a context that has ended
            text, begin = self._begin(message, message.context, now_ns)
            self._open[text.id] = text
            yield begin
            yield from text.take(message)

    def _close(self, text: Text) -> tuple[Input, ...]:
        del self._open[text.id]
        return text.close()

    def deadline_ns(self) -> int | None:
        """Return when the earliest timeout ends: that of the context with the oldest message, or without contexts that
        of the connection.
        """
        if self._state is not _State.OPEN or self._inactive_since_ns is None:
            return None
        inactive_since_ns = min((text.inactive_since_ns for text in self._open.values()), default=None)
        if inactive_since_ns is None:
            if self._texts:
                return None
            inactive_since_ns = self._inactive_since_ns
        return inactive_since_ns + self._timeout_s * NS_PER_S

    def expire(self, now_ns: int) -> Step:
        deadline_ns = self.deadline_ns()
        if deadline_ns is None or now_ns < deadline_ns:
            return NOTHING
        since_ns = now_ns - self._timeout_s * NS_PER_S
        silent = [text for text in self._open.values() if text.inactive_since_ns <= since_ns]
        if not silent:
            return self._silent()
        return Step(inputs=tuple(each for text in silent for each in self._close(text)))

    def emit(self, event: SpeechOutput, now_ns: int) -> Step:
        step = super().emit(event, now_ns)
        if isinstance(event, ContextEnded):  # also if the session ends all of them
            self._open = {id: text for id, text in self._open.items() if text.key in self._texts}
        return step

    def _named(self, text: Text | None) -> str | msgspec.UnsetType:
        return UNSET if text is None else text.id

    def _ended(self, text: Text) -> tuple[str, ...]:
        end = wire.LiveAudio(
            audio=None, is_final=True, final=True, normalized_alignment=None, alignment=None, context_id=text.id
        )
        return (_write(end),)


def _write(message: wire.LiveAudio) -> str:
    return wire.encode(message).decode()
