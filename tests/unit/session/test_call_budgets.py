"""Budgets and limits of calls, through sessions as callers open them."""

import asyncio
import random
import threading
import uuid
from contextlib import suppress

import pytest
from event_loop import settle

from antiphon.core.budgets import Measure, RateExceeded, parse_amount
from antiphon.core.errors import AntiphonError, BudgetExceeded, CapacityError, StillRunning, Unpriced
from antiphon.core.events import Completed, End, Failed, Final, Inferred, Opened, Say, Spoken, TextDelta
from antiphon.core.identity import Organisation
from antiphon.core.specs import Format, GenerateSpec, Message, Role, Sampling, Shape, Tool, ToolCall
from antiphon.core.tensors import Tensor
from antiphon.core.usage import Dimension
from antiphon.metering.pricing.book import Series
from antiphon.metering.pricing.parse import parse_book
from antiphon.session.places import CallKind
from antiphon.slo.shares import Bound, Shares
from session_house import House, audio, closed, events_of, pour

BOOK = """
book = "list"
version = "1"
currency = "USD"
from = 2020-01-01
rounding = { mode = "half_up", per = "session" }
not_charged = ["tts.audio_ms"]
[[price]]
id = "stt"
dimension = "stt.audio_ms"
amount = "0.06"
per = "minute"
[[price]]
id = "tokens"
dimension = ["llm.input_tokens", "llm.cached_input_tokens", "llm.output_tokens", "llm.reasoning_tokens"]
amount = "1"
per = 1_000_000
[[price]]
id = "speech"
dimension = "tts.characters"
amount = "0.001"
per = 1
"""
TIME = """
[[price]]
id = "time"
dimension = "stt.session_ms"
amount = "0.06"
per = "minute"
"""
SPEECH = audio(900, 700)
USED = 9  # tokens of a call of `generate`: 4 in, 5 out


@pytest.fixture
def priced(house):
    house.books["acme"] = Series([parse_book(BOOK.encode(), "test")])
    return house


def generate(house, most=5, **spec):
    return house.generate(stream=False, sampling=Sampling(max_tokens=most), **spec)


async def whole(session):
    events = await events_of(session)
    await session.close(delivered=True)
    return events


async def restarted(house, *budgets):
    """What is used of the budgets by another server with the same ledger."""
    again = House()
    again.ledger, again.books, again.clock = house.ledger, house.books, house.clock
    again.allowances._ledger, again.allowances.clock = house.ledger, house.clock
    await again.budget(*budgets)
    return {name: used for name, (used, _, _) in again.used().items()}


# -- language ----------------------------------------------------------------------------------------------------------


async def test_a_call_reserves_what_it_may_cost_and_settles_what_it_did(house):
    await house.budget("day tokens 1000 day", "calls requests 2 day")
    session = generate(house)
    used, reserved, left = house.used()["day"]
    assert used == 0
    assert reserved > USED
    assert left == 1000 - reserved
    await whole(session)
    assert house.used() == {"day": (USED, 0, 1000 - USED), "calls": (1, 0, 1)}
    await whole(generate(house))
    with pytest.raises(BudgetExceeded, match="'calls'"):
        generate(house)
    assert house.used()["day"] == (2 * USED, 0, 1000 - 2 * USED)


async def test_an_output_without_a_bound_gets_one_where_a_hard_budget_counts_it(house):
    await house.budget("day tokens 100000 day")
    await whole(house.generate(stream=False))
    await house.budget("day tokens 100000 day soft")
    await whole(house.generate(stream=False))
    assert [spec.sampling.max_tokens for spec, _ in house.generator.calls] == [4096, None]


async def test_a_call_that_fails_or_does_not_begin_costs_nothing(house):
    await house.budget("day tokens 1000 day")
    house.generator.error = RuntimeError("broken")
    assert isinstance((await whole(generate(house)))[-1], Failed)
    assert house.used() == {"day": (0, 0, 1000)}
    house.generator.error = None
    claim = await house.claim("again", "print")
    first = house.generate(claim=claim, stream=False, sampling=Sampling(max_tokens=5))
    reserved = house.used()
    with pytest.raises(StillRunning):
        house.generate(claim=claim, id=str(uuid.uuid4()), stream=False, sampling=Sampling(max_tokens=5))
    assert house.used() == reserved
    await whole(first)
    assert house.used() == {"day": (USED, 0, 1000 - USED)}


