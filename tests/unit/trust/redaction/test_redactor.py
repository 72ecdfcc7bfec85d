"""The filter of one call: transcripts, text and calls of tools, whole and in pieces."""

import asyncio
import json
import re
from dataclasses import replace

import pytest

from antiphon.core.events import (
    Cause,
    ChoiceEnded,
    Final,
    FinishReason,
    Interim,
    ReasoningDelta,
    ScoredToken,
    SpeechStarted,
    TextDelta,
    Token,
    ToolCallDelta,
    ToolCallStarted,
    Transcript,
    Word,
)
from antiphon.core.redaction import ALL, Entity, Redaction, Span, Substitution
from antiphon.core.rewriting import Rewritten
from antiphon.trust.redaction import filtering, finding, texts
from antiphon.trust.redaction.filtering import LanguageUnknown, Redactor
from antiphon.trust.redaction.transcripts import Unfit
from redaction_sentences import PAUSE, calls

WANTED = Redaction(ALL)
NUMBERS = ALL - {Entity.NAME, Entity.PLACE, Entity.ADDRESS}
STOP = ChoiceEnded(0, FinishReason.STOP)


class Names:
    """Finds one name. It takes as long as its gate is shut."""

    def __init__(self, name="Zbigniew"):
        self.name = name
        self.asked = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def tag(self, texts):
        self.asked += texts
        await self.gate.wait()
        return [
            (Span(at, at + len(self.name), (Entity.NAME,)),) if (at := text.find(self.name)) >= 0 else ()
            for text in texts
        ]


def heard(text, timed=True, **more):
    words = tuple(Word(word, 100 * n, 100 * n + 90, 0.9) for n, word in enumerate(text.split())) if timed else ()
    return Transcript(text, 0.9, words, **more)


def interim(text, start_ms=0, end_ms=500, **more):
    return Interim(0, start_ms, end_ms, heard(text), **more)


def final(text, start_ms=0, **more):
    return Final(0, start_ms, start_ms + 2000, heard(text, **more), Cause.ENDPOINT)


async def one(redactor, event):
    (out,) = await redactor.push((event,))
    return out


async def text_of(redactor, *events):
    out = []
    for event in events:
        out += await redactor.push((event,))
    out += await redactor.finish()
    return "".join(event.text for event in out if isinstance(event, TextDelta)), out


# -- speech ------------------------------------------------------------------------------------------------------------


async def test_a_final_keeps_its_times():
    out = await one(Redactor(WANTED, None), final("Call 415-555-0132, please."))
    assert out.transcript.text == "Call [PHONE], please."
    assert out.transcript.words == (
        Word("Call", 0, 90, 0.9),
        Rewritten("[PHONE],", 100, 190, 0.9, "[PHONE]"),
        Word("please.", 200, 290, 0.9),
    )


async def test_several_words_become_one():
    out = await one(Redactor(WANTED, None), final("it is j o h n at gmail dot com thanks"))
    assert out.transcript.text == "it is [EMAIL] thanks"
    (word,) = [word for word in out.transcript.words if isinstance(word, Rewritten)]
    assert (word.text, word.start_ms, word.end_ms) == ("[EMAIL]", 200, 990)
    (told,) = out.transcript.entities
    assert (told.entity, told.text, told.start_ms, told.end_ms) == (Entity.EMAIL, "[EMAIL]", 200, 990)


async def test_what_is_identified_is_told_and_stays():
    wanted = Redaction(identified=frozenset({Entity.PHONE}))
    out = await one(Redactor(wanted, None), final("Call 415-555-0132 please."))
    assert out.transcript.text == "Call 415-555-0132 please."
    assert [(told.entity, told.text) for told in out.transcript.entities] == [(Entity.PHONE, "415-555-0132")]


async def test_what_is_found_has_its_place_in_the_text_that_is_told():
    wanted = Redaction(frozenset({Entity.PHONE}), identified=frozenset({Entity.EMAIL}), brackets="{}", numbered=True)
    (out,) = await Redactor(wanted, None).push(
        (final("Call 415-555-0132, or write to ana@example.org, or 415-555-0132."),)
    )
    text = out.transcript.text
    assert text == "Call {PHONE_1}, or write to ana@example.org, or {PHONE_1}."
    assert [text[each.place : each.place + len(each.text)] for each in out.transcript.entities] == [
        "{PHONE_1}",
        "ana@example.org",
        "{PHONE_1}",
    ]
    assert [each.hidden for each in out.transcript.entities] == [True, False, True]


