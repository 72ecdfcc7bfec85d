"""A circuit breaker: whether a backend is to be trusted with requests, as a pure state machine. Time is an argument.

What each state does with an outcome of a request or of a probe is in `MOVES`. Where the breaker is closed, `TOLERATED`
failures in a row open it; an open one takes no requests, and is probed less and less often. A probe that does well
makes it half-open, where requests come one at a time, and the first of them decides.
"""

from enum import Enum, auto

from antiphon.core.units import NS_PER_S

TOLERATED = 3  # failures in a row that open a closed breaker
FIRST_WAIT_NS = NS_PER_S  # from opening to the first probe; doubled each time it is in vain ...
LONGEST_WAIT_NS = 4 * NS_PER_S  # ... up to this, by which an outage is lengthened at most
IDLE_NS = 10 * NS_PER_S  # after which a healthy backend that nobody uses is probed
SOON_NS = NS_PER_S  # to the next probe of one that is in doubt


class State(Enum):
    CLOSED = "closed"  # trusted
    OPEN = "open"
    HALF_OPEN = "half_open"


class Sign(Enum):
    """Of a backend's health."""

    SUCCEEDED = auto()
    FAILED = auto()
    PROBED_WELL = auto()
    PROBED_ILL = auto()


class Move(Enum):
    STAY = auto()
    COUNT = auto()  # one more failure; with `TOLERATED`, trip
    TRIP = auto()  # open, for twice as long as the last time in a row
    TRY = auto()  # half-open
    MEND = auto()  # closed, and what was is forgotten


MOVES = {
    (State.CLOSED, Sign.SUCCEEDED): Move.MEND,
    (State.CLOSED, Sign.FAILED): Move.COUNT,
    (State.CLOSED, Sign.PROBED_WELL): Move.STAY,  # it says that it is there, not that it can work
    (State.CLOSED, Sign.PROBED_ILL): Move.COUNT,
    (State.OPEN, Sign.SUCCEEDED): Move.STAY,  # a request from before it opened
    (State.OPEN, Sign.FAILED): Move.STAY,
    (State.OPEN, Sign.PROBED_WELL): Move.TRY,
    (State.OPEN, Sign.PROBED_ILL): Move.TRIP,
    (State.HALF_OPEN, Sign.SUCCEEDED): Move.MEND,
    (State.HALF_OPEN, Sign.FAILED): Move.TRIP,
    (State.HALF_OPEN, Sign.PROBED_WELL): Move.STAY,
    (State.HALF_OPEN, Sign.PROBED_ILL): Move.TRIP,
}


class Breaker:
    """One backend's. `probe_ns` is when it is to be probed next, unless something is heard of it before."""

    __slots__ = ("_wait_ns", "failures", "probe_ns", "state")

    def __init__(self, now_ns: int) -> None:
        self.state = State.CLOSED
        self.failures = 0  # in a row
        self.probe_ns = now_ns  # at once: nothing is known of it
        self._wait_ns = FIRST_WAIT_NS

    def hear(self, sign: Sign, now_ns: int) -> bool:
        """Whether the state has changed by it."""
        before = self.state
        move = MOVES[before, sign]
        if move is Move.COUNT:
            self.failures += 1
            move = Move.TRIP if self.failures >= TOLERATED else Move.STAY
        if move is Move.TRIP:
            self.state = State.OPEN
            self.probe_ns = now_ns + self._wait_ns
            self._wait_ns = min(2 * self._wait_ns, LONGEST_WAIT_NS)
        elif move is Move.TRY:
            self.state = State.HALF_OPEN
        elif move is Move.MEND:
            self.state = State.CLOSED
            self.failures = 0
            self._wait_ns = FIRST_WAIT_NS
        if self.state is not State.OPEN:
            doubtful = self.failures or self.state is State.HALF_OPEN
            self.probe_ns = now_ns + (SOON_NS if doubtful else IDLE_NS)
        return self.state is not before
