"""What holds for every text: nothing is lost or invented, and how it came does not matter."""

import itertools
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from antiphon.core.errors import CallerError
from antiphon.core.specs import Markup
from antiphon.text.boundaries import LONGEST
from antiphon.text.clauses import Clauses, Phrase
from antiphon.text.reading import LONGEST_WORD, MOST_DOTS, MOST_REPEATS, read
from antiphon.text.tables import SPELLED_SIGNS

WRITTEN = st.sampled_from(
    [
        "hello", "world", "Dr.", "St.", "e.g.", "etc.", "U.S.", "a.m.", "No.", "J.", "3", "3.14", "1,000", "5:30",
        "p.m.", "$5.99", "50%", "10 km", "-5", "2024-03-15", "March", "5,", "https://a.io/b?c=1.", "a@b.co", "**",
        "*", "`", "_", "#", "-", "- ", "1.", "[x](http://y.z)", "|", "---", "😀", "👩‍👩‍👧", "\ud83d",
        "\ude00", "\x00", "\x07", "\u200b", "é", "e\u0301", "你好。", "नमस्ते", "مرحبا،",
        "NASA", "FBI", "CPUs", "VIII", "Henry", "(", ")", '"', "“", "”", "'", "’s", "—", "–", "...", "…",
        "!", "?", ";", ":", ",", ".", "\n", "\n\n", " ", "  ", "\t", "\r\n", "&", "<", ">", "/", "½", "1/2",
        "x" * 90, "9" * 30, "\ue000",
    ]
)  # fmt: skip
_PARTS = st.one_of(WRITTEN, st.just(" "), st.text(max_size=4))
TEXTS = st.one_of(st.lists(_PARTS, max_size=12), st.lists(_PARTS, min_size=20, max_size=60)).map("".join)
CUTS = st.lists(st.integers(0, 400), max_size=12)


def parted(text: str, cuts: list[int]) -> list[str]:
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    return [text[start:end] for start, end in itertools.pairwise(places)]


def phrases(
    pieces: list[str], markup: Markup = Markup.NONE, schedule: tuple[int, ...] = (), first_words: int = 12
) -> list[Phrase]:
    clauses = Clauses(markup, schedule, first_words)
    return [phrase for piece in pieces for phrase in clauses.push(piece)] + clauses.flush()


@given(TEXTS, CUTS, st.sampled_from((4, 12)))
@example("etc. \n\n And", [5], 12)
@example("one \ntwo", [4], 12)
@example("你好。** 再", [], 12)
@example("one in an inn in it", [8, 12, 15], 4)
def test_how_a_text_came_does_not_matter(text: str, cuts: list[int], first_words: int) -> None:
    whole = phrases([text], first_words=first_words)
    assert phrases(parted(text, cuts), first_words=first_words) == whole
    assert phrases(list(text), first_words=first_words) == whole


@given(TEXTS, CUTS, st.lists(st.integers(0, 120), min_size=1, max_size=4).map(tuple))
def test_nor_does_it_with_a_schedule(text: str, cuts: list[int], schedule: tuple[int, ...]) -> None:
    assert phrases(parted(text, cuts), schedule=schedule) == phrases([text], schedule=schedule)


@given(TEXTS)
def test_words_stand_for_the_characters_in_order(text: str) -> None:
    said = phrases([text])
    ranges = [(word.start, word.end) for phrase in said for word in phrase.words]
    for (start, end), (after, after_end) in itertools.pairwise(ranges):
        assert (start, end) == (after, after_end) or end <= after
    covered = {place for start, end in ranges for place in range(start, end)}
    assert covered <= set(range(len(text)))
    lost = [char for place, char in enumerate(text) if place not in covered and char.isalnum()]
    assert not lost
    if said:  # what is not said belongs to a word beside it, if there is one after it or in its phrase
        first, last = ranges[0][0], ranges[-1][1]
        assert not [
            char
            for place, char in enumerate(text[first:last], first)
            if place not in covered and char.isprintable() and not char.isspace()
        ]


@given(TEXTS)
def test_phrases_are_bounded_and_fit_to_be_spoken(text: str) -> None:
    for phrase in phrases([text]):
        assert phrase.words
        assert phrase.words[-1].end - phrase.words[0].start <= len(text)
        assert all(word.read and not any(char.isspace() for char in word.read) for word in phrase.words)
        assert not set("*`#|\n\ue000") & set(phrase.text)
        phrase.text.encode()
        assert all(char.isprintable() for char in phrase.text)


@given(
    st.lists(
        st.from_regex(r"[a-z]{2,9}", fullmatch=True).filter(lambda word: word not in ("etc", "vs", "approx", "aka")),
        max_size=80,
    )
)
def test_plain_words_are_read_as_they_are(words: list[str]) -> None:
    assert [word.read for phrase in phrases([" ".join(words)]) for word in phrase.words] == words