async def test_tokens_are_left_out():
    redactor = Redactor(WANTED, None)
    for text in ("nothing here", "Call 415-555-0132."):
        out = await one(redactor, final(text, tokens=(Token("x", -1.0, 1),)))
        assert out.transcript.tokens == ()


async def test_a_number_over_two_utterances():
    redactor = Redactor(WANTED, None)
    first = await one(redactor, final("My social is five three six twenty two"))
    second = await one(redactor, final("eighty seven fourteen, and that is all.", 3000))
    assert first.transcript.text == "My social is [NATIONAL_ID]"
    assert second.transcript.text == "[NATIONAL_ID], and that is all."


async def test_an_address_of_mail_over_two_utterances():
    redactor = Redactor(WANTED, None)
    first = await one(redactor, final("write to j o h n at"))
    second = await one(redactor, final("gmail dot com", 3000))
    assert "j o" not in first.transcript.text
    assert "gmail" not in second.transcript.text


@pytest.mark.parametrize("cut", range(3, 9))
async def test_an_address_of_mail_with_a_pause_at_any_word(cut):
    said = ["write", "to", "maria", "dot", "santos", "at", "example", "dot", "org", "please"]
    redactor = Redactor(WANTED, None)
    first = await one(redactor, final(" ".join(said[:cut])))
    second = await one(redactor, final(" ".join(said[cut:]), 3000))
    shown = f"{first.transcript.text} {second.transcript.text}".split()
    assert not {"santos", "example", "org"} & set(shown)
    assert shown[:2] == ["write", "to"]
    assert shown[-1] == "please"


async def test_a_number_with_a_pause_after_each_digit():
    redactor = Redactor(WANTED, None)
    assert (await one(redactor, final("My pin is"))).transcript.text == "My pin is"
    for n, digit in enumerate(("eight", "two", "eight", "four")):
        shown = await one(redactor, final(digit, 3000 + 2500 * n))
        assert shown.transcript.text == "[PIN]"


async def test_after_a_long_pause_an_utterance_stands_alone():
    redactor = Redactor(WANTED, None)
    await one(redactor, final("My card is"))
    assert (await one(redactor, final("nine", 60_000))).transcript.text == "nine"


async def test_channels_are_judged_by_themselves():
    redactor = Redactor(WANTED, None)
    await one(redactor, final("My social is five three six"))
    other = Final(1, 2000, 3000, heard("nine to five"), Cause.ENDPOINT)
    assert (await one(redactor, other)).transcript.text == "nine to five"


@pytest.mark.parametrize("cut", range(1, 17))
async def test_an_interim_shows_nothing_of_a_number_that_grows(cut):
    """However much of it is heard so far."""
    said = ["so", "the", "number", "is", "four", *["one"] * 15]
    text = " ".join(said[: 3 + cut])
    out = await one(Redactor(WANTED, None), interim(text))
    assert out.transcript.text.startswith("so the number")
    assert "one" not in out.transcript.text
    assert "four" not in out.transcript.text
    assert all(word.text in out.transcript.text for word in out.transcript.words)


@pytest.mark.parametrize("link", ["as in", "like in", "for", "like"])
@pytest.mark.parametrize("heard", range(3, 12))
async def test_an_interim_shows_nothing_of_letters_that_words_spell(heard, link):
    said = f"it is j {link} juliet o {link} oscar h n {link} november at gmail dot com"
    text = " ".join(said.split()[:heard])
    shown = (await one(Redactor(WANTED, None), interim(text))).transcript.text
    assert shown.startswith("it is")
    assert not any(word in shown.split() for word in ("j", "juliet", "o", "oscar", "h", "november"))


@pytest.mark.parametrize("heard", range(4, 12))
@pytest.mark.parametrize(
    "address",
    [
        "jens underscore olafsen at example dot no",
        "maria dot santos at marlow clinic dot org",
        "w w w dot marlow clinic dot com slash forms",
        "alpha bravo seven seven charlie",
    ],
)
async def test_an_interim_shows_nothing_of_an_address_that_grows(address, heard):
    """But for a word that nothing has joined to another yet."""
    text = " ".join(f"it is {address}".split()[:heard])
    shown = (await one(Redactor(WANTED, None), interim(text))).transcript.text
    assert shown.startswith("it is")
    assert not set(shown.split()) & set(address.split())


