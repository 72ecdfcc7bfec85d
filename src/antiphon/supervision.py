"""Permanent tasks, which run as long as the server: watchers, probes, keepers of engine processes.

A task that fails is restarted after a growing pause; the error is logged and counted. While an essential one does not
run, the server is not ready.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 30.0
LASTING_S = 60.0  # a task that ran for so long gets the first pause again

log = logging.getLogger(__name__)


class Supervisor:
    """Counts the `failures` of each task, by its name."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.failures: Counter[str] = Counter()
        self._sleep = sleep
        self._down: dict[object, str] = {}  # names of essential tasks; several may have one name

    def start(self, name: str, work: Callable[[], Awaitable[None]], essential: bool = False) -> asyncio.Task[None]:
        """Run `work` until the task is cancelled. `essential` means that correctness depends on it."""
        return asyncio.create_task(self._run(name, work, essential), name=name)

    @property
    def trouble(self) -> str | None:
        """The essential tasks that do not run now; `None` if all do."""
        return f"not running: {', '.join(sorted(set(self._down.values())))}" if self._down else None

    async def _run(self, name: str, work: Callable[[], Awaitable[None]], essential: bool) -> None:
        now, pause_s, this = asyncio.get_running_loop().time, FIRST_PAUSE_S, object()
        try:
            while True:
                begun_s = now()
                error: Exception | None = None
                try:
                    await work()
                except Exception as failure:
                    error = failure
                log.error("a permanent task ended and will be restarted", exc_info=error, extra={"task": name})
                self.failures[name] += 1
                if now() - begun_s >= LASTING_S:
                    pause_s = FIRST_PAUSE_S
                if essential:
                    self._down[this] = name
                await self._sleep(pause_s)
                self._down.pop(this, None)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        finally:
            self._down.pop(this, None)


supervisor = Supervisor()  # of this process
