"""Price books are checked whole, with the line of each error; what fits best is chosen."""

import re
from fractions import Fraction
from pathlib import Path
from textwrap import dedent

import pytest

from antiphon.core.errors import CallerError, NotFound
from antiphon.metering.pricing.book import NANO, NoBook, Series, choose
from antiphon.metering.pricing.library import example_books, make_library
from antiphon.metering.pricing.parse import InvalidBook, parse_book
from antiphon.metering.pricing.places import Places

GOOD = dedent(
    """\
    book = "list"
    version = "2026-12"
    currency = "USD"
    from = 2026-12-01T00:00:00Z
    rounding = { mode = "half_up", per = "session" }

    [[price]]
    id = "stt"
    dimension = "stt.audio_ms"
    amount = 0.0077
    per = "minute"
    increment = "second"

    [override.acme]
    multiply = "0.80"
    prices = { stt = { amount = "0.0061" } }
    """
)


def problems(text):
    with pytest.raises(InvalidBook) as raised:
        parse_book(text.encode(), "list.toml")
    return {problem.line: problem.message for problem in raised.value.problems}


def test_amounts_are_exact_whether_text_or_number():
    book = parse_book(GOOD.encode(), "list.toml")
    assert book.prices[0].tiers[0].nano == Fraction("0.0077") * NANO / 60_000
    assert book.prices_of("acme")[0].tiers[0].nano == Fraction("0.0061") * NANO / 60_000
    assert book.prices_of("other") == book.prices


def test_all_errors_are_said_at_once_each_with_its_line():
    text = GOOD.replace("USD", "usd").replace("0.0077", "-1").replace('"minute"', '"token"').replace("0.80", "x")
    text += '\n[[price]]\nid = "second"\ndimension = "stt.audio"\nfoo = 1\namount = "1"\nper = 1\n'
    said = problems(text)
    assert sorted(said) == [3, 10, 11, 15, 20, 21]
    assert "three capital letters" in said[3]
    assert "one of millisecond, second, minute, hour" in said[11]
    assert said[21].startswith("unknown key foo")


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ('rounding = { mode = "half_up", per = "session" }', "", 1, "rounding is missing"),
        ('per = "session"', 'per = "week"', 5, "one of entry, session, day, invoice"),
        ('per = "session"', 'per = "session", to = "0.0000000005"', 5, "0.000000001 or a multiple"),
        ("2026-12-01T00:00:00Z", "2026-12-01T00:00:00", 4, "with its offset"),
        ("amount = 0.0077", "amount = nan", 10, "no decimal number"),
        ("amount = 0.0077", "amount = 1e-40", 10, "digits after the point"),
        ("amount = 0.0077", "amount = true", 10, "no decimal number"),
        ("amount = 0.0077", 'tiers = [{ up_to = 5, amount = "1" }]', 10, "every tier but the last"),
        ("amount = 0.0077", 'tiers = [{up_to = 5, amount = 1}, {up_to = 5, amount = 1}, {amount=1}]', 10, "the order"),
        ("amount = 0.0077", "free = 60_000", 7, "either an amount"),
        ('dimension = "stt.audio_ms"', 'dimension = ["stt.audio_ms", "tts.characters"]', 9, "have one unit"),
        ('"stt"\n', '"s t t"\n', 8, "letters, digits"),
        ("0.0061", "lots", 16, "no decimal number"),
        ("[[price]]", "[[price]]\nmodel = 'a*b'", 8, "may end in *"),
        ("[[price]]", "[[price]]\nfactor = '1/0'", 8, "no decimal number"),
        ("[[price]", "[[price", 7, "not TOML"),
    ],
)  # fmt: skip
def test_an_error_names_its_line(old, new, line, message):
    said = problems(GOOD.replace(old, new, 1))
    assert message in said[line]


def test_prices_that_fit_alike_are_an_error():
    text = GOOD + '\n[[price]]\nid = "again"\ndimension = "stt.audio_ms"\namount = "1"\nper = 1\n'
    assert problems(text) == {18: "again applies to the same usage as the price on line 7"}
    assert problems(GOOD + '\n[[price]]\nid = "stt"\ndimension = "tts.characters"\namount = "1"\nper = 1\n') == {
        18: "the id stt is taken, on line 7"
    }


def test_no_book_is_read_that_is_too_long_or_no_text():
    assert problems("#" * (5 << 20)) == {1: "longer than 4194304 bytes"}
    with pytest.raises(InvalidBook, match="line 2: not UTF-8"):
        parse_book(b"\n\xff", "list.toml")


