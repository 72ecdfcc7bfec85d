"""When an item of a job may run: it fills what interactive work leaves (`slo/filling.py`), and gives way to it.

Items wait here, first come first served, and each job has a bounded number of them here, so jobs take turns. The rule
is looked at whenever an item comes or ends, and every `LOOK_S`.
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


class GaveWay(CapacityError):
    """An item was stopped because its place is needed."""


@dataclass(eq=False, slots=True)
class Turn:
    """One item's, of the `model` that it asks: its place, once it has one. `stop` ends what it does there."""

    model: str
    granted: asyncio.Future[None]
    version: str = ""
    stop: Callable[[GaveWay], None] | None = None
    stopping: bool = False  # its place is free as soon as its call has ended


class Filler:
    """All items, of all jobs. `at_once` is the most that run."""

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
        """Returns when it is an item's turn, until `leave`."""
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
        """Runs for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Lets in whom there is room for, and stops those whose room is needed, the latest first."""
        interactive, now_ns = self._sessions.interactive, self._clock.now_ns()
        if interactive.open:
            self._busy_ns = now_ns  # also while no item is there: the next one's turn depends on it
        if not (self._waiting or self._running):
            return
        quiet = now_ns - self._busy_ns >= QUIET_NS
        left: dict[str, int] = {}  # by version

        def room(version: str, model: str) -> int:
            """How many more may run there; fewer than none, where some must give way."""
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
            if turn.granted.done():  # it was cancelled, and has not noticed yet
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
        """As the sessions say. A model that is not there has no version: who asks for it is refused, at no cost."""
        try:
            return self._sessions.traffic(model)
        except CallerError:
            return "", Traffic(0, 0)
