"""A call that has ended is freed at once: nothing of it waits for the collector, which runs seldom in the server."""

import asyncio
import gc
import weakref

import pytest

from antiphon.core.events import End
from session_house import events_of, pour

SECOND_MS = 1_000


async def generation(house):
    return house.generate()


async def whole_answer(house):
    return house.generate(stream=False)


async def embedding(house):
    return house.embed("a text")


async def speech(house):
    return house.speak(text="Three words here.")


async def recognition(house):
    session = house.open(interims=True)
    await pour(session, bytes(32 * SECOND_MS))
    await session.feed(End())
    return session


@pytest.mark.parametrize("begin", [generation, whole_answer, embedding, speech, recognition], ids=lambda f: f.__name__)
async def test_nothing_of_a_call_waits_for_the_collector(house, begin):
    gc.collect()
    gc.disable()
    try:
        session = await begin(house)
        events = await events_of(session)
        await session.close(delivered=True)
        ended = weakref.ref(session)
        del session, events
        for _ in range(5):
            await asyncio.sleep(0)
        assert ended() is None
    finally:
        gc.enable()
