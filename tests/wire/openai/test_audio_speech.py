"""Speech, byte by byte; what a body asks for; and what is refused."""

import inspect
import json
from base64 import b64decode
from typing import Any

import msgspec
import pytest
from agents.voice.model import TTSModelSettings
from hypothesis import given
from hypothesis import strategies as st
from json_script import REQUEST_ID, Script, play, scripts
from openai.resources.audio import Speech as OfficialSpeech

from antiphon.core.audio import Codec, Container, SpeechFormat
from antiphon.core.errors import AntiphonError, CallerError, EngineError
from antiphon.core.events import AllSpoken, ContextEnded, Failed, Opened, SpeechOutput, Spoken
from antiphon.core.specs import SpeakSpec
from antiphon.core.wire import BROKEN_OFF, SYNTHETIC, Close, Head, Opening
from antiphon.surfaces.openai import wire
from antiphon.surfaces.openai.speech import FORMATS, MAX_CHARACTERS, WHOLE_CHARACTERS, Speech, SpeechRequest

PATH = "/v1/audio/speech"
ENDPOINT = Speech()


def asked(**fields: Any) -> SpeakSpec:
    body = {"model": "m", "input": "Hi", "voice": "v", **fields}
    spec = ENDPOINT.negotiate(Opening("POST", PATH), json.dumps(body).encode()).spec
    assert isinstance(spec, SpeakSpec)
    return spec


@pytest.mark.parametrize("script", scripts("speech.txt", PATH))
def test_golden(script: Script) -> None:
    play(ENDPOINT, script)


def test_everything_that_can_be_asked_for() -> None:
    spec = asked(voice={"id": "w"}, response_format="wav", speed=0.25, stream_format="sse", instructions="")
    assert spec == SpeakSpec("m", "w", "Hi", SpeechFormat(Codec.LINEAR16, Container.WAV, 24_000), speed=0.25)
    assert spec.stream
    assert not spec.live


def test_a_short_wav_file_is_whole_so_that_its_header_has_its_length() -> None:
    assert not asked(response_format="wav", input="a" * WHOLE_CHARACTERS).stream
    assert asked(response_format="wav", input="a" * (WHOLE_CHARACTERS + 1)).stream
    assert all(asked(response_format=name).stream for name in FORMATS if name != "wav")


def test_what_changes_nothing() -> None:
    plain = asked()
    assert plain.format == FORMATS["mp3"][0]
    nothing = {"instructions": None, "response_format": None, "speed": None, "stream_format": None}
    assert asked(**nothing) == plain
    assert asked(response_format="mp3", speed=1, stream_format="audio") == plain
    assert asked(instructions=TTSModelSettings().instructions) == plain  # as OpenAI's agents ask


def test_every_parameter_of_the_sdk_is_known() -> None:
    beside = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}
    assert set(inspect.signature(OfficialSpeech.create).parameters) - beside == set(SpeechRequest.__struct_fields__)


@pytest.mark.parametrize("text", ["a" * MAX_CHARACTERS, "\U0001f600" * MAX_CHARACTERS, " x", "<speak>x</speak>"])
def test_what_can_be_said(text: str) -> None:
    assert asked(input=text).text == text


@pytest.mark.parametrize("text", ["a" * (MAX_CHARACTERS + 1), "", " ", "\n\t", None, 1, ["a"], {"text": "a"}])
def test_what_cannot(text: Any) -> None:
    with pytest.raises(CallerError) as caught:
        asked(input=text)
    assert caught.value.param == "input"


@pytest.mark.parametrize("speed", [0.24, 4.01, 0, -1, "1", True])
def test_speeds_there_are_not(speed: Any) -> None:
    with pytest.raises(CallerError) as caught:
        asked(speed=speed)
    assert caught.value.param == "speed"


@pytest.mark.parametrize("voice", ["", None, 1, ["v"], {}, {"name": "v"}])
def test_voices_that_make_no_sense(voice: Any) -> None:
    with pytest.raises(CallerError) as caught:
        asked(voice=voice)
    assert (caught.value.param or "").startswith("voice")


LEAVES = st.none() | st.booleans() | st.integers(-3, 5) | st.floats() | st.text(max_size=8)
SOME = st.sampled_from([*FORMATS, "sse", "audio", "v", "1", ""]) | LEAVES
FIELDS = st.dictionaries(
    st.sampled_from(SpeechRequest.__struct_fields__) | st.text(max_size=8),
    SOME | st.dictionaries(st.sampled_from(["id", "x"]), SOME, max_size=2) | st.lists(LEAVES, max_size=2),
    max_size=5,
)
SPOKEN = st.builds(Spoken, st.binary(max_size=4), st.integers(0, 9), st.integers(0, 9))
ENDS = st.builds(AllSpoken, st.integers(0, 9), st.integers(0, 9)) | st.builds(
    Failed, st.just(EngineError("It failed."))
)


@given(FIELDS, st.lists(SPOKEN | st.just(ContextEnded()), max_size=4), ENDS)
def test_any_object_is_honoured_or_refused(
    fields: dict[str, Any], told: list[SpeechOutput], end: AllSpoken | Failed
) -> None:
    opening = Opening("POST", PATH, request_id=REQUEST_ID)
    try:
        asked = ENDPOINT.negotiate(opening, json.dumps({"model": "m", "input": "a", "voice": "v", **fields}).encode())
    except AntiphonError as error:
        response = ENDPOINT.refuse(opening, error)
        assert 400 <= response.status < 500
        msgspec.json.decode(response.body, type=wire.ErrorBody, strict=True)
        return
    assert isinstance(asked.spec, SpeakSpec)
    assert 0.25 <= asked.spec.speed <= 4
    steps = [asked.surface.emit(event, 0) for event in [Opened("m"), *told]]
    assert not any(step.close for step in steps)
    last = asked.surface.emit(end, 0)
    sends = [send for step in [*steps, last] for send in step.sends]
    heads = [send for send in sends if isinstance(send, Head)]
    spoken = b"".join(event.audio for event in told if isinstance(event, Spoken))
    if not spoken and isinstance(end, Failed):
        assert [head.status for head in heads] == [502]
        return
    assert [head.status for head in heads] == [200]
    assert sends[0] is heads[0]
    assert set(SYNTHETIC) < set(heads[0].headers)
    body = b"".join(send for send in sends if isinstance(send, bytes))
    if dict(heads[0].headers)["content-type"] != wire.EVENTS:
        assert body == spoken
        assert last.close == (BROKEN_OFF if isinstance(end, Failed) else Close())
        return
    assert last.close == Close()
    *deltas, final = [json.loads(event.partition(b"data: ")[2]) for event in body.split(b"\n\n")[:-1]]
    assert b"".join(b64decode(each["audio"]) for each in deltas) == spoken
    assert ("error" in final) == isinstance(end, Failed)
