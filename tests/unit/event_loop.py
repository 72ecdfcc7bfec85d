"""What tests do with the event loop."""

import asyncio


async def settle():
    """Let all other tasks run until they wait for something."""
    for _ in range(10):
        await asyncio.sleep(0)


def move(monkeypatch, seconds):
    """Move the clock of the loop: what is due by then runs next."""
    loop = asyncio.get_running_loop()
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + seconds)


async def later(monkeypatch, seconds):
    """Move the clock of the loop, and let all that is due run."""
    move(monkeypatch, seconds)
    await settle()
