"""`StreamingRecognize` of both versions, over gRPC.

The first message has the configuration, the others have audio. A caller ends the audio by half-closing and continues to
read: the last results come, then a message with the charge, then the status. If a limit ends the stream, its last
results are still sent before the status.
"""

from enum import Enum, auto
from functools import partial
from typing import Any

from antiphon.core.endpoints import Accepted, NeedsFirst, NeedsResource
from antiphon.core.errors import AntiphonError, CallerError, Draining
from antiphon.core.events import Audio, Cause, Closed, End, Failed, Final, Interim, Opened, Output, SpeechStarted
from antiphon.core.specs import TranscribeSpec
from antiphon.core.units import NS_PER_MS
from antiphon.core.wire import HALF_CLOSED, NOTHING, Close, Opening, Step, no_effect
from antiphon.surfaces.google import messages
from antiphon.surfaces.google.dialect import Dialect, rewritten, stability, written
from antiphon.surfaces.google.endpoint import Endpoint
from antiphon.surfaces.google.recognizer import referring
from antiphon.surfaces.google.request import Request
from antiphon.surfaces.google.status import Code, Ended, closing

MAX_CONFIG_BYTES = 1 << 20
REQUEST, RESPONSE = "StreamingRecognizeRequest", "StreamingRecognizeResponse"
CONFIG = "streaming_config"


class State(Enum):
    """The state of a stream."""

    OPEN = auto()
    ENDING = auto()  # no more audio is accepted; the last results are still sent
    CLOSED = auto()


