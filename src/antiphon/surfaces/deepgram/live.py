"""Deepgram's live transcription: the WebSocket at `/v1/listen`.

Binary messages are audio, an empty one means `CloseStream` (its old form); text messages are JSON with a `type`, also
where they come as bytes. After ten seconds without any message the last results are sent, and the stream ends with
1011 NET-0001; after audio that cannot be decoded with 1008 DATA-0000. After `CloseStream` further messages are ignored,
and the last results are sent.
"""

import msgspec

from antiphon.core.endpoints import Accepted
from antiphon.core.errors import AntiphonError, BadMedia, CallerError, CapacityError, PolicyError
from antiphon.core.events import (
    Audio,
    Cause,
    Closed,
    End,
    Failed,
    Final,
    Flush,
    Guide,
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
from antiphon.core.wire import NOTHING, Opening, Step, make_close
from antiphon.surfaces.deepgram import parameters, results, wire
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
from antiphon.surfaces.deepgram.search import search

# https://developers.deepgram.com/docs/keep-alive
IDLE_TIMEOUT_MS = 10_000
IDLE_TIMEOUT_NS = IDLE_TIMEOUT_MS * NS_PER_MS
IDLE = f"No audio and no text message came within {IDLE_TIMEOUT_MS // 1000} seconds."

# The payloads that Deepgram documents for its close frames.
UNDECODABLE, SILENT_CALLER = "DATA-0000", "NET-0001"


# The effect of a message without content in an open stream: inputs for the session, and the next state.
_TRANSITIONS: dict[type, tuple[tuple[Input, ...], State]] = {
    wire.KeepAlive: ((), State.OPEN),
    wire.CloseStream: ((End(),), State.ENDING),
}


class LiveListenEndpoint(Endpoint):
    """`GET /v1/listen` as a WebSocket."""

    def negotiate(self, opening: Opening, first: str | bytes | None = None) -> Accepted[TranscribeSpec]:
        request = parameters.read(opening.query, live=True)
        spec = TranscribeSpec(
            model=request.model,
            format=request.format,
            live=True,
            incremental=True,
            multichannel=request.multichannel,
            interims=request.interims,
            endpointing_ms=request.endpointing_ms,
            utterance_end_ms=request.utterance_end_ms,
            speech_events=request.speech_events,
            word_times=True,
            tags=request.tags,
            **parameters.hearing(request),
        )
        return Accepted(
            spec=spec,
            surface=LiveListen(request, opening.request_id, opening.received_unix_ms),
            headers=(("dg-request-id", opening.request_id),),
            subprotocol=chosen_subprotocol(opening),
            without_effect=request.without_effect,
            dispensable=request.dispensable,
        )


class LiveListen:
    """One live stream."""

    def __init__(self, request: parameters.Request, request_id: str, received_unix_ms: int) -> None:
        self._request = request
        self._request_id = request_id
        self._received_unix_ms = received_unix_ms
        self._channels = request.format.channels if request.multichannel else 1
        self._model = request.model
        self._rewriting = request.rewriting
        self._guided = False  # whether the model can be guided
        self._state = State.OPEN
        self._idle = False  # whether it ends because nothing came
        self._message_ns: int | None = None  # when the last message came, or the stream was opened

    # -- from the caller -----------------------------------------------------------------------------------------------

    def receive(self, message: str | bytes, now_ns: int) -> Step:
        if self._state is not State.OPEN:
            return NOTHING
        self._message_ns = now_ns
        if isinstance(message, bytes):
            text = wire.text_in(message)
            if text is None:
                return Step(inputs=(Audio(message),)) if message else self._follow(wire.CloseStream)
            message = text
        try:
            command = wire.read_client_message(message)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return self._fail_schema()
        if isinstance(command, wire.Configure):
            return self._configure(command)
        if isinstance(command, wire.Finalize):
            return Step(inputs=(Flush(channel=command.channel),))
        return self._follow(type(command))

    def deadline_ns(self) -> int | None:
        """Return when the idle timeout ends: 10 s after the opening or last message; `None` once the caller has
        ended.
        """
        if self._state is not State.OPEN or self._message_ns is None:
            return None
        return self._message_ns + IDLE_TIMEOUT_NS

    def expire(self, now_ns: int) -> Step:
        deadline_ns = self.deadline_ns()
        if deadline_ns is None or now_ns < deadline_ns:
            return NOTHING
        self._idle = True
        return self._follow(wire.CloseStream)

    def _follow(self, kind: type) -> Step:
        inputs, self._state = _TRANSITIONS[kind]
        return Step(inputs=inputs)

    def _configure(self, command: wire.Configure) -> Step:
        """Apply the whole change, or nothing of it."""
        try:
            keyterms = None if command.keyterms is None else parameters.new_terms(command.keyterms)
        except CallerError as error:
            return self._fail_configure("CONFIGURE_KEYTERM_LIMIT_EXCEEDED", error.message)
        if keyterms and not self._guided:
            return self._fail_configure("CONFIGURE_KEYTERMS_NOT_SUPPORTED", parameters.NO_GUIDANCE)
        if command.features and any(command.features.values()):
            return self._fail_configure("CONFIGURE_INTERNAL_ERROR", "Formatting cannot be switched on within a stream.")
        inputs = () if keyterms is None else (Guide(keyterms=keyterms),)
        return Step(inputs=inputs, sends=(wire.write(wire.ConfigureSuccess(self._request_id, keyterms)),))

    def _fail_configure(self, code: str, reason: str) -> Step:
        return Step(sends=(wire.write(wire.ConfigureFailure(self._request_id, code, reason)),))

    def _fail_schema(self) -> Step:
        description = "A text message must be JSON, of type KeepAlive, Finalize, CloseStream or Configure."
        return self._close((wire.write(wire.Error("SchemaError", description)),), POLICY_VIOLATION, description)

    # -- from the session ----------------------------------------------------------------------------------------------

    def emit(self, event: Output, now_ns: int) -> Step:
        if self._state is State.CLOSED:
            return NOTHING
        match event:
            case Opened():
                self._model, self._guided = event.model, event.guided
                self._request = self._request.answered(event)
                if self._message_ns is None:
                    self._message_ns = now_ns
                return NOTHING
            case Interim() | Final():
                return Step(sends=(wire.write(self._results(event)),))
            case SpeechStarted():
                started = wire.SpeechStarted(self._index(event.channel), results.seconds(event.at_ms))
                return Step(sends=(wire.write(started),))
            case UtteranceEnded():
                ended = wire.UtteranceEnd(self._index(event.channel), results.seconds(event.last_word_end_ms))
                return Step(sends=(wire.write(ended),))
            case TurnMayEnd() | SpeechResumed() | Progress():
                return NOTHING  # never requested here
            case Closed() if self._idle:
                message = wire.write(wire.Error(SILENT_CALLER, IDLE))
                return self._close((message,), INTERNAL_ERROR, f"{SILENT_CALLER}: {IDLE}")
            case Closed():
                return self._close((wire.write(self._metadata(event)),), NORMAL, "")
            case Failed():
                return self._fail(event.error)

    def _results(self, event: Interim | Final) -> wire.Results:
        cause = event.cause if isinstance(event, Final) else None
        transcript = self._rewriting.apply(event.transcript) if self._rewriting else event.transcript
        return wire.Results(
            channel_index=self._index(event.channel),
            duration=results.seconds(event.end_ms - event.start_ms),
            start=results.seconds(event.start_ms),
            is_final=cause is not None,
            speech_final=cause is Cause.ENDPOINT,
            channel=wire.Channel(
                search(self._request.searches, transcript.words),
                [results.alternative(transcript, punctuate=self._request.punctuate)],
            ),
            metadata=wire.ResultsMetadata(
                self._request_id, results.model_info(self._model), results.model_uuid(self._model)
            ),
            from_finalize=cause is Cause.FLUSH,
        )

    def _metadata(self, event: Closed) -> wire.Metadata:
        summary = results.summary(self._request, self._request_id, self._received_unix_ms, self._model, event)
        return wire.Metadata(**msgspec.structs.asdict(summary))

    def _index(self, channel: int) -> tuple[int, int]:
        return channel, max(self._channels, channel + 1)

    def _fail(self, error: AntiphonError) -> Step:
        """Send an error in Deepgram's shape, then close: 1008 if the caller can correct it, else 1011."""
        code = error_code(error)
        if isinstance(error, BadMedia):
            close_code, payload = POLICY_VIOLATION, UNDECODABLE
        elif isinstance(error, (CallerError, PolicyError, CapacityError)):
            close_code, payload = POLICY_VIOLATION, code
        else:
            close_code, payload = INTERNAL_ERROR, SILENT_SERVER
        return self._close((wire.write(wire.Error(code, error.message)),), close_code, f"{payload}: {error.message}")

    def _close(self, sends: tuple[str, ...], code: int, reason: str) -> Step:
        self._state = State.CLOSED
        return Step(sends=sends, close=make_close(code, reason))
