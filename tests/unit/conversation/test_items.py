"""A conversation's items: their order, what the model reads of them, and what of a reply was heard."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.conversation import items as module
from antiphon.conversation.items import Aloud, Items, input_ms, messages, shorten, shown
from antiphon.core.conversation.items import FIRST, AudioPart, CallItem, Known, MessageItem, ResultItem, TextPart
from antiphon.core.errors import CallerError, Conflict, NotFound, TooLarge
from antiphon.core.specs import Message, Role, ToolCall


@pytest.fixture
def items():
    return Items()


def typed(text, role=Role.USER, id=""):
    return MessageItem(role, (TextPart(text),), id)


def spoken(transcript, audio=b"", ms=0, id="", role=Role.USER):
    return MessageItem(role, (AudioPart(audio, transcript, ms),), id)


def ids(items):
    return [item.id for item in items]


def test_items_join_where_they_are_told(items):
    items.add(typed("x", id="x"))
    items.add(typed("y", id="y"), after="x")
    items.add(typed("w", id="w"), after=FIRST)
    items.add(typed("v", id="v"), after="x")
    assert ids(items) == ["w", "x", "v", "y"]
    assert [items.before(id) for id in ids(items)] == [FIRST, "w", "x", "v"]
    assert items.last == "y"
    items.remove("x")
    assert ids(items) == ["w", "v", "y"]


def test_whatever_was_changed_and_removed_there_is_room_for_as_many_characters(items, monkeypatch):
    monkeypatch.setattr(module, "MAX_CHARACTERS", 100)
    items.add(typed("a" * 100, id="a"))
    assert not items.full
    for text in ("b" * 60, "c" * 40):
        items.change(typed(text, id="a"))
    items.add(typed("d" * 60, id="d"))
    with pytest.raises(TooLarge):
        items.add(typed("e", id="e"))
    items.change(spoken("f" * 41, id="a"))
    assert items.full
    items.remove("a")
    items.change(typed("never", id="a"))
    items.add(CallItem("call", "name", "g" * 40, id="g"))
    with pytest.raises(TooLarge):
        items.add(typed("e", id="e"))


def test_what_cannot_join_changes_nothing(items):
    items.add(typed("x", id="x"))
    for item, after, error in (
        (typed("again", id="x"), None, Conflict),
        (typed("y"), "nowhere", NotFound),
        (ResultItem("c", "r"), None, CallerError),
        (typed("z" * (module.MAX_CHARACTERS + 1)), None, TooLarge),
    ):
        with pytest.raises(error):
            items.add(item, after)
    assert ids(items) == ["x"]
    for act in (items.get, items.remove):
        with pytest.raises(NotFound):
            act("y")


def test_the_oldest_audio_is_let_go(items, monkeypatch):
    monkeypatch.setattr(module, "MAX_AUDIO_BYTES", 10)
    for n in range(3):
        items.add(spoken(f"word {n}", bytes(4), 1, f"a{n}"))
    assert [len(item.parts[0].audio) for item in items] == [0, 4, 4]
    assert items.get("a0").parts[0].transcript == "word 0"
    items.remove("a1")
    items.add(spoken("more", bytes(6), 1, "more"))
    assert [len(item.parts[0].audio) for item in items] == [0, 4, 6]


def test_what_the_model_reads():
    call, other = CallItem("c1", "f", "{}"), CallItem("c2", "g", "{}")
    conversation = [
        typed("hello"),
        spoken(None),
        spoken("spoken", ms=100),
        call,
        other,
        typed("are you there?"),
        ResultItem("c1", "42"),
        ResultItem("c9", "orphan"),
        spoken("", role=Role.ASSISTANT),
    ]
    assert messages("Be kind.", conversation) == (
        Message(Role.SYSTEM, "Be kind."),
        Message(Role.USER, "hello"),
        Message(Role.USER, "spoken"),
        Message(Role.ASSISTANT, "", tool_calls=(ToolCall("c1", "f", "{}"),)),
        Message(Role.TOOL, "42", tool_call_id="c1"),
        Message(Role.USER, "are you there?"),
    )
    assert input_ms(conversation) == 100
    assert messages("", ()) == ()


def test_chosen_items_may_be_the_conversations(items):
    items.add(typed("a", id="a"))
    fresh = typed("b")
    assert items.resolve((fresh, Known("a"))) == (fresh, typed("a", id="a"))
    assert items.resolve(None) == (typed("a", id="a"),)
    with pytest.raises(NotFound):
        items.resolve((Known("z"),))


@given(st.lists(st.text(max_size=20), min_size=1, max_size=20), st.floats(0, 1))
def test_shortening_comes_to_an_end_and_keeps_the_newest(texts, retain):
    left = tuple(typed(text) for text in texts)
    while left:
        less = shorten(left, retain)
        assert len(less) < len(left)
        assert less == left[len(left) - len(less) :]
        left = less


def test_what_the_caller_said_is_shown_in_words_only_where_it_asked():
    item = spoken("secret", b"12", 5)
    assert shown(item, transcripts=False).parts == (AudioPart(b"", None, 5),)
    assert shown(item, transcripts=True).parts == (AudioPart(b"", "secret", 5),)
    reply = spoken("hi", b"12", 5, role=Role.ASSISTANT)
    assert shown(reply, transcripts=False).parts == (AudioPart(b"", "hi", 5),)


# -- what was heard ----------------------------------------------------------------------------------------------------

TEXT = "One two three. Four five, six!"
ALOUD = Aloud(TEXT, ((1000, 14), (2000, 30)), 2000)


@pytest.mark.parametrize(
    ("heard", "words"),
    [
        (0, ""),
        (150, ""),
        (300, "One"),
        (900, "One two"),
        (1000, "One two three."),
        (1500, "One two three. Four"),
        (1900, "One two three. Four five,"),
        (2000, TEXT),
    ],
)
def test_the_words_that_were_heard(heard, words):
    assert ALOUD.until(heard) == words


def test_of_what_was_not_spoken_nothing_was_heard():
    assert Aloud(TEXT, (), 0).until(0) == ""
    assert Aloud(TEXT, ((1000, 13),), 1000).until(1000) == "One two three."


@given(st.text(alphabet="ab .,\n", max_size=60), st.lists(st.integers(1, 500), max_size=6), st.data())
def test_more_hearing_is_never_fewer_words(text, steps, data):
    marks, ms, characters = [], 0, 0
    for step in steps:
        ms += step
        characters = data.draw(st.integers(characters, len(text)))
        marks.append((ms, characters))
    aloud = Aloud(text, tuple(marks), ms)
    heard = [aloud.until(at) for at in range(0, ms + 1, 7)]
    for less, more in pairwise(heard):
        assert more.startswith(less)
    assert all(text.startswith(words) for words in heard)


def test_a_reply_is_truncated_as_often_as_one_likes(items):
    reply = spoken(TEXT, ms=2000, id="r", role=Role.ASSISTANT)
    items.add(reply)
    with pytest.raises(CallerError):
        items.truncate(reply.id, 0, 10)  # nobody knows how it was said
    items.change(reply, ALOUD)
    assert items.truncate(reply.id, 0, 300).parts == (AudioPart(b"", "One", 300),)
    assert items.truncate(reply.id, 0, 1000).parts == (AudioPart(b"", "One two three.", 1000),)
    for part, ms in ((1, 10), (0, -1), (0, 2001)):
        with pytest.raises(CallerError):
            items.truncate(reply.id, part, ms)
    assert items.get(reply.id).parts[0].audio_ms == 1000
