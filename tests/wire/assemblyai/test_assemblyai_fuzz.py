"""Whatever comes in, AssemblyAI's surfaces answer with a step or an `AntiphonError`, never send after their close, and
keep AssemblyAI's promises: what was told as final stays, and turns are counted without a gap.
"""

import json
from collections.abc import Sequence
from itertools import product
from typing import Any
from urllib.parse import parse_qsl

from assemblyai.streaming.v3 import models
from assemblyai_script import check_event
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.errors import AntiphonError, BadMedia, CapacityError, EngineError, Unauthenticated
from antiphon.core.events import (
    Cause,
    Closed,
    Failed,
    Final,
    Interim,
    Opened,
    Output,
    SpeechResumed,
    SpeechStarted,
    Transcript,
    TurnMayEnd,
    UtteranceEnded,
    Word,
)
from antiphon.core.text import join
from antiphon.core.units import NS_PER_MS
from antiphon.core.wire import NOTHING, Body, Head, Opening, Step
from antiphon.surfaces.assemblyai.live import StreamEndpoint
from antiphon.surfaces.assemblyai.parameters import TABLE
from antiphon.surfaces.assemblyai.sync import HONOURED, REWRITES, WITHOUT_EFFECT, SyncEndpoint
from antiphon.surfaces.assemblyai.tokens import TokenEndpoint
from vendor_types import check

Happenings = Sequence[tuple[str | bytes | Output, int]]

names = st.sampled_from([row.name for row in TABLE]) | st.text(max_size=20)
values = (
    st.sampled_from(["true", "False", "1", "0", "-1", "16000", "0.4", "opus", "en", '["en"]', "[1]", "nan", "١٢"])
    | st.integers().map(str)
    | st.floats().map(str)
    | st.text(max_size=20)
)
wild = st.lists(st.tuples(names, values), max_size=8).map(tuple) | st.text(max_size=60).map(
    lambda text: tuple(parse_qsl(text, keep_blank_values=True))
)
sensible = st.lists(
    st.sampled_from([("format_turns", "True"), ("inactivity_timeout", "5"), ("filter_profanity", "true")]),
    unique=True,
).map(lambda pairs: (("sample_rate", "16000"), *pairs))
headers = st.dictionaries(st.sampled_from(["authorization", "content-type", "x-aai-model"]), st.text(max_size=40))


def openings(queries: st.SearchStrategy[Any]) -> st.SearchStrategy[Opening]:
    settled = st.none() | st.integers(60, 10_800).map(lambda seconds: str(seconds).encode())
    return st.builds(
        Opening, st.just("GET"), st.just("/v3/ws"), queries, headers, st.just(()), st.text(max_size=40),
        st.integers(0, 2**42), settled,
    )  # fmt: skip


small = st.integers(0, 10**7)
said = st.sampled_from(["Hello", "hello,", "there.", "shit!", "—", "one", "two", "three"]) | st.text(max_size=6)
words = st.builds(Word, said, small, small, st.floats(0, 1))
transcripts = st.builds(Transcript, st.text(max_size=40), st.floats(0, 1), st.lists(words, max_size=5).map(tuple))
sure = st.none() | st.floats(0, 1)
events: st.SearchStrategy[Output] = st.one_of(
    st.builds(Opened, st.text(max_size=20)),
    st.builds(SpeechStarted, st.just(0), small),
    st.builds(Interim, st.just(0), small, small, transcripts, sure),
    st.builds(Final, st.just(0), small, small, transcripts, st.sampled_from(Cause), sure),
    st.builds(TurnMayEnd, st.just(0), small),
    st.builds(SpeechResumed, st.just(0), small),
    st.builds(UtteranceEnded, st.just(0), small),
)
ends: st.SearchStrategy[Output] = st.one_of(
    st.builds(Closed, small, st.just(1), st.just("")),
    st.builds(Failed, st.text(max_size=200).map(BadMedia) | st.text(max_size=200).map(EngineError)),
)
json_values = st.recursive(st.none() | st.booleans() | st.text(max_size=5) | st.integers() | st.floats(), st.lists)
fields = st.dictionaries(names, json_values, max_size=4)
types = st.sampled_from(["Terminate", "ForceEndpoint", "KeepAlive", "UpdateConfiguration", "Turn", ""])
messages = (
    st.binary(max_size=8)
    | st.integers(0, 40_000).map(bytes)
    | st.text(max_size=40)
    | st.tuples(types, fields).map(lambda both: json.dumps({**both[1], "type": both[0]}))
    | st.just('{"type":"UpdateConfiguration","prompt":' + "[" * 100_000 + "]" * 100_000 + "}")
)
happenings: st.SearchStrategy[Happenings] = st.lists(
    st.tuples(messages | events | ends, st.integers(0, 20_000)), max_size=12
)


def saying(*texts: str) -> Transcript:
    return Transcript("", 1.0, tuple(Word(text, 100 * i, 100 * i + 90, 1.0) for i, text in enumerate(texts)))


