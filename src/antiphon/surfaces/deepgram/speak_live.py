"""Deepgram's live speech: the WebSocket at `/v1/speak`.

The caller's messages are JSON with a `type`, the server's are audio (binary) and JSON. A clause is spoken as soon as it
is complete, the rest at a `Flush`. `Close` means that no more text comes: the rest is spoken, then the connection is
closed. Errors are reported by the close alone, with the code and the payload that Deepgram documents
(https://developers.deepgram.com/docs/tts-troubleshooting-websocket-net-and-data-errors).
"""

from collections import deque

import msgspec

from antiphon.core.endpoints import Accepted
from antiphon.core.errors import AntiphonError, CallerError, CapacityError, PolicyError
from antiphon.core.events import (
    AllSpoken,
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
from antiphon.core.units import NS_PER_S
from antiphon.core.wire import NOTHING, SYNTHETIC, Opening, Step, make_close, no_effect
from antiphon.surfaces.deepgram import results, speak_parameters, wire
from antiphon.surfaces.deepgram.endpoint import (
    INTERNAL_ERROR,
    NORMAL,
    POLICY_VIOLATION,
    SILENT_SERVER,
    Endpoint,
    State,
    chosen_subprotocol,
    error_code,
)

# Deepgram's own limits (https://developers.deepgram.com/docs/streaming-text-to-speech).
MAX_CHARACTERS = 2_000  # of one message
MAX_FLUSHES, FLUSH_WINDOW_NS = 20, 60 * NS_PER_S
MAX_CONNECTION_NS = 60 * 60 * NS_PER_S

# RFC 6455, section 7.4.1, and Deepgram's payloads.
UNSUPPORTED_DATA, TOO_BIG = 1003, 1009
NO_TEXT, NO_COMMAND, TOO_MUCH_TEXT = "MESSAGE-0000", "DATA-0000", "DATA-0001"
LONG_TEXT, OVER_TIME = "BIG-0001", "NET-0003"


class LiveSpeakEndpoint(Endpoint):
    """`GET /v1/speak` as a WebSocket."""

    def negotiate(self, opening: Opening, first: str | bytes | None = None) -> Accepted[SpeakSpec]:
        spec = speak_parameters.read(opening.query)
        return Accepted(
            spec=spec,
            surface=LiveSpeech(opening.request_id),
            headers=(
                ("dg-request-id", opening.request_id),
                *SYNTHETIC,
                *no_effect(speak_parameters.unused(opening.query)),
            ),
            subprotocol=chosen_subprotocol(opening),
        )


class LiveSpeech:
    """One connection."""

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._state = State.OPEN
        self._opened_ns: int | None = None
        self._flushed_ns: deque[int] = deque(maxlen=MAX_FLUSHES)
        self._sequence = 0

    # -- from the caller -----------------------------------------------------------------------------------------------

    def receive(self, message: str | bytes, now_ns: int) -> Step:
        if self._state is not State.OPEN:
            return NOTHING
        if isinstance(message, bytes):
            return self._close(UNSUPPORTED_DATA, f"{NO_TEXT}: a message is text, not binary")
        try:
            command = wire.read_speak_message(message)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return self._close(
                POLICY_VIOLATION, f"{NO_COMMAND}: a message is JSON, of type Speak, Flush, Clear or Close"
            )
        match command:
            case wire.Speak(text):
                if len(text) > MAX_CHARACTERS:
                    return self._close(TOO_BIG, f"{LONG_TEXT}: a text has at most {MAX_CHARACTERS} characters")
                return Step((Say(text),)) if text else NOTHING
            case wire.SpeakFlush():
                return self._flush(now_ns)
            case wire.SpeakClear():
                return Step((Clear(),))
            case wire.SpeakClose():
                self._state = State.ENDING
                return Step((End(),))
            case wire.KeepAlive():  # of transcription, but clients send it here, too
                return NOTHING

    def _flush(self, now_ns: int) -> Step:
        """Flush, or warn the caller if there are too many flushes within the window."""
        if len(self._flushed_ns) == MAX_FLUSHES and now_ns - self._flushed_ns[0] < FLUSH_WINDOW_NS:
            description = f"There may be {MAX_FLUSHES} Flush messages in {FLUSH_WINDOW_NS // NS_PER_S} seconds at most."
            return Step(sends=(wire.write(wire.SpeakWarning(description, "EXCESSIVE_FLUSH")),))
        self._flushed_ns.append(now_ns)
        return Step((Flush(),))

    def deadline_ns(self) -> int | None:
        """Return when the session must end: an hour after the opening."""
        if self._state is State.CLOSED or self._opened_ns is None:
            return None
        return self._opened_ns + MAX_CONNECTION_NS

    def expire(self, now_ns: int) -> Step:
        deadline_ns = self.deadline_ns()
        if deadline_ns is None or now_ns < deadline_ns:
            return NOTHING
        return self._close(INTERNAL_ERROR, f"{OVER_TIME}: a connection lasts an hour at most")

    # -- from the session ----------------------------------------------------------------------------------------------

    def emit(self, event: SpeechOutput, now_ns: int) -> Step:
        if self._state is State.CLOSED:
            return NOTHING
        match event:
            case Opened(model):
                self._opened_ns = now_ns
                info = results.model_info(model)
                metadata = wire.SpeakMetadata(self._request_id, info.name, info.version, results.model_uuid(model))
                return Step(sends=(wire.write(metadata),))
            case Spoken():
                return Step(sends=(event.audio,)) if event.audio else NOTHING
            case Flushed():
                return Step(sends=(wire.write(wire.SpeakFlushed(self._next())),))
            case Cleared():
                return Step(sends=(wire.write(wire.SpeakCleared(self._next())),))
            case ContextEnded():
                return NOTHING
            case AllSpoken():
                return self._close(NORMAL, "")
            case Failed():
                return self._fail(event.error)

    def _next(self) -> int:
        sequence, self._sequence = self._sequence, self._sequence + 1
        return sequence

    def _fail(self, error: AntiphonError) -> Step:
        """Close with 1008 if the caller can correct the error, else 1011. A `CapacityError` here concerns its text."""
        if isinstance(error, CapacityError):
            return self._close(POLICY_VIOLATION, f"{TOO_MUCH_TEXT}: {error.message}")
        if isinstance(error, (CallerError, PolicyError)):
            return self._close(POLICY_VIOLATION, f"{error_code(error)}: {error.message}")
        return self._close(INTERNAL_ERROR, f"{SILENT_SERVER}: {error.message}")

    def _close(self, code: int, reason: str) -> Step:
        self._state = State.CLOSED
        return Step(close=make_close(code, reason))
