"""Steps of synthesis: many voices on few workers. The step whose speech is needed first takes the next free place.

A step that runs is not interrupted, because it is short; so an urgent one waits for less than one of them. First audio
is urgent from the start, later audio when what was sent has been played: the caller says so by its deadline.
"""

import asyncio
import heapq
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from antiphon.core.ports import Clock
from antiphon.core.units import NS_PER_MS

SMOOTH = 0.1  # the share of the latest in the moving mean


class Steps:
    """`places` steps run at once."""

    def __init__(self, places: int, clock: Clock) -> None:
        self._places = self._free = places
        self._clock = clock
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []  # a heap: deadline, arrival, who
        self._came = 0
        self._step_ms = 0.0

    def wait_ms(self) -> float:
        """How long all that waits will take, as steps have taken lately."""
        return len(self._waiting) * self._step_ms / self._places

    @asynccontextmanager
    async def place(self, deadline_ns: int) -> AsyncGenerator[None, None]:
        """One step runs inside. `deadline_ns` is when its speech is needed."""
        await self._enter(deadline_ns)
        begun_ns = self._clock.now_ns()
        try:
            yield
        finally:
            self._step_ms += SMOOTH * ((self._clock.now_ns() - begun_ns) / NS_PER_MS - self._step_ms)
            self._leave()

    async def _enter(self, deadline_ns: int) -> None:
        if self._free:
            self._free -= 1
            return
        self._came += 1
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (deadline_ns, self._came, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._leave()  # it came at the very moment its waiter went
            raise

    def _leave(self) -> None:
        while self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
