"""A recording that a call brought whole is played to its session while the session is listened to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from antiphon.calls.recognition import Recognition
from antiphon.core.wire import Url


@asynccontextmanager
async def playing(session: Any, media: bytes | Url | None) -> AsyncIterator[None]:
    """While this lasts; of a session that has brought none, nothing is played."""
    if media is None:
        yield
        return
    assert isinstance(session, Recognition)
    task = asyncio.create_task(session.play(media), name=f"play {session.call.id}")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