class StreamingRecognize(Endpoint):
    """The method."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(first=dialect.first)
        self._dialect = dialect

    def negotiate(
        self, opening: Opening, first: str | bytes | None = None
    ) -> Accepted[TranscribeSpec] | NeedsFirst | NeedsResource[Accepted[TranscribeSpec]]:
        if first is None:
            return NeedsFirst(Start(self._dialect, opening))
        if not isinstance(first, bytes):
            raise CallerError("The stream was closed before its first message.")
        if len(first) > MAX_CONFIG_BYTES:
            raise CallerError(f"The first message is larger than {MAX_CONFIG_BYTES} bytes.")
        message = messages.read(self._dialect.name(REQUEST), first)
        if message.WhichOneof("streaming_request") != CONFIG:
            raise CallerError("The first message must have a `streaming_config`.", param=CONFIG)
        return referring(
            self._dialect.stored(message), self._dialect.configs(message), partial(self._accepted, opening, message)
        )

    def _accepted(self, opening: Opening, message: Any, base: Any) -> Accepted[TranscribeSpec]:
        request = self._dialect.streaming(message, base)
        return Accepted(request.spec(live=True), Live(self._dialect, request, opening))


class Start:
    """The stream before its first message."""

    def __init__(self, dialect: Dialect, opening: Opening) -> None:
        self._dialect = dialect
        self._opening = opening

    def receive(self, message: str | bytes, now_ns: int) -> Step:
        return NOTHING

    def emit(self, event: Output, now_ns: int) -> Step:
        assert isinstance(event, Failed)
        return Step(close=closing(self._opening, event.error, first=self._dialect.first))

    def deadline_ns(self) -> int | None:
        return None

    def expire(self, now_ns: int) -> Step:
        return NOTHING


class Live:
    """One stream."""

    def __init__(self, dialect: Dialect, request: Request, opening: Opening) -> None:
        self._dialect = dialect
        self._request = request
        self._opening = opening
        self._state = State.OPEN
        self._configured = False
        self._ending: AntiphonError | None = None  # why it ends, if not at the caller's request
        self._opened_ns: int | None = None
        self._message_ns = 0  # when the latest message came
        self._began = False  # whether anybody has spoken
        self._speaking: set[int] = set()
        self._silent_ns: int | None = None  # since when everybody is silent, after speech
        self._enough = False  # the single utterance was sent
        self._interims: dict[int, str] = {}
        self._followed: set[int] = set()  # channels that have had a result

    # -- from the caller -----------------------------------------------------------------------------------------------

    def receive(self, message: str | bytes, now_ns: int) -> Step:
        if self._state is not State.OPEN:
            return NOTHING
        self._message_ns = now_ns
        if not self._configured:
            self._configured = True
            return NOTHING  # the endpoint has read it already
        if message == HALF_CLOSED:
            return self._end()
        if self._enough:
            return self._end()
        try:
            return Step(inputs=(Audio(self._audio(message)),))
        except CallerError as error:
            return self._close(error)

    def _audio(self, message: str | bytes) -> bytes:
        """Return a message's audio. Raises `CallerError`."""
        assert isinstance(message, bytes)
        name = self._dialect.names.audio
        request = messages.read(self._dialect.name(REQUEST), message)
        which = request.WhichOneof("streaming_request")
        if which != name:
            reason = "The configuration stands in the first message only." if which else f"The message has no `{name}`."
            raise CallerError(reason, param=which or name)
        audio: bytes = getattr(request, name)
        most = self._dialect.audio_bytes
        if len(audio) > most:
            reason = f"Request audio can be a maximum of {most} bytes. ({len(audio)} bytes)"
            raise CallerError(reason, param=name)
        return audio

    def _end(self, why: AntiphonError | None = None) -> Step:
        self._state, self._ending = State.ENDING, why
        return Step(inputs=(End(),))

    # -- time ----------------------------------------------------------------------------------------------------------

    def deadline_ns(self) -> int | None:
        """Return when the first limit is reached, `None` if there is none."""
        return min((at for at, _ in self._limits()), default=None)

    def expire(self, now_ns: int) -> Step:
        for at_ns, why in self._limits():
            if at_ns <= now_ns:
                step = self._end(why)
                if why is None and not self._enough and self._dialect.first:
                    at_ms = (now_ns - (self._opened_ns or now_ns)) // NS_PER_MS
                    return Step(step.inputs, (self._event("SPEECH_ACTIVITY_TIMEOUT", at_ms),))
                return step
        return NOTHING

    def _limits(self) -> list[tuple[int, AntiphonError | None]]:
        """Return each limit, and the error that it causes; `None` for a limit that the caller requested."""
        if self._state is not State.OPEN or self._opened_ns is None:
            return []
        request, dialect = self._request, self._dialect
        limits: list[tuple[int, AntiphonError | None]] = [
            (self._opened_ns + dialect.stream_ms * NS_PER_MS, Ended(*dialect.stream_over)),
            (self._message_ns + dialect.idle_ms * NS_PER_MS, Ended(*dialect.idle_over)),
        ]
        if self._enough:
            limits.append((self._message_ns, None))
        if request.start_timeout_ms is not None and not self._began:
            limits.append((self._opened_ns + request.start_timeout_ms * NS_PER_MS, None))
        if request.end_timeout_ms is not None and self._silent_ns is not None:
            limits.append((self._silent_ns + request.end_timeout_ms * NS_PER_MS, None))
        return limits

    # -- from the session ----------------------------------------------------------------------------------------------

    def emit(self, event: Output, now_ns: int) -> Step:
        if self._state is State.CLOSED:
            return NOTHING
        match event:
            case Opened():
                self._request = self._request.answered(event)
                self._opened_ns = now_ns
                self._message_ns = max(self._message_ns, now_ns)
            case SpeechStarted():
                return self._started(event)
            case Interim() if not self._enough:
                return self._interim(event)
            case Final() if not self._enough:
                return Step(sends=tuple(self._final(event, now_ns)))
            case Closed():
                return self._closed(event)
            case Failed():
                return self._close(event.error)
        return NOTHING

    def _started(self, event: SpeechStarted) -> Step:
        begins = not self._speaking
        self._began, self._silent_ns = True, None
        self._speaking.add(event.channel)
        if begins and self._request.activity_events and not self._enough:
            return Step(sends=(self._event("SPEECH_ACTIVITY_BEGIN", event.at_ms),))
        return NOTHING

    def _interim(self, event: Interim) -> Step:
        event = rewritten(self._request, event)
        text = written(event.transcript, self._request.features.punctuation)
        if not text:
            return NOTHING
        sure = stability(self._interims.get(event.channel, ""), text)
        self._interims[event.channel] = text
        return Step(sends=(self._result(event, sure),))

    def _final(self, event: Final, now_ns: int) -> list[bytes]:
        event = rewritten(self._request, event)
        self._interims.pop(event.channel, None)
        sends = []
        if event.cause in (Cause.ENDPOINT, Cause.END):
            spoke = bool(self._speaking)
            self._speaking.discard(event.channel)
            if spoke and not self._speaking:
                self._silent_ns = now_ns
                if self._request.activity_events:
                    sends.append(self._event("SPEECH_ACTIVITY_END", event.end_ms))
        if not written(event.transcript, self._request.features.punctuation):
            return sends
        if self._request.single_utterance and event.cause is Cause.ENDPOINT:
            self._enough = True
            sends.append(self._event("END_OF_SINGLE_UTTERANCE", event.end_ms))
        sends.append(self._result(event))
        self._followed.add(event.channel)
        return sends

    def _result(self, event: Interim | Final, sure: float | None = None) -> bytes:
        follows = event.channel in self._followed
        return self._response(results=[self._dialect.result(self._request, event, sure, follows=follows, live=True)])

    def _event(self, type_: str, at_ms: int) -> bytes:
        message: bytes = self._dialect.event(type_, at_ms).SerializeToString()
        return message

    def _response(self, **fields: object) -> bytes:
        made: bytes = messages.kind(self._dialect.name(RESPONSE))(**fields).SerializeToString()
        return made

    def _closed(self, event: Closed) -> Step:
        """Return the charge, then the status. If neither the caller nor a limit ended the stream, the server is
        stopping.
        """
        why = self._ending
        if self._state is State.OPEN:
            why = Draining("The server is shutting down.")
        bill = self._dialect.bill(self._request, self._opening.request_id, event.audio_ms * event.channels)
        step = self._close(why)
        return Step(sends=(self._response(**bill),), close=step.close)

    def _close(self, error: AntiphonError | None) -> Step:
        self._state = State.CLOSED
        close = Close(Code.OK)
        if error is not None:
            close = closing(self._opening, error, first=self._dialect.first)
        trailers = (*no_effect(self._request.without_effect), *close.trailers)
        return Step(close=Close(close.code, close.reason, trailers))
