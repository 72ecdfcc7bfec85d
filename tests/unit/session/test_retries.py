import asyncio
import uuid
from dataclasses import replace

import pytest

from antiphon.core.errors import AlreadyAnswered, EngineError
from antiphon.core.events import Failed
from antiphon.core.usage import Dimension
from antiphon.core.wire import Opening
from antiphon.session import retries as module
from antiphon.session.retries import REMEMBERED_S, TRY
from session_house import audio, events_of

OUT = Dimension.LLM_OUTPUT_TOKENS


class Sdk:
    """Asks again and again, as the SDKs do; `ask` says what that try added to the bill."""

    def __init__(self, house):
        self.house = house

    async def claim(self, number, body="body", **headers):
        named = {TRY: str(number)} if number is not None else {}
        opening = Opening("POST", "/", headers=named | headers, request_id=str(uuid.uuid4()))
        return await self.house.sessions.claim(self.house.principal, opening, body), opening.request_id

    async def ask(self, number, body="body", delivered=False, stream=False, **headers):
        claim, id = await self.claim(number, body, **headers)
        before = self.house.tokens().get(OUT, 0)
        generation = self.house.generate(claim, id, stream=stream)
        await events_of(generation)
        await generation.close(delivered)
        return self.house.tokens().get(OUT, 0) - before


@pytest.fixture
def sdk(house):
    return Sdk(house)


async def test_a_retry_of_what_may_not_have_arrived_is_free_once(sdk):
    assert await sdk.ask(0) == 5
    assert await sdk.ask(1) == 0
    assert await sdk.ask(2) == 5  # given again, it arrived or not


async def test_a_retry_of_what_arrived_is_charged(sdk):
    """Whatever the caller says: what was handed over is paid for."""
    assert [await sdk.ask(number, delivered=True) for number in (0, 1, 2)] == [5, 5, 5]


async def test_who_cycles_through_the_numbers_pays_for_everything_that_was_handed_over(sdk):
    numbers = [0, 1, 2] * 5
    assert sum([await sdk.ask(number, delivered=True) for number in numbers]) == 5 * len(numbers)


async def test_each_charge_allows_one_free_retry(sdk):
    assert [await sdk.ask(number) for number in range(6)] == [5, 0, 5, 0, 5, 0]


@pytest.mark.parametrize("numbers", [(0, 0), (1, 1), (0, 2), (2, 1), (None, None), (None, 1), (0, None)])
async def test_what_is_not_the_next_try_is_charged(sdk, numbers):
    assert [await sdk.ask(number) for number in numbers] == [5, 5]


@pytest.mark.parametrize("number", ["", "x", "-1", "1.0", "²", "9" * 5000])
async def test_what_is_no_number_says_nothing(sdk, number):
    await sdk.ask(0)
    assert await sdk.ask(number) == 5


async def test_another_body_or_key_is_charged(sdk, house):
    assert await sdk.ask(0) == 5
    assert await sdk.ask(1, body="another") == 5
    claims = house.sessions._retries
    other = type(house.principal)("acme", "k2", house.principal.scopes)
    opening = Opening("POST", "/", headers={TRY: "1"}, request_id=str(uuid.uuid4()))
    assert claims.claim(other, opening, "body") is None


async def test_a_call_that_begins_anew_forgets_the_one_before(sdk):
    """Or its retry after a refusal would be free, though nothing was charged for it."""
    await sdk.ask(0)
    await sdk.claim(0)  # and refused
    assert await sdk.ask(1) == 5
    assert await sdk.ask(2) == 0


async def test_what_failed_was_not_charged_and_its_retry_is(sdk, house):
    house.generator.error = EngineError("down")
    assert await sdk.ask(0) == 0
    house.generator.error = None
    assert await sdk.ask(1) == 5


async def test_a_retry_that_failed_leaves_the_next_one_free(sdk, house):
    await sdk.ask(0)
    house.generator.error = EngineError("down")
    await sdk.ask(1)
    house.generator.error = None
    assert await sdk.ask(2) == 0
    assert await sdk.ask(3) == 5


async def test_a_retry_that_was_refused_leaves_the_next_one_free(sdk):
    assert await sdk.ask(0) == 5
    await sdk.claim(1)  # and refused: too much runs
    assert await sdk.ask(2) == 0
    assert await sdk.ask(3) == 5


async def test_streams_are_charged_for_what_was_sent(sdk):
    assert await sdk.ask(0, stream=True) == 5
    assert await sdk.ask(1, stream=True) == 5


async def test_it_is_forgotten_after_a_while(sdk, house):
    await sdk.ask(0)
    house.clock.advance_ms(REMEMBERED_S * 1000)
    assert await sdk.ask(1) == 0
    await sdk.ask(0)
    house.clock.advance_ms(REMEMBERED_S * 1000 + 1)
    assert await sdk.ask(1) == 5


async def test_no_more_is_remembered_than_the_bound(sdk, house, monkeypatch):
    monkeypatch.setattr(module, "MAX_REMEMBERED", 3)
    for body in "abcd":
        await sdk.ask(0, body=body)
    assert [await sdk.ask(1, body=body) for body in "dcba"] == [0, 0, 0, 5]
    for n in range(10):
        await sdk.claim(0, body=str(n % 5))  # that are refused, and never end
        await sdk.claim(0, body=str(n % 5))
    memory = house.sessions._retries
    assert (sum(map(len, memory._calls.values())), memory._remembered, len(memory._sessions)) == (3, 3, 3)