TAGS = st.sampled_from(
    [
        "<speak>", "</speak>", "<p>", "</p>", "<s>", "</s>", "<break/>", "<break time='1s'/>", "<break time='",
        "<prosody rate='50%'>", "<prosody rate='fast'>", "</prosody>", "<say-as interpret-as='characters'>",
        "<say-as interpret-as='date' format='mdy'>", "</say-as>", "<sub alias='Doctor'>", "</sub>", "&amp;", "&lt;",
        "&#65;", "&#32;", "&#xE000;", "&unknown;", "<!-- a -->", "<![CDATA[a < b]]>", "<voice>",
        "<!DOCTYPE a [<!ENTITY b 'c'>]>",
        "<?xml version='1.0'?>", "<?pi?>", "ABC 3.", "Hello, world. ", "5 km", "\r\n", "é😀", "\ud83d", "<", ">",
        "&", '"', "</_>", "<_>",
    ]
)  # fmt: skip


def outcome(pieces: list[str], markup: Markup) -> object:
    try:
        return phrases(pieces, markup)
    except CallerError as error:
        return type(error)


@given(st.lists(TAGS, max_size=14).map("".join), CUTS, st.sampled_from([Markup.SSML, Markup.BREAKS]))
@example("<speak>Hello, <break time='1s'/>wor&amp;ld.</speak>", [3, 12, 40], Markup.SSML)
def test_markup_yields_phrases_or_an_error_however_it_came(text: str, cuts: list[int], markup: Markup) -> None:
    assert outcome(parted(text, cuts), markup) == outcome([text], markup)


PIECES = st.sampled_from(
    [
        "Hello, ",
        "wor&amp;ld. ",
        "<break/>",
        "<s>",
        "</s>",
        "é",
        "5 km ",
        "&#x1F600;",
        "<sub alias='a b'>c</sub>",
        "\r\n",
    ]
)


@given(st.lists(PIECES, max_size=20).map("".join))
def test_places_count_tags_and_entities(text: str) -> None:
    said = outcome(["<speak>" + text + "</speak>"], Markup.SSML)
    if isinstance(said, list):
        full = "<speak>" + text + "</speak>"
        for word in (word for phrase in said for word in phrase.words):
            bare = word.read.strip(".,")
            written = full[word.start : word.end]
            assert bare.lower() in written.lower() or bare in ("and", "five", "kilometers", "a", "b"), (bare, written)


def seconds(pieces: list[str], markup: Markup = Markup.NONE) -> float:
    """Return the processor time that it takes to read them: of a busy machine, this process may have a small part."""
    begun = time.process_time()
    phrases(pieces, markup)
    return time.process_time() - begun


def test_no_text_takes_long() -> None:
    for unit in (
        "1",
        ".",
        "*",
        "(",
        "1-",
        "a.",
        "I",
        "<",
        "https://",
        "[",
        "](",
        "-- ",
        "|-",
        "etc. ",
        "1,",
        "$",
        "\n- ",
        "@a.",
        "a-",
    ):
        assert seconds([unit * (3_000 // len(unit))]) < 2, unit
        assert seconds(list(unit * (600 // len(unit)))) < 2, unit


@pytest.mark.parametrize("unit", ["-", " ", "|-", "-- "])
def test_a_line_that_is_almost_a_rule_takes_no_longer_than_one(unit: str) -> None:
    line = unit * (1000 // len(unit)) + "x"
    begun = time.process_time()
    read(line, range(len(line)), range(1, len(line) + 1))
    assert time.process_time() - begun < 1


def test_one_long_word_is_spoken_in_bounded_phrases() -> None:
    begun = time.process_time()
    said = phrases(["xy" * 50_000])
    assert time.process_time() - begun < 5
    assert {phrase.text for phrase in said} == {"xy" * MOST_REPEATS}  # and not a hundred thousand letters
    assert [(phrase.words[0].start, phrase.words[-1].end) for phrase in said] == [
        (start, start + LONGEST) for start in range(0, 100_000, LONGEST)
    ]


SIGNS = [sign + after for sign in SPELLED_SIGNS if sign.strip() for after in ("", " ", "\n")]


@pytest.mark.parametrize("units", [SIGNS, ["<>", "<&", "->", "<=", "()", "< > ", "½", "½ ", "²", "π", "№ "]])
def test_signs_in_rows_are_not_read_out_by_the_thousand(units: list[str]) -> None:
    """A text takes about as long as one of words does: no more is said than is written."""
    for unit in units:
        text = (unit * 1000)[:1000]
        said = phrases([text])
        assert sum(len(phrase.text) for phrase in said) <= 0.2 * len(text), unit
        assert all(phrase.words[0].start == 0 for phrase in said[:1])


@given(st.text(st.sampled_from("aAñ日.é-'’1U\u0301"), min_size=1, max_size=8), st.integers(1, 200))
def test_what_has_no_space_is_said_in_words_of_bounded_length(unit: str, times: int) -> None:
    for phrase in phrases([(unit * times)[:2000]]):
        assert all(len(word.read) <= MOST_DOTS * (LONGEST_WORD + 1) for word in phrase.words)
        assert all(word.read.rstrip(".").count(".") < MOST_DOTS for word in phrase.words)
        assert all(len(part) <= LONGEST_WORD + 3 for word in phrase.words for part in word.read.split("."))


def test_long_markup_takes_time_in_proportion() -> None:
    text = "<speak>" + "<s>Hello &amp; you.</s>" * 1500 + "</speak>"
    assert seconds([text], Markup.SSML) < 5
    assert seconds(list("<speak>" + "<s>Hello &amp; you.</s>" * 100 + "</speak>"), Markup.SSML) < 3
