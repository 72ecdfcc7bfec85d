"""SSML and plain text with breaks."""

import pytest

from antiphon.core.errors import CallerError, TooLarge, UnsupportedParameter
from antiphon.core.specs import Markup
from antiphon.text.clauses import Clauses, Phrase
from antiphon.text.markup import LONGEST_TAG, Ssml, reader


def phrases(text: str, markup: Markup = Markup.SSML) -> list[Phrase]:
    clauses = Clauses(markup)
    return clauses.push(text) + clauses.flush()


def heard(text: str, markup: Markup = Markup.SSML) -> list[tuple[str, float, int]]:
    return [(phrase.text, phrase.speed, phrase.pause_ms) for phrase in phrases(text, markup)]


@pytest.mark.parametrize(
    ("attributes", "pause_ms"),
    [
        ('time="500ms"', 500),
        ('time="1.5s"', 1500),
        ('time="+2s"', 2000),
        ('time="0.25 s"', 250),
        ("", 500),
        ('strength="weak"', 250),
        ('strength="x-strong"', 1000),
        ('time="1s" strength="weak"', 1000),
    ],
)
def test_a_break_is_silence_after_what_was_said(attributes: str, pause_ms: int) -> None:
    assert heard(f"<speak>One <break {attributes}/> two</speak>") == [("One", 1.0, pause_ms), ("two", 1.0, 0)]


def test_a_break_alone_is_a_phrase_without_words() -> None:
    assert heard("<speak>One. <break time='1s'/><break time='2s'/></speak>") == [
        ("One.", 1.0, 0),
        ("", 1.0, 1000),
        ("", 1.0, 2000),
    ]
    assert heard("<speak>One<break strength='none'/>two</speak>") == [("One", 1.0, 0), ("two", 1.0, 0)]


@pytest.mark.parametrize(
    ("rate", "speed"),
    [
        ("x-slow", 0.5),
        ("slow", 0.64),
        ("medium", 1.0),
        ("fast", 1.55),
        ("x-fast", 2.0),
        ("80%", 0.8),
        ("+20%", 1.2),
        ("-20%", 0.8),
        ("1.5", 1.5),
    ],
)
def test_rates(rate: str, speed: float) -> None:
    assert heard(f"<speak><prosody rate='{rate}'>a b</prosody></speak>") == [("a b", speed, 0)]


def test_rates_multiply_and_end() -> None:
    text = "<speak>a <prosody rate='50%'>b <prosody rate='200%'>c</prosody> d</prosody> e</speak>"
    assert [(said, speed) for said, speed, _ in heard(text)] == [
        ("a", 1.0),
        ("b", 0.5),
        ("c", 1.0),
        ("d", 0.5),
        ("e", 1.0),
    ]


def test_paragraphs_and_sentences_end_phrases() -> None:
    assert heard("<speak><p><s>One</s><s>two</s> three</p>four</speak>") == [
        ("One", 1.0, 0),
        ("two", 1.0, 0),
        ("three", 1.0, 500),
        ("four", 1.0, 0),
    ]


@pytest.mark.parametrize(
    ("kind", "form", "written", "expected"),
    [
        ("characters", "", "aB1-", "A, B, one, dash"),
        ("spell-out", "", "cat", "C, A, T"),
        ("cardinal", "", "1999", "one thousand nine hundred and ninety nine"),
        ("number", "", "-3.5", "minus three point five"),
        ("ordinal", "", "3", "third"),
        ("digits", "", "1234", "one two three four"),
        ("date", "mdy", "03/04/2024", "March fourth, twenty twenty four"),
        ("date", "dmy", "03/04/2024", "April third, twenty twenty four"),
        ("date", "yyyymmdd", "20240315", "March fifteenth, twenty twenty four"),
        ("date", "ym", "2024-03", "March twenty twenty four"),
        ("date", "", "2024-03-15", "March fifteenth, twenty twenty four"),
        ("time", "hms12", "2:30pm", "two thirty P.M"),
        ("time", "", "14:05", "fourteen oh five"),
        ("time", "", "1'21\"", "one minute and twenty one seconds"),
        ("telephone", "", "(555) 123-4567", "five five five, one two three, four five six seven"),
        ("currency", "", "$42.01", "forty two dollars one cent"),
        ("fraction", "", "3+1/2", "three and a half"),
        ("fraction", "", "5/12", "five twelfths"),
        ("unit", "", "6ft", "six feet"),
    ],
)
def test_say_as(kind: str, form: str, written: str, expected: str) -> None:
    (phrase,) = phrases(f'<speak><say-as interpret-as="{kind}" format="{form}">{written}</say-as></speak>')
    assert phrase.text == expected


