"""Deepgram's Flux: the WebSocket at `/v2/listen`, which reports the turns of one speaker.

A turn begins with its first words (`StartOfTurn`); `Update` follows with more of them. In silence `EagerEndOfTurn`, if
requested, says that the turn is probably over, `TurnResumed` that it is not, `EndOfTurn` that it is: its transcript is
that of an `EagerEndOfTurn` right before it (https://developers.deepgram.com/docs/flux/state). Every message to the
caller is numbered. Each has all words of its turn, so a turn of very many ends without a pause.
"""

from collections import Counter
from dataclasses import replace

import msgspec

from antiphon.core.capabilities import SpeechAbility, check_language
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
    Retune,
    SpeechResumed,
    SpeechStarted,
    TurnMayEnd,
    UtteranceEnded,
    Word,
)
from antiphon.core.rewriting import MASKING
from antiphon.core.specs import TranscribeSpec, TurnRules
from antiphon.core.text import join
from antiphon.core.wire import NOTHING, Opening, Step, make_close
from antiphon.surfaces.deepgram import flux_parameters, flux_wire, results, wire
from antiphon.surfaces.deepgram.endpoint import (
    INTERNAL_ERROR,
    NORMAL,
    POLICY_VIOLATION,
    SILENT_SERVER,
    Endpoint,
    State,
    chosen_subprotocol,
    error_code,
    phrased,
)
from antiphon.surfaces.deepgram.live import IDLE, IDLE_TIMEOUT_NS, SILENT_CALLER, UNDECODABLE
from antiphon.surfaces.deepgram.parameters import NO_GUIDANCE, new_terms

CONFIDENCE_DIGITS = 4
MAX_TURN_WORDS = 500  # about three minutes


class FluxEndpoint(Endpoint):
    """`GET /v2/listen` as a WebSocket."""

    def negotiate(self, opening: Opening, first: str | bytes | None = None) -> Accepted[TranscribeSpec]:
        request = flux_parameters.read(opening.query)
        spec = TranscribeSpec(
            model=request.model,
            format=request.format,
            live=True,
            incremental=True,
            interims=True,
            endpointing_ms=request.turns.timeout_ms,
            word_times=True,
            turns=request.turns,
            tags=request.tags,
            languages=request.languages,
            keyterms=request.keyterms,
            redaction=request.redaction,
        )
        return Accepted(
            spec=spec,
            surface=Flux(request, opening.request_id),
            headers=(("dg-request-id", opening.request_id),),
            subprotocol=chosen_subprotocol(opening),
            without_effect=tuple(name for name, _ in request.without_effect),
            dispensable=((SpeechAbility.GUIDANCE, "keyterm"),) if request.keyterms else (),
        )