async def test_a_stream_pays_for_what_was_sent(house):
    await house.budget("day tokens 1000 day")
    house.generator.holds_at = 3
    house.generator.gate.clear()
    session = house.generate(sampling=Sampling(max_tokens=5))
    events = []
    async for batch in session.events():
        events += batch
        if sum(isinstance(event, TextDelta) for event in events) == 3:
            break
    await session.close(delivered=False)
    await closed()
    assert house.used()["day"] == (sum(house.tokens().values()), 0, 1000 - sum(house.tokens().values()))
    assert sum(house.tokens().values()) >= 3


async def test_two_thousand_calls_at_once_spend_what_is_left_and_no_more(priced):
    """A budget that is enough for some dozens of them. They come in waves, while earlier ones end."""
    house = priced
    await house.budget("money money 0.01 month", "tokens tokens 2700 month")
    house.sessions._places.shares[CallKind.GENERATION] = Shares(Bound(4_000))
    refused = 0

    async def call(number):
        nonlocal refused
        for _ in range(number % 50):
            await asyncio.sleep(0)
        try:
            session = generate(house)
        except BudgetExceeded:
            refused += 1
            return
        assert isinstance((await whole(session))[-1], Completed)

    async with asyncio.timeout(60):
        await asyncio.gather(*(call(number) for number in range(2_000)))
    served = 2_000 - refused
    spent = sum(house.tokens().values())
    assert spent == served * USED
    assert spent <= 2700
    assert served > 30
    while True:  # one after the other, what is left is spent, too
        try:
            await whole(generate(house, most=1))
        except BudgetExceeded:
            break
    spent = sum(house.tokens().values())
    assert 2700 - 120 < spent <= 2700  # one call may come to that much
    used = house.used()
    assert used["tokens"][:2] == (spent, 0)
    assert used["money"][:2] == (spent * 1000, 0)
    assert await restarted(house, "money money 0.01 month", "tokens tokens 2700 month") == {
        "tokens": spent,
        "money": spent * 1000,
    }


async def test_what_has_no_price_is_refused_where_money_is_bounded(house):
    await house.budget("money money 5 month")
    with pytest.raises(Unpriced, match="no price book"):
        generate(house)
    house.books["acme"] = Series([parse_book(BOOK.encode(), "test")])
    await house.budget("money money 6 month")
    await whole(generate(house))
    with pytest.raises(Unpriced, match=r"no price for embedding\.input_tokens"):
        house.embed("one")
    await house.budget("money money 6 month soft")
    await whole(house.embed("one"))


async def test_a_replayed_answer_is_not_counted_again(house):
    await house.budget("day tokens 1000 day", "calls requests 1 day")
    claim = await house.claim("again", "print")
    await whole_lost(house.generate(claim=claim, stream=False, sampling=Sampling(max_tokens=5)))
    again = await house.claim("again", "print")
    assert again.replay_of
    await whole(house.generate(claim=again, stream=False, sampling=Sampling(max_tokens=5)))
    assert house.used() == {"day": (USED, 0, 1000 - USED), "calls": (1, 0, 0)}


async def whole_lost(session):
    await events_of(session)
    await session.close(delivered=False)


# -- budgets that change -----------------------------------------------------------------------------------------------


async def test_until_budgets_are_known_calls_are_refused_and_after_a_change_the_earlier_ones_apply(house):
    house.keys.budgets = "day tokens 1000 day"
    with pytest.raises(CapacityError, match="being read"):
        generate(house)
    await house.allowances.start()
    await whole(generate(house))
    house.keys.budgets = "day tokens 5 day"
    running = generate(house)
    await house.allowances.start()
    assert house.used()["day"][0] == USED
    with pytest.raises(BudgetExceeded):
        generate(house)
    await whole(running)
    assert house.used()["day"] == (2 * USED, 0, 0)
    house.keys.budgets = ""
    await whole(generate(house))
    assert house.used() == {}


async def test_a_call_that_began_before_the_first_budget_is_counted_when_it_ends(house):
    session = generate(house)
    await house.budget("day tokens 1000 day")
    await whole(session)
    assert house.used() == {"day": (USED, 0, 1000 - USED)}
    assert await restarted(house, "day tokens 1000 day") == {"day": USED}


