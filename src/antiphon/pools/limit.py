"""How many requests one backend may run at once, and how many of them may be before their first output: pure.

Prompts are computed beside each other and beside what runs, and each one more makes all first outputs later. A request
over a limit waits in our queue, where what is urgent goes first and what is too late is refused at once, and not inside
the engine, where it can only wait.

A limit falls with each first output that is late and rises with each that is in time while the limit is reached, so
that about three of four are in time. What is late is twice what it takes a backend that has nothing else to do, at
least: where that takes long whatever else there is, limiting would help nobody.

As long as those who come are served, tokens a second count: as many as there are places run, and only what would keep
a newcomer waiting for seconds is late (`PATIENT`). Under pressure, first outputs count (`HASTY`). While several
projects ask, any of them for tokens one by one, their pace counts as well: one project's many generations do not make
another's few slow.
"""

from antiphon.core.units import NS_PER_S

HASTY, PATIENT = 0.6, 4.0  # times the objective for a first output
CALM_NS = 5 * NS_PER_S  # after the last refusal, until there is no pressure
SHARED_NS = 30 * NS_PER_S  # after the last request of another project, until a model is one project's again
WINDOW_NS = NS_PER_S
OUTPACED = 1.5  # times as many come as leave
FEWEST = 4  # who come within a window are no pressure
LEAST = 4
FIRST_STARTING, FIRST_SHARED = 128, 16  # before anything was learnt
LEAST_SHARE = 8  # of the places: at least one of so many is used
FALL, RISE = 0.95, 1.02
ALONE = 2  # no more than so many at once are as good as alone
SLOWER = 2.0
DRIFT = 1.1


def pace_limit(most: int) -> "AdaptiveLimit":
    """For the pace of tokens, which all that run have in common: one that is late says so for all."""
    return AdaptiveLimit(most, ALONE, FIRST_SHARED, fall=0.8, slower=1.25)


class AdaptiveLimit:
    """One backend's. `now` is how many there may be: `first`, then from `least` to `most`. With each that is late it
    falls to `fall` of what it was; late is also nothing that takes less than `slower` times what it takes alone.
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
        self._alone_ms = 0.0  # a running median of what a first output takes without company; 0 is unknown

    @property
    def now(self) -> int:
        return int(self._value)

    def learn(self, first_ms: float, beside: int, target_ms: float) -> None:
        """A first output came after `first_ms`, and is late after `target_ms`; so many, itself included, of what is
        limited there were meanwhile.
        """
        if beside <= (self._least if self._value <= self._least else ALONE):
            drifted = self._alone_ms * (DRIFT if first_ms > self._alone_ms else 1 / DRIFT)
            self._alone_ms = drifted or first_ms
        if first_ms > max(target_ms, self._slower * self._alone_ms):
            if beside > self._least:  # else it was not for the others
                self._value = max(float(self._least), min(self._value, beside) * self._fall)
        else:
            self.rise(beside)

    def rise(self, beside: int) -> None:
        """With so many at once nothing was late."""
        if 2 * beside >= self._value:
            self._value = min(float(self._most), self._value * RISE)


class Pressure:
    """Whether more come than are served: `on` where somebody was refused a moment ago, or far more came within the last
    window than left. A crowd that comes at once and is then served is not, for longer than a window. Whether they are
    of several projects, and tokens are waited for: `shared`.
    """

    __slots__ = (
        *("_came", "_gradual_ns", "_left", "_other_ns", "_outpaced", "_project", "_project_ns", "_refused_ns"),
        *("_window_ns", "on", "shared"),
    )

    def __init__(self) -> None:
        self.on = self.shared = False
        self._project: str | None = None  # whose the last request was, and when it came
        self._project_ns = 0
        self._other_ns: int | None = None  # when the last one of any other came
        self._gradual_ns: int | None = None  # when the last one came whose output comes bit by bit: others have no pace
        self._came = self._left = self._window_ns = 0
        self._outpaced = False
        self._refused_ns: int | None = None

    def note_arrival(self, project: str, now_ns: int, gradual: bool = False) -> None:
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
        """Whether somebody was refused that short a time ago."""
        return self._refused_ns is not None and now_ns - self._refused_ns < span_ns

    def _look(self, now_ns: int) -> None:
        passed_ns = now_ns - self._window_ns
        if passed_ns >= WINDOW_NS:
            many = self._came > max(FEWEST, OUTPACED * self._left)
            self._outpaced = many and passed_ns < 2 * WINDOW_NS
            self._came = self._left = 0
            self._window_ns = now_ns
        self.on = self._outpaced or self.refused_within(now_ns, CALM_NS)
        seen = self._other_ns, self._gradual_ns
        self.shared = all(at_ns is not None and now_ns - at_ns < SHARED_NS for at_ns in seen)
