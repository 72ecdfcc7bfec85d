"""AssemblyAI's streaming API, version 3: the WebSocket at `/v3/ws`.

Binary messages are audio, text messages are JSON with a `type`. A turn is reported whenever its words have changed, and
at its end: once in the form of the earlier reports (`end_of_turn`), and with `format_turns` once more as the model
wrote it. The answer to `Terminate` is the last results and `Termination`; then the connection is closed. If a limit of
time ends the stream, its last results are sent before the `Error`.
"""

import msgspec

from antiphon.core.capabilities import SpeechAbility
from antiphon.core.endpoints import Accepted
from antiphon.core.errors import AntiphonError, CallerError
from antiphon.core.events import (
    Audio,
    Cause,
    Closed,
    End,
    Failed,
    Final,
    Flush,
    Input,
    Interim,
    Opened,
    Output,
    Progress,
    Report,
    Retune,
    SpeechResumed,
    SpeechStarted,
    TurnMayEnd,
    UtteranceEnded,
    Word,
)
from antiphon.core.rewriting import mask
from antiphon.core.specs import TranscribeSpec
from antiphon.core.text import join
from antiphon.core.units import NS_PER_S
from antiphon.core.wire import NOTHING, Close, Opening, Step
from antiphon.surfaces.assemblyai import parameters, wire
from antiphon.surfaces.assemblyai.endpoint import (
    BAD_SCHEMA,
    CHUNK_DURATION,
    IDLE,
    INVALID_INPUT,
    NORMAL,
    SERVER_ERROR,
    SESSION_EXPIRED,
    Endpoint,
    close_code,
    ending,
    phrased,
)
from antiphon.surfaces.assemblyai.reports import Reports
from antiphon.surfaces.assemblyai.tokens import longest_session_s
from antiphon.surfaces.assemblyai.turns import CONFIDENCE_DIGITS, Turn, rendered

API_VERSION = "2025-05-12"
MIN_CHUNK_MS, MAX_CHUNK_MS = 50, 1_000
MAX_TURN_WORDS = 500  # about three minutes without a pause; each message about a turn has all of its words
NO_EFFECT = 9_000  # a `warning_code` of our own


class StreamEndpoint(Endpoint):
    """`GET /v3/ws` as a WebSocket."""

    def negotiate(self, opening: Opening, first: str | bytes | None = None) -> Accepted[TranscribeSpec]:
        request = parameters.read(opening.query)
        guidance = tuple((SpeechAbility.GUIDANCE, name) for name in request.guiding)
        guide = request.settings.guide
        spec = TranscribeSpec(
            model=request.model,
            format=request.format,
            live=True,
            incremental=True,
            interims=True,
            endpointing_ms=request.settings.turns.timeout_ms,
            speech_events=True,
            word_times=True,
            turns=request.settings.turns,
            language=request.language,
            languages=request.languages,
            prompt=guide.prompt,
            keyterms=guide.keyterms,
            redaction=request.redaction,
            charges_time=True,
        )
        stream = Stream(request, opening)
        return Accepted(spec, stream, without_effect=request.without_effect, dispensable=guidance)

    def refuse(self, opening: Opening, error: AntiphonError) -> Step:
        return ending(close_code(error, BAD_SCHEMA), phrased(error).message)


