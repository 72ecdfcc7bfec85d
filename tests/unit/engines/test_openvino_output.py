"""Tokens to events: stop texts, calls, broken characters, and each token counted once."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.events import ChoiceEnded, FinishReason, Generated, TextDelta, ToolCallDelta, ToolCallStarted
from antiphon.core.specs import GenerateSpec, Message, Role, Sampling, Tool, ToolChoice, ToolMode
from antiphon.engines.openvino.messages import LENGTH, STOP, Chunk
from antiphon.engines.openvino.output import MAX_CALLS, Choice, Held

WEATHER = Tool("weather", parameters='{"type": "object"}')
TIME = Tool("time", parameters='{"type": "object"}')


def said(
    pieces: Sequence[str | bytes],
    *,
    end: str = STOP,
    stop: tuple[str, ...] = (),
    tools: Sequence[Tool] = (),
    logprobs: Sequence[float] | None = None,
    at_once: bool = False,
) -> tuple[list[Generated], Choice]:
    """The events of a choice whose tokens are these, one a chunk, or all in one."""
    vocabulary = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
    spec = GenerateSpec("m", "", sampling=Sampling(stop=stop, logprobs=logprobs is not None))
    choice = Choice(3, spec, tools, vocabulary)
    groups = [list(range(len(pieces)))] if at_once else [[n] for n in range(len(pieces))]
    events: list[Generated] = []
    for group in groups:
        last = group[-1] == len(pieces) - 1
        scores = [logprobs[n] for n in group] if logprobs is not None else None
        events += choice.take(Chunk(7, 3, group, scores, end if last else ""))
        if choice.ended:
            break
    return events, choice


def text(events: Sequence[Generated]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def counted(events: Sequence[Generated]) -> int:
    return sum(event.tokens for event in events if isinstance(event, TextDelta | ToolCallDelta))


def reason(events: Sequence[Generated]) -> FinishReason:
    last = events[-1]
    assert isinstance(last, ChoiceEnded)
    assert sum(isinstance(event, ChoiceEnded) for event in events) == 1
    return last.reason


def test_each_token_is_a_delta_and_the_token_that_ends_is_counted_too() -> None:
    events, choice = said(["Hel", "lo", ""])
    assert events == [
        TextDelta(3, "Hel", 1),
        TextDelta(3, "lo", 1),
        TextDelta(3, "", 1),
        ChoiceEnded(3, FinishReason.STOP),
    ]
    assert choice.tokens == 3


def test_a_bound_on_tokens_ends_it_for_its_length() -> None:
    events, _ = said(["a", "b"], end=LENGTH)
    assert reason(events) is FinishReason.LENGTH


def test_a_character_of_several_tokens_waits_for_its_last_byte() -> None:
    smile = "😀".encode()
    events, _ = said([smile[:1], smile[1:3], smile[3:] + b"!"])
    assert events[0] == TextDelta(3, "😀!", 3)


def test_a_character_that_is_cut_off_is_not_made_up() -> None:
    events, choice = said(["a", "😀".encode()[:2]], end=LENGTH)
    assert text(events) == "a"
    assert counted(events) == choice.tokens == 2


def test_a_stop_text_and_what_follows_are_not_given_out() -> None:
    events, choice = said(["one ", "two", " three"], stop=("two",))
    assert text(events) == "one "
    assert choice.stopped
    assert choice.tokens == counted(events) == 2
    assert reason(events) is FinishReason.STOP


def test_a_stop_text_may_straddle_tokens() -> None:
    events, _ = said(["a E", "N", "D b"], stop=("END",))
    assert text(events) == "a "


def test_text_that_only_began_like_a_stop_text_comes_out() -> None:
    events, choice = said(["a E", "N", "T b", "\n"], stop=("END", "\n\n"))
    assert text(events) == "a ENT b\n"
    assert not choice.stopped


def test_the_first_of_several_stop_texts_counts() -> None:
    events, _ = said(["abcdef"], stop=("ef", "cd"))
    assert text(events) == "ab"


def test_tokens_after_a_stop_text_in_the_same_step_are_not_counted() -> None:
    _, choice = said(["one", "STOP", "more", "more"], stop=("STOP",), at_once=True)
    assert choice.tokens == 2


def test_scores_have_the_bytes_of_parts_of_characters() -> None:
    events, _ = said([b"\xf0\x9f\x98", b"\x80"], logprobs=[-0.5, -1.5])
    (delta,) = [event for event in events if isinstance(event, TextDelta) and event.text]
    assert delta.text == "\U0001f600"
    assert [(score.text, score.raw) for score in delta.scored] == [("\ufffd", b"\xf0\x9f\x98"), ("\ufffd", b"\x80")]


def test_scores_go_with_the_text_of_their_tokens() -> None:
    events, _ = said(["a", "b"], logprobs=[-0.5, -1.5])
    first, second = events[0], events[1]
    assert isinstance(first, TextDelta)
    assert isinstance(second, TextDelta)
    assert [(score.text, score.logprob) for score in first.scored + second.scored] == [("a", -0.5), ("b", -1.5)]


# -- calls -------------------------------------------------------------------------------------------------------------

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris", "n": {"a": 1}}}\n</tool_call>'


def calls(events: Sequence[Generated]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for event in events:
        if isinstance(event, ToolCallStarted):
            assert event.index == len(found)
            assert event.id.startswith("call_")
            found.append((event.name, ""))
        elif isinstance(event, ToolCallDelta):
            found[event.index] = (found[event.index][0], found[event.index][1] + event.arguments)
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_call_is_found_however_it_is_cut(size: int) -> None:
    pieces = [CALL[at : at + size] for at in range(0, len(CALL), size)]
    events, choice = said(pieces, tools=[TIME, WEATHER])
    assert calls(events) == [("weather", '{"city": "Paris", "n": {"a": 1}}')]
    assert text(events) == ""
    assert counted(events) == choice.tokens == len(pieces)
    assert reason(events) is FinishReason.TOOL_CALLS


def test_several_calls_and_the_text_before_them() -> None:
    second = CALL.replace("weather", "time").replace("Paris", "Rome")
    events, _ = said(["Let me see. ", CALL, "\n", second], tools=[TIME, WEATHER])
    assert text(events) == "Let me see. "
    assert [name for name, _ in calls(events)] == ["weather", "time"]
    assert "Rome" in calls(events)[1][1]


def test_a_call_that_is_cut_off_is_no_finished_call() -> None:
    events, choice = said([CALL[:-30]], tools=[WEATHER], end=LENGTH)
    assert reason(events) is FinishReason.LENGTH
    assert len(calls(events)) == 1
    assert counted(events) == choice.tokens


def test_text_that_only_begins_like_a_call_comes_out() -> None:
    events, _ = said(["1 <tool", "box>", " <"], tools=[WEATHER])
    assert text(events) == "1 <toolbox> <"
    assert reason(events) is FinishReason.STOP


def test_a_stop_text_inside_arguments_is_an_argument() -> None:
    events, choice = said(list(CALL), tools=[WEATHER], stop=("Paris",))
    assert calls(events) == [("weather", '{"city": "Paris", "n": {"a": 1}}')]
    assert not choice.stopped


# -- whatever the cuts -------------------------------------------------------------------------------------------------


@given(
    st.text("ab\n", max_size=30), st.lists(st.text("ab\n", min_size=1, max_size=4), min_size=1, max_size=3), st.data()
)
def test_stop_texts_are_found_as_in_the_whole_text(whole: str, stops: list[str], data: st.DataObject) -> None:
    pieces, rest = [], whole
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        pieces.append(rest[:size])
        rest = rest[size:]
    held, out, found = Held(stops), "", False
    for piece in pieces:
        before, found, _ = held.feed(piece)
        out += before
        if found:
            break
    if not found:
        out += held.rest()
    ends = [whole.find(stop) + len(stop) for stop in stops if stop in whole]
    assert found == bool(ends)
    if not found:
        assert out == whole
    else:
        assert whole.startswith(out)
        assert not any(stop in out for stop in stops)
        assert any(whole[len(out) :].startswith(stop) for stop in stops)


@given(st.binary(max_size=40), st.data())
def test_every_token_is_counted_once(whole: bytes, data: st.DataObject) -> None:
    pieces, rest = [b""], whole
    while rest:
        size = data.draw(st.integers(0, len(rest)))
        pieces.append(rest[:size])
        rest = rest[max(size, 1) :]
    events, choice = said(pieces, stop=("\x00",))
    assert counted(events) == choice.tokens


def call(arguments: str, name: str = "weather") -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_a_call_that_is_repeated_is_the_end(size: int) -> None:
    whole = "\n".join([call('{"city": "Paris"}')] * 5)
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    events, choice = said(pieces, tools=[WEATHER], end=LENGTH)
    assert calls(events) == [("weather", '{"city": "Paris"}')]
    assert reason(events) is FinishReason.TOOL_CALLS
    assert choice.stopped
    assert counted(events) == choice.tokens
    assert text(events) == ""


def test_white_space_makes_no_other_call_but_a_value_does() -> None:
    whole = [call('{"city": "New York"}'), call('{"city":\n  "New York"}')]
    assert len(calls(said(["\n".join(whole)], tools=[WEATHER])[0])) == 1
    whole = [call('{"city": "New York"}'), call('{"city": "NewYork"}'), call('{"city": "N\\" {"}'), call("{}", "time")]
    events, _ = said(list("\n".join(whole)), tools=[WEATHER, TIME])
    arguments = ['{"city": "New York"}', '{"city": "NewYork"}', '{"city": "N\\" {"}', "{}"]
    assert [each for _, each in calls(events)] == arguments


def test_a_call_may_begin_or_end_like_an_earlier_one() -> None:
    whole = [call('{"n": 12}'), call('{"n": 1}'), call('{"n": 123}'), call('{"n": 12}'), call('{"n": 7}')]
    events, _ = said(list("\n".join(whole)), tools=[WEATHER])
    assert [arguments for _, arguments in calls(events)] == ['{"n": 12}', '{"n": 1}', '{"n": 123}']
    assert reason(events) is FinishReason.TOOL_CALLS


def test_calls_without_end_are_ended() -> None:
    whole = "\n".join(call(f'{{"n": {n}}}') for n in range(MAX_CALLS + 9))
    events, choice = said([whole], tools=[WEATHER], end=LENGTH)
    assert len(calls(events)) == MAX_CALLS
    assert choice.stopped
    assert reason(events) is FinishReason.TOOL_CALLS


def test_a_call_that_is_cut_off_anywhere_is_no_text() -> None:
    whole = "Let me see. " + call('{"city": "Paris"}')
    for length in range(len(whole)):
        events, _ = said([*list(whole[:length]), ""], tools=[WEATHER], end=LENGTH)
        assert text(events) in ("Let me see. "[:length], "Let me see. ")
        assert reason(events) is FinishReason.LENGTH


def test_a_repeat_that_is_cut_off_is_not_told() -> None:
    whole = call('{"city": "Paris"}')
    events, _ = said([whole, "\n", whole[:-20]], tools=[WEATHER], end=LENGTH)
    assert calls(events) == [("weather", '{"city": "Paris"}')]
    assert reason(events) is FinishReason.LENGTH


def test_half_the_mark_of_a_call_at_the_end_is_no_text_but_less_than_is() -> None:
    assert text(said(["so <tool", ""], tools=[WEATHER])[0]) == "so "
    assert text(said(["so <", ""], tools=[WEATHER])[0]) == "so <"


def test_who_may_not_call_writes_no_call() -> None:
    spec = GenerateSpec("m", (Message(Role.USER, "Go"),), tools=(WEATHER,), tool_choice=ToolChoice(ToolMode.NONE))
    choice = Choice(0, spec, (), [b"Well. ", call("{}").encode(), b"more"])
    events = choice.take(Chunk(7, 0, [0, 1, 2], None, ""))
    assert text(events) == "Well. "
    assert choice.stopped
    assert reason(events) is FinishReason.STOP


def test_scores_are_those_of_the_text() -> None:
    pieces = ["Well. ", call('{"n": 1}'), "\nDone."]
    events, _ = said(pieces, tools=[WEATHER], logprobs=[-1.0, -2.0, -3.0])
    told = [token.text for event in events if isinstance(event, TextDelta) for token in event.scored]
    assert told == ["Well. ", "\nDone."]