@pytest.mark.parametrize(
    ("heard", "shown"),
    [
        ("we meet at forty two orchard", "we meet at"),
        ("we meet at forty two orchard hill", "we meet at"),
        ("we waited forty two minutes", "we waited forty two minutes"),
        ("we met forty two people", "we met forty two people"),
        ("all of the forty two and more", "all of the forty two and more"),
        ("it is GB82 WEST", "it is"),
        ("it is MT84 MALT 0110 0001 2345 MTLC", "it is"),
        ("go to ab12 and thousands", "go to ab12 and thousands"),
    ],
)
async def test_an_interim_shows_nothing_of_a_street_or_an_iban_that_grows(heard, shown):
    assert (await one(Redactor(WANTED, None), interim(heard))).transcript.text == shown


async def test_what_an_interim_withholds_comes_with_the_word_behind_it():
    redactor = Redactor(WANTED, None)
    assert (await one(redactor, interim("we were four"))).transcript.text == "we were"
    assert (await one(redactor, interim("we were four people"))).transcript.text == "we were four people"
    assert (await one(redactor, final("we were four"))).transcript.text == "we were four"


async def test_stable_words_are_counted_as_they_are_shown():
    out = await one(Redactor(WANTED, None), interim("call 415 555 0132 now please", stable_words=5))
    assert out.transcript.text == "call [PHONE] now please"
    assert out.stable_words == 3


async def test_labels_of_a_vendor_are_numbered_and_the_same_text_has_the_same():
    wanted = Redaction(ALL, labels=((Entity.PHONE, "PHONE_NUMBER"),), numbered=True)
    redactor = Redactor(wanted, None)
    await one(redactor, interim("call 415-555-0132 or 212-555-0187 and then wait"))
    out = await one(redactor, final("call 212-555-0187 or 415-555-0132 or (212) 555 0187"))
    assert out.transcript.text == "call [PHONE_NUMBER_1] or [PHONE_NUMBER_2] or [PHONE_NUMBER_1]"


async def test_a_hash_says_nothing_of_what_it_was():
    wanted = Redaction(ALL, Substitution.HASH)
    out = await one(Redactor(wanted, None), final("call 415-555-0132 or a@b.example.com"))
    assert out.transcript.text == "call #### or ####"


async def test_words_that_are_not_of_their_text_end_the_call():
    event = Final(0, 0, 1, Transcript("call 415-555-0132", 0.9, (Word("other", 0, 1, 0.9),)), Cause.END)
    with pytest.raises(Unfit):
        await one(Redactor(WANTED, None), event)


async def test_an_interim_in_another_language_shows_nothing_new():
    redactor = Redactor(WANTED, None)
    first = replace(interim("so good"), transcript=heard("so good", language="en"))
    assert (await one(redactor, first)).transcript.text == "so good"
    said = "mi tarjeta es uno dos tres cuatro cinco"
    other = replace(interim(said, stable_words=3), transcript=heard(said, language="es"))
    out = await one(redactor, other)
    assert (out.transcript.text, out.stable_words) == ("so good", 0)
    assert (await one(Redactor(WANTED, None), other)).transcript.text == ""
    assert (await one(Redactor(WANTED, None, translated=True), other)).transcript.text.startswith("mi tarjeta")


async def test_another_language_ends_the_call():
    with pytest.raises(LanguageUnknown):
        await one(Redactor(WANTED, None), final("guten Tag", language="de"))
    assert await one(Redactor(WANTED, None, translated=True), final("good day", language="de"))
    assert await one(Redactor(WANTED, None), final("good day", language="en-GB"))


async def test_everything_else_passes():
    started = SpeechStarted(0, 5)
    assert await Redactor(WANTED, None).push((started,)) == (started,)


# -- the model ---------------------------------------------------------------------------------------------------------


async def test_a_model_finds_names():
    redactor = Redactor(WANTED, Names())
    assert (await one(redactor, final("so Zbigniew came"))).transcript.text == "so [NAME] came"


