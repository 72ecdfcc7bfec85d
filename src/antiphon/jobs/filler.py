"""The decision when a job's item may run: it uses capacity that interactive calls leave (`slo/filling.py`).

Items wait here in order of arrival, a bounded number of each job, so jobs take turns. The rule is applied whenever an
item comes or ends, and every `LOOK_S` seconds while there are any.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from antiphon.core.errors import CallerError, CapacityError
from antiphon.core.ports import Clock
from antiphon.session.sessions import Sessions
from antiphon.slo.filling import QUIET_NS, Traffic, most_items

LOOK_S = 0.05
IDLE_S = 0.25  # between looks at interactive calls while there are no items


class GaveWay(CapacityError):
    """The item was stopped because interactive calls need its place."""


@dataclass(eq=False, slots=True)
class Turn:
    """One item's turn to call `model`, with its place once it has one. `stop` ends its call there."""

    model: str
    granted: asyncio.Future[None]
    version: str = ""
    stop: Callable[[GaveWay], None] | None = None
    stopping: bool = False  # its place becomes free when its call has ended


class Filler:
    """The items of all jobs. At most `at_once` run."""

    def __init__(self, sessions: Sessions, clock: Clock, at_once: int) -> None:
        self._sessions = sessions
        self._clock = clock
        self._at_once = at_once
        self._waiting: deque[Turn] = deque()
        self._running: list[Turn] = []
        self._busy_ns = clock.now_ns()
        self.gave_way = 0

    @property
    def running(self) -> int:
        return len(self._running)

    async def enter(self, model: str) -> Turn:
        """Wait for an item's turn and return it; it lasts until `leave`."""
        turn = Turn(model, asyncio.get_running_loop().create_future())
        self._waiting.append(turn)
        self.look()
        try:
            await turn.granted
        except BaseException:
            self.leave(turn)
            raise
        return turn

    def leave(self, turn: Turn) -> None:
        for held in (self._waiting, self._running):
            if turn in held:
                held.remove(turn)
        self.look()

    async def watch(self) -> None:
        """Apply the rule for ever."""
        while True:
            await asyncio.sleep(LOOK_S if self._waiting or self._running else IDLE_S)
            self.look()

    def look(self) -> None:
        """Start items that there is room for, and stop those whose room is needed, the latest first."""
        interactive, now_ns = self._sessions.interactive, self._clock.now_ns()
        if interactive.open:
            self._busy_ns = now_ns  # even without items: the next one's turn depends on it
        if not (self._waiting or self._running):
            return
        quiet = now_ns - self._busy_ns >= QUIET_NS
        left: dict[str, int] = {}  # by version

        def room(version: str, model: str) -> int:
            """Return how many more may run there; negative if some must be stopped."""
            if version not in left:
                _, traffic = self._traffic(model)
                running = [turn.stopping for turn in self._running if turn.version == version]
                most = most_items(traffic, len(running), self._at_once, interactive, quiet)
                left[version] = most - running.count(False)
            return left[version]

        for turn in reversed(tuple(self._running)):
            if turn.version and room(turn.version, turn.model) < 0 and turn.stop is not None:
                stop, turn.stop, turn.stopping = turn.stop, None, True
                left[turn.version] += 1
                self.gave_way += 1
                stop(GaveWay("Others need the place."))
        for turn in tuple(self._waiting):
            if len(self._running) >= self._at_once:
                return
            if turn.granted.done():  # it was cancelled, and has not left yet
                continue
            turn.version, _ = self._traffic(turn.model)
            ending = sum(each.stopping for each in self._running if each.version == turn.version)
            if not turn.version or room(turn.version, turn.model) > ending:
                if turn.version:
                    left[turn.version] -= 1
                self._waiting.remove(turn)
                self._running.append(turn)
                turn.granted.set_result(None)

    def _traffic(self, model: str) -> tuple[str, Traffic]:
        """Return version and traffic of a model. An absent model has no version: its items are refused, at no cost."""
        try:
            return self._sessions.traffic(model)
        except CallerError:
            return "", Traffic(0, 0)
