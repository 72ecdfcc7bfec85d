"""Prompts as engines elsewhere get them, and the caller's own text back in answers, however these are cut."""

import asyncio
import json

import pytest

from antiphon.core.errors import EngineTimeout, InternalError, PolicyError, TooLarge
from antiphon.core.events import ChoiceEnded, FinishReason, ReasoningDelta, TextDelta, ToolCallDelta, ToolCallStarted
from antiphon.core.redaction import Entity, Redaction, Span, Substitution
from antiphon.core.specs import (
    EmbedSpec,
    Format,
    GenerateSpec,
    Image,
    InferSpec,
    Message,
    Role,
    Sampling,
    Shape,
    Tool,
    ToolCall,
)
from antiphon.trust.redaction import prompts as room
from antiphon.trust.redaction.filtering import Redactor
from antiphon.trust.redaction.prompts import Prompts
from antiphon.trust.redaction.restoring import Masking, Placeholders, Restoring

PHONES = Redaction(frozenset({Entity.PHONE, Entity.EMAIL}))
NUMBER, OTHER, MAIL = "415-555-0132", "650-555-0199", "ana@example.org"
STOP = ChoiceEnded(0, FinishReason.STOP)


class Names:
    """Finds one name, unless it is told to fail or to take for ever."""

    def __init__(self, error=None, waits=False):
        self.error = error
        self.waits = waits

    async def tag(self, texts):
        if self.waits:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return [(Span(at, at + 8, (Entity.NAME,)),) if (at := text.find("Zbigniew")) >= 0 else () for text in texts]


def asking(*said, **more):
    return GenerateSpec("m", tuple(Message(Role.USER, each) for each in said), **more)


async def hidden(spec, wanted=PHONES, **more):
    return await Prompts(wanted, None, **more).hide(spec)


# -- what an engine gets -----------------------------------------------------------------------------------------------


async def test_the_same_text_has_the_same_placeholder_in_all_messages():
    spec = await hidden(asking(f"Call {NUMBER} or {OTHER}.", f"Not {OTHER}, but (415) 555-0132, or {MAIL}."))
    assert [message.text for message in spec.prompt] == [
        "Call [PHONE_1] or [PHONE_2].",
        "Not [PHONE_2], but [PHONE_1], or [EMAIL_1].",
    ]
    assert await hidden(GenerateSpec("m", f"Call {NUMBER}")) == GenerateSpec("m", "Call [PHONE_1]")
    assert await hidden(EmbedSpec("m", (NUMBER, "nothing"))) == EmbedSpec("m", ("[PHONE_1]", "nothing"))


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("ana.lee@example.org", "analee@example.org", Entity.EMAIL),
        ("1/12/2024", "11/2/2024", Entity.DATE),
        ("11.1.1.1", "1.1.1.11", Entity.IP),
        ("https://example.org/a-b", "https://example.org/ab", Entity.URL),
        ("sk-abcdef0123456789abcdef", "sk-ABCDEF0123456789abcdef", Entity.PASSWORD),
    ],
)
async def test_texts_that_differ_in_signs_or_case_are_not_taken_for_each_other(one, other, kind):
    """Or a call of a tool would go to another address than the caller's."""
    prompts = Prompts(Redaction(frozenset({kind})), None, restores=True)
    spec = await prompts.hide(asking(f"from {one} to {other}"))
    name = kind.value.upper()
    assert spec.prompt[0].text == f"from [{name}_1] to [{name}_2]"
    assert prompts.texts == {f"[{name}_1]": one, f"[{name}_2]": other}


@pytest.mark.parametrize("before", [" ", "\n", "\n\n    "])
async def test_a_text_that_begins_with_blanks_stays_whole(before):
    """As instructions in code often do."""
    for after in ("You are kind.", f"Call {NUMBER}, or wait."):
        spec = await hidden(asking(f"{before}{after}"))
        assert spec.prompt[0].text == before + after.replace(NUMBER, "[PHONE_1]")
    blank = asking(before)
    assert await hidden(blank) == blank


async def test_names_that_are_content_are_hidden_in_results_but_not_in_schemas():
    answers = Message(Role.TOOL, json.dumps({MAIL: {"visits": 3}, "first_name": "x"}), tool_call_id="1")
    schema = json.dumps({"type": "object", "properties": {"phone_1_415_555_0132": {"type": "string"}}})
    spec = await hidden(GenerateSpec("m", (answers,), tools=(Tool("call", "", schema),)))
    assert json.loads(spec.prompt[0].text) == {"[EMAIL_1]": {"visits": 3}, "first_name": "x"}
    assert spec.tools[0].parameters == schema


