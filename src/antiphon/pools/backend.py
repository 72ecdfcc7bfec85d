"""The backends of a pool: the state of each, and the places that a request holds there."""

from dataclasses import dataclass

from antiphon.core.ports import Embedder, Generator, Inferrer
from antiphon.core.units import NS_PER_S
from antiphon.pools.breaker import Breaker, State
from antiphon.pools.gate import Ask
from antiphon.pools.limit import (
    FIRST_STARTING,
    HASTY,
    LEAST,
    LEAST_SHARE,
    PATIENT,
    SHARED_NS,
    AdaptiveLimit,
    Pressure,
    pace_limit,
)
from antiphon.pools.quota import Quota


@dataclass(frozen=True, slots=True)
class Backend:
    """One engine of a pool. It takes `outstanding` outputs at once; `weight` is its share of the work. One that
    `always_streams` generates token by token even if the whole is wanted.
    """

    name: str
    engine: Generator | Embedder | Inferrer
    weight: int = 1
    outstanding: int = 256
    always_streams: bool = False


class Member:
    """The pool's state of a backend; implements `pools.routing.Candidate`."""

    __slots__ = (
        *(
            "_places",
            "_pressure",
            "breaker",
            "chosen",
            "depth",
            "engine",
            "failed",
            "latency_ms",
            "name",
            "outstanding",
            "paced_ns",
        ),
        *("rests_until_ns", "shared", "starting", "starts", "sticky", "trials", "weight", "well_ns"),
    )

    def __init__(self, backend: Backend, pressure: Pressure, now_ns: int) -> None:
        self.name = backend.name
        self.engine = backend.engine
        self.weight = backend.weight
        self._places = backend.outstanding
        self._pressure = pressure
        self.depth = AdaptiveLimit(backend.outstanding, max(LEAST, backend.outstanding // LEAST_SHARE))
        self.starts = AdaptiveLimit(backend.outstanding, first=FIRST_STARTING)
        self.shared = pace_limit(backend.outstanding)
        self.breaker = Breaker(now_ns)
        self.outstanding = self.trials = 0
        self.starting = 0  # generations before their first output
        self.paced_ns: int | None = None  # last measurement of the pace of tokens
        self.rests_until_ns = now_ns
        self.well_ns = now_ns  # when it said that it would be ready
        self.latency_ms = 0.0
        self.chosen = self.sticky = self.failed = 0

    @property
    def state(self) -> State:
        return self.breaker.state

    @property
    def places(self) -> int:
        """How many there are now: under pressure, as many as start in time; among several projects, as many as keep
        pace.
        """
        places = min(self._places, self.depth.now) if self._pressure.on else self._places
        return min(places, self.shared.now) if self._pressure.shared else places

    @property
    def most(self) -> int:
        """All its places, whatever pressure allows; or those in use, if no more may start now."""
        return self._places if self.starting < self.starts.now else self.outstanding

    @property
    def free(self) -> int:
        """How many places may be taken now."""
        return max(0, self.places - self.outstanding)

    @property
    def empty(self) -> int:
        return max(0, self._places - self.outstanding)

    def learn(self, first_ms: float, beside: int, ttft_ms: float) -> None:
        """Learn from the time of a generation's first output, and how many (`beside`) were before theirs."""
        hasty = self._pressure.on
        self.starts.learn(first_ms, beside, (HASTY if hasty else PATIENT) * ttft_ms)
        down = self.outstanding <= self.depth.now  # else requests from before the limit fell still run
        if first_ms <= HASTY * ttft_ms or (hasty and down):
            self.depth.learn(first_ms, self.outstanding, HASTY * ttft_ms)

    def learn_pace(self, tpot_ms: float, tpot_objective_ms: float, now_ns: int) -> None:
        """Learn from the mean gap between a generation's tokens."""
        self.paced_ns = now_ns
        # While far more run than the limit allows, those from before it fell set the pace, and it would fall too far.
        if self._pressure.shared and self.outstanding <= 2 * self.shared.now:
            self.shared.learn(tpot_ms, self.outstanding, tpot_objective_ms)

    def learn_no_pace(self, now_ns: int) -> None:
        """Note that a generation that could have had a pace ended with its first token. If all do, there is no pace to
        keep and the limit rises; otherwise the others' pace decides.
        """
        unmeasured = self.paced_ns is None or now_ns - self.paced_ns >= SHARED_NS
        if self._pressure.shared and unmeasured:
            self.shared.rise(self.outstanding)

    def rest(self, seconds: int, now_ns: int) -> None:
        """Exclude it for a while, because it is full."""
        self.rests_until_ns = now_ns + seconds * NS_PER_S


class Hold:
    """The places of one request, one for each output, until `end`. At a half-open backend it is the trial. `beside` is
    how many were before their first output when it began, itself included.
    """

    __slots__ = ("_ask", "_quota", "_starting", "_trial", "beside", "place")

    def __init__(self, place: Member, quota: Quota, ask: Ask) -> None:
        self.place = place
        self._quota = quota
        self._ask = ask
        self._trial = int(place.state is State.HALF_OPEN)
        self._starting = int(ask.gradual)
        place.starting += self._starting
        self.beside = place.starting
        place.outstanding += ask.outputs
        place.trials += self._trial
        quota.take(ask.project, ask.weight, ask.outputs)

    def note_start(self) -> None:
        """Note the first output: other generations may start."""
        self.place.starting -= self._starting
        self._starting = 0

    def end(self) -> None:
        """Give the places back."""
        self.note_start()
        self.place.outstanding -= self._ask.outputs
        self.place.trials -= self._trial
        self._quota.give(self._ask.project, self._ask.outputs)
