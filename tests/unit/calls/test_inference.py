"""Models of tensors: charged per inference and per byte, durably before the answer leaves."""

import asyncio
import threading
from typing import ClassVar

import pytest

from antiphon.calls.relay import relay
from antiphon.core.entry import EntryKind
from antiphon.core.errors import CallerError, EngineError, LedgerUnavailable
from antiphon.core.events import Completed, Failed, Inferred, Opened
from antiphon.core.tensors import Tensor
from antiphon.core.usage import Dimension
from antiphon.core.wire import NOTHING
from session_house import events_of, until

X = Tensor("x", "UINT8", (3,), b"\1\2\3")


async def test_an_inference_is_charged_once_and_for_its_bytes(house):
    inference = house.infer(X, version="7", parameters=(("k", 1),), tags=("a=b",))
    opened, inferred, completed = await events_of(inference)
    await inference.close(delivered=True)
    assert (opened, type(completed)) == (Opened("tensors-2026"), Completed)
    assert inferred == Inferred((Tensor("outx", "UINT8", (2, 3), X.data * 2),), "7", (("k", 1),))
    assert house.tokens() == {Dimension.INFERENCES: 1, Dimension.INFERENCE_BYTES: 9}
    assert [entry.kind for entry in house.ledger.entries] == [EntryKind.USAGE, EntryKind.USAGE, EntryKind.COMPLETED]
    assert {(entry.feature, entry.tags) for entry in house.ledger.entries} == {("inference", ("a=b",))}
    ((spec, call),) = house.inferrer.calls
    assert (spec.inputs, call.id) == ((X,), inference.call.id)


@pytest.mark.parametrize("size", [10, 100_000])
async def test_large_tensors_are_rendered_beside_the_event_loop(house, size):
    class Surface:
        threads: ClassVar = {}

        def emit(self, event, now_ns):
            self.threads[type(event)] = threading.current_thread()
            return NOTHING

    inference = house.infer(Tensor("x", "UINT8", (size,), bytes(size)))
    await relay(inference, Surface(), house.clock, None)
    await inference.close(delivered=True)
    main = threading.main_thread()
    assert Surface.threads[Opened] is Surface.threads[Completed] is main
    assert (Surface.threads[Inferred] is main) == (size == 10)


async def test_it_is_in_the_ledger_before_it_leaves(house):
    house.ledger.gate.clear()
    inference = house.infer(X)
    waiting = asyncio.create_task(events_of(inference))
    await house.ledger.entered.wait()
    assert not waiting.done()
    house.ledger.gate.set()
    assert isinstance((await waiting)[-1], Completed)
    await inference.close(delivered=True)


@pytest.mark.parametrize("error", [EngineError("broken"), CallerError("wrong shape"), LedgerUnavailable("full")])
async def test_one_that_failed_is_free(house, error):
    inference = house.infer(X)
    if isinstance(error, LedgerUnavailable):
        house.ledger.error = error
    else:
        house.inferrer.error = error
    assert (await events_of(inference))[-1] == Failed(error)
    house.ledger.error = None
    await inference.close(delivered=True)
    assert not house.tokens()


async def test_who_leaves_ends_it_and_pays_nothing(house):
    house.inferrer.gate.clear()
    inference = house.infer(X)
    leaving = asyncio.create_task(events_of(inference))
    await until(lambda: house.inferrer.calls)
    leaving.cancel()
    await asyncio.wait([leaving])
    await inference.close(delivered=False)
    assert not house.ledger.entries


async def test_a_model_of_another_kind_is_refused(house):
    house.served["tensors-2026"] = house.served["vectors-2026"]
    with pytest.raises(CallerError, match="not a model of tensors") as refused:
        house.infer(X)
    assert refused.value.param == "model"


async def test_dimensions_that_are_not_the_models_own_are_refused_and_free(house):
    for dimensions, right in ((8, True), (4, False)):
        generation = house.embed("a", dimensions=dimensions)
        last = (await events_of(generation))[-1]
        await generation.close(delivered=True)
        assert isinstance(last, Completed) is right
        if not right:
            assert (last.error.code, last.error.param) == ("unsupported_parameter", "dimensions")
    assert house.tokens() == {Dimension.EMBEDDING_TOKENS: 1}
