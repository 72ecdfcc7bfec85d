"""Usage on its way out, with receivers and a network that misbehave, and a server that is killed at every step."""

import asyncio
import random
import uuid
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.core.entry import Entry, EntryKind, Reference
from antiphon.core.errors import InternalError
from antiphon.core.exports import BatchState
from antiphon.core.policy import NO_CUSTOMER
from antiphon.core.usage import Dimension, Quantity
from antiphon.metering.export import meters
from antiphon.metering.export import outbox as outboxes
from antiphon.metering.export.cloudevents import OpenMeter
from antiphon.metering.export.meters import Meter, Metering
from antiphon.metering.export.outbox import Outbox, Start, Target
from antiphon.metering.export.stripe import Stripe
from antiphon.stores.sqlite.exports import SqliteExports
from antiphon.testing import FakeClock, FakeExports, FakeLedger
from receivers import DAY_MS, HOUR_MS, MINUTE_MS, FakeOpenMeter, FakeStripe, Network

CUSTOMERS = {"acme": "cus_acme", "other": "cus_other", "inner": NO_CUSTOMER}
METERS = (
    Meter(name="input", dimension=Dimension.LLM_INPUT_TOKENS),
    Meter(name="speech", dimension=Dimension.STT_AUDIO_MS),
)
WITHOUT = frozenset(Dimension) - {meter.dimension for meter in METERS}
SESSION = "00000000-0000-0000-0000-000000000001"


class Killed(BaseException):
    """The process dies here."""


class House:
    """A ledger, an outbox and a receiver, on one clock; the server in between can be started again."""

    def __init__(self, kind="stripe", exports=None, mood=lambda: "fine", start=Start.BEGINNING, seed=0, metering=None):
        self.clock = FakeClock()
        self.ledger, self.exports = FakeLedger(), exports or FakeExports()
        self.customers = dict(CUSTOMERS)
        self.random = random.Random(seed)
        self.metering = metering or Metering(METERS, WITHOUT)
        self.start = start
        if kind == "stripe":
            self.peer = FakeStripe(self.clock)
            for meter in self.metering.meters:
                self.peer.add_meter(meter.name)
            self.receiver = Stripe("sk_test_1", lambda project: self.customers.get(project, ""))
        else:
            self.peer = FakeOpenMeter(self.clock)
            self.receiver = OpenMeter("http://openmeter", "om_1")
        self.network = Network(self.peer, mood)
        self.restart()

    def restart(self):
        target = Target("out", self.receiver, self.metering, MINUTE_MS, self.start)
        self.network.dead = False
        self.outbox = Outbox(
            target, self.exports, self.ledger, self.network.post, self.clock, jitter=self.random.random
        )

    async def use(self, amount, project="acme", dimension=Dimension.LLM_INPUT_TOKENS, model="m", ago_ms=0, **values):
        entry = Entry(
            project=project,
            key_id="k",
            session=str(uuid.UUID(int=self.random.getrandbits(128))),
            sequence=0,
            at_unix_ms=self.clock.unix_ms() - ago_ms,
            surface="openai",
            model=model,
            quantity=Quantity(dimension, amount),
            **values,
        )
        await self.ledger.append([entry])

    async def correct(self, amount, **values):
        await self.use(amount, kind=EntryKind.CORRECTION, corrects=Reference(SESSION, 0), **values)

    async def go(self, ms=MINUTE_MS):
        """So much later, a step."""
        self.clock.advance_ms(ms)
        await self.outbox.step()

    async def settle(self):
        """Until nothing waits, in fine weather."""
        self.network.mood = lambda: "fine"
        idle = 0
        for _ in range(200):
            await self.go(5 * MINUTE_MS)
            idle = 0 if self.outbox.status.waiting else idle + 1
            if idle == 2:
                return
        raise AssertionError("something waits for ever")

    async def states(self):
        [status] = await self.exports.status()
        return status

    def owed(self):
        """What the receiver must have, by the ledger alone."""
        sums = Counter()
        names = {meter.dimension: meter.name for meter in self.metering.meters}
        for entry in self.ledger.entries:
            name = names.get(entry.quantity.dimension)
            whose = self.customers.get(entry.project, "") if isinstance(self.peer, FakeStripe) else entry.project
            if name and whose not in ("", NO_CUSTOMER):
                sums[whose, name] += entry.quantity.amount
        return sums