async def test_an_interim_that_is_not_judged_in_time_shows_nothing_new(monkeypatch):
    monkeypatch.setattr(filtering, "INTERIM_S", 0.01)
    names = Names()
    redactor = Redactor(WANTED, names)
    assert (await one(redactor, interim("then came"))).transcript.text == "then came"
    names.gate.clear()
    late = await one(redactor, interim("then came Zbigniew", end_ms=5000))
    assert late.transcript.text == "then came"
    names.gate.set()
    next_one = await one(redactor, interim("then came Zbigniew in", end_ms=5200))
    assert next_one.transcript.text == "then came [NAME] in"


async def test_a_model_is_asked_about_the_fewer_interims_the_longer_it_takes(monkeypatch):
    now_s = 0.0

    class Slow(Names):
        async def tag(self, texts):
            nonlocal now_s
            now_s += 0.05  # a twentieth of a second
            return await super().tag(texts)

    monkeypatch.setattr(filtering, "monotonic", lambda: now_s)
    names = Slow()
    redactor = Redactor(WANTED, names)
    shown = [
        (await one(redactor, interim(f"then {'he' * n}", end_ms=200 * n))).transcript.text for n in (1, 2, 3, 4, 5, 6)
    ]
    assert len(names.asked) == 2
    assert shown == ["then he"] * 5 + ["then hehehehehehe"]
    paused = await one(redactor, interim("then Zbigniew", end_ms=1300, paused=True))
    assert paused.transcript.text == "then [NAME]"


@pytest.mark.parametrize("said", ["And?", "Yeah.", "Right, and?", "You.", "So, yes."])
async def test_an_interim_shows_words_that_would_join_what_is_not_there(said):
    assert (await one(Redactor(WANTED, Names()), interim(said))).transcript.text == said


@pytest.mark.parametrize("more", ["", " home"])
async def test_a_model_reads_no_text_twice(more):
    names = Names()
    redactor = Redactor(WANTED, names)
    said = "so Zbigniew came"
    for event in (interim(said, paused=True), interim(said, end_ms=600), final(said + more)):
        assert (await one(redactor, event)).transcript.text == event.transcript.text.replace("Zbigniew", "[NAME]")
    assert names.asked == [said, *([said + more] if more else [])]


async def test_a_model_that_is_late_or_fails_ends_the_call(monkeypatch):
    monkeypatch.setattr(filtering, "FINAL_S", 0.01)
    names = Names()
    names.gate.clear()
    with pytest.raises(TimeoutError):
        await one(Redactor(WANTED, names), final("so Zbigniew came"))


@pytest.mark.parametrize("said", ["Nightingale", "Night\u200bingale", "\uff2eightingale"])
async def test_words_of_a_project_are_found_behind_signs_that_nobody_sees(said):
    wanted = Redaction(frozenset(), words=("Nightingale",))
    assert (await one(Redactor(wanted, None), final(f"about {said} then"))).transcript.text == "about [CUSTOM] then"


async def test_a_pattern_that_takes_long_ends_the_call():
    redactor = Redactor(Redaction(frozenset(), patterns=("(a|aa)+b", "[0-9]+")), None)
    assert (await one(redactor, final("so 42 aab"))).transcript.text == "so [CUSTOM] [CUSTOM]"
    with pytest.raises(TimeoutError):
        await one(redactor, final("a" * 200))


async def test_a_pattern_has_no_less_time_where_other_threads_take_much(monkeypatch):
    class Pattern:
        """A pattern for whose search others take ten times as long in all as it has."""

        def finditer(self, text, timeout):
            if timeout < 10 * finding.PATTERN_S:
                raise TimeoutError
            return re.finditer("[0-9]+", text)

    monkeypatch.setattr(finding, "_compiled", lambda words, patterns: (Pattern(),))
    redactor = Redactor(Redaction(frozenset(), patterns=("[0-9]+",)), None)
    assert (await one(redactor, final("so 42"))).transcript.text == "so [CUSTOM]"


# -- text --------------------------------------------------------------------------------------------------------------


async def test_the_beginning_of_a_word_ends_no_number():
    """ "th" of "then" would make a quantity of the number before it."""
    said = "it is four five three nine then one four double eight then oh three four three then six four six seven"
    text, _ = await text_of(Redactor(WANTED, None), *(TextDelta(0, char, 1) for char in said), STOP)
    assert text == "it is [CARD]"


