"""The backends of a pool and the places at them: what is known of each, and what a request holds there."""

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
    """One engine of a pool, which takes `outstanding` outputs at once; `weight` is its share of the work. One that
    `always_streams` says what it writes bit by bit even where it is wanted whole.
    """

    name: str
    engine: Generator | Embedder | Inferrer
    weight: int = 1
    outstanding: int = 256
    always_streams: bool = False


class Member:
    """What the pool knows of a backend; implements `scheduler.routing.Candidate`."""

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
        self.starting = 0  # of the generations, those before their first output
        self.paced_ns: int | None = None  # when the pace of tokens was last measured
        self.rests_until_ns = now_ns
        self.well_ns = now_ns  # when it said that it would be well
        self.latency_ms = 0.0
        self.chosen = self.sticky = self.failed = 0

    @property
    def state(self) -> State:
        return self.breaker.state

    @property
    def places(self) -> int:
        """How many there are now: under pressure as many as start in time, and among several projects as many as go on
        in time.
        """
        places = min(self._places, self.depth.now) if self._pressure.on else self._places
        return min(places, self.shared.now) if self._pressure.shared else places

    @property
    def most(self) -> int:
        """All that it has, used by pressure or not; or as many as are taken, where no more may start now."""
        return self._places if self.starting < self.starts.now else self.outstanding

    @property
    def free(self) -> int:
        """The places that may be taken now; none where more are taken than there are now."""
        return max(0, self.places - self.outstanding)

    @property
    def empty(self) -> int:
        return max(0, self._places - self.outstanding)

    def learn(self, first_ms: float, beside: int, ttft_ms: float) -> None:
        """A generation's first output came; so many were before theirs meanwhile."""
        hasty = self._pressure.on
        self.starts.learn(first_ms, beside, (HASTY if hasty else PATIENT) * ttft_ms)
        down = self.outstanding <= self.depth.now  # else it is still coming down
        if first_ms <= HASTY * ttft_ms or (hasty and down):
            self.depth.learn(first_ms, self.outstanding, HASTY * ttft_ms)

    def learn_pace(self, tpot_ms: float, tpot_objective_ms: float, now_ns: int) -> None:
        """A generation's tokens came with such gaps."""
        self.paced_ns = now_ns
        if self._pressure.shared and self.outstanding <= 2 * self.shared.now:  # else it is still coming down
            self.shared.learn(tpot_ms, self.outstanding, tpot_objective_ms)

    def learn_no_pace(self, now_ns: int) -> None:
        """A generation that might have had a pace ended with its first token. Where all do, nobody waits for a second
        one, and there is no pace to keep; where others do not, those tell what it is.
        """
        unmeasured = self.paced_ns is None or now_ns - self.paced_ns >= SHARED_NS
        if self._pressure.shared and unmeasured:
            self.shared.rise(self.outstanding)

    def rest(self, seconds: int, now_ns: int) -> None:
        """It is full."""
        self.rests_until_ns = now_ns + seconds * NS_PER_S


class Hold:
    """Places that are taken, until `end`: one for each output. At a half-open backend it is the trial. `beside` were
    before their first output when this began, itself included.
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

    def started(self) -> None:
        self.place.starting -= self._starting
        self._starting = 0

    def end(self) -> None:
        self.started()
        self.place.outstanding -= self._ask.outputs
        self.place.trials -= self._trial
        self._quota.give(self._ask.project, self._ask.outputs)