@pytest.mark.parametrize(
    ("model", "feature", "surface", "expected"),
    [
        ("nova-3", "live", "deepgram", "exact"),
        ("nova-3-medical", "live", "deepgram", "beginning"),
        ("nova-9", "live", "deepgram", "shorter"),
        ("nova-9", "live", "openai", "shorter"),
        ("whisper", "live", "deepgram", "feature"),
        ("whisper", "recording", "openai", "surface"),
        ("whisper", "recording", "google", "any"),
    ],
)
def test_the_price_that_fits_best_is_chosen(book, model, feature, surface, expected):
    selectors = {
        "exact": 'model = ["nova-3", "nova-4"]',
        "beginning": 'model = "nova-3*"',
        "shorter": 'model = "nova*"',
        "feature": 'feature = "live"',
        "surface": 'surface = "openai"',
        "any": "",
    }
    tables = [
        f'[[price]]\nid = "{id}"\ndimension = "stt.audio_ms"\namount = 1\nper = 1\n{selector}\n'
        for id, selector in selectors.items()
    ]
    for order in (tables, tables[::-1]):
        found = choose(book("".join(order)).prices, "stt.audio_ms", model, feature, surface, "")
        assert found.id == expected
    assert choose(book("".join(tables)).prices, "tts.characters", model, feature, surface, "") is None


def test_a_version_is_in_force_until_the_next_ones_time():
    first, second = (parse_book(GOOD.replace("2026-12", month).encode(), "") for month in ("2026-11", "2026-12"))
    series = Series([second, first])
    assert series.at(second.since_unix_ms - 1) is first
    assert series.at(second.since_unix_ms) is second
    with pytest.raises(NoBook):
        series.at(first.since_unix_ms - 1)
    with pytest.raises(CallerError, match="one time"):
        Series([first, first])


def test_the_library_knows_whose_book_is_whose(tmp_path):
    for name in ("list", "wholesale", "costs"):
        text = GOOD.replace('"list"', f'"{name}"', 1)
        if name == "costs":
            text = 'role = "costs"\n' + text
        (tmp_path / f"{name}.toml").write_text(text)
    paths = sorted(tmp_path.glob("*.toml"))
    library = make_library(paths, "list", {"acme": "wholesale"}, "")
    assert (library.of("acme").name, library.of("other").name) == ("wholesale", "list")
    assert library.costs.name == "costs"
    with pytest.raises(CallerError, match="name one of the price books list, wholesale"):
        make_library(paths, "", {}, "")
    with pytest.raises(CallerError, match="'no'"):
        make_library(paths, "list", {"acme": "no"}, "")
    with pytest.raises(CallerError, match="is a book of costs"):
        make_library(paths, "costs", {}, "")
    with pytest.raises(NotFound, match="no price book is configured"):
        make_library([], "", {}, "").of("acme")
    with pytest.raises(CallerError, match="cannot be read"):
        make_library([tmp_path / "none.toml"], "", {}, "")


def test_the_examples_are_valid_and_say_where_they_are_from():
    books = example_books()
    assert sorted(books) == ["amazon", "assemblyai", "deepgram", "elevenlabs", "google", "openai", "own-cost"]
    assert all(series.books[0].sources and series.books[0].notes for series in books.values())


def test_places_follow_tables_lists_and_long_texts():
    text = dedent(
        '''\
        a = """
        [not.a.table]
        b = 1
        """
        c = [
          { d = "]" }, # ]
        ]
        [[t]]
        "x y".z = 1
        [[t.u]]
        e = 1
        [[t]]
        [t.v]
        f = 1
        '''
    )
    places = Places(text)
    found = {path: places.line(path) for path in [("a",), ("b",), ("c",), ("c", 0, "d")]}
    assert found == {("a",): 1, ("b",): 1, ("c",): 5, ("c", 0, "d"): 5}
    assert [places.line(p) for p in [("t", 0), ("t", 0, "x y", "z"), ("t", 0, "u", 0, "e"), ("t", 1, "v", "f")]] == [
        *(8, 9, 11, 14)
    ]


def test_the_book_of_the_page_is_valid():
    page = (Path(__file__).parents[3] / "docs" / "billing.md").read_text()
    first, override = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    book = parse_book(f"{first}\n{override}".encode(), "billing.md")
    assert len(book.prices) == 5
    assert book.prices_of("acme") != book.prices
