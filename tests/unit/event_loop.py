"""What tests do with the event loop."""

import asyncio


async def settle():
    """Let all other tasks run until they wait for something."""
    for _ in range(10):
        await asyncio.sleep(0)


class _Moved:
    """A clock that is ahead of another."""

    def __init__(self, now):
        self.now = now
        self.ahead_s = 0.0

    def __call__(self):
        return self.now() + self.ahead_s


def move(monkeypatch, seconds):
    """Move the clock of the loop: what is due by then runs next. Who has its `time` at hand keeps the clock as it was:
    move it by nothing before.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop.time, _Moved):
        monkeypatch.setattr(loop, "time", _Moved(loop.time))
    loop.time.ahead_s += seconds


async def later(monkeypatch, seconds):
    """Move the clock of the loop, and let all that is due run."""
    move(monkeypatch, seconds)
    await settle()
