import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.budgets import parse_budgets
from antiphon.core.errors import BudgetExceeded, Unpriced
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


def settled(prices, ms, id="00000000-0000-4000-8000-000000000001"):
    tally = Tally("acme", prices)
    tally.take_funds(Funds(parse_budgets("all money 1000 month")), prices)
    return tally.amounts(id, "k", LIVE, Charged({Meter(AUDIO): ms}, NOVEMBER, NOVEMBER + 1))[0]


def test_the_golden_case():
    prices = tariff(PRICE)
    assert settled(prices, 61_234) == 7_858_363
    assert prices.most(LIVE, {Meter(AUDIO): 61_234}, NOVEMBER, {}) == 7_858_364  # never less


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
        assert prices.most(use, meters, NOVEMBER, {}) >= rated
    assert tariff(TIERS).cost(LIVE, meters, NOVEMBER) is None


def test_minimums_and_channels_count_before():
    prices = tariff(PRICE + "minimum = 15_000\nincrement = 1_000\n")
    each = prices.most(LIVE, {Meter(AUDIO): 1}, NOVEMBER, {})
    assert each == settled(prices, 15_000)
    assert prices.most(LIVE, {Meter(AUDIO): 1, Meter(AUDIO, 1): 1}, NOVEMBER, {}) == 2 * each


def test_without_a_price_there_is_none():
    prices = tariff(PRICE)
    with pytest.raises(Unpriced, match="no price for tts"):
        prices.most(LIVE, {Meter(Dimension.TTS_CHARACTERS): 1}, NOVEMBER, {})
    with pytest.raises(Unpriced, match="was in force"):
        prices.most(LIVE, {Meter(AUDIO): 1}, 0, {})
    with pytest.raises(Unpriced, match="no price book"):
        Tariff("acme", None).most(LIVE, {Meter(AUDIO): 1}, NOVEMBER, {})


def test_running_calls_share_a_free_allowance():
    prices = tariff(TIERS)
    first, second = {}, {}
    assert prices.most(LIVE, {Meter(AUDIO): 40_000}, NOVEMBER, first) == 0
    assert prices.most(LIVE, {Meter(AUDIO): 40_000}, NOVEMBER, second) == 40 * 20_000_000  # it may be the later one
    prices.release(first)
    assert prices.most(LIVE, {Meter(AUDIO): 40_000}, NOVEMBER, second) == 0
    prices.release(second)
    assert settled(prices, 50_000) == 0
    assert prices.most(LIVE, {Meter(AUDIO): 10_000}, NOVEMBER, {}) == 0
    assert prices.most(LIVE, {Meter(AUDIO): 10_001}, NOVEMBER, {}) > 0


def test_calls_of_keys_without_a_budget_count_in_the_tiers_of_the_project():
    prices = tariff(TIERS)
    tally = Tally("acme", prices)
    tally.take_funds(Funds(parse_budgets("one money 10 month key=k1")), prices)
    other = tally.admit("1", "k2", LIVE, Demand({Meter(AUDIO): 60_000}), 0, NOVEMBER)
    mine = tally.admit("2", "k1", LIVE, Demand({Meter(AUDIO): 1_000}), 0, NOVEMBER)
    for permit, ms in ((other, 60_000), (mine, 1_000)):
        tally.settle(permit, Charged({Meter(AUDIO): ms}, NOVEMBER, NOVEMBER + 1), 0)
    assert [state.used for state in tally.funds.states(NOVEMBER)] == [20_000_000]  # the free ones were the other's


def test_a_refused_call_holds_no_part_of_a_free_allowance():
    prices = tariff(TIERS)
    tally = Tally("acme", prices)
    tally.take_funds(Funds(parse_budgets("all money 0.10 month")), prices)
    with pytest.raises(BudgetExceeded):
        tally.admit("1", "k", LIVE, Demand({Meter(AUDIO): 120_000}), 0, NOVEMBER)
    permit = tally.admit("2", "k", LIVE, Demand({Meter(AUDIO): 50_000}), 0, NOVEMBER)
    with pytest.raises(BudgetExceeded):
        tally.cover(permit, {Meter(AUDIO): 120_000}, NOVEMBER)
    assert prices.most(LIVE, {Meter(AUDIO): 10_000}, NOVEMBER, {}) == 0
    assert prices.most(LIVE, {Meter(AUDIO): 10_001}, NOVEMBER, {}) > 0


def test_a_price_that_fails_changes_nothing():
    prices, held = tariff(TIERS), {}
    prices.most(LIVE, {Meter(AUDIO): 40_000}, NOVEMBER, held)
    before = dict(held)
    with pytest.raises(Unpriced):
        prices.most(LIVE, {Meter(AUDIO): 50_000, Meter(Dimension.TTS_CHARACTERS): 1}, NOVEMBER, held)
    assert held == before
    prices.release(held)
    assert prices.most(LIVE, {Meter(AUDIO): 60_000}, NOVEMBER, {}) == 0


@given(st.lists(st.integers(1, 90_000), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_calls_together_never_cost_more_than_they_reserved_whatever_the_order(lengths, order):
    for text in (PRICE, TIERS, TIERS + "volume = true\n"):
        prices = tariff(text)
        held = [{} for _ in lengths]
        most = [prices.most(LIVE, {Meter(AUDIO): ms}, NOVEMBER, mine) for ms, mine in zip(lengths, held, strict=True)]
        ends = list(range(len(lengths)))
        order.shuffle(ends)
        cost = []
        for number in ends:
            prices.release(held[number])
            cost.append(settled(prices, lengths[number]))  # which of them the free ones are, their ends decide
        assert sum(cost) <= sum(most)


def test_amounts_are_by_measure():
    meters = {Meter(Dimension.LLM_INPUT_TOKENS): 3, Meter(Dimension.LLM_OUTPUT_TOKENS): 4, Meter(AUDIO, 1): 5}
    assert amounts_of(meters, 9, requests=1) == (9, 7, 0, 5, 1)