async def test_the_calls_of_one_project_are_not_forgotten_for_those_of_another(sdk, house, monkeypatch):
    monkeypatch.setattr(module, "MAX_REMEMBERED", 3)
    assert await sdk.ask(0, body="mine") == 5
    other = replace(house.principal, project="other", key_id="other")
    for n in range(10):
        opening = Opening("POST", "/", headers={TRY: "0"}, request_id=str(uuid.uuid4()))
        await house.sessions.claim(other, opening, str(n))
    assert await sdk.ask(1, body="mine") == 0


async def test_what_is_remembered_is_not_held_by_sessions_that_ended(sdk, house):
    for number in (0, 1, 2, 0):
        await sdk.ask(number)
    await sdk.ask(None, **{"idempotency-key": "k"})
    memory = house.sessions._retries
    assert (memory._sessions, memory._running, memory._claims) == ({}, {}, {})


async def test_while_the_first_try_runs_a_second_is_charged_for_itself(sdk, house):
    house.ledger.gate.clear()
    first = asyncio.create_task(sdk.ask(0))
    await house.ledger.entered.wait()
    claim, _ = await sdk.claim(1)
    assert claim is None
    house.ledger.gate.set()
    await first


async def test_an_idempotency_key_goes_before(sdk):
    key = {"idempotency-key": "k"}
    assert await sdk.ask(0, **key) == 5
    assert await sdk.ask(5, **key) == 0
    with pytest.raises(AlreadyAnswered):
        await sdk.ask(1, **key)


async def test_an_answer_charged_while_its_caller_left_is_charged_once(sdk, house):
    claim, id = await sdk.claim(0)
    house.ledger.gate.clear()
    generation = house.generate(claim, id, stream=False)
    hearing = asyncio.create_task(events_of(generation))
    await house.ledger.entered.wait()
    hearing.cancel()
    await asyncio.wait((hearing,))
    house.ledger.gate.set()
    await generation.close(delivered=False)
    assert house.tokens()[OUT] == 5
    assert await sdk.ask(1) == 0


@pytest.mark.parametrize("incremental", [False, True])
async def test_recordings_too(sdk, house, incremental):
    """Each is paid whole, with its first result where they are told one by one."""
    for number, delivered, charged in ((0, False, 1600), (1, True, 1600), (2, True, 3200), (3, True, 4800)):
        claim, id = await sdk.claim(number)
        session = house.open(claim, id, live=False, incremental=incremental)
        await session.play(audio(900, 700))
        events = await events_of(session)
        assert not isinstance(events[-1], Failed)
        await session.close(delivered)
        assert house.charged() == {0: charged}


async def test_a_retry_that_comes_before_the_end_is_durable_waits_for_it(sdk, house, monkeypatch):
    """An SDK asks again after half a second; a disk may take longer."""
    gate, append = asyncio.Event(), house.ledger.append
    assert await sdk.ask(7) == 5  # no try before it

    async def slow(*given):
        await gate.wait()
        await append(*given)

    claim, id = await sdk.claim(8, body="slow")
    generation = house.generate(claim, id, stream=False)
    await events_of(generation)
    monkeypatch.setattr(house.ledger, "append", slow)
    closing = asyncio.create_task(generation.close(delivered=False))
    await asyncio.sleep(0)
    retry = asyncio.create_task(sdk.claim(9, body="slow"))
    await asyncio.sleep(0.05)
    assert not retry.done()
    gate.set()
    await closing
    claim, _ = await retry
    assert claim.replay_of == id


async def test_nobody_waits_long_for_the_end_of_a_try(sdk, house, monkeypatch):
    monkeypatch.setattr(module, "ENDING_S", 0.01)
    claim, id = await sdk.claim(0)
    generation = house.generate(claim, id, stream=False)
    assert (await sdk.claim(1))[0] is None
    await generation.close(delivered=False)
    assert (await sdk.claim(2))[0] is None  # the try before it did not run


class Passes:
    """A filter that hides nothing, and is charged as one that does."""

    add_on = "redact"

    async def push(self, events):
        return events

    async def finish(self):
        return ()


@pytest.mark.parametrize("redacts", [False, True])
async def test_a_stream_that_broke_off_is_charged_anew_with_its_key(house, redacts):
    house.filters = lambda call: (Passes(),) if redacts else ()
    charged = []
    for first in (True, False):
        opening = Opening("POST", "/", headers={"idempotency-key": "k"}, request_id=str(uuid.uuid4()))
        claim = await house.sessions.claim(house.principal, opening, "body")
        before = house.tokens().get(OUT, 0)
        generation = house.generate(claim, opening.request_id, stream=True)
        events = generation.events()
        taken = 0
        async for _ in events:
            taken += 1
            if first and taken == 3:
                break  # the caller hangs up
        await events.aclose()
        await generation.close(delivered=not first)
        charged.append(house.tokens().get(OUT, 0) - before)
    assert 0 < charged[0] < 5
    assert charged[1] == 5
