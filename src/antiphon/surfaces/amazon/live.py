"""Live transcription: `POST /stream-transcription` over HTTP/2, both ways at once, and the WebSocket at
`/stream-transcription-websocket`.

Over HTTP/2 each event is wrapped in another one, which signs it. On a WebSocket it may come unsigned, since the URL was
signed. An event without audio ends the stream, and so does the end of the caller's messages; fifteen seconds without
audio end it with an error, after the last results.
"""

from enum import Enum, auto

from antiphon.core.endpoints import Accepted
from antiphon.core.errors import (
    AntiphonError,
    CallerError,
    Draining,
    InvalidSignature,
    RequestTimeout,
)
from antiphon.core.events import (
    Audio,
    Closed,
    End,
    Failed,
    Final,
    Input,
    Interim,
    Opened,
    Output,
    Progress,
    SpeechResumed,
    SpeechStarted,
    TurnMayEnd,
    UtteranceEnded,
)
from antiphon.core.specs import TranscribeSpec
from antiphon.core.units import NS_PER_MS
from antiphon.core.wire import NOTHING, Close, Opening, Step, no_effect
from antiphon.surfaces.amazon import events, parameters, wire
from antiphon.surfaces.amazon.results import Utterances
from antiphon.surfaces.amazon.signing import OPTION_PREFIX, SIGNATURE_HEADER, EventSignatures

IDLE_TIMEOUT_MS = 15_000
# In Amazon's words, which programs look for to open the next stream.
TIMED_OUT = f"Your request timed out because no new audio was received for {IDLE_TIMEOUT_MS // 1000} seconds."
ENDPOINTING_MS = 500


class State(Enum):
    OPEN = auto()
    ENDING = auto()  # no more audio is accepted; the last results are still sent
    CLOSED = auto()


class StreamEndpoint(wire.Endpoint):
    """`POST /stream-transcription`."""

    def negotiate(self, opening: Opening, first: str | bytes | None = None) -> Accepted[TranscribeSpec]:
        request = parameters.read(opening)
        spec = TranscribeSpec(
            model=request.model,
            format=request.format,
            live=True,
            incremental=True,
            multichannel=request.multichannel,
            interims=True,
            endpointing_ms=ENDPOINTING_MS,
            word_times=True,
            language=request.language,
            languages=request.languages,
            detect=bool(request.languages),
            redaction=request.redaction,
        )
        options = ("session-id", request.session_id), *request.echoed
        headers = (
            ("content-type", "application/vnd.amazon.eventstream"),
            ("x-amzn-request-id", opening.request_id),
            *((f"{OPTION_PREFIX}{name}", value) for name, value in options),
            *no_effect(request.without_effect),
        )
        return Accepted(spec, Stream(request, opening), headers=headers)


class SocketEndpoint(StreamEndpoint):
    """`GET /stream-transcription-websocket`."""

    def refuse(self, opening: Opening, error: AntiphonError) -> Step:
        return wire.failure(error)


class Stream:
    """One live stream."""

    def __init__(self, request: parameters.Request, opening: Opening) -> None:
        self._request = request
        self._request_id = opening.request_id
        self._must_sign = opening.method == "POST"
        self._signatures = EventSignatures(opening)
        self._decoder = events.Decoder()
        self._unix_ms = opening.received_unix_ms
        self._opened_ns: int | None = None
        self._idle_since_ns = 0
        self._utterances: dict[int, Utterances] = {}
        self._state = State.OPEN
        self._ending: AntiphonError | None = None  # why it ends, if not at the caller's request

    # -- from the caller -----------------------------------------------------------------------------------------------

    def receive(self, message: str | bytes, now_ns: int) -> Step:
        """Return what a message asks of the session; an empty message is the end of the caller's messages."""
        if self._state is not State.OPEN:
            return NOTHING
        self._begin(now_ns)
        if isinstance(message, str):
            return self._fail(CallerError("Events come in binary messages."))
        if not message:
            return self._end(b"")
        buffer = bytearray()  # of all events at once: a message may have many thousands
        try:
            for frame in self._decoder.feed(message):
                audio = self._audio(frame, now_ns)
                if not audio:
                    return self._end(buffer)
                buffer += audio
                self._idle_since_ns = now_ns
        except AntiphonError as error:
            failed = self._fail(error)
            return Step(_inputs(buffer), failed.sends, failed.close)
        return Step(_inputs(buffer))

    def _audio(self, frame: events.Frame, now_ns: int) -> bytes:
        """Return the audio in an event, empty at the end. Raises `AntiphonError`."""
        if SIGNATURE_HEADER in frame.headers:
            self._signatures.verify(frame, self._unix_ms + (now_ns - self._begin(now_ns)) // NS_PER_MS)
            if not frame.payload:
                return b""
            frame = events.decode(frame.payload)
        elif self._must_sign:
            raise InvalidSignature("Over HTTP/2 every event must be signed.")
        kind = frame.headers.get(":message-type"), frame.headers.get(":event-type")
        if kind != ("event", "AudioEvent"):
            raise CallerError("Only events of the type AudioEvent are taken.")
        return frame.payload

    def deadline_ns(self) -> int | None:
        """Return when the stream ends without audio: 15 s after the last audio or the opening; `None` once the caller
        has ended.
        """
        if self._state is not State.OPEN or self._opened_ns is None:
            return None
        return self._idle_since_ns + IDLE_TIMEOUT_MS * NS_PER_MS

    def expire(self, now_ns: int) -> Step:
        deadline_ns = self.deadline_ns()
        if deadline_ns is None or now_ns < deadline_ns:
            return NOTHING
        self._ending = RequestTimeout(TIMED_OUT)
        return self._end(b"")

    def _begin(self, now_ns: int) -> int:
        """Return when the stream was opened."""
        if self._opened_ns is None:
            self._opened_ns = self._idle_since_ns = now_ns
        return self._opened_ns

    def _end(self, audio: bytes | bytearray) -> Step:
        self._state = State.ENDING
        return Step((*_inputs(audio), End()))

    # -- from the session ----------------------------------------------------------------------------------------------

    def emit(self, event: Output, now_ns: int) -> Step:
        if self._state is State.CLOSED:
            return NOTHING
        match event:
            case Opened():
                self._begin(now_ns)
                return NOTHING
            case Interim() | Final():
                utterances = self._utterances.get(event.channel)
                if utterances is None:
                    utterances = Utterances(self._request, self._request_id, event.channel)
                    self._utterances[event.channel] = utterances
                result = utterances.result(event)
                return Step(sends=(wire.transcript_event([result]),)) if result else NOTHING
            case SpeechStarted() | UtteranceEnded() | TurnMayEnd() | SpeechResumed() | Progress():
                return NOTHING  # not requested here
            case Closed():
                if self._state is State.OPEN:
                    self._ending = Draining("The server is shutting down.")
                if self._ending is not None:
                    return self._fail(self._ending)
                self._state = State.CLOSED
                return Step(close=Close(wire.NORMAL))
            case Failed():
                return self._fail(event.error)

    def _fail(self, error: AntiphonError) -> Step:
        self._state = State.CLOSED
        return wire.failure(error)


def _inputs(audio: bytes | bytearray) -> tuple[Input, ...]:
    return (Audio(bytes(audio)),) if audio else ()