async def test_words_of_a_schema_are_content_in_its_examples():
    schema = {"properties": {"default": {"type": "string", "maximum": 4155550132}}, "examples": [{"format": NUMBER}]}
    spec = await hidden(asking("hi", tools=(Tool("call", "", json.dumps(schema)),)))
    assert json.loads(spec.tools[0].parameters) == schema | {"examples": [{"format": "[PHONE_1]"}]}


async def test_nothing_is_left_in_tools_their_calls_and_schemas():
    tool = Tool("call", f"Calls {NUMBER}.", json.dumps({"properties": {"to": {"enum": [NUMBER], "maximum": 4000000}}}))
    calls = (ToolCall("1", "call", json.dumps({"phone_number": 4155550132, "note": "none"})),)
    said = (
        Message(Role.SYSTEM, f"Be kind to {MAIL}", name="Ana"),
        Message(Role.ASSISTANT, "", tool_calls=calls),
        Message(Role.TOOL, json.dumps({"phone": NUMBER}), name="call", tool_call_id="1"),
        Message(Role.USER, f"a {NUMBER}", parts=("a ", NUMBER)),
    )
    form = Format(Shape.SCHEMA, json.dumps({"description": f"of {MAIL}", "minimum": 100000}), description=MAIL)
    arguments = json.dumps({"mail": MAIL, "think": True})
    spec = await hidden(GenerateSpec("m", said, tools=(tool,), format=form, template_arguments=arguments))
    text = repr(spec)
    assert not any(each in text for each in (NUMBER, MAIL, "555", "Ana", "example"))
    assert json.loads(spec.tools[0].parameters)["properties"]["to"]["maximum"] == 4_000_000
    assert json.loads(spec.format.schema)["minimum"] == 100000
    assert json.loads(spec.prompt[1].tool_calls[0].arguments) == {"phone_number": "[PHONE_1]", "note": "none"}
    assert (spec.prompt[2].name, spec.prompt[2].tool_call_id) == ("call", "1")
    assert json.loads(spec.template_arguments) == {"mail": "[EMAIL_1]", "think": True}


async def test_without_a_redaction_of_answers_all_kinds_are_hidden():
    prompts = Prompts(None, Names())
    spec = await prompts.hide(asking("Ask Zbigniew about card 4111 1111 1111 1111"))
    assert spec.prompt[0].text == "Ask [NAME_1] about card [CARD_1]"
    with pytest.raises(PolicyError):
        await Prompts(None, None).hide(asking("hi"))


async def test_hashes_are_hashes_unless_they_are_put_back():
    wanted = Redaction(frozenset({Entity.PHONE}), Substitution.HASH)
    assert (await hidden(asking(NUMBER), wanted)).prompt[0].text == "####"
    assert (await hidden(asking(NUMBER), wanted, restores=True)).prompt[0].text == "[PHONE_1]"


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        (EmbedSpec("m", ((1, 2),)), PolicyError),
        (InferSpec("m", ()), PolicyError),
        (GenerateSpec("m", (Message(Role.USER, "", parts=(Image("data:,"),)),)), PolicyError),
        (asking("hi", sampling=Sampling(stop=(NUMBER,))), PolicyError),
        (asking("hi", sampling=Sampling(bad_words=(MAIL,))), PolicyError),
        (asking("hi", format=Format(Shape.REGEX, NUMBER)), PolicyError),
        (asking("a" * (room.MAX_CHARS + 1)), TooLarge),
    ],
)
async def test_what_cannot_be_searched_is_not_sent(spec, error):
    with pytest.raises(error):
        await hidden(spec)


async def test_a_model_that_fails_or_is_late_stops_the_call(monkeypatch, caplog):
    with pytest.raises(InternalError) as failed:
        await Prompts(None, Names(RuntimeError("Zbigniew"))).hide(asking("Zbigniew"))
    assert "Zbigniew" not in str(failed.value) + caplog.text
    with pytest.raises(PolicyError):
        await Prompts(None, Names(PolicyError("no"))).hide(asking("hi"))
    monkeypatch.setattr(room, "PROMPT_S", 0.01)
    with pytest.raises(EngineTimeout):
        await Prompts(None, Names(waits=True)).hide(asking("hi"))


