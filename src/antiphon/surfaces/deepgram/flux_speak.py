"""Deepgram's Flux speech: the WebSocket at `/v2/speak`, which speaks turns.

A turn is the text up to a `Flush`. Its audio is sent between `SpeechStarted` and `SpeechMetadata`, then `Flushed`;
turns wait for those before. `Interrupt` drops text that is not yet spoken, of all turns; if it has the caller's
playback position, the answer has the text that was heard.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from uuid import NAMESPACE_URL, uuid5

import msgspec

from antiphon.core.endpoints import Accepted
from antiphon.core.errors import AntiphonError, CallerError, CapacityError, PolicyError
from antiphon.core.events import (
    AllSpoken,
    CharacterTime,
    Clear,
    Cleared,
    ContextEnded,
    End,
    Failed,
    Flush,
    Flushed,
    Opened,
    Say,
    SpeechOutput,
    Spoken,
)
from antiphon.core.specs import SpeakSpec
from antiphon.core.wire import NOTHING, SYNTHETIC, Opening, Step, make_close, no_effect
from antiphon.surfaces.deepgram import flux_speak_wire as wire
from antiphon.surfaces.deepgram import results, speak_parameters
from antiphon.surfaces.deepgram.endpoint import (
    INTERNAL_ERROR,
    NORMAL,
    POLICY_VIOLATION,
    SILENT_SERVER,
    Endpoint,
    State,
    chosen_subprotocol,
)
from antiphon.surfaces.deepgram.speak_live import (
    MAX_CHARACTERS,
    MAX_CONNECTION_NS,
    NO_COMMAND,
    NO_TEXT,
    OVER_TIME,
    TOO_BIG,
    UNSUPPORTED_DATA,
)
from antiphon.surfaces.deepgram.wire import Speak, SpeakClose, SpeakFlush

LONG_TEXT = "BIG-0000"


@dataclass(slots=True)
class _Turn:
    """A turn. `at_ms` is where its audio begins in the session's; `times` are of its characters, from its own start."""

    id: str
    text: str = ""
    flushed: bool = False
    started: bool = False
    at_ms: int = 0
    audio_ms: int = 0
    times: list[CharacterTime] = field(default_factory=list)

    def metadata(self, billable: int) -> wire.TurnMetadata:
        return wire.TurnMetadata(
            speech_id=self.id,
            audio_duration_ms=self.audio_ms,
            input_character_count=len(self.text),
            billable_character_count=billable,
        )


class FluxSpeakEndpoint(Endpoint):
    """`GET /v2/speak` as a WebSocket."""

    def negotiate(self, opening: Opening, first: str | bytes | None = None) -> Accepted[SpeakSpec]:
        spec = replace(speak_parameters.read(opening.query), times_follow=True)
        unused = no_effect(speak_parameters.unused(opening.query))
        return Accepted(
            spec=spec,
            surface=FluxSpeech(opening.request_id, spec.speed),
            headers=(("dg-request-id", opening.request_id), *SYNTHETIC, *unused),
            subprotocol=chosen_subprotocol(opening),
        )


