"""How many requests a backend may run at once, and how many of them may be before their first output: pure.

Prompts are computed beside each other and beside running requests, and each one more delays all first outputs. A
request over a limit waits in our queue, where urgent ones go first and late ones are refused at once, and not inside
the engine, where it can only wait.

A limit falls with each late first output and rises with each one in time while it is reached, so that about three of
four are in time. Only what takes at least twice as long as at an otherwise idle backend is late: if that is slow in any
case, a limit would help nobody.

While all requests are served, tokens per second count: all places are used, and only what delays a new request by
seconds is late (`PATIENT`). Under pressure, first outputs count (`HASTY`). While several projects send requests, any of
them for streamed tokens, their pace counts as well: many generations of one project must not slow the few of another.
"""

from antiphon.core.units import NS_PER_S

HASTY, PATIENT = 0.6, 4.0  # times the objective for a first output
CALM_NS = 5 * NS_PER_S  # after the last refusal, until pressure ends
SHARED_NS = 30 * NS_PER_S  # after another project's last request, until the model counts as one project's again
WINDOW_NS = NS_PER_S
OUTPACED = 1.5  # times as many arrivals as departures
FEWEST = 4  # so many arrivals within a window are no pressure
LEAST = 4
FIRST_STARTING, FIRST_SHARED = 128, 16  # before anything is learnt
LEAST_SHARE = 8  # at least one of so many places is used
FALL, RISE = 0.95, 1.02
ALONE = 2  # at most this many at once count as alone
SLOWER = 2.0
DRIFT = 1.1


def pace_limit(most: int) -> "AdaptiveLimit":
    """Return a limit for the pace of tokens, which all running requests share: one that is late shows that all are."""
    return AdaptiveLimit(most, ALONE, FIRST_SHARED, fall=0.8, slower=1.25)


class AdaptiveLimit:
    """The limit of one backend. `now` is its value: `first`, then from `least` to `most`. Each late output lowers it by
    the factor `fall`; what takes less than `slower` times as long as alone is not late.
    """

    __slots__ = ("_alone_ms", "_fall", "_least", "_most", "_slower", "_value")

    def __init__(
        self, most: int, least: int = LEAST, first: int | None = None, fall: float = FALL, slower: float = SLOWER
    ) -> None:
        self._most = most
        self._fall = fall
        self._slower = slower
        self._least = min(least, most)
        self._value = float(min(first or most, most))
        self._alone_ms = 0.0  # running median of a first output's time alone; 0 is unknown

    @property
    def now(self) -> int:
        return int(self._value)

    def learn(self, first_ms: float, beside: int, target_ms: float) -> None:
        """Learn from a first output after `first_ms`, which is late after `target_ms`, while `beside` requests (itself
        included) counted against the limit.
        """
        if beside <= (self._least if self._value <= self._least else ALONE):
            drifted = self._alone_ms * (DRIFT if first_ms > self._alone_ms else 1 / DRIFT)
            self._alone_ms = drifted or first_ms
        if first_ms > max(target_ms, self._slower * self._alone_ms):
            if beside > self._least:  # else others did not delay it
                self._value = max(float(self._least), min(self._value, beside) * self._fall)
        else:
            self.rise(beside)

    def rise(self, beside: int) -> None:
        """Raise the limit: with `beside` at once, nothing was late."""
        if 2 * beside >= self._value:
            self._value = min(float(self._most), self._value * RISE)


class Pressure:
    """Whether more requests arrive than are served. `on` if one was refused recently, or many more arrived than left in
    the last window; a burst that is then served counts for one window only. `shared` if they are of several projects
    and tokens are streamed.
    """

    __slots__ = (
        *("_came", "_gradual_ns", "_left", "_other_ns", "_outpaced", "_project", "_project_ns", "_refused_ns"),
        *("_window_ns", "on", "shared"),
    )

    def __init__(self) -> None:
        self.on = self.shared = False
        self._project: str | None = None  # of the last request, and when that came
        self._project_ns = 0
        self._other_ns: int | None = None  # when the last one of another project came
        self._gradual_ns: int | None = None  # when the last streamed one came: others have no pace
        self._came = self._left = self._window_ns = 0
        self._outpaced = False
        self._refused_ns: int | None = None

    def note_arrival(self, project: str, now_ns: int, gradual: bool = False) -> None:
        """Note a request of a project; `gradual` says that its tokens are streamed."""
        if project != self._project:
            if self._project is not None:
                self._other_ns = self._project_ns
            self._project = project
        self._project_ns = now_ns
        if gradual:
            self._gradual_ns = now_ns
        self._look(now_ns)
        self._came += 1

    def note_departure(self, now_ns: int) -> None:
        self._look(now_ns)
        self._left += 1

    def note_refusal(self, now_ns: int) -> None:
        self._refused_ns = now_ns
        self._look(now_ns)

    def refused_within(self, now_ns: int, span_ns: int) -> bool:
        """Return whether a request was refused within the last `span_ns`."""
        return self._refused_ns is not None and now_ns - self._refused_ns < span_ns

    def _look(self, now_ns: int) -> None:
        passed_ns = now_ns - self._window_ns
        if passed_ns >= WINDOW_NS:
            many = self._came > max(FEWEST, OUTPACED * self._left)
            self._outpaced = many and passed_ns < 2 * WINDOW_NS
            self._came = self._left = 0
            self._window_ns = now_ns
        self.on = self._outpaced or self.refused_within(now_ns, CALM_NS)
        other_ns, gradual_ns = self._other_ns, self._gradual_ns
        self.shared = other_ns is not None and gradual_ns is not None and now_ns - min(other_ns, gradual_ns) < SHARED_NS
