"""Statements: what belongs to which month, corrections of earlier ones, and what was issued."""

import json
import uuid
from dataclasses import replace

import pytest

from antiphon.core.entry import EntryKind, Reference
from antiphon.core.errors import CallerError, Conflict
from antiphon.core.usage import Dimension, Quantity
from antiphon.metering import bills, plans
from antiphon.metering.pricing.book import Series
from antiphon.metering.pricing.parse import parse_book
from antiphon.metering.statements import Billing, parse_period
from antiphon.testing import FakeBills, FakeLedger

OCTOBER, NOVEMBER, DECEMBER = (parse_period(f"2026-{month}") for month in (10, 11, 12))
LIST = """
book = "list"
version = "1"
currency = "USD"
from = 2026-01-01
rounding = { mode = "half_up", per = "session" }

[[price]]
id = "stt"
dimension = "stt.audio_ms"
tiers = [{ up_to = 60_000, amount = "0.06" }, { amount = "0.03" }]
per = "minute"
"""
COSTS = LIST.replace('"list"', '"costs"\nrole = "costs"').replace("0.06", "0.01").replace("0.03", "0.01")
FIRST, SECOND, THIRD = (str(uuid.UUID(int=number)) for number in (1, 2, 3))


class House:
    """A ledger that is written day by day, and the statements of it."""

    def __init__(self, make_entry):
        self.ledger, self.bills, self.make_entry = FakeLedger(), FakeBills(), make_entry
        self.book = Series([parse_book(LIST.encode(), "list")])
        costs = Series([parse_book(COSTS.encode(), "costs")])
        self.billing = Billing(self.ledger, self.bills, lambda project: self.book, costs)

    async def write(self, session, sequence, amount, at, kind=EntryKind.USAGE, corrects=None, **fields):
        made = {"session": session, "at_unix_ms": at, "kind": kind, "corrects": corrects, "project": "acme"} | fields
        await self.ledger.append([self.make_entry(sequence, amount, **made)])

    async def call(self, session, amount, at, dimension=Dimension.STT_AUDIO_MS):
        await self.write(session, 0, amount, at, quantity=Quantity(dimension, amount))
        await self.write(session, 1, 0, at + 1_000, kind=EntryKind.COMPLETED)

    async def correct(self, session, amount, at):
        corrects = Reference(session, 0)
        await self.write(str(uuid.uuid4()), 0, amount, at, kind=EntryKind.CORRECTION, corrects=corrects)

    def statement(self, period, **options):
        return self.billing.statement("acme", period, period.until_unix_ms, **options)


@pytest.fixture
def house(make_entry):
    return House(make_entry)


def amounts(statement):
    return [(item.place.kind.value, item.nano) for item in statement.items]


async def test_a_session_is_of_the_month_in_which_it_closed(house):
    at = NOVEMBER.until_unix_ms - 500
    await house.call(FIRST, 60_000, at)
    assert amounts(house.statement(NOVEMBER)) == []
    assert house.statement(NOVEMBER).open == 1
    assert amounts(house.statement(DECEMBER)) == [("usage", 60_000_000)]
    assert house.statement(DECEMBER).open == 0


async def test_a_correction_of_last_month_is_a_line_of_this_one(house):
    await house.call(FIRST, 60_000, OCTOBER.since_unix_ms)
    october = house.statement(OCTOBER)
    await house.correct(FIRST, -20_000, NOVEMBER.since_unix_ms)
    await house.call(SECOND, 60_000, NOVEMBER.since_unix_ms)
    assert amounts(house.statement(NOVEMBER)) == [("correction", -20_000_000), ("usage", 60_000_000)]
    assert house.statement(OCTOBER) == replace(october, cursor=house.statement(OCTOBER).cursor)
    assert house.statement(DECEMBER).total_nano == 0


async def test_a_correction_moves_what_was_in_which_tier(house):
    """40 s less of the first call: 20 s of the second would have cost the higher price."""
    await house.call(FIRST, 60_000, OCTOBER.since_unix_ms)
    await house.call(SECOND, 60_000, OCTOBER.since_unix_ms + 5_000)
    assert house.statement(OCTOBER).total_nano == 60_000_000 + 30_000_000
    await house.correct(FIRST, -40_000, NOVEMBER.since_unix_ms)
    moved = house.statement(NOVEMBER)
    assert [(item.nano, item.place.reason) for item in moved.items] == [
        (20_000_000, "of 2026-10, what moved in it"),
        (-40_000_000, "of 2026-10"),
    ]


async def test_a_correction_in_the_same_month_is_no_line(house):
    await house.call(FIRST, 60_000, OCTOBER.since_unix_ms)
    await house.correct(FIRST, -20_000, OCTOBER.since_unix_ms + 10_000)
    assert amounts(house.statement(OCTOBER)) == [("usage", 40_000_000)]


async def test_what_comes_after_a_statement_was_issued_is_of_the_next(house):
    await house.call(FIRST, 60_000, OCTOBER.since_unix_ms)
    issued = house.billing.issue("acme", OCTOBER, NOVEMBER.since_unix_ms)
    await house.call(SECOND, 60_000, OCTOBER.until_unix_ms - 2_000)  # a server that was down writes it late
    await house.correct(FIRST, -60_000, OCTOBER.until_unix_ms - 1_000)
    assert bills.to_json(house.statement(OCTOBER)) == bills.to_json(issued)
    assert issued.issued
    assert amounts(house.statement(NOVEMBER)) == [("correction", -60_000_000), ("usage", 60_000_000)]