# Of few words, so that hypotheses agree, and then do not.
alike = st.lists(st.sampled_from(["Yes,", "no."]), min_size=2, max_size=4).map(lambda texts: saying(*texts))
hypotheses = st.builds(Interim, st.just(0), small, small, alike, sure)
finals = st.builds(Final, st.just(0), small, small, alike, st.sampled_from(Cause), sure)
talks: st.SearchStrategy[Sequence[Output]] = st.lists(hypotheses | finals | events, min_size=8, max_size=20)


@given(openings(wild | sensible), happenings)
def test_a_stream_never_breaks(opening: Opening, happening: Happenings) -> None:
    endpoint = StreamEndpoint()
    endpoint.credential(opening)
    try:
        accepted = endpoint.negotiate(opening)
    except AntiphonError as error:
        check_end(endpoint.refuse(opening, error))
        return
    surface, now_ns, closed = accepted.surface, 0, False
    for what, after_ms in happening:
        now_ns += after_ms * NS_PER_MS
        deadline_ns = surface.deadline_ns()
        due = deadline_ns is not None and now_ns >= deadline_ns
        steps = [surface.expire(now_ns)] if due else []
        if isinstance(what, str | bytes):
            steps.append(surface.receive(what, now_ns))
        else:
            steps.append(surface.emit(what, now_ns))
        for step in steps:
            assert not closed or step == NOTHING
            closed = closed or step.close is not None
            check_sends(step)


def check_end(step: Step) -> None:
    assert step.close is not None
    assert len(step.close.reason.encode()) <= 123
    (told,) = map(json.loads, step.sends)  # type: ignore[arg-type]
    check(models.ErrorEvent, told)
    assert told["error_code"] == step.close.code


def check_refusal(step: Step) -> None:
    assert isinstance(step.sends[0], Head)


def check_sends(step: Step) -> None:
    for send in step.sends:
        assert isinstance(send, str)
        check_event(json.loads(send))
    if step.close is not None and step.close.code != 1000:
        check_end(Step(sends=step.sends[-1:], close=step.close))


@given(openings(sensible), talks)
def test_what_is_final_stays_and_turns_are_counted(opening: Opening, talk: Sequence[Output]) -> None:
    check_talk(opening, talk)


def test_what_is_final_stays_whatever_is_heard_next() -> None:
    """Every three hypotheses of two or three words, and an end."""
    heard = [saying(*texts) for count in (2, 3) for texts in product(["Yes,", "no."], repeat=count)]
    end = Final(0, 0, 0, saying("no."), Cause.ENDPOINT, 0.5)
    for said in product(heard, repeat=3):
        check_talk(Opening("GET", "/v3/ws", (("sample_rate", "16000"),)), [*(Interim(0, 0, 0, t) for t in said), end])


def check_talk(opening: Opening, talk: Sequence[Output]) -> None:
    surface = StreamEndpoint().negotiate(opening).surface
    order, final, over = 0, [], False
    for event in talk:
        for send in surface.emit(event, 0).sends:
            message = json.loads(send)
            if message["type"] != "Turn":
                continue
            if over and not message["turn_is_formatted"]:
                order, final = order + 1, []
            assert message["turn_order"] == order
            over = message["end_of_turn"]
            if message["turn_is_formatted"]:
                assert over
                continue
            told = [word for word in message["words"] if word["word_is_final"]]
            assert message["transcript"] == join(word["text"] for word in told)
            assert message["words"][: len(told)] == told
            assert told[: len(final)] == final
            final = told


@given(headers, fields | st.dictionaries(st.sampled_from(sorted(HONOURED | WITHOUT_EFFECT | {REWRITES})), json_values),
       st.binary(max_size=8), st.lists(events, max_size=6), ends)  # fmt: skip
def test_a_recording_has_one_answer(
    sent: dict[str, str], config: dict[str, Any], audio: bytes, happening: Sequence[Output], end: Output
) -> None:
    endpoint, opening = SyncEndpoint(), Opening("POST", "/v1/transcribe/live", (), sent, (), "id")
    try:
        accepted = endpoint.negotiate(opening, Body(audio, (("config", json.dumps(config)),), "a", has_file=True))
    except AntiphonError as error:
        check_refusal(endpoint.refuse(opening, error))
        return
    steps = [accepted.surface.emit(event, 0) for event in happening]
    assert all(step == NOTHING for step in steps)
    last = accepted.surface.emit(end, 0)
    assert last.close is not None
    assert isinstance(last.sends[0], Head)
    json.loads(last.sends[1])  # type: ignore[arg-type]


@given(openings(st.lists(st.tuples(st.sampled_from(["expires_in_seconds", "max_session_duration_seconds"]), values))))
def test_a_token_is_asked_for_or_refused(opening: Opening) -> None:
    endpoint = TokenEndpoint()
    try:
        asked = endpoint.ask(opening, b"")
    except AntiphonError as error:
        check_refusal(endpoint.refuse(opening, error))
        return
    assert 1 <= asked.lifetime_s <= 600
    assert 60 <= int(asked.settled) <= 10_800


@given(st.builds(str, st.text(max_size=300)), st.sampled_from([CapacityError, Unauthenticated, BadMedia, EngineError]))
def test_a_refusal_fits_a_close_frame(message: str, kind: type[AntiphonError]) -> None:
    check_end(StreamEndpoint().refuse(Opening("GET", "/v3/ws"), kind(message)))
