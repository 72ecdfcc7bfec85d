from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.budgets import owned_budgets
from antiphon.core.errors import Unpriced
from antiphon.core.usage import Dimension, Meter
from antiphon.metering.budgets import Funds
from antiphon.metering.pricing.book import Series
from antiphon.metering.pricing.parse import parse_book
from antiphon.metering.tally import Charged, Demand, Tally, amounts_of, closed_session
from antiphon.metering.tariff import Tariff, Use

NOVEMBER = 1_793_491_200_000
LIVE = Use("nova-3", "live", "deepgram")
AUDIO = Dimension.STT_AUDIO_MS
HEAD = """
book = "list"
version = "1"
currency = "USD"
from = 2026-01-01
rounding = { mode = "half_up", per = "session" }
"""
PRICE = """
[[price]]
id = "stt"
dimension = "stt.audio_ms"
amount = "0.0077"
per = "minute"
"""
TIERS = """
[[price]]
id = "stt"
dimension = "stt.audio_ms"
per = "second"
tiers = [{ up_to = 60_000, amount = "0" }, { up_to = 120_000, amount = "0.02" }, { amount = "0.01" }]
"""


def tariff(prices):
    return Tariff("acme", Series([parse_book(f"{HEAD}{prices}".encode(), "test")]))


def counting(prices, *budgets):
    tally = Tally()
    tally.take_funds(Funds(owned_budgets("\n".join(budgets), "acme")), {"acme": prices})
    return tally


def settled(prices, ms, id="00000000-0000-4000-8000-000000000001"):
    tally = counting(prices, "all money 1000 month")
    return tally.amounts(id, "acme", "k", LIVE, Charged({Meter(AUDIO): ms}, NOVEMBER, NOVEMBER + 1))[0]


def test_each_entry_may_be_rounded_up_by_itself():
    prices = tariff(PRICE + 'increment = 1_000\nscope = "entry"\nfactor = "7"\n')
    assert prices.most(LIVE, {Meter(AUDIO): 1_859}, NOVEMBER) == 1_796_667  # 13.013 s are 14
    # 1 ms is 7 and counts as 1,000, 1,858 ms are 13,006 and count as 14,000.
    assert prices.most(LIVE, {Meter(AUDIO): 1_859}, NOVEMBER, {Meter(AUDIO): 2}) >= 1_925_000


def test_the_golden_case():
    prices = tariff(PRICE)
    assert settled(prices, 61_234) == 7_858_363
    assert prices.most(LIVE, {Meter(AUDIO): 61_234}, NOVEMBER) == 7_858_364  # never less


MANY = """
[[price]]
id = "minimum"
dimension = "stt.audio_ms"
amount = "0.0043"
per = "minute"
minimum = 15_000
increment = "second"
[[price]]
id = "redact"
add_on = "redact"
dimension = "stt.audio_ms"
amount = "0.0020"
per = "minute"
[[price]]
id = "call"
dimension = "requests"
amount = "0.0001"
per = "request"
minimum_charge = "0.001"
"""


@given(st.lists(st.integers(0, 90_000), min_size=1, max_size=3), st.sampled_from(["half_even", "up", "down"]))
def test_what_a_session_costs_alone_is_what_the_statement_says(lengths, mode):
    text = HEAD.replace("half_up", mode).replace('"session" }', '"session", to = "0.00001" }')
    prices = Tariff("acme", Series([parse_book(f"{text}{MANY}".encode(), "test")]))
    use, meters = Use("nova-3", "live+redact", "deepgram"), {Meter(AUDIO, n): ms for n, ms in enumerate(lengths)}
    charged = Charged(meters, NOVEMBER, NOVEMBER + 1)
    if any(lengths):
        rated = prices.settle(closed_session("acme", "1", "k", use, charged))
        assert prices.cost(use, meters, NOVEMBER) == rated > 0
        assert prices.most(use, meters, NOVEMBER) >= rated
    assert tariff(TIERS).cost(LIVE, meters, NOVEMBER) is None


def test_minimums_and_channels_count_before():
    prices = tariff(PRICE + "minimum = 15_000\nincrement = 1_000\n")
    each = prices.most(LIVE, {Meter(AUDIO): 1}, NOVEMBER)
    assert each == settled(prices, 15_000)
    assert prices.most(LIVE, {Meter(AUDIO): 1, Meter(AUDIO, 1): 1}, NOVEMBER) == 2 * each


def test_without_a_price_there_is_none():
    prices = tariff(PRICE)
    with pytest.raises(Unpriced, match="no price for tts"):
        prices.most(LIVE, {Meter(Dimension.TTS_CHARACTERS): 1}, NOVEMBER)
    with pytest.raises(Unpriced, match="was in force"):
        prices.most(LIVE, {Meter(AUDIO): 1}, 0)
    with pytest.raises(Unpriced, match="no price book"):
        Tariff("acme", None).most(LIVE, {Meter(AUDIO): 1}, NOVEMBER)


def test_in_tiers_a_call_reserves_the_highest_price_whatever_is_counted_before():
    prices = tariff(TIERS)
    before = prices.most(LIVE, {Meter(AUDIO): 40_000}, NOVEMBER)
    assert before == 40 * 20_000_000
    assert settled(prices, 50_000) == 0  # free, as the others left it
    assert prices.most(LIVE, {Meter(AUDIO): 40_000}, NOVEMBER) == before
    rises = tariff(TIERS + "volume = true\n").most(LIVE, {Meter(AUDIO): 1}, NOVEMBER)
    assert rises == 20_000_000 // 1000 + 60 * 20_000_000  # the one that ends the free minute pays for all of it


def test_calls_of_keys_without_a_budget_count_in_the_tiers_of_the_project():
    tally = counting(tariff(TIERS), "one money 10 month key=k1")
    other = tally.admit("1", "acme", "k2", LIVE, Demand({Meter(AUDIO): 60_000}), 0, NOVEMBER)
    mine = tally.admit("2", "acme", "k1", LIVE, Demand({Meter(AUDIO): 1_000}), 0, NOVEMBER)
    for permit, ms in ((other, 60_000), (mine, 1_000)):
        tally.settle(permit, Charged({Meter(AUDIO): ms}, NOVEMBER, NOVEMBER + 1), 0)
    assert [state.used for state in tally.funds.states(NOVEMBER)] == [20_000_000]  # the free ones were the other's


def test_a_version_that_begins_in_a_moment_is_reserved_for():
    dearer = parse_book(f"{HEAD}{PRICE}".replace('"1"', '"2"').replace("0.0077", "0.77").encode(), "test")
    soon = replace(dearer, since_unix_ms=NOVEMBER + 1)
    prices = Tariff("acme", Series([parse_book(f"{HEAD}{PRICE}".encode(), "test"), soon]))
    assert prices.most(LIVE, {Meter(AUDIO): 60_000}, NOVEMBER) == 770_000_000
    assert prices.most(LIVE, {Meter(AUDIO): 60_000}, NOVEMBER - 60_000) == 7_700_000


def test_amounts_are_by_measure():
    meters = {Meter(Dimension.LLM_INPUT_TOKENS): 3, Meter(Dimension.LLM_OUTPUT_TOKENS): 4, Meter(AUDIO, 1): 5}
    assert amounts_of(meters, 9, requests=1) == (9, 7, 0, 5, 1)