class FluxSpeech:
    """One connection. `_turns` are those to be spoken, in order; `_cut` those that a running `Interrupt` concerns, with
    `_offset_ms` as the caller's playback position.
    """

    def __init__(self, request_id: str, speed: float) -> None:
        self._request_id = request_id
        self._speed = speed
        self._state = State.OPEN
        self._opened_ns: int | None = None
        self._turns: deque[_Turn] = deque()
        self._cut: deque[_Turn] | None = None
        self._offset_ms: int | None = None
        self._interrupted_ms = 0  # the position of the last interruption
        self._audio_ms = 0
        self._characters = 0
        self._minted = 0

    # -- from the caller -----------------------------------------------------------------------------------------------

    def receive(self, message: str | bytes, now_ns: int) -> Step:
        if self._state is not State.OPEN:
            return NOTHING
        if isinstance(message, bytes):
            return self._break(NO_TEXT, "A message is text, not binary.", UNSUPPORTED_DATA)
        try:
            command = wire.read_message(message)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            description = "A message is JSON, of type Speak, Flush, Interrupt, Configure or Close."
            return self._break(NO_COMMAND, description, POLICY_VIOLATION)
        match command:
            case Speak(text):
                return self._speak(text)
            case SpeakFlush():
                return self._flush()
            case wire.Interrupt(offset):
                return self._interrupt(offset.value if offset else None)
            case wire.Configure(speed):
                return Step(sends=(self._configure(speed),))
            case SpeakClose():
                self._state = State.ENDING
                return Step((End(),))

    def _speak(self, text: str) -> Step:
        if len(text) > MAX_CHARACTERS:
            return self._break(LONG_TEXT, f"The text can have at most {MAX_CHARACTERS} characters.", TOO_BIG)
        if not text:
            return NOTHING
        if not self._turns or self._turns[-1].flushed:
            name = uuid5(NAMESPACE_URL, f"urn:antiphon:speech:{self._request_id}:{self._minted}")
            self._turns.append(_Turn(f"dg_sp_{name.hex[:12]}"))
            self._minted += 1
        self._turns[-1].text += text
        self._characters += len(text)
        return Step((Say(text),))

    def _flush(self) -> Step:
        if not self._turns or self._turns[-1].flushed:
            return _warn("NO_ACTIVE_SPEECH", "Nothing was written since the last Flush.")
        self._turns[-1].flushed = True
        return Step((Flush(),))

    def _interrupt(self, offset_ms: int | None) -> Step:
        if self._cut is not None:
            return _warn("INTERRUPT_IN_PROGRESS", "An earlier Interrupt is being done.")
        if not self._turns:
            return _warn("NO_ACTIVE_SPEECH", "Nothing is being spoken.")
        if not self._audio_ms:
            return _warn("NO_AUDIO_GENERATED", "No sound has been sent yet.")
        if offset_ms is not None and offset_ms <= self._interrupted_ms:
            return _warn("INVALID_INTERRUPT_OFFSET", "The offset is not after that of the last Interrupt.")
        self._cut, self._turns, self._offset_ms = self._turns, deque(), offset_ms
        return Step((Clear(),))

    def _configure(self, speed: float | None) -> str:
        if speed is None:
            return wire.write(wire.ConfigureSuccess(wire.Applied(self._speed if self._speed != 1.0 else None)))
        description = "The speed is set where the connection is opened."
        return wire.write(wire.ConfigureFailure("SPEED_NOT_SUPPORTED", "speed", description))

    def deadline_ns(self) -> int | None:
        """Return when the session must end: an hour after the opening."""
        if self._state is State.CLOSED or self._opened_ns is None:
            return None
        return self._opened_ns + MAX_CONNECTION_NS

    def expire(self, now_ns: int) -> Step:
        deadline_ns = self.deadline_ns()
        if deadline_ns is None or now_ns < deadline_ns:
            return NOTHING
        return self._break(OVER_TIME, "A connection lasts an hour at most.", INTERNAL_ERROR)

    # -- from the session ----------------------------------------------------------------------------------------------

    def emit(self, event: SpeechOutput, now_ns: int) -> Step:
        if self._state is State.CLOSED:
            return NOTHING
        match event:
            case Opened(model):
                self._opened_ns = now_ns
                info = results.model_info(model)
                uuids = [results.model_uuid(model)]
                return Step(sends=(wire.write(wire.Connected(self._request_id, info.name, info.version, uuids)),))
            case Spoken():
                return self._spoken(event)
            case Flushed():
                turn = self._speaking.popleft()
                return Step(sends=(*self._end_messages(turn), wire.write(wire.Flushed(turn.id))))
            case Cleared():
                return self._interrupted()
            case ContextEnded():
                turns, self._turns = self._turns, deque()
                return Step(sends=tuple(message for turn in turns for message in self._end_messages(turn)))
            case AllSpoken(characters):
                self._state = State.CLOSED
                metadata = wire.SessionMetadata(self._audio_ms, self._characters, characters)
                return Step(sends=(wire.write(metadata),), close=make_close(NORMAL, ""))
            case Failed():
                return self._fail(event.error)

    @property
    def _speaking(self) -> deque[_Turn]:
        """The turns that audio belongs to: during an interruption, those before it."""
        return self._turns if self._cut is None else self._cut

    def _spoken(self, event: Spoken) -> Step:
        if not self._speaking:
            return Step(sends=(event.audio,)) if event.audio else NOTHING
        turn = self._speaking[0]
        sends: list[str | bytes] = []
        if not turn.started:
            turn.started, turn.at_ms = True, self._audio_ms
            sends.append(wire.write(wire.SpeechStarted(turn.id)))
        before_ms = event.start_ms - turn.audio_ms  # of the turns before, in the context's audio
        turn.times += (
            CharacterTime(each.text, each.start_ms - before_ms, each.end_ms - before_ms) for each in event.characters
        )
        length_ms = event.end_ms - event.start_ms
        turn.audio_ms, self._audio_ms = turn.audio_ms + length_ms, self._audio_ms + length_ms
        if event.audio:
            sends.append(event.audio)
        return Step(sends=tuple(sends))

    def _end_messages(self, turn: _Turn) -> tuple[str, ...]:
        """Return the messages at the end of a turn that was spoken whole."""
        begun: tuple[str, ...] = ()
        if not turn.started:
            warning = wire.Warning("NO_SYNTHESIZABLE_TEXT", "There was nothing to say in this turn.")
            begun = wire.write(wire.SpeechStarted(turn.id)), wire.write(warning)
        metadata = msgspec.structs.asdict(turn.metadata(len(turn.text) if turn.started else 0))
        return (*begun, wire.write(wire.SpeechMetadata(**metadata)))

    def _interrupted(self) -> Step:
        cut, self._cut = self._cut or deque(), None
        if not cut:
            return _warn("NO_ACTIVE_SPEECH", "The turn had been spoken already.")
        turn, offset_ms = cut[0], self._offset_ms
        characters = [each.text for each in turn.times if offset_ms is None or turn.at_ms + each.end_ms <= offset_ms]
        played_ms = self._audio_ms if offset_ms is None else offset_ms
        self._audio_ms = self._interrupted_ms = min(played_ms, self._audio_ms)  # nobody has played more than was sent
        message = wire.SpeechInterrupted(played_ms, turn.metadata(min(len(turn.times), len(turn.text))))
        if offset_ms is not None:
            spoken = turn.text[: len("".join(characters))]
            message = msgspec.structs.replace(message, text_spoken=spoken, text_remaining=turn.text[len(spoken) :])
        return Step(sends=(wire.write(message),))

    def _fail(self, error: AntiphonError) -> Step:
        """Close with 1008 for an error that the caller can correct, else 1011."""
        if isinstance(error, (CallerError, PolicyError, CapacityError)):
            return self._break(NO_COMMAND, error.message, POLICY_VIOLATION)
        return self._break(SILENT_SERVER, error.message, INTERNAL_ERROR)

    def _break(self, code: str, description: str, close_code: int) -> Step:
        self._state = State.CLOSED
        message = wire.write(wire.Error(code, description))
        return Step(sends=(message,), close=make_close(close_code, f"{code}: {description}"))


def _warn(code: str, description: str) -> Step:
    return Step(sends=(wire.write(wire.Warning(code, description)),))