async def test_a_call_that_ends_while_usage_is_read_is_counted_once(house):
    await house.budget("day tokens 1000 day")
    session = generate(house)
    reading, gate = asyncio.Event(), asyncio.Event()
    rebuilt = house.allowances._rebuilt
    loop = asyncio.get_running_loop()

    def slowly(*args):
        loop.call_soon_threadsafe(reading.set)
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()
        return rebuilt(*args)

    house.allowances._rebuilt = slowly
    house.keys.budgets = "day tokens 2000 day"
    house.allowances.refresh()
    await reading.wait()
    await whole(session)  # it is in the ledger when that is read
    await whole(generate(house))
    gate.set()
    await house.allowances.start()
    assert house.used() == {"day": (2 * USED, 0, 2000 - 2 * USED)}


async def test_alerts_come_once_and_not_again_after_a_restart(house):
    await house.budget("day tokens 18 day soft")
    for _ in range(3):
        await whole(generate(house))
    assert house.alerts == [("day", 50), ("day", 80), ("day", 100)]
    await house.budget("day tokens 18 day soft", "other requests 100 day soft")
    await whole(generate(house))
    assert house.alerts == [("day", 50), ("day", 80), ("day", 100)]


# -- speech and recordings ---------------------------------------------------------------------------------------------


async def test_speech_reserves_its_characters(priced):
    house = priced
    await house.budget("money money 0.012 month", "characters characters 12 month")
    await whole(house.speak(text="ten of it."))
    assert house.used() == {"money": (10_000_000, 0, 2_000_000), "characters": (10, 0, 2)}
    with pytest.raises(BudgetExceeded):
        house.speak(text="too much")


async def test_live_text_is_spoken_as_far_as_the_budget_goes_then_ends(house):
    await house.budget("characters characters 12 month")
    session = house.speak(live=True)
    listening = asyncio.create_task(events_of(session))
    await session.feed(Say("ten of it. ", whole=True))
    await session.feed(Say("and more."))
    events = await listening
    await session.close(delivered=True)
    assert any(isinstance(event, Spoken) and event.audio for event in events)
    assert isinstance(events[-1].error, BudgetExceeded)
    assert house.used() == {"characters": (11, 0, 1)}


async def test_a_recording_is_refused_by_its_decoded_length_before_it_is_recognised(house):
    await house.budget("audio audio_ms 2000 day")
    for fits in (True, False):
        session = house.open(live=False)
        assert house.used()["audio"][1] == 1
        await session.play(SPEECH)
        events = await whole(session)
        assert isinstance(events[-1], Failed) is not fits
    assert isinstance(events[-1].error, BudgetExceeded)
    assert house.used() == {"audio": (1600, 0, 400)}
    assert house.charged() == {0: 1600}


# -- live audio --------------------------------------------------------------------------------------------------------


async def test_a_live_stream_reserves_a_stretch_and_renews_it_at_half(house):
    await house.budget("audio audio_ms 100000 day")
    session = house.open()
    assert house.used()["audio"] == (0, 30_000, 70_000)
    await pour(session, audio(1000, 13_000))
    assert house.used()["audio"][1] == 30_000
    await pour(session, audio(0, 2_000))
    assert 45_000 <= house.used()["audio"][1] <= 46_000
    await session.feed(End())
    await whole(session)
    assert house.used()["audio"] == (16_000, 0, 84_000)


async def test_a_refused_stretch_ends_the_stream_with_what_was_heard(house):
    await house.budget("audio audio_ms 40000 day")
    session = house.open()
    events = []

    async def listen():
        async for batch in session.events():
            events.extend(batch)

    listening = asyncio.create_task(listen())
    for _ in range(50):
        await pour(session, SPEECH)
    await listening
    await session.close(delivered=True)
    assert isinstance(events[-1].error, BudgetExceeded)
    finals = [event for event in events if isinstance(event, Final)]
    assert finals[-1].end_ms > 38_000  # all of it was spent ...
    assert house.charged() == {0: 40_000}  # ... and no more
    assert house.used()["audio"] == (40_000, 0, 0)


