"""A circuit breaker: whether a backend may get requests, as a pure state machine. Time is an argument.

`TRANSITIONS` says what follows from the result of a request or a probe. `TOLERATED` failures in a row open a closed
breaker; an open one gets no requests and is probed less and less often. A successful probe makes it half-open: requests
come one at a time, and the first result decides.
"""

from enum import Enum, auto

from antiphon.core.units import NS_PER_S

TOLERATED = 3  # failures in a row that open a closed breaker
FIRST_WAIT_NS = NS_PER_S  # from opening to the first probe; doubled after each failed probe ...
LONGEST_WAIT_NS = 4 * NS_PER_S  # ... up to this, which is also the most that an outage is prolonged
IDLE_NS = 10 * NS_PER_S  # after which a healthy but unused backend is probed
SOON_NS = NS_PER_S  # to the next probe of one in doubt


class State(Enum):
    """What a breaker says of its backend."""

    CLOSED = "closed"  # trusted
    OPEN = "open"
    HALF_OPEN = "half_open"


class Sign(Enum):
    """A sign of a backend's health."""

    SUCCEEDED = auto()
    FAILED = auto()
    PROBED_WELL = auto()
    PROBED_ILL = auto()


class Transition(Enum):
    """What a breaker does at a sign."""

    STAY = auto()
    COUNT = auto()  # one more failure; with `TOLERATED`, trip
    TRIP = auto()  # open, for twice as long as the last time in a row
    TRY = auto()  # half-open
    MEND = auto()  # closed, with the history cleared


TRANSITIONS = {
    (State.CLOSED, Sign.SUCCEEDED): Transition.MEND,
    (State.CLOSED, Sign.FAILED): Transition.COUNT,
    (State.CLOSED, Sign.PROBED_WELL): Transition.STAY,  # it responds, but that does not prove that it can work
    (State.CLOSED, Sign.PROBED_ILL): Transition.COUNT,
    (State.OPEN, Sign.SUCCEEDED): Transition.STAY,  # a request from before it opened
    (State.OPEN, Sign.FAILED): Transition.STAY,
    (State.OPEN, Sign.PROBED_WELL): Transition.TRY,
    (State.OPEN, Sign.PROBED_ILL): Transition.TRIP,
    (State.HALF_OPEN, Sign.SUCCEEDED): Transition.MEND,
    (State.HALF_OPEN, Sign.FAILED): Transition.TRIP,
    (State.HALF_OPEN, Sign.PROBED_WELL): Transition.STAY,
    (State.HALF_OPEN, Sign.PROBED_ILL): Transition.TRIP,
}


class Breaker:
    """The breaker of one backend. `probe_ns` is when to probe next, unless a sign comes before."""

    __slots__ = ("_wait_ns", "failures", "probe_ns", "state")

    def __init__(self, now_ns: int) -> None:
        self.state = State.CLOSED
        self.failures = 0  # in a row
        self.probe_ns = now_ns  # at once: its health is unknown
        self._wait_ns = FIRST_WAIT_NS

    def hear(self, sign: Sign, now_ns: int) -> bool:
        """Take a sign of health. Returns whether the state has changed."""
        before = self.state
        transition = TRANSITIONS[before, sign]
        if transition is Transition.COUNT:
            self.failures += 1
            transition = Transition.TRIP if self.failures >= TOLERATED else Transition.STAY
        if transition is Transition.TRIP:
            self.state = State.OPEN
            self.probe_ns = now_ns + self._wait_ns
            self._wait_ns = min(2 * self._wait_ns, LONGEST_WAIT_NS)
        elif transition is Transition.TRY:
            self.state = State.HALF_OPEN
        elif transition is Transition.MEND:
            self.state = State.CLOSED
            self.failures = 0
            self._wait_ns = FIRST_WAIT_NS
        if self.state is not State.OPEN:
            doubtful = self.failures or self.state is State.HALF_OPEN
            self.probe_ns = now_ns + (SOON_NS if doubtful else IDLE_NS)
        return self.state is not before