async def test_a_long_row_of_numbers_is_searched_now_and_then(monkeypatch):
    """A model that counts: all of it may be one number, and is held."""
    searches, find = [], texts.find
    monkeypatch.setattr(texts, "find", lambda text, *given, **more: searches.append(text) or find(text, *given, **more))
    redactor = Redactor(WANTED, None)
    said = [f"{number} " for number in range(600)]
    text, _ = await text_of(redactor, *(TextDelta(0, word, 1) for word in said), STOP)
    assert len(text) < len("".join(said))
    assert len(searches) < 30


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 500])
@pytest.mark.parametrize("tagger", [None, Names("Vorbulan")])
async def test_text_in_pieces_of_any_size(size, tagger):
    said = (
        "Certainly. Your number is 415-555-0132, your card is four one one one one one one one one one one one one one "
        "one one, and I shall write to maria dot santos at example dot org on Monday. Anything else? Ask Vorbulan."
    )
    pieces = [TextDelta(0, said[at : at + size], 1) for at in range(0, len(said), size)]
    text, out = await text_of(Redactor(WANTED, tagger), *pieces, STOP)
    named = "[NAME]" if tagger else "Vorbulan"
    assert text == (
        "Certainly. Your number is [PHONE], your card is [CARD], and I shall write to [EMAIL] on Monday. "
        f"Anything else? Ask {named}."
    )
    assert sum(event.tokens for event in out if isinstance(event, TextDelta)) == len(pieces)
    assert out[-1] == STOP


async def test_text_does_not_wait_for_its_end():
    redactor = Redactor(WANTED, None)
    out = []
    for word in ["one", "thing", "that", "I", "can", "say", "is", "that", *["it", "goes", "on", "and"] * 3]:
        out += await redactor.push((TextDelta(0, f"{word} ", 1),))
    assert len(out) > 5


async def test_a_text_without_a_space_is_bounded():
    redactor = Redactor(WANTED, None)
    out = []
    for _ in range(100):
        out += await redactor.push((TextDelta(0, "語" * 100, 1),))
    assert sum(len(event.text) for event in out) > 4000


async def test_log_probabilities_of_tokens_do_not_pass():
    text, out = await text_of(Redactor(WANTED, None), TextDelta(0, "hi there", 1, (ScoredToken("hi", -1.0),)), STOP)
    assert text == "hi there"
    assert all(not event.scored for event in out if isinstance(event, TextDelta))


async def test_choices_and_thoughts_are_judged_by_themselves():
    redactor = Redactor(WANTED, None)
    out = await redactor.push(
        (
            ReasoningDelta(0, "the card is 4111 1111", 1),
            TextDelta(1, "My ", 1),
            ReasoningDelta(0, " 1111 1111 then", 1),
            TextDelta(0, "Done", 1),
            STOP,
        )
    )
    thought = "".join(event.text for event in out if isinstance(event, ReasoningDelta))
    assert thought == "the card is [CARD] then"
    assert [type(event) for event in out][-2:] == [TextDelta, ChoiceEnded]
    assert [event.choice for event in await redactor.finish()] == [1]


async def test_the_arguments_of_a_tool_stay_json():
    arguments = json.dumps(
        {"phoneNumber": 4155550132, "pin": "2840", "count": 3, "note": "a@b.example.com", "list": [1.5]}
    )
    pieces = [ToolCallDelta(0, 0, arguments[at : at + 7], 1) for at in range(0, len(arguments), 7)]
    redactor = Redactor(WANTED, None)
    out = await redactor.push((ToolCallStarted(0, 0, "call", "ring"), *pieces, ToolCallStarted(0, 1, "next", "ring")))
    assert [type(event) for event in out] == [ToolCallStarted, ToolCallDelta, ToolCallStarted]
    assert json.loads(out[1].arguments) == {
        "phoneNumber": "[PHONE]",
        "pin": "[PIN]",
        "count": 3,
        "note": "[EMAIL]",
        "list": [1.5],
    }
    assert out[1].tokens == len(pieces)


