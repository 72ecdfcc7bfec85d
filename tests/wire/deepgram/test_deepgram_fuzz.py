"""Whatever comes in, Deepgram's surface answers with a step or an `AntiphonError`, and never sends after its close."""

import json
from urllib.parse import parse_qsl

from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.errors import AntiphonError, BadMedia, EngineError
from antiphon.core.events import (
    Cause,
    Closed,
    Failed,
    Final,
    Interim,
    Opened,
    Output,
    SpeechStarted,
    Transcript,
    UtteranceEnded,
    Word,
)
from antiphon.core.wire import NOTHING, Body, Head, Opening, Step
from antiphon.surfaces.deepgram.live import LiveListenEndpoint
from antiphon.surfaces.deepgram.parameters import TABLE
from antiphon.surfaces.deepgram.prerecorded import PrerecordedListenEndpoint

names = st.sampled_from([row.name for row in TABLE]) | st.text(max_size=20)
values = (
    st.sampled_from(
        [
            "true",
            "false",
            "1",
            "0",
            "-1",
            "1000",
            "16000",
            "linear16",
            "opus",
            "mulaw",
            "flac",
            "en-US",
            "de",
            "0.8",
            "k:v",
            "nan",
            "inf",
            "1e9",
            "١٢",
        ]
    )
    | st.integers().map(str)
    | st.floats().map(str)
    | st.text(max_size=20)
)
sensible = st.lists(
    st.sampled_from(
        [
            ("encoding", "mulaw"),
            ("channels", "2"),
            ("multichannel", "true"),
            ("punctuate", "true"),
            ("smart_format", "true"),
            ("tag", "t"),
            ("extra", "k:v"),
        ]
    ),
    unique=True,
).map(tuple)
queries = (
    sensible
    | st.lists(st.tuples(names, values), max_size=8).map(tuple)
    | st.text(max_size=60).map(lambda text: tuple(parse_qsl(text, keep_blank_values=True)))
)
headers = st.dictionaries(st.sampled_from(["authorization", "content-type"]), st.text(max_size=40))
openings = st.builds(
    Opening,
    st.just("GET"),
    st.just("/v1/listen"),
    queries,
    headers,
    st.lists(st.text(max_size=20), max_size=3).map(tuple),
    st.text(max_size=40),
    st.integers(0, 2**42),
)

small = st.integers(0, 10**7)
words = st.builds(Word, st.text(max_size=10), small, small, st.floats(0, 1))
transcripts = st.builds(Transcript, st.text(max_size=40), st.floats(0, 1), st.lists(words, max_size=5).map(tuple))
channels = st.integers(0, 7)
events: st.SearchStrategy[Output] = st.one_of(
    st.builds(Opened, st.text(max_size=20)),
    st.builds(SpeechStarted, channels, small),
    st.builds(Interim, channels, small, small, transcripts),
    st.builds(Final, channels, small, small, transcripts, st.sampled_from(Cause)),
    st.builds(UtteranceEnded, channels, small),
    st.builds(Closed, small, st.integers(1, 8), st.text("0123456789abcdef", min_size=64, max_size=64)),
    st.builds(Failed, st.text(max_size=200).map(BadMedia) | st.text(max_size=200).map(EngineError)),
)
types = st.sampled_from(["KeepAlive", "Finalize", "CloseStream", "Configure", "Results", ""])
json_values = st.recursive(st.none() | st.booleans() | st.text(max_size=5) | st.integers(), st.lists, max_leaves=4)
messages = (
    st.binary(max_size=8)
    | st.text(max_size=40)
    | types.map(lambda name: json.dumps({"type": name}))
    | st.builds(
        lambda name, rest: json.dumps({**rest, "type": name}),
        types,
        st.dictionaries(st.sampled_from(["keyterms", "features", "x"]), json_values, max_size=2),
    )
)


@given(openings, st.lists(st.tuples(messages | events, st.integers(0, 12_000)), max_size=12))
def test_live(opening: Opening, happenings: list[tuple[str | bytes | Output, int]]) -> None:
    endpoint = LiveListenEndpoint()
    endpoint.credential(opening)
    try:
        surface = endpoint.negotiate(opening).surface
    except AntiphonError as error:
        assert_refused(endpoint.refuse(opening, error).body)
        return
    now_ns, closed = 0, False
    for happening, ms in happenings:
        now_ns += ms * 1_000_000
        deadline_ns = surface.deadline_ns()
        steps = [surface.expire(now_ns)] if deadline_ns is not None and deadline_ns <= now_ns else []
        given_text = isinstance(happening, (str, bytes))
        steps.append(surface.receive(happening, now_ns) if given_text else surface.emit(happening, now_ns))
        for step in steps:
            assert not closed or step == NOTHING
            for send in step.sends:
                assert isinstance(send, str)
                assert json.loads(send)["type"]
            if step.close is not None:
                assert step.close.code in (1000, 1008, 1011)
                assert len(step.close.reason.encode()) <= 123
                closed = True
    if closed:
        assert surface.deadline_ns() is None


@given(openings, st.binary(max_size=20) | st.text(max_size=40).map(str.encode), st.lists(events, max_size=8))
def test_files(opening: Opening, body: bytes, happenings: list[Output]) -> None:
    endpoint = PrerecordedListenEndpoint()
    try:
        surface = endpoint.negotiate(opening, Body(body)).surface
    except AntiphonError as error:
        assert_refused(endpoint.refuse(opening, error).body)
        return
    steps: list[Step] = [surface.emit(event, 0) for event in happenings]
    answers = [step for step in steps if step != NOTHING]
    assert len(answers) <= 1
    for step in answers:
        head, text = step.sends
        assert isinstance(head, Head)
        assert isinstance(text, bytes)
        assert (head.status == 200) == ("results" in json.loads(text))
        assert step.close is not None


def assert_refused(body: bytes) -> None:
    assert set(json.loads(body)) == {"err_code", "err_msg", "request_id"}