async def test_time_that_is_charged_is_renewed_and_ends_a_silent_stream(house):
    house.books["acme"] = Series([parse_book(f"{BOOK}{TIME}".encode(), "test")])
    await house.budget("money money 0.1 day")  # 100 seconds
    session = house.open(charges_time=True)
    listening = asyncio.create_task(events_of(session))
    assert house.used()["money"][1] == 60_000_000  # a stretch of audio, and of time
    seconds = 0
    while not listening.done():
        house.clock.advance_ms(1000)
        session.renew()
        seconds += 1
        await settle()
    await session.close(delivered=True)
    assert isinstance(listening.result()[-1].error, BudgetExceeded)
    used, reserved, left = house.used()["money"]
    assert 95 < seconds <= 100  # it heard nothing, so time is all that it cost
    assert (used + left, reserved) == (100_000_000, 0)


async def test_two_channels_count_twice(house):
    await house.budget("audio audio_ms 70000 day")
    session = house.open(channels=2, multichannel=True)
    assert house.used()["audio"] == (0, 60_000, 10_000)
    await session.close(delivered=False)
    await closed()
    assert house.used()["audio"] == (0, 0, 70_000)


async def test_streams_at_once_never_exceed_a_budget_in_money(priced):
    """Four streams, each of which would hear more than there is; the price is a tenth of a cent a second."""
    house = priced
    await house.budget("money money 0.100 day")  # 100 seconds

    async def hear():
        try:
            session = house.open()
        except BudgetExceeded:
            return 0
        listening = asyncio.create_task(events_of(session))
        for _ in range(60):
            await pour(session, audio(0, 1000), piece_ms=250)
            await asyncio.sleep(0)
        events = await listening
        await session.close(delivered=True)
        return isinstance(events[-1].error, BudgetExceeded)

    ended = await asyncio.gather(*(hear() for _ in range(4)))
    assert ended == [0 if each == 0 else True for each in ended]
    used, reserved, left = house.used()["money"]
    assert (used, reserved) == (sum(house.charged().values()) * 1_000, 0)
    assert used <= 100_000_000
    assert left < 1_000_000


# -- limits ------------------------------------------------------------------------------------------------------------


async def test_calls_and_streams_at_once_are_bounded(house):
    await house.budget(limits="calls=3\nkey=k1 live_streams=1")
    stream = house.open()
    with pytest.raises(RateExceeded, match="1 live streams at once"):
        house.open()
    others = [generate(house), generate(house)]
    with pytest.raises(RateExceeded, match="3 calls at once"):
        generate(house)
    others[0].end(delivered=False)
    generate(house)
    await stream.close(delivered=False)
    house.open()


async def test_requests_a_minute(house):
    await house.budget(limits="requests_per_minute=2")
    await whole(generate(house))
    events = await whole(generate(house))
    opened = next(event for event in events if isinstance(event, Opened))
    assert [(each.name, each.limit, each.remaining, each.reset_ms) for each in opened.rates] == [
        ("requests", 2, 0, 60_000)
    ]
    with pytest.raises(RateExceeded) as refused:
        generate(house)
    assert refused.value.retry_after_s == 30
    assert refused.value.rates == opened.rates
    house.clock.advance_ms(30_000)
    await whole(generate(house))


async def test_tokens_a_minute_are_corrected_by_what_was_used(house):
    await house.budget(limits="tokens_per_minute=100")
    session = generate(house, most=60)
    (rate,) = session._allowance.rates()
    assert (rate.name, rate.remaining) == ("tokens", 100 - 60 - 5)
    with pytest.raises(RateExceeded):
        generate(house, most=60)
    await whole(session)
    (rate,) = house.sessions.limits(house.principal)
    assert rate.remaining == 100 - USED


async def test_a_call_without_budgets_has_no_allowance(house):
    session = house.open()
    assert session._allowance is None
    await session.close(delivered=False)
    assert house.allowances.states("acme") == []


async def test_nothing_is_read_twice_for_a_policy_that_cannot_be(house, caplog):
    def fails(*args):
        raise OSError("no ledger")

    rebuilt, house.allowances._rebuilt = house.allowances._rebuilt, fails
    await house.budget("day tokens 1000 day")
    with pytest.raises(CapacityError):
        generate(house)
    assert sum(record.exc_info is not None for record in caplog.records) == 1
    house.allowances._rebuilt = rebuilt
    house.clock.advance_ms(1000)
    await house.allowances.start()
    await whole(generate(house))