async def test_arguments_with_nothing_to_hide_are_as_they_were_written():
    written = '{ "count":3,  "note": "caf\\u00e9" }'
    out = await Redactor(WANTED, None).push((ToolCallDelta(0, 0, written, 4), STOP))
    assert out[0] == ToolCallDelta(0, 0, written, 4)


async def test_a_name_that_occurs_twice_hides_nothing():
    """Readers of JSON differ in which of its values they take."""
    written = '{"a": "call 415-555-0132", "b": 1, "a": "call nobody"}'
    out = await Redactor(WANTED, None).push((ToolCallDelta(0, 0, written, 4), STOP))
    assert out[0].arguments == '{"a": "call [PHONE]", "b": 1, "a": "call nobody"}'


async def test_names_in_arguments_are_judged_too():
    written = '{"people": {"ana@example.org": [true, null]}, "price": 1.10, "ratio": NaN}'
    out = await Redactor(WANTED, None).push((ToolCallDelta(0, 0, written, 4), STOP))
    assert out[0].arguments == '{"people": {"[EMAIL]": [true, null]}, "price": 1.10, "ratio": NaN}'


async def test_a_model_does_not_make_somebody_of_an_identifier():
    written = '["args", {"args": 1}]'
    out = await Redactor(WANTED, Names("args")).push((ToolCallDelta(0, 0, written, 4), STOP))
    assert out[0].arguments == '["[NAME]", {"args": 1}]'
    out = await Redactor(WANTED, Names()).push((ToolCallDelta(0, 0, '{"Zbigniew": 1}', 4), STOP))
    assert out[0].arguments == '{"[NAME]": 1}'


@pytest.mark.parametrize("deep", [64, 65, 2_000])
async def test_arguments_of_any_depth_are_judged(deep):
    written = '{"a": ' * deep + '"call 415-555-0132"' + "}" * deep
    out = await Redactor(WANTED, None).push((ToolCallDelta(0, 0, written, 4), STOP))
    assert out[0].arguments == written.replace("415-555-0132", "[PHONE]")


async def test_arguments_that_are_no_json_are_judged_as_text():
    out = await Redactor(WANTED, None).push((ToolCallDelta(0, 0, '{"a": "call 415-555-0132', 4), STOP))
    assert out[0].arguments == '{"a": "call [PHONE]'


async def test_an_answer_that_is_json_stays_json():
    redactor = Redactor(WANTED, None, whole=True)
    text, _ = await text_of(redactor, TextDelta(0, '{"card": 41111111', 1), TextDelta(0, "11111111}", 1), STOP)
    assert json.loads(text) == {"card": "[CARD]"}


async def test_others_go_on_while_a_long_document_is_searched():
    turns, document = 0, json.dumps({"list": ["call 415-555-0132"] + [f"ABCD{n} and more" for n in range(1000)]})

    async def go_on():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(go_on())
    out = await Redactor(WANTED, None).push((ToolCallDelta(0, 0, document, 4), STOP))
    beside.cancel()
    assert "415" not in out[0].arguments
    assert turns > 5


async def test_arguments_are_bounded(monkeypatch):
    monkeypatch.setattr(filtering, "MAX_DOCUMENT_CHARS", 10)
    with pytest.raises(ValueError, match="long"):
        await Redactor(WANTED, None).push((ToolCallDelta(0, 0, '{"a": "0123456789"}', 4),))


@pytest.mark.parametrize(
    "cut", ["5591, 8695, double", "5591, 8695,", "five five nine one, eight six nine five, triple"]
)
async def test_an_utterance_that_ends_within_a_number(cut):
    """Before the digit that is doubled."""
    out = await one(Redactor(WANTED, None), final(f"Okay, it's {cut}"))
    assert not any(digit in out.transcript.text for digit in ("5591", "8695", "five", "eight"))


async def test_what_is_said_with_pauses():
    """Some utterances begin a number before anything says so."""
    shown = every = 0
    for sentence in calls(paused=True):
        redactor, hidden = Redactor(WANTED, None), [said for kind, said in sentence.hidden if kind != "PERSON"]
        for at, said in enumerate(sentence.text.split(PAUSE)):
            text = (await one(redactor, final(said, 4000 * at))).transcript.text
            secrets = [secret for secret in hidden if secret in said]
            every += len(secrets)
            shown += sum(secret in text for secret in secrets)
    assert every > 80
    assert shown <= 0.03 * every