async def test_only_a_month_that_is_over_and_wholly_priced_is_issued_once_and_in_order(house):
    await house.call(FIRST, 60_000, NOVEMBER.since_unix_ms)
    await house.call(SECOND, 5, OCTOBER.since_unix_ms, dimension=Dimension.TTS_CHARACTERS)
    with pytest.raises(Conflict, match="is not over"):
        house.billing.issue("acme", NOVEMBER, NOVEMBER.until_unix_ms - 1)
    with pytest.raises(Conflict, match="1 lines have no price"):
        house.billing.issue("acme", OCTOBER, NOVEMBER.since_unix_ms)
    house.billing.issue("acme", NOVEMBER, NOVEMBER.until_unix_ms)
    for period in (OCTOBER, NOVEMBER):
        with pytest.raises(Conflict):
            house.billing.issue("acme", period, NOVEMBER.until_unix_ms)


async def test_a_book_that_rated_something_cannot_change(house):
    await house.call(FIRST, 60_000, OCTOBER.since_unix_ms)
    house.statement(OCTOBER)
    house.book = Series([parse_book(LIST.replace("0.06", "0.07").encode(), "list")])
    with pytest.raises(Conflict, match="version 1 of the price book list"):
        house.statement(OCTOBER)
    drafts = replace(house.billing, drafts=True)
    assert drafts.statement("acme", OCTOBER, 0).total_nano == 70_000_000


async def test_an_issued_statement_notices_another_book(house):
    await house.call(FIRST, 60_000, OCTOBER.since_unix_ms)
    house.billing.issue("acme", OCTOBER, NOVEMBER.since_unix_ms)
    text = LIST.replace("0.06", "0.07").replace('version = "1"', 'version = "2"')
    house.book = Series([parse_book(text.encode(), "list")])
    with pytest.raises(Conflict, match="is not the one that was issued"):
        house.statement(OCTOBER)


async def test_sessions_that_closed_twice_are_billed_once(house):
    await house.call(FIRST, 60_000, OCTOBER.since_unix_ms)
    await house.write(FIRST, 2, 0, NOVEMBER.since_unix_ms, kind=EntryKind.ABANDONED)
    assert house.statement(OCTOBER).total_nano == 60_000_000
    assert house.statement(NOVEMBER).total_nano == 0


async def test_margin_is_what_is_left_of_an_amount(house):
    await house.call(FIRST, 60_000, OCTOBER.since_unix_ms)
    statement = house.statement(OCTOBER, with_costs=True)
    (line,) = bills.record(statement)["lines"]
    assert (line["amount"], line["cost"], line["margin"]) == ("0.060000000", "0.010000000", "0.050000000")
    assert bills.record(statement)["margin"] == "0.050000000"


async def test_what_has_no_cost_is_counted(house):
    await house.call(FIRST, 5, OCTOBER.since_unix_ms, dimension=Dimension.TTS_CHARACTERS)
    assert bills.record(house.statement(OCTOBER, with_costs=True))["uncosted_lines"] == 1


async def test_costs_without_a_price_have_a_line(house):
    await house.call(FIRST, 60_000, OCTOBER.since_unix_ms)
    house.book = Series([parse_book(LIST.replace("stt.audio_ms", "tts.characters").replace("minute", "character")
                                    .encode(), "list")])  # fmt: skip
    items = house.statement(OCTOBER, with_costs=True).items
    assert [(item.place.reason, item.nano, item.cost_nano) for item in items] == [
        ("no price for stt.audio_ms", 0, 10_000_000)
    ]


async def test_json_and_csv_say_the_same_and_add_up(house):
    await house.call(FIRST, 61_234, OCTOBER.since_unix_ms)
    await house.call(SECOND, 5, OCTOBER.since_unix_ms, dimension=Dimension.TTS_CHARACTERS)
    statement = house.statement(OCTOBER)
    said = json.loads(bills.to_json(statement))
    assert said["total_nano"] == sum(line["amount_nano"] for line in said["lines"]) == 60_617_000
    assert said["unrated_lines"] == 1
    assert said["books"][0]["sha256"] == house.book.books[0].sha256
    rows = bills.to_csv(statement).splitlines()
    assert rows[0].startswith("project,period,currency,kind,price")
    assert rows[-1].endswith("60617000,0.060617000")
    lines = list(bills.lines_to_csv(house.billing.lines("acme", OCTOBER)))
    detail = bills.lines_to_records(house.billing.lines("acme", OCTOBER))
    assert len(lines) == len(detail) + 1 == 3
    assert detail[0]["session"] == FIRST
    assert detail[0]["sha256"] == house.book.books[0].sha256


@pytest.mark.parametrize("text", ["2026", "2026-13", "11-2026", "2026-11-01", ""])
def test_a_period_is_a_month(text):
    with pytest.raises(CallerError, match="a period is a month"):
        parse_period(text)


def test_the_last_month_ends_with_the_year():
    assert DECEMBER.until_unix_ms == parse_period("2027-01").since_unix_ms


async def test_plans_rate_the_usage_that_was_had(house):
    await house.call(FIRST, 60_000, OCTOBER.since_unix_ms)
    await house.call(SECOND, 5, OCTOBER.since_unix_ms, dimension=Dimension.TTS_CHARACTERS)
    later = Series([parse_book(LIST.replace("2026-01-01", "2030-01-01").encode(), "later")])
    (plan,) = plans.compare(lambda name, by_entry: house.billing.sessions(name, OCTOBER, by_entry), ["acme"], [later])
    assert (plan.nano, plan.missing) == (60_000_000, {"tts.characters": 5})
    assert plans.records([plan], OCTOBER)[0]["amount"] == "0.060000000"