def test_specs_are_counted_by_bytes():
    from antiphon.calls.demands import input_bytes, of_language

    demand = of_language(GenerateSpec("m", "héllo", sampling=Sampling(max_tokens=7), choices=2))
    assert demand.meters[Dimension.LLM_INPUT_TOKENS, 0] == 6 + 64
    assert demand.meters[Dimension.LLM_OUTPUT_TOKENS, 0] == 14
    assert demand.tokens == 2 + 14
    call = ToolCall("1", "日", "日")
    spec = GenerateSpec(
        "m",
        (Message(Role.ASSISTANT, "日", name="日", tool_calls=(call,)),),
        format=Format(Shape.SCHEMA, "日"),
        tools=(Tool("日", "日", "日"),),
        template_arguments="日",
    )
    assert input_bytes(spec) == 3 * 9


# -- what nobody knows before ------------------------------------------------------------------------------------------

BYTES = """
[[price]]
id = "tensors"
dimension = "inference.bytes"
amount = "0.001"
per = "byte"
[[price]]
id = "inference"
dimension = "inference.requests"
amount = "0.001"
per = "inference"
"""


async def test_tensors_that_the_budget_has_no_room_for_are_not_given_out(house):
    house.books["acme"] = Series([parse_book(f"{BOOK}{BYTES}".encode(), "test")])
    await house.budget("money money 0.018 month")  # one call of five bytes in, ten out, and two more bytes
    events = await whole(house.infer(Tensor("x", "UINT8", (5,), b"12345")))
    assert any(isinstance(event, Inferred) for event in events)
    assert house.used() == {"money": (16_000_000, 0, 2_000_000)}
    events = await whole(house.infer(Tensor("x", "UINT8", (1,), b"1")))  # reserves for its input, and gives out two
    assert isinstance(events[-1].error, BudgetExceeded)
    assert not any(isinstance(event, Inferred) for event in events)
    assert house.used() == {"money": (16_000_000, 0, 2_000_000)}


@pytest.mark.parametrize(("amount", "cut"), [("0.10", False), ("0.0365", True)])
async def test_sound_that_lasts_longer_than_its_text_says_is_not_sent_beyond_the_budget(
    house, monkeypatch, amount, cut
):
    monkeypatch.setattr("antiphon.calls.demands.CHARACTER_MS", 1)
    text = BOOK.replace('not_charged = ["tts.audio_ms"]', "") + (
        '[[price]]\nid = "sound"\ndimension = "tts.audio_ms"\namount = "0.01"\nper = "second"\n'
    )
    house.books["acme"] = Series([parse_book(text.encode(), "test")])
    await house.budget(f"money money {amount} once")
    events = await whole(house.speak(stream=True, text="one two three four, five six seven."))
    assert isinstance(events[-1], Failed) is cut
    assert any(isinstance(event, Spoken) and event.audio for event in events)
    used, reserved, _ = house.used()["money"]
    assert 0 < used <= parse_amount(Measure.MONEY, amount)
    assert reserved == 0


async def test_finals_that_cost_something_each_end_a_stream_before_they_cost_too_much(house):
    """With 15 seconds at least for each final, of which a stretch has more than its length says."""
    text = BOOK.replace("[[price]]", '[[price]]\nminimum = 15_000\nscope = "entry"', 1)
    house.books["acme"] = Series([parse_book(text.encode(), "test")])
    await house.budget("money money 0.05 month")
    with pytest.raises(BudgetExceeded):
        house.open()
    await house.budget("money money 0.14 month")
    session = house.open()
    listening = asyncio.create_task(events_of(session))
    for _ in range(12):
        await pour(session, SPEECH)
    await session.feed(End())
    events = await listening
    await session.close(delivered=True)
    finals = sum(isinstance(event, Final) for event in events)
    assert isinstance(events[-1].error, BudgetExceeded)
    assert 4 < finals < 12
    assert house.used() == {"money": (15_000_000 * finals, 0, 140_000_000 - 15_000_000 * finals)}


