"""A second backend for a request whose first one is slow (Dean and Barroso, "The Tail at Scale", 2013).

Both generate the same answer. The first to send output is used; the other is closed, which cancels it in its engine:
none of its output is passed on or charged. There is never a third.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable

from antiphon.core.events import Generated, TokenUsage

Batch = tuple[Generated | TokenUsage, ...]
Answer = AsyncGenerator[Batch, None]


async def hedged(first: Answer, other: Callable[[], Answer | None], after_s: float) -> Answer:
    """Yield what `first` yields, or what `other()` does if `first` is silent for `after_s` seconds and the other is
    faster. Raises the error of `first`; if both fail, that of the later one.
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
    """Return all batches up to the first with more than a token count."""
    batches: list[Batch] = []
    async for batch in answer:
        batches.append(batch)
        if not all(isinstance(event, TokenUsage) for event in batch):
            break
    return batches


async def _first(openings: set[asyncio.Task[list[Batch]]]) -> asyncio.Task[list[Batch]]:
    """Return the first that has not failed, or the last to fail."""
    while True:
        done, openings = await asyncio.wait(openings, return_when=asyncio.FIRST_COMPLETED)
        good = next((opening for opening in done if opening.exception() is None), None)
        if good is not None or not openings:
            return good or done.pop()
