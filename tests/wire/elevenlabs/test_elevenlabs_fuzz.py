"""Whatever comes in, ElevenLabs' surfaces answer with a step or an `AntiphonError`, and never send after their close;
no text of the caller's is in an error.
"""

import json
from typing import Any
from urllib.parse import parse_qsl

from elevenlabs_script import route_of, tell
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.errors import AntiphonError, CapacityError, EngineError
from antiphon.core.events import (
    AllSpoken,
    Begin,
    CharacterTime,
    Clear,
    Cleared,
    ContextEnded,
    End,
    Failed,
    Finish,
    Flush,
    Flushed,
    Opened,
    Say,
    Spoken,
)
from antiphon.core.wire import NOTHING, Head, Opening, Step
from antiphon.surfaces.elevenlabs.live import LiveQuery, ManyTexts, OneText
from antiphon.surfaces.elevenlabs.speech import SpeechRequest
from antiphon.surfaces.elevenlabs.voices import SearchQuery

SECRET = "the caller's own words"
PATHS = (
    "/v1/text-to-speech/joe",
    "/v1/text-to-speech/joe/stream",
    "/v1/text-to-speech/joe/with-timestamps",
    "/v1/text-to-speech/joe/stream/with-timestamps",
)
LIVE = ("/v1/text-to-speech/joe/stream-input", "/v1/text-to-speech/joe/multi-stream-input")
TOLD = ("/v1/voices", "/v1/voices/joe", "/v1/voices/", "/v2/voices", "/v1/models", "/v1/user", "/v1/user/subscription")

names = st.sampled_from([*LiveQuery.__struct_fields__, *SearchQuery.__struct_fields__]) | st.text(max_size=12)
values = (
    st.sampled_from(["true", "false", "0", "1", "20", "en", "auto", "off", "pcm_16000", "wav_8000", "null", "٣", ""])
    | st.integers().map(str)
    | st.floats().map(str)
    | st.text(max_size=12)
)
queries = st.lists(st.tuples(names, values), max_size=4).map(tuple) | st.text(max_size=40).map(
    lambda text: tuple(parse_qsl(text, keep_blank_values=True))
)
headers = st.dictionaries(st.sampled_from(["xi-api-key", "authorization"]), st.text(max_size=20))

settings = st.dictionaries(
    st.sampled_from(["speed", "stability", "style", "use_speaker_boost", "odd"]),
    st.none() | st.booleans() | st.floats(0.5, 1.5) | st.text(max_size=3),
    max_size=3,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(SECRET),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
bodies = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(SpeechRequest.__struct_fields__, json_values) | {"voice_settings": settings}
).map(lambda body: json.dumps({"text": SECRET} | body).encode()) | st.binary(max_size=40)

ids = st.sampled_from(["a", "b", "c", ""]) | st.none()
messages = st.fixed_dictionaries(
    {"text": st.sampled_from(["", " ", SECRET, "One. "])},
    optional={
        "flush": st.booleans(),
        "try_trigger_generation": st.booleans(),
        "voice_settings": st.sampled_from([None, {"speed": 1.1}, {"speed": 1.0, "stability": 0.1}]),
        "generation_config": st.sampled_from([None, {"chunk_length_schedule": [50, 90.5]}]),
    },
).map(json.dumps)
many = st.fixed_dictionaries(
    {},
    optional={
        "text": st.none() | st.sampled_from(["", " ", SECRET, "One. "]),
        "context_id": ids,
        "contextId": ids,
        "flush": st.booleans(),
        "close_context": st.booleans(),
        "close_socket": st.sampled_from([False] * 9 + [True]),
    },
).map(json.dumps)
odd = st.text(max_size=30) | st.binary(max_size=30) | json_values.map(json.dumps)

keys = st.sampled_from(["1", "2", "3", "17", ""])
times = st.integers(0, 10_000)
characters = st.lists(st.builds(CharacterTime, st.text(max_size=2), times, times), max_size=3).map(tuple)
events = st.one_of(
    st.just(Opened("piper")),
    st.builds(Spoken, st.binary(max_size=5), times, times, characters, characters, keys),
    st.builds(Flushed, keys),
    st.builds(Cleared, keys),
    st.builds(ContextEnded, keys),
    st.builds(AllSpoken, times, times),
    st.sampled_from([Failed(EngineError("broken")), Failed(CapacityError("full"))]),
)
passing = st.integers(0, 200_000_000_000)