async def test_a_limit_that_was_away_for_a_while_counts_no_call_that_began_before(house):
    await house.budget(limits="calls=1")
    running = generate(house)
    await house.budget()
    await house.budget(limits="calls=1")
    await whole(running)
    running = generate(house)
    with pytest.raises(RateExceeded):
        generate(house)
    await whole(running)


# -- organisations -----------------------------------------------------------------------------------------------------


async def test_two_thousand_calls_of_two_projects_spend_what_their_organisation_has_left(priced):
    house = priced
    house.books["beta"] = house.books["acme"]
    house.keys.organised = {"acme": "group", "beta": "group"}
    texts = "tokens tokens 2700 month\nmoney money 0.01 month"
    house.keys.organisations["group"] = Organisation("group", texts, "calls=20000")
    await house.allowances.start()
    refused = 0

    async def call(number):
        nonlocal refused
        try:
            house.keys.project = ("acme", "beta")[number % 2]
            session = generate(house)
        except BudgetExceeded:
            refused += 1
            return
        assert isinstance((await whole(session))[-1], Completed)

    async with asyncio.timeout(60):
        await asyncio.gather(*(call(number) for number in range(2_000)))
    spent = sum(house.tokens().values())
    assert spent == (2_000 - refused) * USED <= 2700
    assert {entry.project for entry in house.ledger.entries} == {"acme", "beta"}
    used = {each.budget.name: (each.used, each.reserved) for _, each in house.allowances.states_of("group")}
    assert used == {"tokens": (spent, 0), "money": (spent * 1000, 0)}
    assert house.allowances.states("acme") == []
    again = House()
    again.ledger, again.books, again.keys, again.clock = house.ledger, house.books, house.keys, house.clock
    for name in ("_ledger", "_policy", "_projects", "_organisation"):
        setattr(again.allowances, name, getattr(house.allowances, name))
    await again.allowances.start()
    assert {e.budget.name: (e.used, e.reserved) for _, e in again.allowances.states_of("group")} == used


async def test_budgets_of_a_project_and_of_its_organisation_both_hold_and_a_project_may_move(priced):
    house = priced
    await house.budget("own requests 2 month")
    await whole(generate(house))
    running = generate(house)  # begins before its project moves, and counts there, too
    house.keys.organised["acme"] = "group"
    house.keys.organisations["group"] = Organisation("group", "all requests 3 month", "calls=1")
    with pytest.raises(CapacityError):
        generate(house)
    await house.allowances.start()
    await whole(running)
    assert house.used() == {"own": (2, 0, 0)}
    assert [each.used for _, each in house.allowances.states_of("group")] == [2]
    with pytest.raises(BudgetExceeded, match="of this project"):
        generate(house)
    await house.budget("own requests 5 month")
    running = generate(house)
    with pytest.raises(RateExceeded, match="organisation may have 1"):
        generate(house)
    await whole(running)
    with pytest.raises(BudgetExceeded, match="of this organisation"):
        generate(house)
    house.keys.organised.clear()
    await house.allowances.start()
    assert house.used() == {"own": (3, 0, 2)}
    await whole(generate(house))


async def test_an_organisation_of_two_currencies_has_no_budget_of_money(priced):
    house = priced
    house.books["beta"] = Series([parse_book(BOOK.replace("USD", "EUR").encode(), "test")])
    house.keys.organised = {"acme": "group", "beta": "group"}
    house.keys.organisations["group"] = Organisation("group", "all money 3 month")
    await house.allowances.start()
    with pytest.raises(Unpriced, match="several currencies"):
        generate(house)


async def test_a_project_that_joins_just_as_a_reading_begins_loses_no_call(house):
    reads, closed = threading.Event(), threading.Event()
    head = house.ledger.head

    def held():
        found = head()
        reads.set()
        closed.wait()
        return found

    house.ledger.head = held
    house.keys.organised = {"acme": "", "beta": "group"}
    house.keys.organisations["group"] = Organisation("group", "all requests 9 month")
    running = generate(house)
    house.allowances.refresh()
    house.keys.organised["acme"] = "group"
    house.allowances.refresh()
    await asyncio.to_thread(reads.wait)
    await whole(running)
    closed.set()
    for _ in range(2):
        await house.allowances.start()
    assert [each.used for _, each in house.allowances.states_of("group")] == [1]


