"""What is rated is sessions, to the nano-unit: golden cases, and each rule."""

import pytest

from antiphon.metering.pricing.book import NoBook, Series
from antiphon.metering.rating import DAY_MS, LineKind, rate

MINUTE = '[[price]]\nid = "p"\ndimension = "stt.audio_ms"\nper = "minute"\n'
ADD_ON = '[[price]]\nid = "{0}"\nadd_on = "{0}"\ndimension = "stt.audio_ms"\nper = "minute"\namount = "0.0020"\n'
TOKENS = '[[price]]\nid = "{0}"\ndimension = "llm.{0}_tokens"\namount = "{1}"\nper = 1_000_000\n'
NOVEMBER = 1_793_491_200_000


def nanos(lines):
    return [line.nano for line in lines]


@pytest.mark.parametrize(
    ("amount_ms", "prices", "expected"),
    [
        (61_234, MINUTE + 'amount = "0.0077"', 7_858_363),
        (61_234, MINUTE + 'amount = "0.0077"\nincrement = "second"', 7_956_667),
        (3_200, MINUTE + 'amount = "0.024"\nminimum = 15_000\nincrement = 1_000', 6_000_000),
        (15_200, MINUTE + 'amount = "0.024"\nminimum = 15_000\nincrement = 1_000', 6_400_000),
        (15_200, MINUTE + 'amount = "0.024"\nincrement = 15_000', 12_000_000),
        (3_200, MINUTE + 'amount = "0.016"\nincrement = "second"', 1_066_667),
        (45_000, MINUTE.replace("minute", "hour") + 'amount = "0.15"', 1_875_000),
        (12_340, MINUTE.replace('"minute"', "1_000_000") + 'amount = 32\nfactor = "1/100"\nincrement = 1', 3_968_000),
    ],
)
def test_golden_cases_of_audio(book, charge, closed, amount_ms, prices, expected):
    assert nanos(rate([closed(charge(0, amount_ms))], book(prices))) == [expected]


def test_golden_case_of_characters_rounded_up_for_a_request(book, charge, closed):
    prices = (
        '[[price]]\nid = "t"\ndimension = "tts.characters"\nfactor = "1/2"\nincrement = 1\namount = "0.10"\nper = 1_000'
    )
    (line,) = rate([closed(charge(0, 101, "tts.characters"))], book(prices))
    assert (line.nano, line.rate.units(line.parts)) == (5_100_000, "51")


def test_golden_case_of_channels_and_add_ons(book, charge, closed):
    prices = MINUTE + 'amount = "0.0077"\n' + ADD_ON.format("redact") + ADD_ON.format("diarize")
    charges = [charge(number, 30_000, channel=number, feature="live+diarize+redact") for number in (0, 1)]
    lines = list(rate([closed(*charges)], book(prices)))
    assert sum(nanos(lines)) == 11_700_000
    assert [(line.rate.price.id, line.channel) for line in lines] == [
        (price, channel) for channel in (0, 1) for price in ("p", "diarize", "redact")
    ]


def test_golden_case_of_tokens(book, charge, closed):
    prices = TOKENS.format("input", "1.25") + TOKENS.format("cached_input", "0.125") + TOKENS.format("output", "10")
    amounts = {"llm.input_tokens": 1_234, "llm.cached_input_tokens": 800, "llm.output_tokens": 56}
    charges = [charge(number, amount, name) for number, (name, amount) in enumerate(amounts.items())]
    assert sum(nanos(rate([closed(*charges)], book(prices)))) == 2_202_500


def test_a_minimum_and_an_increment_bind_to_the_session_and_channel(book, charge, closed):
    prices = book(MINUTE + 'amount = "0.06"\nminimum = 15_000\nincrement = 1_000')
    whole = closed(charge(0, 20_400))
    pieces = closed(charge(0, 100), charge(1, 19_000), charge(2, 1_300))
    assert nanos(rate([whole], prices)) == nanos(rate([pieces], prices)) == [21_000_000]
    channels = closed(charge(0, 100), charge(1, 100, channel=1))
    assert nanos(rate([channels], prices)) == [15_000_000, 15_000_000]


def test_a_price_by_entry_looks_at_each(book, charge, closed):
    prices = book(MINUTE + 'amount = "0.06"\nscope = "entry"\nincrement = "second"')
    assert prices.by_entry
    correction = charge(2, -1_200, kind="correction", corrects=1)
    charges = closed(charge(0, 1_100), charge(1, 1_100), correction)
    assert nanos(rate([charges], prices)) == [1_000_000]  # 1,000 ms are left of the first


