"""Places: whether there is room for one more call, and for whom. What is open holds places, each of a kind.

Memory bounds how many places of each kind there are (`slo/shares.py`). What the engines can do bounds live streams and
speeches before that (`slo/admission.py`): there, one in which nobody speaks counts for little.
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
    """What is open, by the configuration's name for how much of it may be."""

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

Key = CallKind | tuple[CallKind, SpeechEngine]  # live streams are counted by recogniser, too
Holds = Mapping[Key, Place]  # what a call holds


class Audible(Protocol):
    """A call in which somebody speaks, or something is spoken, or not."""

    @property
    def silent(self) -> bool: ...


class Places:
    """All places, of all kinds, by how many there are of each."""

    def __init__(self, services: Services, bounds: Mapping[CallKind, Bound]) -> None:
        self.shares: dict[Key, Shares] = {kind: Shares(bound) for kind, bound in bounds.items()}
        self._services = services
        self._queueing = Queueing()

    def most(self, kind: CallKind) -> int:
        """As many as one caller may hold."""
        bound = self.shares[kind].bound
        return min(each for each in (bound.most, bound.per_project, bound.per_key) if each)

    @property
    def interactive(self) -> int:
        """How many are held by calls for which somebody waits."""
        return sum(self.shares[kind].held for kind in CallKind if kind is not CallKind.ITEM)

    def recordings(self) -> Traffic:
        """What happens where recordings are transcribed, for callers and as items."""
        recordings, items = self.shares[CallKind.RECORDING], self.shares[CallKind.ITEM]
        return Traffic(recordings.bound.most, recordings.held + items.held)

    def check(self, principal: Principal, wanted: Mapping[CallKind, int]) -> None:
        """Raises `CapacityError` where that many more would be too many."""
        for kind, places in wanted.items():
            if not self.shares[kind].fits(principal, places):
                raise self._full(principal, kind)

    def check_streams(self, principal: Principal, streams: int, recogniser: SpeechEngine) -> None:
        """Raises `CapacityError` where the recogniser could not hear so many live streams more, and be in time."""
        load, late = recogniser.load(), partial(self._services.observer.late, recogniser=recogniser)
        shares = self._streams(recogniser)
        more = max(0, load.live - shares.held)  # channels that came with the audio
        live, most = shares.weighed(SILENT) + more, shares.bound.most
        capacity = Capacity(live, load.workers, load.stream_share, late(), most_streams=most)
        if not admit(capacity, streams, _asker(principal, shares, late(principal.project))):
            raise self._full(principal, CallKind.LIVE)

    def check_speech(self, principal: Principal, voice: Voice, part: bool) -> None:
        """Raises `CapacityError` where the voice could not speak one text more, its first sound in time, or soon enough
        in a burst. The reply of a conversation is begun before it is wanted, and may wait.
        """
        now_ns, line = self._services.clock.now_ns(), voice.steps.line
        objective_ms = self._services.observer.objectives.tts_ttfb_ms
        step = QueuedStep(now_ns + (objective_ms - SLACK_MS) * NS_PER_MS, principal.project, principal.weight)
        first_ms, queued = line.first_ms(step, now_ns), line.urgent(step)
        if part:  # where nobody waits, or what steps take would never be measured again
            fits = not line.waits or bearable(first_ms)
        else:
            # Whoever spoke last may not be known to be silent yet, and is often the one who asks.
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
        """`recogniser` is whose live streams they are."""
        now_ns = self._services.clock.now_ns()
        holds: dict[Key, Place] = {
            kind: self.shares[kind].hold(principal, places, now_ns) for kind, places in wanted.items()
        }
        if recogniser and CallKind.LIVE in wanted:
            holds[CallKind.LIVE, recogniser] = self._streams(recogniser).hold(principal, wanted[CallKind.LIVE], now_ns)
        return holds

    def _streams(self, recogniser: SpeechEngine) -> Shares:
        """Who holds its live streams."""
        return self.shares.setdefault((CallKind.LIVE, recogniser), Shares(self.shares[CallKind.LIVE].bound))

    def let_go(self, holds: Holds) -> None:
        for key, place in holds.items():
            self.shares[key].let_go(place)

    def notice(self, call: Audible, holds: Holds) -> None:
        """Whether it is silent now."""
        silent = call.silent
        for key, place in holds.items():
            if key in (CallKind.LIVE, CallKind.SPEECH) or isinstance(key, tuple):
                self.shares[key].mark(place, silent)

    def _full(self, principal: Principal, kind: CallKind) -> CapacityError:
        now_ns = self._services.clock.now_ns()
        return CapacityError(TOO_MANY[kind], retry_after_s=self.shares[kind].retry_after_s(principal, now_ns))


def _asker(principal: Principal, shares: Shares, late: float) -> Asker:
    return Asker(shares.own(principal, SILENT), late, shares.others(principal, silent=0.0))