async def test_a_project_that_joins_an_organisation_does_not_leave_its_own_hard_budget_meanwhile(house):
    house.keys.organised = {"acme": "group", "beta": ""}
    house.keys.organisations["group"] = Organisation("group", "all requests 9 month")
    house.keys.project = "beta"
    await house.budget("own requests 1 month")
    await whole(generate(house))
    with pytest.raises(BudgetExceeded):
        generate(house)
    house.keys.organised["beta"] = "group"
    with pytest.raises(CapacityError, match="being read"):
        generate(house)
    await house.allowances.start()
    with pytest.raises(BudgetExceeded, match="of this project"):
        generate(house)


@pytest.mark.parametrize("soft", ["", " soft"])
async def test_a_project_that_joins_an_organisation_has_prices_once_they_are_read(priced, soft):
    house = priced
    house.books["beta"] = house.books["acme"]
    house.keys.organised = {"acme": "group"}
    house.keys.organisations["group"] = Organisation("group", f"all money 3 month{soft}")
    await house.allowances.start()
    house.keys.organised["beta"] = "group"
    house.keys.project = "beta"
    if not soft:
        with pytest.raises(CapacityError, match="being read"):
            generate(house)
        await house.allowances.start()
    assert isinstance((await whole(generate(house)))[-1], Completed)
    await house.allowances.start()
    [(_, state)] = house.allowances.states_of("group")
    assert (state.used, state.reserved) == (USED * 1000, 0)


async def test_a_call_that_runs_keeps_its_prices_when_its_project_leaves_the_organisation(priced):
    house = priced
    house.books["beta"] = house.books["acme"]
    house.keys.organised = {"acme": "group", "beta": "group"}
    house.keys.organisations["group"] = Organisation("group", "all money 3 month")
    await house.allowances.start()
    running = house.generate(stream=True, sampling=Sampling(max_tokens=5))
    house.keys.organised = {"beta": "group"}
    await house.allowances.start()
    assert isinstance((await whole(running))[-1], Completed)
    [(_, state)] = house.allowances.states_of("group")
    assert (state.used, state.reserved) == (USED * 1000, 0)


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_changes_meanwhile_what_is_used_is_what_another_server_would_read(priced, seed):
    """Except of a project that leaves while it has calls, which count where they began, too."""
    house, chance, running = priced, random.Random(seed), []
    house.books["beta"] = house.books["acme"]
    house.keys.organised = {"acme": "", "beta": ""}
    own = ("", "t tokens 1000 month", "m money 3 month", "t tokens 1000 month soft\nm money 1 day soft")
    together = ("", "all requests 9 month", "all money 3 month", "all money 3 month soft")
    limits = ("", "calls=2", "calls=3\nkey=k1 calls=1", "tokens_per_minute=9000 calls=2")

    def begin():
        house.keys.project = chance.choice(["acme", "beta"])
        with suppress(AntiphonError):
            running.append(generate(house))

    async def end():
        if running:
            await whole(running.pop(chance.randrange(len(running))))

    def change():
        house.keys.budgets, house.keys.limits = chance.choice(own), chance.choice(limits)
        house.keys.organisations["group"] = Organisation(
            "group", chance.choice(together), chance.choice(("", "calls=3"))
        )
        if chance.random() < 0.3:
            house.keys.organised[chance.choice(["acme", "beta"])] = "group"

    async def look():
        house.allowances.refresh()
        await asyncio.sleep(0)
        house.clock.advance_ms(chance.choice((1, 1500)))

    for _ in range(40):
        done = chance.choice([begin, begin, end, change, look])()
        if done is not None:
            await done
    for session in running:
        await whole(session)
    house.clock.advance_ms(1500)
    for _ in range(2):
        await house.allowances.start()
    again = House()
    again.ledger, again.books, again.keys, again.clock = house.ledger, house.books, house.keys, house.clock
    for name in ("_ledger", "_policy", "_projects", "_organisation", "clock"):
        setattr(again.allowances, name, getattr(house.allowances, name))
    await again.allowances.start()
    for project in ("acme", "beta"):
        assert house.allowances.states(project) == again.allowances.states(project)
    if house.keys.organisations:
        assert house.allowances.states_of("group") == again.allowances.states_of("group")
    for group in house.allowances._groups.values():
        assert {(each.calls, each.live) for each in group.tally._limits.values()} <= {(0, 0)}
