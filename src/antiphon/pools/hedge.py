"""A second backend for a request that the first one keeps waiting (Dean and Barroso, "The Tail at Scale", 2013).

Both are generators of the same answer. The one that says something first is the answer, the other is closed, which
cancels it inside its engine; nothing of it is passed on, so nothing of it is charged. There is never a third.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable

from antiphon.core.events import Generated, TokenUsage

Batch = tuple[Generated | TokenUsage, ...]
Answer = AsyncGenerator[Batch, None]


async def hedged(first: Answer, other: Callable[[], Answer | None], after_s: float) -> Answer:
    """What `first` yields, or `other()` where `first` has said nothing for that long and the other one says something
    sooner. Raises what `first` raises, and where both fail, what the later one does.
    """
    openings = {asyncio.create_task(_opening(first)): first}
    try:
        await asyncio.wait(openings, timeout=after_s)
        if not any(opening.done() for opening in openings) and (second := other()) is not None:
            openings[asyncio.create_task(_opening(second))] = second
        winner = await _first(set(openings))
        for opening in openings:
            if opening is not winner:
                opening.cancel()
        for batch in winner.result():
            yield batch
        async for batch in openings[winner]:
            yield batch
    finally:
        for opening in openings:
            opening.cancel()
        await asyncio.gather(*openings, return_exceptions=True)
        for answer in openings.values():
            await answer.aclose()


async def _opening(answer: Answer) -> list[Batch]:
    """All up to the first that is not only a count."""
    batches: list[Batch] = []
    async for batch in answer:
        batches.append(batch)
        if not all(isinstance(event, TokenUsage) for event in batch):
            break
    return batches


async def _first(openings: set[asyncio.Task[list[Batch]]]) -> asyncio.Task[list[Batch]]:
    """The first that has not failed, or the last to fail."""
    while True:
        done, openings = await asyncio.wait(openings, return_when=asyncio.FIRST_COMPLETED)
        for opening in done:
            if not openings or opening.exception() is None:
                return opening