def without_zeros(sums):
    return {key: amount for key, amount in sums.items() if amount}


# -- what is sent ------------------------------------------------------------------------------------------------------


async def test_the_sums_of_an_interval_are_one_event_each():
    house = House()
    for amount in (64, 64, 7):
        await house.use(amount)
    await house.use(1500, dimension=Dimension.STT_AUDIO_MS)
    await house.use(9, "other")
    await house.use(5, "inner")
    await house.go()
    assert house.peer.sums == {("cus_acme", "input"): 135, ("cus_acme", "speech"): 1500, ("cus_other", "input"): 9}
    assert len(house.network.requests) == 3
    assert (await house.states()).taken == 3
    await house.go()
    assert len(house.network.requests) == 3


async def test_hours_corrections_and_labels_are_events_of_their_own():
    metering = Metering(METERS, WITHOUT, by=("model",))
    house = House("openmeter", metering=metering)
    await house.use(5, ago_ms=2 * HOUR_MS)
    await house.use(6)
    await house.use(7, model="n")
    await house.correct(-2)
    await house.go()
    events = [event for batch in house.exports.batches("out") for event in batch.events]
    assert sorted((event.quantity, event.labels) for event in events) == [
        (-2, (("model", "m"),)),
        (5, (("model", "m"),)),
        (6, (("model", "m"),)),
        (7, (("model", "n"),)),
    ]
    assert len(house.network.requests) == 1
    assert house.peer.sums == {("acme", "input"): 16}


async def test_an_identifier_names_nobody_and_is_short_enough():
    house = House()
    house.outbox.name = house.outbox._target.name
    await house.use(5)
    await house.go()
    [batch] = house.exports.batches("out")
    assert "acme" not in batch.identifier
    assert len(f"{'t' * 24}{batch.identifier}".replace("/1-1/", f"/{10**18}-{10**18}/")) <= 100


async def test_only_new_usage_is_exported_unless_it_is_said():
    house = House(start=Start.NOW)
    for _ in range(7):
        await house.use(100)
    await house.go()
    await house.use(3)
    await house.go()
    assert house.peer.sums == {("cus_acme", "input"): 3}


async def test_a_cut_waits_for_its_interval_and_a_large_ledger_is_cut_in_pieces(monkeypatch):
    house = House()
    await house.use(1)
    await house.go()
    await house.use(2)
    await house.go(MINUTE_MS - 1)
    assert house.peer.sums == {("cus_acme", "input"): 1}
    await house.go(1)
    assert house.peer.sums == {("cus_acme", "input"): 3}
    monkeypatch.setattr(outboxes, "MAX_ENTRIES", 10)
    monkeypatch.setattr(outboxes, "MAX_READ", 10)
    for _ in range(35):
        await house.use(1)
    house.ledger.read = lambda after="", limit=10, read=house.ledger.read: read(after, limit)
    await house.go()
    assert house.peer.sums == {("cus_acme", "input"): 38}
    assert len(house.network.requests) == 2 + 4


async def test_more_meters_than_a_range_has_sums_are_exported_entry_by_entry(monkeypatch):
    monkeypatch.setattr(meters, "MAX_SUMS", 1)
    house = House()
    assert not meters.Sums(house.metering, house.receiver.skips).full  # or no range would ever have an entry
    for amount in (64, 7):
        await house.use(amount)
    await house.go()
    assert house.peer.sums == {("cus_acme", "input"): 71}
    assert len(house.network.requests) == 2


async def test_while_too_many_wait_the_ledger_keeps_the_rest(monkeypatch):
    monkeypatch.setattr(outboxes, "MAX_WAITING", 2)
    house = House(mood=lambda: "refused")
    for _ in range(6):
        await house.use(1)
        await house.go()
    assert (await house.states()).waiting == 2
    await house.settle()
    assert house.peer.sums == {("cus_acme", "input"): 6}