class Stream:
    """One stream."""

    def __init__(self, request: parameters.Request, opening: Opening) -> None:
        self._request = request
        self._settings = request.settings
        self._id = opening.request_id
        self._longest_s = longest_session_s(opening)
        self._received_unix_ms = opening.received_unix_ms
        self._open = True  # more messages may come from the caller
        self._closed = False
        self._ending: tuple[int, str] | None = None  # the code and the reason, if a limit ends it
        self._begun_ns: int | None = None
        self._message_ns = 0  # when the last message came, or the stream was opened
        self._short = False  # whether the last chunk was too short; only the very last may be
        self._languages: tuple[str, ...] = ()  # that may be spoken
        self._guided = False  # whether the model can be guided
        self._turn = Turn(0)
        self._report_words: tuple[list[Word], list[Word]] = ([], [])  # the words of the turn in the last report
        self._reports = Reports()

    # -- from the caller -----------------------------------------------------------------------------------------------

    def receive(self, message: str | bytes, now_ns: int) -> Step:
        if not self._open:
            return NOTHING
        self._message_ns = now_ns
        if isinstance(message, bytes):
            return self._hear(message) if message else NOTHING
        try:
            match wire.read_message(message):
                case wire.Terminate():
                    self._open = False
                    return Step(inputs=(End(),))
                case wire.ForceEndpoint():
                    self._short = False
                    return Step(inputs=(Flush(),))
                case wire.KeepAlive():
                    return NOTHING
                case wire.UpdateConfiguration():
                    return self._update(wire.read_fields(message), now_ns)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            types = "Terminate, ForceEndpoint, KeepAlive or UpdateConfiguration"
            return self._end(INVALID_INPUT, f"A text message must be JSON, of type {types}.")
        except CallerError as error:
            return self._end(INVALID_INPUT, error.message)

    def _hear(self, audio: bytes) -> Step:
        sample_bytes = parameters.SAMPLE_BYTES.get(self._request.format.encoding)
        if sample_bytes:
            per_s = sample_bytes * self._request.format.sample_rate
            if self._short or len(audio) * 1000 > MAX_CHUNK_MS * per_s:
                bounds = f"{MIN_CHUNK_MS} to {MAX_CHUNK_MS} ms of audio"
                return self._end(CHUNK_DURATION, f"Each binary message but the last must have {bounds}.")
            self._short = len(audio) * 1000 < MIN_CHUNK_MS * per_s
        return Step(inputs=(Audio(audio),))

    def _update(self, fields: dict[str, object], now_ns: int) -> Step:
        """Apply all of the changes, or none."""
        before, chosen = self._settings, bool(self._request.language or self._request.languages)
        after, unused = parameters.update(before, fields, self._languages, chosen=chosen)
        self._settings = after
        self._reports.change(after, now_ns)
        inputs: list[Input] = []
        if after.turns != before.turns:
            inputs.append(Retune(after.turns))
        if after.guide != before.guide and self._guided:
            inputs.append(after.guide)
        unguided = () if self._guided else parameters.guiding_names(fields)
        warnings = (*map(parameters.unguided, unguided), *map(parameters.warning, unused))
        return Step(inputs=tuple(inputs), sends=tuple(map(_warning, warnings)))

    def deadline_ns(self) -> int | None:
        """Return when a limit of time is reached or a report is due; `None` once the stream has ended."""
        deadlines = [at_ns for at_ns, *_ in self._limits()]
        report_ns = self._reports.deadline_ns()
        if deadlines and report_ns is not None:
            deadlines.append(report_ns)
        return min(deadlines, default=None)

    def _limits(self) -> list[tuple[int, int, str]]:
        """Return when each limit of time is reached, and the code and the reason of the close."""
        if not self._open or self._begun_ns is None:
            return []
        longest_s, idle_s = self._longest_s, self._request.inactivity_s
        reason = f"The session has lasted {longest_s} seconds, its longest."
        limits = [(self._begun_ns + longest_s * NS_PER_S, SESSION_EXPIRED, reason)]
        if idle_s is not None:
            limits.append((self._message_ns + idle_s * NS_PER_S, IDLE, f"No message came within {idle_s} seconds."))
        return limits

    def expire(self, now_ns: int) -> Step:
        for at_ns, code, reason in self._limits():
            if now_ns >= at_ns:
                self._open, self._ending = False, (code, reason)
                return Step(inputs=(End(),))
        report_ns = self._reports.deadline_ns()
        if not self._open or report_ns is None or now_ns < report_ns:
            return NOTHING
        self._reports.ask(now_ns)
        return Step(inputs=(Report(),))

    # -- from the session ----------------------------------------------------------------------------------------------

    def emit(self, event: Output, now_ns: int) -> Step:
        if self._closed:
            return NOTHING
        match event:
            case Opened():
                return self._begin(event, now_ns)
            case SpeechStarted():
                return _say(wire.SpeechStarted(event.at_ms))
            case Interim():
                self._turn.hear(event.transcript.words)
                return self._tell(event.turn_over or 0.0)
            case Final():
                return self._close_utterance(event)
            case Progress():
                return Step(sends=tuple(map(wire.write, self._reports.render(event, now_ns))))
            case Closed():
                if self._open:
                    self._ending = SERVER_ERROR, "The server is shutting down."
                if self._ending is not None:
                    return self._end(*self._ending)
                self._closed = True
                lasted_ns = now_ns - (now_ns if self._begun_ns is None else self._begun_ns)
                ended = wire.Termination(_rounded(event.audio_ms, 1000), _rounded(lasted_ns, NS_PER_S))
                return Step(sends=(wire.write(ended),), close=Close(NORMAL))
            case Failed():
                return self._end(close_code(event.error, INVALID_INPUT), event.error.message)
            case TurnMayEnd() | SpeechResumed() | UtteranceEnded():
                return NOTHING  # not requested here

    def _begin(self, opened: Opened, now_ns: int) -> Step:
        self._begun_ns = now_ns
        self._reports.begin(self._settings, now_ns)
        self._message_ns = max(self._message_ns, now_ns)
        expires_unix_s = self._received_unix_ms // 1000 + self._longest_s
        self._languages, self._guided = opened.languages, opened.guided
        begin = wire.Begin(self._id, expires_unix_s, wire.Configuration(opened.model, API_VERSION))
        unguided = self._request.guiding if SpeechAbility.GUIDANCE in opened.unmet_speech else ()
        warnings = (*map(parameters.unguided, unguided), *map(parameters.warning, self._request.without_effect))
        return Step(sends=(wire.write(begin), *map(_warning, warnings)))

    def _tell(self, sure: float) -> Step:
        """Return a report of the turn so far, or nothing if it has not changed."""
        words = self._turn.final, self._turn.tentative
        if words == self._report_words or not any(words) or not self._settings.partials:
            return NOTHING
        self._report_words = words
        return _say(self._rendered(sure))

    def _close_utterance(self, final: Final) -> Step:
        """Return the end of a turn, or of a part of a long one. A turn without words is not reported."""
        turn, parted = self._turn, final.cause is Cause.LENGTH
        turn.close(final.transcript.words)
        if final.transcript.words:
            self._reports.covered_ms = final.end_ms
        if parted and len(turn.final) < MAX_TURN_WORDS:
            return self._tell(0.0)
        sure = 0.0 if parted else final.turn_over or 0.0
        if not turn.final:
            self._turn, self._report_words = Turn(turn.order), ([], [])
            return NOTHING
        ends = [self._rendered(sure, over=True)]
        if self._settings.formats:
            ends.append(self._rendered(sure, over=True, formatted=True))
        sends = [wire.write(self._in_language(end, final)) for end in ends]
        self._turn, self._report_words = Turn(turn.order + 1), ([], [])
        return Step(sends=tuple(sends))

    def _rendered(self, sure: float, *, over: bool = False, formatted: bool = False) -> wire.Turn:
        final = self._turn.written if formatted else self._turn.final
        tentative = [] if over else self._turn.tentative
        if self._settings.masks:
            final, tentative = ([mask(word, initials=True) for word in words] for words in (final, tentative))
        return wire.Turn(
            self._turn.order,
            formatted,
            over,
            join(word.text for word in final),
            round(sure, CONFIDENCE_DIGITS),
            rendered(final, final=True) + rendered(tentative, final=False),
        )

    def _in_language(self, turn: wire.Turn, final: Final) -> wire.Turn:
        """Return the turn with the recognised language, if the caller requested it or several were possible."""
        language = final.transcript.language
        if not language or not (self._request.tells_language or len(self._languages) > 1):
            return turn
        sure = round(final.transcript.language_confidence, CONFIDENCE_DIGITS)
        return msgspec.structs.replace(turn, language_code=language, language_confidence=sure)

    def _end(self, code: int, message: str) -> Step:
        self._open, self._closed = False, True
        return ending(code, message)


def _say(message: wire.ServerMessage) -> Step:
    return Step(sends=(wire.write(message),))


def _warning(message: str) -> str:
    return wire.write(wire.Warning(NO_EFFECT, message))


def _rounded(amount: int, unit: int) -> int:
    """Return the amount in whole units, rounded."""
    return (amount + unit // 2) // unit