class Flux:
    """One stream. Of the turn: `_finals` are its earlier finals if it is long, `_last` is what was last sent of it,
    with `_eager` as `EagerEndOfTurn`.
    """

    def __init__(self, request: flux_parameters.Request, request_id: str) -> None:
        self._request_id = request_id
        self._turns = request.turns
        self._masks = request.masks
        self._unused = list(request.without_effect)
        self._keyterms = request.keyterms
        self._hints = request.languages or None
        self._guided = False  # whether the model can be guided
        self._languages: tuple[str, ...] = ()  # that may be spoken
        self._state = State.OPEN
        self._idle = False  # whether it ends because nothing came
        self._message_ns: int | None = None  # when the last message came, or the stream was opened
        self._sequence = 0
        self._turn = 0
        self._finals: list[Final] = []
        self._last: flux_wire.TurnInfo | None = None
        self._eager = False

    # -- from the caller -----------------------------------------------------------------------------------------------

    def receive(self, message: str | bytes, now_ns: int) -> Step:
        if self._state is not State.OPEN:
            return NOTHING
        self._message_ns = now_ns
        if isinstance(message, bytes):
            text = wire.text_in(message)
            if text is None:
                return Step(inputs=(Audio(message),)) if message else self._end()
            message = text
        try:
            command = flux_wire.read_message(message)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            description = "A text message must be JSON, of type Configure, ForceEndTurn or CloseStream."
            return self._break("UNPARSABLE_CLIENT_MESSAGE", description, POLICY_VIOLATION)
        match command:
            case flux_wire.Configure():
                return self._configure(command)
            case flux_wire.ForceEndTurn():
                return Step(inputs=(Flush(),))
            case wire.CloseStream():
                return self._end()
            case wire.KeepAlive():
                return NOTHING

    def _end(self) -> Step:
        self._state = State.ENDING
        return Step(inputs=(End(),))

    def _configure(self, command: flux_wire.Configure) -> Step:
        """Apply the whole change, or nothing of it."""
        try:
            changes = flux_wire.read_thresholds(command.thresholds)
            turns = TurnRules(
                self._turns.confidence if changes.eot_threshold is None else changes.eot_threshold,
                self._turns.timeout_ms if changes.eot_timeout_ms is None else int(changes.eot_timeout_ms),
                self._turns.early_confidence if changes.eager_eot_threshold is None else changes.eager_eot_threshold,
            )
            flux_parameters.check_order(turns)
            new_keyterms = [command.keyterms] if isinstance(command.keyterms, str) else command.keyterms
            keyterms = self._keyterms if new_keyterms is None else new_terms(new_keyterms)
            for hint in command.language_hints or ():
                check_language(hint, self._languages)
        except (msgspec.MsgspecError, CallerError) as error:
            description = phrased(error).message if isinstance(error, CallerError) else str(error)
            failure = flux_wire.ConfigureFailure(self._request_id, self._next(), "INVALID_CONFIGURATION", description)
            return Step(sends=(flux_wire.write(failure),))
        inputs: list[Input] = [Retune(turns)]
        if keyterms != self._keyterms and self._guided:
            inputs.append(Guide(keyterms=keyterms))
        self._turns, self._keyterms = turns, keyterms
        if command.profanity_filter is not None:
            self._masks = command.profanity_filter
        thresholds = flux_wire.Thresholds(turns.early_confidence, turns.confidence, turns.timeout_ms)
        success = flux_wire.ConfigureSuccess(self._request_id, thresholds, keyterms, self._next(), self._hints)
        unused: list[tuple[str, str]] = []
        if new_keyterms and not self._guided:
            unused.append(("keyterm", NO_GUIDANCE))
        if command.language_hints and len(self._languages) > 1:
            unused.append(("language_hint", "It is fixed for the stream."))
        if command.numerals:
            unused += [(row.name, row.how) for row in flux_parameters.TABLE if row.name == "numerals"]
        warnings = [self._warning(*each) for each in unused]
        return Step(inputs=tuple(inputs), sends=(flux_wire.write(success), *warnings))

    def _warning(self, name: str, why: str) -> str:
        description = f"`{name}` has no effect: {why}"
        return flux_wire.write(flux_wire.Warning(self._request_id, self._next(), "NO_EFFECT", description))

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
        return self._end()

    # -- from the session ----------------------------------------------------------------------------------------------

    def emit(self, event: Output, now_ns: int) -> Step:
        if self._state is State.CLOSED:
            return NOTHING
        match event:
            case Opened():
                if self._message_ns is None:
                    self._message_ns = now_ns
                self._languages, self._guided = event.languages, event.guided
                if self._keyterms and SpeechAbility.GUIDANCE in event.unmet_speech:
                    self._unused.append(("keyterm", NO_GUIDANCE))
                connected = flux_wire.write(flux_wire.Connected(self._request_id, self._next()))
                return Step(sends=(connected, *(self._warning(*each) for each in self._unused)))
            case Interim():
                return self._update(event)
            case Final():
                return self._final(event)
            case TurnMayEnd():
                return self._may_end()
            case SpeechResumed():
                return self._resume()
            case Closed() if self._idle:
                return self._break("INACTIVE_CLIENT", IDLE, INTERNAL_ERROR, SILENT_CALLER)
            case Closed():
                self._state = State.CLOSED
                return Step(close=make_close(NORMAL, ""))
            case Failed():
                return self._fail(event.error)
            case SpeechStarted() | UtteranceEnded() | Progress():
                return NOTHING

    def _update(self, result: Interim | Final) -> Step:
        info = self._info(result)
        if not info.transcript or (self._eager and self._last and info.transcript == self._last.transcript):
            return NOTHING
        if self._eager:
            return Step(sends=(self._report("TurnResumed", info),))
        return Step(sends=(self._report("Update" if self._last else "StartOfTurn", info),))

    def _may_end(self) -> Step:
        if self._last is None or self._eager or self._turns.early_confidence is None:
            return NOTHING
        info = msgspec.structs.replace(self._last, end_of_turn_confidence=self._turns.early_confidence)
        return Step(sends=(self._report("EagerEndOfTurn", info),))

    def _resume(self) -> Step:
        if self._last is None or not self._eager:
            return NOTHING
        info = msgspec.structs.replace(self._last, end_of_turn_confidence=0.0)
        return Step(sends=(self._report("TurnResumed", info),))

    def _final(self, final: Final) -> Step:
        """Return the end of a turn, or of a part of a long one. A turn that never had words is not reported."""
        if final.cause is Cause.LENGTH:
            final = replace(final, turn_over=0.0)
        info = self._info(final)
        if final.cause is Cause.LENGTH and len(info.words) < MAX_TURN_WORDS:
            step = self._update(final)
            if final.transcript.text:
                self._finals.append(final)
            return step
        if not info.transcript and self._last is None:
            return NOTHING
        sends = []
        if self._last is None:
            sends.append(self._report("StartOfTurn", info))
        elif self._eager and info.transcript != self._last.transcript:
            sends.append(self._report("TurnResumed", info))
        trigger, early = self._trigger(final), self._turns.early_confidence
        if trigger == "model" and early is not None and not self._eager and info.transcript:
            sends.append(self._report("EagerEndOfTurn", msgspec.structs.replace(info, end_of_turn_confidence=early)))
        sends.append(self._report("EndOfTurn", info, trigger))
        self._turn += 1
        self._finals, self._last, self._eager = [], None, False
        return Step(sends=tuple(sends))

    def _trigger(self, final: Final) -> str:
        if final.cause is Cause.LENGTH:
            return "length"  # a word of our own: Deepgram's list is open
        if final.cause is not Cause.ENDPOINT:
            return "manual"
        # The required silence came from this confidence, rounded to milliseconds; the margin allows for that.
        return "model" if (final.turn_over or 0.0) >= self._turns.confidence - 0.005 else "timeout"

    def _info(self, result: Interim | Final) -> flux_wire.TurnInfo:
        """Return the turn so far, including this result; its event and its number are not set yet."""
        parts = [*self._finals, result]
        transcripts = [MASKING.apply(part.transcript) if self._masks else part.transcript for part in parts]
        spoken = Counter(each.language for each in transcripts for _ in each.words if each.language)
        return flux_wire.TurnInfo(
            self._request_id,
            0,
            "",
            self._turn,
            results.seconds(parts[0].start_ms),
            results.seconds(result.end_ms),
            join(each.text for each in transcripts),
            [_word(word) for each in transcripts for word in each.words],
            round(result.turn_over or 0.0, CONFIDENCE_DIGITS),
            languages=[language for language, _ in spoken.most_common()] if len(self._languages) > 1 else None,
            languages_hinted=self._hints,
        )

    def _report(self, event: str, info: flux_wire.TurnInfo, trigger: str | None = None) -> str:
        message = msgspec.structs.replace(info, event=event, sequence_id=self._next(), trigger=trigger)
        self._last, self._eager = message, event == "EagerEndOfTurn"
        return flux_wire.write(message)

    def _next(self) -> int:
        sequence, self._sequence = self._sequence, self._sequence + 1
        return sequence

    def _fail(self, error: AntiphonError) -> Step:
        """Close with 1008 for an error that the caller can correct, else 1011."""
        code = error_code(error)
        if isinstance(error, BadMedia):
            return self._break(code, error.message, POLICY_VIOLATION, UNDECODABLE)
        if isinstance(error, (CallerError, PolicyError, CapacityError)):
            return self._break(code, error.message, POLICY_VIOLATION, code)
        return self._break(code, error.message, INTERNAL_ERROR, SILENT_SERVER)

    def _break(self, code: str, description: str, close_code: int, payload: str = "") -> Step:
        self._state = State.CLOSED
        message = flux_wire.write(flux_wire.FatalError(self._next(), code, description))
        return Step(sends=(message,), close=make_close(close_code, f"{payload or code}: {description}"))


def _word(word: Word) -> flux_wire.Word:
    confidence = round(word.confidence, results.CONFIDENCE_DIGITS)
    return flux_wire.Word(word.text, confidence, results.seconds(word.start_ms), results.seconds(word.end_ms))