async def test_the_next_step_comes_when_there_is_something_to_do():
    pauses = []
    house = House(mood=lambda: "429")

    async def sleep(seconds):
        pauses.append(seconds)
        house.clock.advance_ms(round(seconds * 1000))
        if len(pauses) == 40:
            raise Killed

    house.outbox._sleep = sleep
    await house.use(5)
    with pytest.raises(Killed):
        await house.outbox.run()
    assert all(0.1 <= pause <= 60 for pause in pauses)
    assert len(house.network.requests) < 25
    house.network.mood = lambda: "fine"
    house.clock.advance_ms(HOUR_MS)
    pauses[:] = range(38)
    with pytest.raises(Killed):
        await house.outbox.run()
    assert pauses[38:] == [60, 60]
    assert house.peer.sums == {("cus_acme", "input"): 5}


# -- gaps --------------------------------------------------------------------------------------------------------------


async def gaps(house):
    return [(gap.state, gap.reason, gap.events[0].quantity) for gap in await house.exports.gaps("out")]


async def test_what_cannot_be_sent_is_a_gap_until_it_is_settled():
    house = House(metering=Metering(METERS, WITHOUT - {Dimension.TTS_CHARACTERS}))
    await house.use(1, "stranger")
    await house.use(2, ago_ms=34 * DAY_MS + 1)
    await house.use(3, dimension=Dimension.TTS_CHARACTERS)
    await house.use(10**15, "other")
    await house.use(4)
    await house.go()
    assert sorted(await gaps(house)) == [
        (BatchState.REFUSED, "no_customer", 1),
        (BatchState.REFUSED, "no_meter", 3),
        (BatchState.REFUSED, "too_many_digits", 10**15),
        (BatchState.REFUSED, "too_old", 2),
    ]
    assert house.peer.sums == {("cus_acme", "input"): 4}
    house.customers["stranger"] = "cus_other"
    numbers = [gap.number for gap in await house.exports.gaps("out")]
    assert await house.exports.send_again("out", numbers) == 4
    await house.go()
    assert house.peer.sums == {("cus_acme", "input"): 4, ("cus_other", "input"): 1}
    assert len(await gaps(house)) == 3


async def test_a_project_without_a_customer_makes_one_gap_an_hour():
    house = House()
    for _ in range(20):
        await house.use(2, "stranger")
        await house.go()
    assert await gaps(house) == [(BatchState.REFUSED, "no_customer", 40)]
    house.customers["stranger"] = "cus_other"
    await house.exports.send_again("out", [gap.number for gap in await house.exports.gaps("out")])
    await house.settle()
    assert house.peer.sums == {("cus_other", "input"): 40}


async def test_a_refusal_parks_a_batch_and_what_follows_goes_on():
    moods = iter(["400"])
    house = House(mood=lambda: next(moods, "fine"))
    await house.use(5)
    await house.go()
    await house.use(6)
    await house.go()
    assert await gaps(house) == [(BatchState.REFUSED, "status 400", 5)]
    assert house.peer.sums == {("cus_acme", "input"): 6}
    assert house.outbox.outcomes == {"refused": 1, "taken": 1}
    await house.exports.send_again("out", [gap.number for gap in await house.exports.gaps("out")])
    await house.go()
    assert house.peer.sums == {("cus_acme", "input"): 11}


async def test_a_refusal_after_a_doubt_leaves_it_open():
    moods = iter(["lost", "404"])
    house = House(mood=lambda: next(moods, "fine"))
    await house.use(5)
    await house.go()
    await house.go()
    assert await gaps(house) == [(BatchState.UNKNOWN, "status 404", 5)]


async def test_what_was_not_answered_for_23_hours_is_not_sent_again():
    house = House(mood=lambda: "lost")
    await house.use(5)
    await house.go()
    house.network.mood = lambda: "late"
    for _ in range(24):
        await house.go(HOUR_MS)
    assert await gaps(house) == [(BatchState.UNKNOWN, "unanswered", 5)]
    house.network.mood = lambda: "fine"
    sent = len(house.network.requests)
    await house.go(12 * HOUR_MS)
    assert len(house.network.requests) == sent
    assert house.peer.sums == {("cus_acme", "input"): 5}