def test_say_as_and_sub_stay_in_their_sentence_and_know_their_characters() -> None:
    text = '<speak>Ask <sub alias="Doctor No">Dr No</sub> for <say-as interpret-as="digits">12</say-as>.</speak>'
    (phrase,) = phrases(text)
    assert [(word.read, text[word.start : word.end]) for word in phrase.words] == [
        ("Ask", "Ask"),
        ("Doctor", "Dr No"),
        ("No", "Dr No"),
        ("for", "for"),
        ("one", "12</say-as>."),
        ("two.", "12</say-as>."),
    ]


def test_entities_and_sections_are_text() -> None:
    text = "<speak>Tom &amp; Jerry <![CDATA[a < b]]> &#65;nn<!-- not said --></speak>"
    (phrase,) = phrases(text)
    assert phrase.text == "Tom and Jerry a less than b Ann"
    assert [text[word.start : word.end] for word in phrase.words][:3] == ["Tom", "&amp;", "Jerry"]


@pytest.mark.parametrize("space", ["&#32;", "&#160;", "&#10;", " &#32;"])
def test_references_to_white_space_are_white_space(space: str) -> None:
    words = [word for phrase in phrases(f"<speak>{space * 3}one{space * 3}two</speak>") for word in phrase.words]
    assert [word.read for word in words] == ["one", "two"]
    assert words[0].start == len("<speak>") + 3 * len(space)


def test_a_reference_to_the_reader_s_own_sign_is_not_that_sign() -> None:
    (phrase,) = phrases("<speak>one &#xE000; <sub alias='two'>2</sub></speak>")
    assert [word.read for word in phrase.words] == ["one", "two"]


def test_an_ampersand_in_a_section_is_one_character() -> None:
    (phrase,) = phrases("<speak><![CDATA[& one]]> two &lt; 3</speak>")
    assert [(word.read, word.start) for word in phrase.words][:3] == [("and", 16), ("one", 18), ("two", 25)]


def test_white_space_before_and_comments_are_not_kept() -> None:
    blank, comments = reader(Markup.SSML), reader(Markup.SSML)
    assert isinstance(blank, Ssml)
    assert isinstance(comments, Ssml)
    comments.feed("<speak>")
    for _ in range(100):
        blank.feed(" " * 1000)
        comments.feed("<!-- a comment -->" * 50)
    assert len(blank._opening or "") <= LONGEST_TAG
    assert len(comments._bytes) <= LONGEST_TAG


def test_a_declaration_and_a_namespace_mean_nothing() -> None:
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    head += '<speak version="1.1" xmlns="http://www.w3.org/2001/10/synthesis" xml:lang="en-GB">'
    text = head + "Hi</speak>"
    (phrase,) = phrases(text)
    assert [(word.start, word.end) for word in phrase.words] == [(len(head), len(head) + 2)]


