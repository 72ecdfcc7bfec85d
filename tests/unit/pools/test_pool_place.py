"""A pool whose backends may not serve every project: whatever chooses one, obeys."""

import asyncio
from contextlib import aclosing

import pytest
from event_loop import later, settle

from antiphon.core.errors import CapacityError, EngineError, NoEngineAllowed
from antiphon.core.events import ChoiceEnded, FinishReason, TextDelta, TokenUsage
from antiphon.core.ports import EngineCall
from antiphon.core.specs import GenerateSpec
from antiphon.core.units import NS_PER_MS
from antiphon.pools.backend import Backend
from antiphon.pools.breaker import FIRST_WAIT_NS, TOLERATED
from antiphon.pools.pool import Pool
from antiphon.pools.queue import QueueLimits
from antiphon.testing import FakeClock
from session_house import until


class Engine:
    """Says its name, once `gate` is open; `before` is raised instead."""

    def __init__(self, name):
        self.name = name
        self.before = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = []

    async def generate(self, spec, call):
        self.asked.append(call.project)
        await self.gate.wait()
        if self.before:
            raise self.before
        yield (TextDelta(0, self.name, 1),)
        yield (ChoiceEnded(0, FinishReason.STOP), TokenUsage(3, 1))

    async def check(self):
        pass

    async def close(self):
        pass


class House:
    """Two near engines and a far one. Project 'eu' may use the near ones, which `allowed` says."""

    def __init__(self, hedge_after_ms=0, most=10):
        self.engines = {name: Engine(name) for name in ("near", "also-near", "far")}
        self.allowed = {"eu": {"near", "also-near"}}
        backends = [Backend(name, engine, outstanding=most) for name, engine in self.engines.items()]
        self.pool = Pool(backends, FakeClock(), QueueLimits(), hedge_after_ms, self.allowed.get)

    async def say(self, project="eu", first="Hello"):
        call, text = EngineCall("id", project=project), ""
        async with asyncio.timeout(60), aclosing(self.pool.generate(GenerateSpec("m", first), call)) as produced:
            async for batch in produced:
                text += "".join(event.text for event in batch if isinstance(event, TextDelta))
        return text


async def test_conversations_of_a_project_go_only_where_they_may():
    house = House()
    said = {await house.say(first=f"hello {n}") for n in range(40)}
    assert said == {"near", "also-near"}
    assert {await house.say("other", f"hello {n}") for n in range(40)} == {"near", "also-near", "far"}


@pytest.mark.parametrize("error", [EngineError("died"), CapacityError("full"), TimeoutError()])
async def test_a_retry_goes_only_where_it_may(error):
    house = House()
    house.engines["near"].before = house.engines["also-near"].before = error
    with pytest.raises(type(error)):
        await house.say()
    assert sorted(house.engines[name].asked for name in ("near", "also-near")) == [["eu"], ["eu"]]
    assert house.engines["far"].asked == []
    assert await house.say("other") == "far"


async def test_a_hedge_goes_only_where_it_may(monkeypatch):
    house = House(hedge_after_ms=1_000)
    for name in ("near", "also-near"):
        house.engines[name].gate.clear()
    saying = asyncio.create_task(house.say())
    await until(lambda: house.engines["near"].asked or house.engines["also-near"].asked)
    await later(monkeypatch, 1)
    await until(lambda: house.engines["near"].asked and house.engines["also-near"].asked)
    house.allowed["alone"] = {"near"}
    alone = asyncio.create_task(house.say("alone"))
    await until(lambda: house.engines["near"].asked == ["eu", "alone"])
    await later(monkeypatch, 1)
    assert house.engines["far"].asked == []
    assert house.engines["also-near"].asked == ["eu"]
    for engine in house.engines.values():
        engine.gate.set()
    assert await saying in ("near", "also-near")
    assert await alone == "near"


async def test_a_project_waits_for_its_own_engines_while_others_are_free():
    house = House(most=1)
    house.allowed["eu"] = {"near"}
    house.engines["near"].gate.clear()
    first, second = (asyncio.create_task(house.say()) for _ in range(2))
    await settle()
    assert house.pool.stats().waiting == 1
    assert await house.say("other") in ("far", "also-near")
    house.engines["near"].gate.set()
    assert {await first, await second} == {"near"}
    assert house.engines["far"].asked.count("eu") == 0


async def test_a_project_whose_engine_is_on_trial_waits_though_a_place_comes_free_elsewhere():
    house = House()
    house.allowed["eu"] = {"near"}
    near = house.engines["near"]
    near.before = EngineError("died")
    for _ in range(TOLERATED):
        with pytest.raises(EngineError):
            await house.say()
    house.pool.clock.advance_ms(FIRST_WAIT_NS // NS_PER_MS)
    await house.pool.probe("near")
    near.before = None
    near.gate.clear()
    trial, second = (asyncio.create_task(house.say()) for _ in range(2))
    await settle()
    assert near.asked.count("eu") == TOLERATED + 1
    assert await house.say("other") in ("far", "also-near")
    near.gate.set()
    assert {await trial, await second} == {"near"}


async def test_a_policy_that_changes_holds_for_those_that_wait():
    house = House(most=1)
    house.allowed["eu"] = {"near"}
    house.engines["near"].gate.clear()
    first, second = (asyncio.create_task(house.say()) for _ in range(2))
    await settle()
    house.allowed["eu"] = set()
    house.engines["near"].gate.set()
    assert await first == "near"
    with pytest.raises(NoEngineAllowed):
        await second
    with pytest.raises(NoEngineAllowed):
        await house.say()


async def test_where_its_only_engine_is_down_a_project_is_told_so_and_those_that_wait_too():
    house = House(most=1)
    house.allowed["eu"] = {"near"}
    near = house.engines["near"]
    near.before = EngineError("died")
    for _ in range(TOLERATED):
        with pytest.raises(EngineError):
            await house.say()
    with pytest.raises(EngineError, match="No backend of this model is available"):
        await house.say()
    assert await house.say("other") in ("far", "also-near")
    assert set(house.engines["far"].asked + house.engines["also-near"].asked) <= {"other"}


async def test_embeddings_obey_too():
    class Embeds(Engine):
        async def embed(self, texts, call):
            self.asked.append(call.project)
            raise EngineError("died")

    engines = [Embeds("near"), Embeds("far")]
    backends = [Backend(each.name, each) for each in engines]
    pool = Pool(backends, FakeClock(), QueueLimits(), permitted=lambda project: {"near"})
    with pytest.raises(EngineError):
        await pool.embed(("text",), EngineCall("id", project="eu"))
    assert [each.asked for each in engines] == [["eu"], []]
