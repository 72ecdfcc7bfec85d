"""Places: whether there is capacity for one more call, and for whom. Open calls hold places, each of a kind.

Memory bounds the places of each kind (`slo/shares.py`). The capacity of the engines bounds live streams and speeches
earlier (`slo/admission.py`): there, a silent one counts for little.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from typing import Protocol

from antiphon.calls.services import Services
from antiphon.calls.synthesis import SLACK_MS
from antiphon.catalogue.voices import Voice
from antiphon.core.errors import CapacityError
from antiphon.core.identity import Principal
from antiphon.core.speech import SpeechEngine
from antiphon.core.units import NS_PER_MS
from antiphon.scheduler.steps import QueuedStep
from antiphon.slo.admission import SILENT, Asker, Capacity, Queueing, admit, bearable
from antiphon.slo.filling import Traffic
from antiphon.slo.shares import Bound, Place, Shares


class CallKind(StrEnum):
    """A kind of call, by its name in the configuration's limits."""

    LIVE = "live_streams"
    DECODER = "live_decoders"  # of live streams in containers or Opus
    RECORDING = "recordings"
    GENERATION = "generations"
    SPEECH = "speeches"
    CONVERSATION = "conversations"
    ITEM = "items"  # of jobs


TOO_MANY = {
    CallKind.LIVE: "There is no room for another live stream now.",
    CallKind.DECODER: "Too many live streams that need a decoder are open.",
    CallKind.RECORDING: "Too many recordings are being transcribed.",
    CallKind.GENERATION: "Too many generations are running.",
    CallKind.SPEECH: "Too much is being spoken.",
    CallKind.CONVERSATION: "Too many conversations are held.",
    CallKind.ITEM: "Too many items of jobs are running.",
}

Key = CallKind | tuple[CallKind, SpeechEngine]  # live streams are also counted by recogniser
Holds = Mapping[Key, Place]  # the places of one call


class Audible(Protocol):
    """A call that may be silent."""

    @property
    def silent(self) -> bool: ...


class Places:
    """All places of all kinds, with their bounds."""

    def __init__(self, services: Services, bounds: Mapping[CallKind, Bound]) -> None:
        self.shares: dict[Key, Shares] = {kind: Shares(bound) for kind, bound in bounds.items()}
        self._services = services
        self._queueing = Queueing()

    def most(self, kind: CallKind) -> int:
        """Return the most places that one caller may hold."""
        bound = self.shares[kind].bound
        return min(each for each in (bound.most, bound.per_project, bound.per_key) if each)

    @property
    def interactive(self) -> int:
        """The number of places held by calls for which somebody waits."""
        return sum(self.shares[kind].held for kind in CallKind if kind is not CallKind.ITEM)

    def recordings(self) -> Traffic:
        """Return the load of transcribing recordings, for callers and as items."""
        recordings, items = self.shares[CallKind.RECORDING], self.shares[CallKind.ITEM]
        return Traffic(recordings.bound.most, recordings.held + items.held)

    def check(self, principal: Principal, wanted: Mapping[CallKind, int]) -> None:
        """Raise `CapacityError` if that many more would exceed a bound."""
        for kind, places in wanted.items():
            if not self.shares[kind].fits(principal, places):
                raise self._full(principal, kind)

    def check_streams(self, principal: Principal, streams: int, recogniser: SpeechEngine) -> None:
        """Raise `CapacityError` if the recogniser could not process so many more live streams in time."""
        load, late = recogniser.load(), partial(self._services.observer.late, recogniser=recogniser)
        shares = self._streams(recogniser)
        more = max(0, load.live - shares.held)  # channels found in the audio
        live, most = shares.weighed(SILENT) + more, shares.bound.most
        capacity = Capacity(live, load.workers, load.stream_share, late(), most_streams=most)
        if not admit(capacity, streams, _asker(principal, shares, late(principal.project))):
            raise self._full(principal, CallKind.LIVE)

    def check_speech(self, principal: Principal, voice: Voice, part: bool) -> None:
        """Raise `CapacityError` if the voice could not speak one more text with its first sound in time, or soon enough
        in a burst. The reply of a conversation is started early, and may wait.
        """
        now_ns, line = self._services.clock.now_ns(), voice.steps.line
        objective_ms = self._services.observer.objectives.tts_ttfb_ms
        step = QueuedStep(now_ns + (objective_ms - SLACK_MS) * NS_PER_MS, principal.project, principal.weight)
        first_ms, queued = line.first_ms(step, now_ns), line.urgent(step)
        if part:  # if nothing waits: otherwise the time of a step would never be measured again
            fits = not line.waits or bearable(first_ms)
        else:
            # The last speaker may not be known to be silent yet, and is often this caller.
            live = self.shares[CallKind.SPEECH].weighed(SILENT) - line.idle
            capacity = Capacity(live, line.places, line.share)
            fits = admit(capacity, 1, _asker(principal, self.shares[CallKind.SPEECH], 0.0)) and self._queueing.admit(
                principal.project, first_ms, objective_ms, queued, now_ns
            )
        if not fits:
            raise self._full(principal, CallKind.SPEECH)

    def hold(
        self, principal: Principal, wanted: Mapping[CallKind, int], recogniser: SpeechEngine | None = None
    ) -> Holds:
        """Take the places; `recogniser` is the one of the live streams."""
        now_ns = self._services.clock.now_ns()
        holds: dict[Key, Place] = {
            kind: self.shares[kind].hold(principal, places, now_ns) for kind, places in wanted.items()
        }
        if recogniser and CallKind.LIVE in wanted:
            holds[CallKind.LIVE, recogniser] = self._streams(recogniser).hold(principal, wanted[CallKind.LIVE], now_ns)
        return holds

    def _streams(self, recogniser: SpeechEngine) -> Shares:
        """Return the places of its live streams."""
        return self.shares.setdefault((CallKind.LIVE, recogniser), Shares(self.shares[CallKind.LIVE].bound))

    def let_go(self, holds: Holds) -> None:
        for key, place in holds.items():
            self.shares[key].let_go(place)

    def notice(self, call: Audible, holds: Holds) -> None:
        """Record whether the call is silent now."""
        silent = call.silent
        for key, place in holds.items():
            if key in (CallKind.LIVE, CallKind.SPEECH) or isinstance(key, tuple):
                self.shares[key].mark(place, silent)

    def _full(self, principal: Principal, kind: CallKind) -> CapacityError:
        now_ns = self._services.clock.now_ns()
        return CapacityError(TOO_MANY[kind], retry_after_s=self.shares[kind].retry_after_s(principal, now_ns))


def _asker(principal: Principal, shares: Shares, late: float) -> Asker:
    return Asker(shares.own(principal, SILENT), late, shares.others(principal, silent=0.0))
