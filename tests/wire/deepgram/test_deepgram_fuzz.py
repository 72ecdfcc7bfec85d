"""Whatever comes in, Deepgram's surface answers with a step or an `AntiphonError`, and never sends after its close."""

import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl

from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.endpoints import Surface
from antiphon.core.errors import AntiphonError, BadMedia, CapacityError, EngineError
from antiphon.core.events import (
    AllSpoken,
    Cause,
    Cleared,
    Closed,
    ContextEnded,
    Failed,
    Final,
    Flushed,
    Interim,
    Opened,
    Output,
    SpeechOutput,
    SpeechStarted,
    Spoken,
    Transcript,
    UtteranceEnded,
    Word,
)
from antiphon.core.specs import SpeakSpec
from antiphon.core.units import NS_PER_MS
from antiphon.core.wire import BROKEN_OFF, NOTHING, Body, Head, Opening, Step, Wire
from antiphon.surfaces.deepgram.live import LiveListenEndpoint
from antiphon.surfaces.deepgram.parameters import TABLE
from antiphon.surfaces.deepgram.prerecorded import PrerecordedListenEndpoint
from antiphon.surfaces.deepgram.speak import SpeakEndpoint
from antiphon.surfaces.deepgram.speak_live import LiveSpeakEndpoint
from antiphon.surfaces.deepgram.speak_parameters import TABLE as SPEAK_TABLE

# What comes, each so many milliseconds after the last.
Happenings = Sequence[tuple[str | bytes | Output | SpeechOutput, int]]

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
def test_live(opening: Opening, happenings: Happenings) -> None:
    endpoint = LiveListenEndpoint()
    endpoint.credential(opening)
    try:
        surface = endpoint.negotiate(opening).surface
    except AntiphonError as error:
        assert_refused(endpoint.refuse(opening, error).body)
        return
    for _, send in played(surface, happenings, codes=(1000, 1008, 1011)):
        assert isinstance(send, str)
        assert json.loads(send)["type"]


def played(surface: Surface[Any], happenings: Happenings, codes: Sequence[int]) -> Iterator[tuple[Any, Wire]]:
    """What is sent, and at what; nothing once it has closed, which it does with one of the codes."""
    now_ns, closed = 0, False
    for happening, ms in happenings:
        now_ns += ms * NS_PER_MS
        deadline_ns = surface.deadline_ns()
        steps = [surface.expire(now_ns)] if deadline_ns is not None and deadline_ns <= now_ns else []
        given_text = isinstance(happening, (str, bytes))
        steps.append(surface.receive(happening, now_ns) if given_text else surface.emit(happening, now_ns))
        for step in steps:
            assert not closed or step == NOTHING
            yield from ((happening, send) for send in step.sends)
            if step.close is not None:
                assert step.close.code in codes
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


speak_names = st.sampled_from([row.name for row in SPEAK_TABLE]) | st.text(max_size=20)
speak_values = values | st.sampled_from(["mp3", "aac", "wav", "ogg", "none", "22050", "48000", "24000.0", "1.5", "0.7"])
speak_openings = st.builds(
    Opening,
    st.just("POST"),
    st.just("/v1/speak"),
    st.lists(st.tuples(speak_names, speak_values), max_size=4).map(tuple),
    st.fixed_dictionaries({"content-type": st.sampled_from(["application/json", "text/plain", "TEXT/plain;x", ""])}),
    st.lists(st.text(max_size=20), max_size=3).map(tuple),
    st.text(max_size=40),
)
speech_events: st.SearchStrategy[SpeechOutput] = st.one_of(
    st.builds(Opened, st.text(max_size=20)),
    st.builds(Spoken, st.binary(max_size=4), small, small),
    st.sampled_from([Flushed(), Cleared(), ContextEnded()]),
    st.builds(AllSpoken, small, small),
    st.builds(Failed, st.text(max_size=200).map(CapacityError) | st.text(max_size=200).map(EngineError)),
)
speak_messages = (
    st.binary(max_size=8)
    | st.text(max_size=40)
    | st.builds(
        lambda name, rest: json.dumps({**rest, "type": name}),
        st.sampled_from(["Speak", "Flush", "Clear", "Close", "KeepAlive"]),
        st.dictionaries(st.sampled_from(["text", "x"]), json_values, max_size=1),
    )
    | st.sampled_from(['{"type":"Speak","text":"\\ud800"}', '{"type":"Flush"}', "[" * 5_000, "\ud800"])
)


@given(speak_openings, st.lists(st.tuples(speak_messages | speech_events, st.integers(0, 2_000_000)), max_size=30))
def test_live_speech(opening: Opening, happenings: Happenings) -> None:
    endpoint = LiveSpeakEndpoint()
    try:
        surface = endpoint.negotiate(opening).surface
    except AntiphonError as error:
        assert_refused(endpoint.refuse(opening, error).body)
        return
    sequence = -1
    for happening, send in played(surface, happenings, codes=(1000, 1003, 1008, 1009, 1011)):
        if isinstance(send, bytes):
            assert isinstance(happening, Spoken)
            assert send == happening.audio != b""
            continue
        assert isinstance(send, str)
        message = json.loads(send)
        if "sequence_id" in message:
            sequence += 1
            assert message == {"type": type(happening).__name__, "sequence_id": sequence}


bodies = (
    st.binary(max_size=20)
    | st.text(max_size=2_100).map(str.encode)
    | st.dictionaries(st.sampled_from(["text", "url", "x"]), json_values, max_size=2).map(json.dumps).map(str.encode)
    | st.sampled_from([b'{"text":"\\ud800"}', b'{"text":"Hi"}', b"[" * 5_000])
)


@given(speak_openings, bodies, st.lists(speech_events, max_size=8))
def test_speech(opening: Opening, body: bytes, happenings: list[SpeechOutput]) -> None:
    endpoint = SpeakEndpoint()
    try:
        asked = endpoint.negotiate(opening, body)
    except AntiphonError as error:
        refused = endpoint.refuse(opening, error)
        assert refused.status in (400, 413, 415)
        assert_refused(refused.body)
        return
    assert isinstance(asked.spec, SpeakSpec)
    assert 0 < len(asked.spec.text) <= 2_000
    spoken = b""
    for event in happenings:
        step = asked.surface.emit(event, 0)
        if step.sends and not spoken:
            head = step.sends[0]
            assert isinstance(head, Head)
            assert (head.status == 200) == (not isinstance(event, Failed))
            assert not isinstance(event, Failed) or len(step.sends) == 2
        elif isinstance(event, Failed):
            assert step == Step(close=BROKEN_OFF)
        spoken += event.audio if isinstance(event, Spoken) else b""
        assert (step.close is not None) == isinstance(event, AllSpoken | Failed)
        if step.close is not None:
            return


def assert_refused(body: bytes) -> None:
    assert set(json.loads(body)) == {"err_code", "err_msg", "request_id"}