async def test_what_never_left_is_sent_however_long_it_took():
    house = House(mood=lambda: "refused")
    await house.use(5)
    for _ in range(30):
        await house.go(HOUR_MS)
    await house.settle()
    assert house.peer.sums == {("cus_acme", "input"): 5}
    assert await gaps(house) == []


async def test_a_wrong_key_refuses_nothing_for_good():
    house = House()
    house.peer.key = "sk_test_2"
    await house.use(5)
    for _ in range(30):
        await house.go(HOUR_MS)
    assert (await house.states()).waiting == 1
    house.peer.key = "sk_test_1"
    await house.settle()
    assert house.peer.sums == {("cus_acme", "input"): 5}


async def test_a_replay_counts_nothing_twice():
    house = House()
    for amount in (1, 2, 3):
        await house.use(amount)
        await house.go(HOUR_MS)
    assert await house.exports.replay("out", 2, house.clock.unix_ms() - 23 * HOUR_MS) == (2, 0)
    await house.settle()
    assert house.peer.sums == {("cus_acme", "input"): 6}
    assert len(house.network.requests) == 5


# -- another ledger ----------------------------------------------------------------------------------------------------


async def test_another_ledger_is_noticed_and_exported_from_where_they_part():
    house = House()
    for amount in (1, 2, 3):
        await house.use(amount)
        await house.go()
    house.ledger.entries = house.ledger.entries[:2]  # an older copy of it
    await house.use(40)
    await house.use(50)
    house.restart()
    await house.go()
    assert house.peer.sums == {("cus_acme", "input"): 96}
    house.ledger.entries = []
    await house.use(1000)
    house.restart()
    await house.go()
    assert house.peer.sums == {("cus_acme", "input"): 1096}
    assert len({batch.identifier for batch in house.exports.batches("out")}) == 5


# -- limits ------------------------------------------------------------------------------------------------------------


async def test_one_call_at_a_time_for_each_customer_and_meter_and_others_beside_it():
    house = House()
    running, most = Counter(), Counter()
    post = house.network.post

    async def slow(request):
        key = request.body.split(b"&")[0], b"cus_acme" in request.body
        running[key] += 1
        most["one lane"], most["all"] = max(most["one lane"], running[key]), max(most["all"], running.total())
        for _ in range(3):
            await asyncio.sleep(0)
        running[key] -= 1
        return await post(request)

    house.outbox._post = slow
    for hour in range(3):
        for project in ("acme", "other"):
            for meter in METERS:
                await house.use(1 + hour, project, meter.dimension, ago_ms=hour * HOUR_MS)
    await house.go()
    assert len(house.network.requests) == 12
    assert most == {"one lane": 1, "all": 4}


async def test_a_receiver_that_is_busy_is_left_alone_for_as_long_as_it_says_and_then_longer():
    house = House(mood=lambda: "429")
    await house.use(5)
    await house.go()
    times = []
    for _ in range(3000):
        before = len(house.network.requests)
        await house.go(1000)
        if len(house.network.requests) > before:
            times.append(house.clock.unix_ms())
    pauses = [b - a for a, b in pairwise(times)]
    assert pauses[:2] <= [4000, 8000]
    assert max(pauses) <= 301_000
    assert len(times) < 25
    await house.settle()
    assert house.peer.sums == {("cus_acme", "input"): 5}


# -- bad weather, and kills --------------------------------------------------------------------------------------------

MOODS = ("lost",) * 4 + ("429", "500", "500 after", "twice", "refused", "late") + ("fine",) * 10  # 20 % lost


