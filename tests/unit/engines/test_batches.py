"""Sharing batches: order, fairness, bounds, failure, leaving."""

import asyncio
import threading

import pytest

from antiphon.core.errors import CapacityError, EngineError
from antiphon.engines.batches import Batches


class Model:
    """Gives each row its sum; keeps the batches. Each waits for `gate`."""

    def __init__(self):
        self.batches = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.error = None

    def run(self, rows):
        self.batches.append(rows)
        self.entered.set()
        assert self.gate.wait(10)
        if self.error:
            raise self.error
        return [(float(sum(row)),) for row in rows]


@pytest.fixture
def model():
    return Model()


@pytest.fixture
async def batches(model):
    batches = Batches(model.run, threads=1, most_cells=8, most_tokens=100)
    yield batches
    model.gate.set()
    await batches.close()


async def held(model, batches):
    """A call that runs, so that those after it wait."""
    model.gate.clear()
    first = asyncio.create_task(batches.compute([(1,)]))
    while not model.entered.is_set():  # noqa: ASYNC110
        await asyncio.sleep(0)
    return first


async def test_vectors_come_in_the_order_of_the_rows(batches):
    rows = [(1,), (2, 3, 4, 5), (6, 7), (8,) * 9]
    assert await batches.compute(rows) == ((1.0,), (14.0,), (13.0,), (72.0,))
    assert await batches.compute([]) == ()


async def test_one_call_right_after_another(batches):
    """Before the loop has told anybody that the first one's work is over."""
    async with asyncio.timeout(60):
        for _ in range(20):
            assert await batches.compute([(1, 2)]) == ((3.0,),)


async def test_a_batch_is_bounded_in_cells_and_holds_what_is_alike(model, batches):
    await batches.compute([(1,), (1, 1, 1, 1), (1,), (1, 1, 1, 1), (1,) * 9])
    assert [[len(row) for row in batch] for batch in model.batches] == [[9], [4, 4], [1, 1]]


async def test_callers_share_batches_in_turn(model, batches):
    first = await held(model, batches)
    many = asyncio.create_task(batches.compute([(2, 2)] * 7))
    few = asyncio.create_task(batches.compute([(3, 3)]))
    await asyncio.sleep(0)
    model.gate.set()
    assert await few == ((6.0,),)
    await asyncio.gather(first, many)
    assert model.batches[1] == [(2, 2), (3, 3), (2, 2), (2, 2)]
    assert [len(batch) for batch in model.batches] == [1, 4, 4]


async def test_who_leaves_is_computed_no_more(model, batches):
    first = await held(model, batches)
    leaving = asyncio.create_task(batches.compute([(2, 2)] * 7))
    await asyncio.sleep(0)
    leaving.cancel()
    model.gate.set()
    await first
    assert await batches.compute([(4,)]) == ((4.0,),)
    assert model.batches == [[(1,)], [(4,)]]


async def test_what_may_wait_is_bounded_and_given_back(model, batches):
    first = await held(model, batches)
    waiting = asyncio.create_task(batches.compute([(1,) * 99]))
    await asyncio.sleep(0)
    with pytest.raises(CapacityError) as refused:
        await batches.compute([(1,)])
    assert refused.value.retry_after_s
    model.gate.set()
    await asyncio.gather(first, waiting)
    assert await batches.compute([(1,) * 100]) == ((100.0,),)


async def test_a_failure_reaches_all_whose_rows_were_in_the_batch_and_nobody_else(model, batches):
    first = await held(model, batches)
    model.error = RuntimeError("it quotes 2 2")
    calls = [asyncio.create_task(batches.compute([(2, 2)] * 2)) for _ in range(2)]
    await asyncio.sleep(0)
    model.gate.set()
    for failed in await asyncio.gather(first, *calls, return_exceptions=True):
        assert isinstance(failed, EngineError)
        assert "quotes" not in failed.message
    model.error = None
    assert await batches.compute([(5,)]) == ((5.0,),)


async def test_as_many_batches_run_at_once_as_there_are_threads():
    model = Model()
    model.gate.clear()
    batches = Batches(model.run, threads=2, most_cells=2, most_tokens=100)
    calls = [asyncio.create_task(batches.compute([(n, n)])) for n in range(3)]
    async with asyncio.timeout(60):
        while len(model.batches) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(model.batches) == 2
    model.gate.set()
    assert await asyncio.gather(*calls) == [((0.0,),), ((2.0,),), ((4.0,),)]
    await batches.close()


async def test_closing_fails_what_waits_and_ends_what_runs(model, batches):
    first = await held(model, batches)
    waiting = asyncio.create_task(batches.compute([(2, 2)]))
    await asyncio.sleep(0)
    closing = asyncio.create_task(batches.close())
    await asyncio.sleep(0)
    model.gate.set()
    await closing
    assert await first == ((1.0,),)
    with pytest.raises(EngineError):
        await waiting
    with pytest.raises(EngineError):
        await batches.compute([(1,)])


async def test_what_one_project_has_waiting_leaves_room_for_another(model, batches):
    first = await held(model, batches)
    waiting = asyncio.create_task(batches.compute([(1,)] * 99, "greedy"))
    await asyncio.sleep(0)
    with pytest.raises(CapacityError):
        await batches.compute([(1,)], "greedy")
    other = asyncio.create_task(batches.compute([(1,)] * 6, "modest"))
    await asyncio.sleep(0)
    with pytest.raises(CapacityError):
        await batches.compute([(1,)], "modest")
    model.gate.set()
    assert len(await other) == 6
    await asyncio.gather(first, waiting)