def test_one_channel_stands_for_all(book, charge, closed):
    prices = book(MINUTE + 'amount = "0.06"\nchannels = "once"')
    (line,) = rate([closed(charge(0, 500), charge(1, 700, channel=1), charge(2, 700, channel=2))], prices)
    assert (line.nano, line.channel) == (700_000, 1)


def test_tiers_are_of_the_period_in_the_order_of_closing(book, charge, closed):
    prices = (
        MINUTE + 'tiers = [{ up_to = 60_000, amount = "0.06" }, { up_to = 120_000, amount = "0.03" }, { amount = 0 }]'
    )
    sessions = [closed(charge(0, 50_000), number=number) for number in range(4)]
    assert nanos(rate(sessions, book(prices))) == [50_000_000, 10_000_000 + 20_000_000, 10_000_000, 0]


def test_volume_gives_all_units_the_price_that_was_reached(book, charge, closed):
    prices = MINUTE + 'volume = true\ntiers = [{ up_to = 60_000, amount = "0.06" }, { amount = "0.03" }]'
    sessions = [closed(charge(0, 50_000), number=number) for number in range(2)]
    assert nanos(rate(sessions, book(prices))) == [50_000_000, 0]


def test_an_allowance_can_be_of_a_day(book, charge, closed):
    prices = MINUTE + 'amount = "0.06"\nfree = 60_000\nevery = "day"'
    sessions = [closed(charge(0, 50_000), number=n, at=NOVEMBER + day * DAY_MS) for n, day in enumerate((0, 0, 1))]
    assert nanos(rate(sessions, book(prices))) == [0, 40_000_000, 0]


def test_an_increment_can_be_of_the_period(book, charge, closed):
    prices = MINUTE + 'amount = "0.06"\nscope = "period"\nincrement = "minute"'
    sessions = [closed(charge(0, 25_000), number=number) for number in range(4)]
    assert nanos(rate(sessions, book(prices))) == [60_000_000, 0, 60_000_000, 0]


def test_an_allowance_goes_on_in_the_next_version(book, charge, closed):
    prices = MINUTE + 'amount = "0.06"\nfree = 60_000\n'
    first, second = book(prices), book(prices)
    text = {"since_unix_ms": NOVEMBER + DAY_MS, "version": "2"}
    second = type(second)(**({name: getattr(second, name) for name in second.__slots__} | text))
    later = closed(charge(0, 50_000, at_unix_ms=NOVEMBER + DAY_MS), number=2, at=NOVEMBER + DAY_MS)
    lines = list(rate([closed(charge(0, 50_000)), later], Series([first, second])))
    assert [(line.rate.book.version, line.nano) for line in lines] == [("1", 0), ("2", 40_000_000)]


def test_an_add_on_bills_what_the_price_below_it_billed_or_by_its_own_rules(book, charge, closed):
    base = MINUTE + 'amount = "0.06"\nminimum = 15_000\n'
    session = closed(charge(0, 3_000, feature="live+redact"))
    assert nanos(rate([session], book(base + ADD_ON.format("redact"))))[1] == 500_000
    assert nanos(rate([session], book(base + ADD_ON.format("redact") + "minimum = 0")))[1] == 100_000


@pytest.mark.parametrize(("head", "reason"), [("", "no price for the add-on redact"), ('included = ["redact"]', None)])
def test_an_add_on_without_a_price_is_an_error_unless_it_is_included(book, charge, closed, head, reason):
    session = closed(charge(0, 60_000, feature="live+redact"))
    rounding = 'rounding = { mode = "half_up", per = "session" }\n'
    (line,) = rate([session], book(MINUTE + "amount = 1", rounding + head + "\n"))
    assert (line.kind, line.reason) == ((LineKind.UNRATED, reason) if reason else (LineKind.USAGE, ""))


def test_what_has_no_price_is_reported_and_never_free(book, charge, closed):
    session = closed(charge(0, 7, "tts.characters"), charge(1, 900, "tts.audio_ms"), charge(2, 60_000))
    rounding = 'rounding = { mode = "half_up", per = "session" }\nnot_charged = ["tts.audio_ms"]\n'
    lines = list(rate([session], book(MINUTE + "amount = 1", rounding)))
    assert [(line.kind, line.dimension, line.measured, line.nano) for line in lines] == [
        (LineKind.USAGE, "stt.audio_ms", 60_000, 1_000_000_000),
        (LineKind.UNRATED, "tts.characters", 7, 0),
    ]


def test_requests_are_counted_by_session(book, charge, closed):
    prices = book(
        '[[price]]\nid = "r"\ndimension = "requests"\nper = "request"\namount = "0.01"\n' + MINUTE + "amount = 0"
    )
    nothing = closed(charge(0, 5), charge(1, -5, kind="correction", corrects=0), number=2)
    lines = list(rate([closed(charge(0, 5), charge(1, 5)), nothing], prices))
    assert [(line.rate.price.id, line.nano) for line in lines] == [("r", 10_000_000), ("p", 0)]