def opening(path: str, query: Any, given_headers: Any, method: str = "POST") -> Opening:
    return Opening(method, path, query, given_headers, (), "id", 1_796_083_200_000)


@given(st.sampled_from(PATHS), queries, headers, bodies, st.lists(events, max_size=6))
def test_speech_over_http(path: str, query: Any, given_headers: Any, body: bytes, happening: list[Any]) -> None:
    asked = opening(path, query, given_headers)
    _, endpoint = route_of(asked)
    endpoint.credential(asked)
    try:
        call = endpoint.negotiate(asked, body)
    except AntiphonError as error:
        refused(endpoint.refuse(asked, error))
        return
    assert call.spec.text
    begun = False
    for event in happening:
        step = call.surface.emit(event, 0)
        heads = [isinstance(message, Head) for message in step.sends]
        assert heads[:1] == ([not begun] if heads else [])
        assert not any(heads[1:])
        begun = begun or bool(heads)
        if step.close:
            break


@given(st.sampled_from(LIVE), queries, headers)
def test_openings(path: str, query: Any, given_headers: Any) -> None:
    asked = opening(path, query, given_headers, "WS")
    _, endpoint = route_of(asked)
    try:
        assert endpoint.negotiate(asked).spec.live
    except AntiphonError as error:
        refused(endpoint.refuse(asked, error))


@given(st.sampled_from(TOLD), queries, headers)
def test_what_is_told(path: str, query: Any, given_headers: Any) -> None:
    asked = opening(path, query, given_headers, "GET")
    answer = tell(route_of(asked)[1], asked)
    if answer.status == 200:
        json.loads(answer.body)
    else:
        refused(answer)


@given(st.booleans(), st.lists(messages | odd | events | passing, max_size=30))
def test_one_text(auto: bool, happening: list[Any]) -> None:
    played(OneText(LiveQuery(auto_mode=auto)), happening)


@given(st.integers(1, 180), st.lists(many | messages | events | passing, max_size=60))
def test_many_texts(timeout_s: int, happening: list[Any]) -> None:
    played(ManyTexts(LiveQuery(inactivity_timeout=timeout_s)), happening)


def played(surface: Any, happening: list[Any]) -> None:
    now_ns, closed, begun, ended = 0, False, set(), set()
    for each in happening:
        if isinstance(each, int):
            now_ns += each
            deadline_ns = surface.deadline_ns()
            step = surface.expire(now_ns)
            if deadline_ns is None or now_ns < deadline_ns:
                assert step == NOTHING
            else:
                assert step != NOTHING
                following_ns = surface.deadline_ns()
                assert following_ns is None or following_ns > now_ns
        elif isinstance(each, str | bytes):
            step = surface.receive(each, now_ns)
        else:
            step = surface.emit(each, now_ns)
        if closed:
            assert step == NOTHING
        closed = closed or step.close is not None
        follows_the_rules(step, begun, ended)
        for message in step.sends:
            assert SECRET not in message
            json.loads(message)


def follows_the_rules(step: Step, begun: set[str], ended: set[str]) -> None:
    """A context is begun once, before anything is said in it, and finished once; nothing follows on the end."""
    for event in step.inputs:
        assert "" not in ended
        match event:
            case Begin(context, speed, schedule):
                assert context not in begun
                assert 0.7 <= speed <= 1.2
                assert all(length >= 1 for length in schedule)
                begun.add(context)
            case Say(_, context) | Flush(context) | Clear(context):
                assert context in begun - ended
            case Finish(context):
                assert context in begun - ended
                ended.add(context)
            case End():
                ended.add("")


def refused(answer: Any) -> None:
    assert 400 <= answer.status < 500
    assert SECRET.encode() not in answer.body
    json.loads(answer.body)