@pytest.mark.parametrize("kind", ["stripe", "openmeter"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_killed_at_any_step_in_any_weather_nothing_is_missing_and_nothing_there_twice(kind, data):
    seed = data.draw(st.integers(0, 2**32))
    rounds = data.draw(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 4)), min_size=1, max_size=8))

    async def go():
        chance = random.Random(seed)
        house = House(kind, mood=lambda: chance.choice(MOODS), seed=seed)
        post, steps = house.network.post, 0

        def at(step):
            nonlocal steps
            steps -= 1
            if steps == 0 or house.network.dead:
                house.network.dead = True
                raise Killed(step)

        async def posted(request):
            at("before it is sent")
            answer = await post(request)
            at("before it is marked")
            return answer

        house.exports.interrupt = at
        for kill, entries in rounds:
            house.outbox._post = posted
            for _ in range(entries):
                project = chance.choice(["acme", "other", "inner"])
                dimension = chance.choice([meter.dimension for meter in METERS])
                await house.use(chance.randrange(1, 1000), project, dimension)
            if chance.random() < 0.3:
                await house.correct(-chance.randrange(1, 50))
            steps = kill
            try:
                for _ in range(3):
                    await house.go()
            except Killed:
                house.restart()
            steps = 0
        house.exports.interrupt = None
        house.restart()
        await house.settle()
        assert without_zeros(house.peer.sums) == without_zeros(house.owed())
        assert await house.exports.gaps("out") == []
        if kind == "stripe":
            assert all(len(bodies) == 1 for bodies in house.peer.bodies.values())

    asyncio.run(go())


@pytest.mark.parametrize("down", ["refused", "500", "late"])
async def test_an_outage_of_a_day_loses_nothing_that_is_not_reported(down):
    house = House(seed=5)
    begun = house.clock.unix_ms()

    def mood():
        hours = (house.clock.unix_ms() - begun) / HOUR_MS
        return down if 2 < hours < 26.5 else house.random.choice(MOODS) if down != "refused" else "fine"

    house.network.mood = mood
    for _ in range(60):
        await house.use(house.random.randrange(1, 99), house.random.choice(["acme", "other"]))
        await house.go(30 * MINUTE_MS)
    await house.settle()
    lost = Counter()
    for gap in await house.exports.gaps("out"):
        assert (gap.state, gap.reason) == (BatchState.UNKNOWN, "unanswered")
        if gap.identifier not in house.peer.known:
            lost[CUSTOMERS[gap.events[0].project], gap.events[0].meter] += gap.events[0].quantity
    assert bool(lost) == (down != "refused")
    assert house.peer.sums + lost == house.owed()


@pytest.mark.parametrize("kill", ["before", "after"])
async def test_what_a_killed_server_had_written_is_sent_by_the_next(kill, tmp_path):
    house = House(exports=SqliteExports(tmp_path / "exports.db"))
    post = house.network.post

    async def killed(request):
        if kill == "after":
            await post(request)
        raise Killed

    house.outbox._post = killed
    await house.use(5)
    await house.use(6, "other")
    with pytest.raises(Killed):
        await house.go()
    await house.exports.close()
    house.exports = SqliteExports(tmp_path / "exports.db")
    house.restart()
    await house.use(7)
    await house.settle()
    assert house.peer.sums == {("cus_acme", "input"): 12, ("cus_other", "input"): 6}
    assert all(len(bodies) == 1 for bodies in house.peer.bodies.values())
    await house.exports.close()


async def test_usage_that_an_export_without_a_store_cannot_keep_is_not_sent():
    house = House()
    await house.use(5)
    house.exports.interrupt = lambda step: (_ for _ in ()).throw(Killed(step))
    with pytest.raises(Killed):
        await house.go()
    assert house.network.requests == []


async def test_nothing_is_sent_that_the_store_would_forget(tmp_path):
    house = House(exports=SqliteExports(tmp_path / "exports.db"))
    await house.use(5)
    (tmp_path / "exports.db").unlink()
    with pytest.raises(InternalError, match="removed"):
        await house.go()
    assert house.network.requests == []
    await house.exports.close()


async def test_the_numbers_of_a_status_are_those_of_the_batches():
    house = House()
    await house.use(5)
    await house.go()
    status = await house.states()
    assert replace(status, taken=0) == replace(status, taken=0, position=1, waiting=0)
    assert house.outbox.status == status