def test_a_correction_counts_where_its_entry_does(book, charge, closed):
    prices = book(MINUTE + 'amount = "0.06"\nminimum = 15_000')
    to_zero = closed(charge(0, 900), charge(1, -900, kind="correction", corrects=0))
    assert list(rate([to_zero], prices)) == []
    elsewhere = closed(charge(0, 20_000), charge(9, -2_000, kind="correction", corrects=0, model="typo", channel=3))
    assert nanos(rate([elsewhere], prices)) == [18_000_000]
    beyond = closed(charge(0, 900), charge(1, -901, kind="correction", corrects=0))
    assert [line.kind for line in rate([beyond], prices)] == [LineKind.UNRATED]


def test_a_charge_costs_at_least_its_minimum(book, charge, closed):
    assert nanos(rate([closed(charge(0, 1))], book(MINUTE + 'amount = "0.06"\nminimum_charge = "0.5"'))) == [
        500_000_000
    ]


def test_an_invoice_comes_to_its_minimum(book, charge, closed):
    head = 'rounding = { mode = "half_up", per = "session" }\nminimum_invoice = "2"\n'
    lines = list(rate([closed(charge(0, 60_000))], book(MINUTE + "amount = 1", head)))
    assert [(line.kind, line.nano) for line in lines] == [
        (LineKind.USAGE, 1_000_000_000),
        (LineKind.MINIMUM, 1_000_000_000),
    ]
    assert list(rate([], book(MINUTE + "amount = 1", head))) == []


def test_the_last_result_of_an_abandoned_session_can_be_free(book, charge, closed):
    head = 'rounding = { mode = "half_up", per = "session" }\nabandoned = "last_result_free"\n'
    prices = book(MINUTE + 'amount = "0.06"', head)
    charges = charge(0, 4_000), charge(1, 1_000)
    assert nanos(rate([closed(*charges)], prices)) == [5_000_000]
    lines = list(rate([closed(*charges, abandoned=True)], prices))
    assert [(line.kind, line.measured, line.nano) for line in lines] == [
        (LineKind.WAIVED, 1_000, 0),
        (LineKind.USAGE, 4_000, 4_000_000),
    ]


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        ('mode = "half_up", per = "entry"', [1 + 1, 1]),
        ('mode = "half_up", per = "session"', [1, 1]),
        ('mode = "half_even", per = "session"', [1, 0]),
        ('mode = "up", per = "session"', [1, 1]),
        ('mode = "down", per = "session"', [1, 0]),
        ('mode = "half_up", per = "day"', [1, 1]),
        ('mode = "down", per = "invoice"', [1, 0]),
        ('mode = "up", per = "session", to = "0.01"', [10_000_000, 10_000_000]),
        ('mode = "up", per = "invoice", to = "0.01"', [1, 1, 9_999_998]),
    ],
)
def test_rounding_is_by_what_the_book_says(book, charge, closed, rounding, expected):
    """Half a nano-unit for each millisecond, and three milliseconds."""
    prices = book(MINUTE + 'amount = "0.00003"', f"rounding = {{ {rounding} }}\n")
    sessions = [closed(charge(0, 1), charge(1, 1)), closed(charge(0, 1), number=2)]
    assert nanos(rate(sessions, prices)) == expected


def test_an_override_stands_in_place_of_a_price_and_multiplies_the_others(book, charge, closed):
    prices = MINUTE + 'amount = "0.06"\n' + TOKENS.format("input", "10")
    override = '[override.acme]\nmultiply = "0.80"\nprices = { p = { amount = "0.03" } }\n'
    lines = list(rate([closed(charge(0, 60_000), charge(1, 100, "llm.input_tokens"))], book(prices + override)))
    assert {line.rate.price.id: line.nano for line in lines} == {"p": 30_000_000, "input": 800_000}


def test_every_line_says_which_entries_price_rule_and_rounding(book, charge, closed):
    prices = book(MINUTE + 'amount = "0.06"\nminimum = 15_000\nincrement = "second"')
    (line,) = rate([closed(charge(3, 900), charge(5, 300))], prices)
    assert (line.first, line.last, line.entries, line.measured, line.parts) == (3, 5, 2, 1_200, 15_000)
    assert line.rate.price.rule == "per minute, at least 15000, in steps of 1000, by session"
    assert str(line.rate.book.rounding) == "half_up by session, to 1 nano"


def test_a_session_of_before_the_first_book_cannot_be_rated(book, charge, closed):
    with pytest.raises(NoBook):
        list(rate([closed(charge(0, 1, at_unix_ms=0))], book(MINUTE + "amount = 1")))