@pytest.mark.parametrize(
    ("text", "kind", "named"),
    [
        ("<speak><voice name='x'>a</voice></speak>", UnsupportedParameter, "<voice>"),
        ("<speak><prosody pitch='high'>a</prosody></speak>", UnsupportedParameter, "pitch of <prosody>"),
        ("<speak><break tme='1s'/></speak>", UnsupportedParameter, "tme of <break>"),
        ("<speak xml:lang='de-DE'>a</speak>", UnsupportedParameter, "<speak>"),
        ("<speak><say-as interpret-as='expletive'>a</say-as></speak>", UnsupportedParameter, "<say-as>"),
        ("<speak><say-as interpret-as='date' format='q'>1</say-as></speak>", UnsupportedParameter, "<say-as>"),
        ("<speak><say-as interpret-as='cardinal'>ten</say-as></speak>", CallerError, "<say-as>"),
        ("<speak><say-as>a</say-as></speak>", CallerError, "<say-as>"),
        ("<speak><sub>a</sub></speak>", CallerError, "<sub>"),
        ("<speak><break time='soon'/></speak>", CallerError, "<break>"),
        ("<speak><break time='11s'/></speak>", CallerError, "10 seconds"),
        ("<speak><prosody rate='quick'>a</prosody></speak>", CallerError, "<prosody>"),
        ("<speak><prosody rate='900%'>a</prosody></speak>", CallerError, "<prosody>"),
        ("<speak><prosody rate='-100%'>a</prosody></speak>", CallerError, "<prosody>"),
        ("<speak><p>a</speak>", CallerError, "<p>"),
        ("<speak>a", CallerError, "<speak>"),
        ("<speak>a</speak", CallerError, "<speak>"),
        ("<speak>a &unknown; b</speak>", CallerError, "<speak>"),
        ("<speak>a < b</speak>", CallerError, "<speak>"),
        ("<p><speak>a</speak></p>", CallerError, "<speak>"),
        ("<speak><sub alias='x'><s>a</s></sub></speak>", CallerError, "<s>"),
        ("<!DOCTYPE speak [<!ENTITY a 'b'>]><speak>&a;</speak>", CallerError, "malformed"),
        ("a</_>b", CallerError, "malformed"),
        ("<speak>" + "<s>" * 40, TooLarge, "<s>"),
        ("<speak><break time='" + "1" * 20_000, TooLarge, "too long"),
        ("<speak><sub alias='a'>" + "b" * 2_000, TooLarge, "<sub>"),
        ("<speak><sub alias='" + "a" * 2_000 + "'>b</sub></speak>", TooLarge, "alias of <sub>"),
    ],
)
def test_what_is_not_honoured_is_refused_by_name(text: str, kind: type[CallerError], named: str) -> None:
    with pytest.raises(CallerError) as refused:
        phrases(text)
    assert type(refused.value) is kind
    assert named in refused.value.message
    assert "unknown" not in refused.value.message  # nothing of the caller's text is repeated


def test_after_a_flush_another_document_may_come() -> None:
    clauses = Clauses(Markup.SSML)
    assert [phrase.text for phrase in clauses.push("<speak>One</speak>") + clauses.flush()] == ["One"]
    (phrase,) = clauses.push("<speak>Two</speak>") + clauses.flush()
    assert [(word.read, word.start, word.end) for word in phrase.words] == [("Two", 25, 28)]


def test_plain_text_with_breaks() -> None:
    text = 'Wait <break time="1.5s" /> a < b <i>so</i> <break time="1s"> end <brea'
    assert heard(text, Markup.BREAKS) == [
        ("Wait", 1.0, 1500),
        ("a less than b so", 1.0, 1000),
        ("end less than brea", 1.0, 0),
    ]
    said = [word for phrase in phrases(text, Markup.BREAKS) for word in phrase.words]
    assert text[said[1].start : said[1].end] == "a"
    with pytest.raises(CallerError):
        phrases("<break time=1s/>", Markup.BREAKS)
    with pytest.raises(CallerError):
        phrases("<break time='99s'/>", Markup.BREAKS)


def test_tags_are_text_where_no_markup_was_asked_for() -> None:
    assert heard("a <break time='1s'/> b", Markup.NONE) == [("a b", 1.0, 0)]


def test_a_tag_that_comes_in_pieces_is_no_text() -> None:
    clauses = Clauses(Markup.BREAKS)
    said = [phrase for piece in ("One <br", "eak ti", 'me="1s"', "/", "> two") for phrase in clauses.push(piece)]
    assert [(phrase.text, phrase.pause_ms) for phrase in said] == [("One", 1000)]
