"""Steps of one kind: many callers share few places, such as voices on workers. The step whose result is needed first
takes the next free place; if not all can be in time, projects take turns by weight (`fair.py`).

A running step is not interrupted, because it is short: an urgent one waits for less than one step. First audio is
urgent from the start, later audio once what was sent has been played: the caller's deadline says so.

If steps take much longer than before, the processors have other work too. Then no step begins that is needed later than
`AHEAD_NS` from now: sound to be played in a minute must not delay somebody's first word.
"""

import asyncio
from bisect import bisect_right, insort
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from operator import attrgetter

from antiphon.core.ports import Clock
from antiphon.core.units import NS_PER_MS, NS_PER_S
from antiphon.scheduler.fair import FairShares, in_turn

SMOOTH = 0.1  # share of the latest step in the moving mean
FADE = 0.99  # of the sums, with every step
TYPICAL = 0.05  # share of a place that makes sound as fast as it is played ...
DOUBT_MS = 10_000  # ... counted for this much sound at first: the first steps are short, and slow
AHEAD_NS = 5 * NS_PER_S
CONTENDED = 2.0  # times the least share, from which work that is not urgent waits
FORGET = 1.0001  # growth of the least share, with every step
LEARNT = 30  # steps, before shares are compared
LOOK_S = 0.25
MOST_STEP_MS = 1000.0  # a step that took longer waited for its engine to restart
_DEADLINE = attrgetter("deadline_ns")


@dataclass(eq=False, slots=True)
class QueuedStep:
    """A step that wants a place: a `fair.ShareClaim`. `made_ms` is how much sound it made."""

    deadline_ns: int
    project: str = ""
    weight: int = 1
    made_ms: int = 0
    turn: "asyncio.Future[None] | None" = None
    size: float = 1.0


class StepQueue:
    """The steps that wait for one of `places`. Pure: time is an argument."""

    def __init__(self, places: int) -> None:
        self.places = self.free = places
        self.step_ms = 0.0  # recent mean of a step
        self._busy_ms, self._made_ms = TYPICAL * DOUBT_MS, float(DOUBT_MS)  # sums that fade
        self._taken, self._least_share = 0, TYPICAL
        self._waiting: list[QueuedStep] = []  # by deadline; among equals, first come first
        self._had = FairShares()

    def enter(self, step: QueuedStep) -> bool:
        """Return whether the step has a place at once. Otherwise it waits until `following` returns it or it leaves."""
        if self.free:
            self.free -= 1
            self._had.took([step])
            return True
        insort(self._waiting, step, key=_DEADLINE)
        return False

    def leave(self, step: QueuedStep) -> None:
        """Remove a step that waits."""
        if step in self._waiting:
            self._waiting.remove(step)

    def following(self, now_ns: int) -> QueuedStep | None:
        """Give a free place to the next step, and return that step."""
        if not self._waiting:
            self.free += 1
            return None
        step = self._order(self._waiting, now_ns)[0]
        self._waiting.remove(step)
        self._had.took([step])
        return step

    def took(self, step: QueuedStep, took_ms: float) -> None:
        """Count a step that ended with a result."""
        took_ms = min(took_ms, MOST_STEP_MS)
        self.step_ms += SMOOTH * (took_ms - self.step_ms)
        self._busy_ms = FADE * self._busy_ms + took_ms
        self._made_ms = FADE * self._made_ms + step.made_ms
        self._taken += 1
        learnt = self._taken > LEARNT
        self._least_share = min(FORGET * self._least_share, self.share) if learnt else self.share

    @property
    def contended(self) -> bool:
        """Whether the processors have other work too."""
        return self.share > CONTENDED * self._least_share

    @property
    def idle(self) -> bool:
        """Whether no step runs."""
        return self.free == self.places

    @property
    def waits(self) -> bool:
        """Whether any step waits for a place."""
        return bool(self._waiting)

    @property
    def share(self) -> float:
        """The share of one place that makes sound as fast as it is played."""
        return self._busy_ms / max(1.0, self._made_ms)

    def first_ms(self, step: QueuedStep, now_ns: int) -> float:
        """Return how long the step would take to its end if it came now, by recent steps: those before it, half of a
        running one, and itself.
        """
        if self.free:
            return self.step_ms
        waiting = list(self._waiting)
        insort(waiting, step, key=_DEADLINE)
        before = self._order(waiting, now_ns).index(step)
        return self.step_ms * ((before + 0.5) / self.places + 1)

    def urgent(self, step: QueuedStep) -> bool:
        """Return whether another step of its project waits that is at least as urgent."""
        before = bisect_right(self._waiting, step.deadline_ns, key=_DEADLINE)
        return any(other.project == step.project for other in self._waiting[:before])

    def _order(self, waiting: list[QueuedStep], now_ns: int) -> list[QueuedStep]:
        projects = {step.project for step in waiting}
        if len(projects) < 2:
            return waiting
        had = {project: self._had[project] for project in projects}
        return in_turn(waiting, now_ns, self.step_ms / self.places * NS_PER_MS, had)


class Steps:
    """Runs at most `places` steps at once."""

    def __init__(self, places: int, clock: Clock) -> None:
        self.line = StepQueue(places)
        self._clock = clock

    @asynccontextmanager
    async def place(self, deadline_ns: int, project: str = "", weight: int = 1) -> AsyncGenerator[QueuedStep, None]:
        """Run one step inside the context. `deadline_ns` is when its result is needed; `project` has that `weight`."""
        step = QueuedStep(deadline_ns, project, weight)
        await self._bide(deadline_ns - AHEAD_NS)
        await self._enter(step)
        begun_ns = self._clock.now_ns()
        try:
            yield step
            self.line.took(step, (self._clock.now_ns() - begun_ns) / NS_PER_MS)
        finally:
            self._leave()

    async def _bide(self, until_ns: int) -> None:
        while self.line.contended and (early_ns := until_ns - self._clock.now_ns()) > 0:  # noqa: ASYNC110  (nobody tells)
            await asyncio.sleep(min(LOOK_S, early_ns / NS_PER_S))

    async def _enter(self, step: QueuedStep) -> None:
        if self.line.enter(step):
            return
        turn = step.turn = asyncio.get_running_loop().create_future()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self.line.leave(step)
            else:
                self._leave()  # its turn came at the moment of the cancellation
            raise

    def _leave(self) -> None:
        while (step := self.line.following(self._clock.now_ns())) and step.turn is not None:
            if not step.turn.done():
                step.turn.set_result(None)
                return