async def test_a_long_prompt_is_searched_too():
    words = "one two three and so on; " * 1_000
    spec = await hidden(asking(words + NUMBER))
    assert spec.prompt[0].text == words + "[PHONE_1]"


# -- what comes back ---------------------------------------------------------------------------------------------------


async def chain(said, wanted=PHONES, whole=False):
    """The filters of a call whose prompt had that."""
    prompts = Prompts(wanted, None, restores=True)
    await prompts.hide(asking(said))
    placeholders = Placeholders(prompts.texts)
    shown = [Redactor(wanted, None, whole=whole)] if wanted else []
    return [prompts, Masking(placeholders), *shown, Restoring(placeholders, whole=whole)]


async def through(filters, events):
    out = []
    for event in events:
        batch = (event,)
        for each in filters:
            batch = await _settled(each.push(batch)) if batch else ()
        out += batch
    batch = ()
    for each in filters:
        batch = (await _settled(each.push(batch)) if batch else ()) + tuple(await _settled(each.finish()))
    return [*out, *batch]


async def _settled(given):
    return await given if hasattr(given, "__await__") else given


def text_of(events, kind=TextDelta):
    return "".join(
        getattr(event, "text", "") or getattr(event, "arguments", "") for event in events if type(event) is kind
    )


async def test_the_callers_own_text_comes_back_wherever_the_answer_is_cut():
    answer = f"[x] I will call [PHONE_1], not [PHONE_9] or {OTHER}; [EMAIL_1] [PHONE_1"
    wanted = f"[x] I will call {NUMBER}, not [PHONE_9] or [PHONE]; {MAIL} [PHONE_1"
    for first in range(1, len(answer)):
        for second in (first + 1, first + 5):
            filters = await chain(f"Write {MAIL}, call {NUMBER}")
            pieces = [answer[:first], answer[first:second], answer[second:]]
            deltas = [TextDelta(0, piece, 2) for piece in pieces]
            out = await through(
                filters, [ReasoningDelta(0, "so [PHO", 1), ReasoningDelta(0, "NE_1]", 1), *deltas, STOP]
            )
            assert text_of(out) == wanted
            assert text_of(out, ReasoningDelta) == f"so {NUMBER}"
            assert sum(event.tokens for event in out if isinstance(event, TextDelta | ReasoningDelta)) == 8
            assert out[-1] == STOP


async def test_one_character_at_a_time_and_without_redaction_of_answers():
    prompts = Prompts(PHONES, None, restores=True)
    await prompts.hide(asking(NUMBER))
    placeholders = Placeholders(prompts.texts)
    filters = [prompts, Masking(placeholders), Restoring(placeholders)]
    answer = f"[[PHONE_1]] or {OTHER} [PHONE_12345678]"
    out = await through(filters, [*(TextDelta(0, char, 1) for char in answer), STOP])
    assert text_of(out) == f"[{NUMBER}] or {OTHER} [PHONE_12345678]"


async def test_arguments_of_tools_and_answers_in_json_stay_json():
    secret = 'a "quoted" b'
    wanted = Redaction(words=(secret,))
    filters = await chain(f"the word is {secret}", wanted, whole=True)
    arguments = '{"to": "[CUSTOM_1]", "n": 1}'
    events = [
        *(TextDelta(0, piece, 1) for piece in ('{"a": "[CUS', 'TOM_1]"}')),
        ToolCallStarted(0, 0, "c", "f"),
        *(ToolCallDelta(0, 0, piece, 1) for piece in (arguments[:12], arguments[12:])),
        STOP,
    ]
    out = await through(filters, events)
    assert json.loads(text_of(out)) == {"a": secret}
    assert json.loads(text_of(out, ToolCallDelta)) == {"to": secret, "n": 1}
    assert [type(event) for event in out][-1] is ChoiceEnded


async def test_an_engine_cannot_ask_for_more_than_it_was_given():
    """Its own characters of the private plane stand for nothing."""
    filters = await chain(f"Call {NUMBER}")
    out = await through(filters, [TextDelta(0, f"{chr(0xF0000)}{chr(0xF0001)} [PHONE_2] [phone_1]", 1), STOP])
    assert text_of(out) == " [PHONE_2] [phone_1]"
