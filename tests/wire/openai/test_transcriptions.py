"""Plays the golden scripts beside this file; formats.txt tells how to read them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.audio import (
    Transcription,
    TranscriptionTextDeltaEvent,
    TranscriptionTextDoneEvent,
    TranscriptionVerbose,
)

from antiphon.core import errors, events
from antiphon.core.capabilities import SpeechAbility, SpeechCapabilities, settle_speech
from antiphon.core.errors import AntiphonError, CallerError, TooLarge
from antiphon.core.events import Cause, Closed, Failed, Final, Opened, Transcript
from antiphon.core.specs import TranscribeSpec
from antiphon.core.wire import NOTHING, Bearer, Body, Close, Head, Opening, Response, Step
from antiphon.surfaces.openai import wire
from antiphon.surfaces.openai.transcriptions import Transcriptions

HERE = Path(__file__).parent
REQUEST_ID = "00000000-0000-4000-8000-000000000001"
FORM = {"content-type": "multipart/form-data; boundary=x", "authorization": "Bearer k"}
ENDPOINT = Transcriptions()
OPENED = Opened("m", unmet_speech=frozenset({SpeechAbility.GUIDANCE}), languages=("en",))


@dataclass
class Script:
    """One call: the request, then (what happens, what leaves) pairs."""

    title: str
    headers: dict[str, str] = field(default_factory=lambda: dict(FORM))
    query: list[tuple[str, str]] = field(default_factory=list)
    fields: list[tuple[str, str]] = field(default_factory=list)
    file: bytes | None = b"RIFF"
    spec: dict[str, str] = field(default_factory=dict)
    steps: list[tuple[str, list[str]]] = field(default_factory=list)
    refusal: str = ""

    def negotiate(self) -> Any:
        form = (
            self.fields if any(name == "model" for name, _ in self.fields) else [("model", "whisper-1"), *self.fields]
        )
        opening = Opening("POST", "/v1/audio/transcriptions", tuple(self.query), self.headers, (), REQUEST_ID)
        return opening, Body(self.file or b"", tuple(form), "a.wav", self.file is not None)


def scripts(name: str) -> Iterator[Any]:
    script = Script("")
    for line in (HERE / name).read_text().splitlines():
        kind, _, rest = line.partition(" ")
        key, _, value = rest.partition("=")
        match kind:
            case "" | "#":
                continue
            case "=":
                script = Script(rest)
                yield pytest.param(script, id=rest)
            case "field":
                script.fields.append((key, value))
            case "query":
                script.query.append((key, value))
            case "header":
                script.headers[key] = value
            case "spec":
                script.spec[key] = value
            case "no" | "empty":
                script.file = None if kind == "no" else b""
            case "<":
                script.steps.append((rest, []))
            case ">":
                script.steps[-1][1].append(rest)
            case "!":
                script.refusal = rest
            case _:
                raise ValueError(line)


def event(line: str) -> events.Output:
    kind, _, text = line.partition(" ")
    if kind == "Failed":
        about = json.loads(text)
        return Failed(getattr(errors, about.pop("error"))(**about))
    return msgspec.json.decode(text, type=getattr(events, kind), strict=True)


def dump(step: Step) -> list[str]:
    """What leaves, as the scripts write it."""
    lines: list[str] = []
    body = b""
    for sent in step.sends:
        if isinstance(sent, Head):
            lines += [f"HTTP {sent.status}", *(f"{name}: {value}" for name, value in sent.headers), ""]
        else:
            assert isinstance(sent, bytes)
            body += sent
    if body:
        lines += body.decode().split("\n")
    return lines + (["CLOSE"] if step.close == Close() else [])


GOLDEN = [script for name in ("formats.txt", "streaming.txt", "errors.txt") for script in scripts(name)]


@pytest.mark.parametrize("script", GOLDEN)
def test_golden(script: Script) -> None:
    accepted = ENDPOINT.negotiate(*script.negotiate())
    wanted = {"model": "whisper-1"} | script.spec
    plain = TranscribeSpec(model="whisper-1")
    for member in fields(TranscribeSpec):
        value = getattr(accepted.spec, member.name)
        assert str(value) == wanted.get(member.name, str(getattr(plain, member.name))), member.name
    assert accepted.media == b"RIFF"
    assert accepted.surface.deadline_ns() is None
    assert accepted.surface.expire(0) == NOTHING == accepted.surface.receive(b"", 0)
    assert accepted.surface.emit(OPENED, 0) == NOTHING
    for happens, leaves in script.steps:
        assert dump(accepted.surface.emit(event(happens), 0)) == leaves


@pytest.mark.parametrize("script", list(scripts("refused.txt")))
def test_refused(script: Script) -> None:
    opening, body = script.negotiate()
    with pytest.raises(CallerError) as caught:
        settle_speech(ENDPOINT.negotiate(opening, body).spec, SpeechCapabilities())
    response = ENDPOINT.refuse(opening, caught.value)
    assert f"{response.status} {response.body.decode()}" == script.refusal
    assert response.headers == (("content-type", "application/json"), ("x-request-id", REQUEST_ID))


@pytest.mark.parametrize("script", GOLDEN)
def test_the_official_sdk_accepts_what_leaves(script: Script) -> None:
    """The SDK itself is lenient; here its types are strict."""
    asked = dict(script.fields)
    for _, leaves in script.steps:
        for line in leaves:
            data = line.removeprefix("data: ")
            if not data.startswith("{") or '{"error":' in data:
                continue
            if "transcript.text.delta" in data:
                TranscriptionTextDeltaEvent.model_validate_json(data, strict=True)
            elif "transcript.text.done" in data:
                TranscriptionTextDoneEvent.model_validate_json(data, strict=True)
            elif asked.get("response_format") == "verbose_json":
                TranscriptionVerbose.model_validate_json(data, strict=True)
            else:
                Transcription.model_validate_json(data, strict=True)


def test_every_error_of_the_tree_is_rendered() -> None:
    tree = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AntiphonError)]
    assert len(tree) > 10
    for kind in tree:
        quota = kind is errors.BudgetExceeded  # which has words of OpenAI's before ours
        response = ENDPOINT.refuse(Opening("POST", "/", request_id=REQUEST_ID), kind("Said.", param="p"))
        body = msgspec.json.decode(response.body, type=wire.ErrorBody, strict=True)
        assert (response.status, body.error.param) == (429 if quota else kind.status, "p")
        assert body.error.message.endswith("Said.") if quota else body.error.message == "Said."


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Token abc", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("abc", None),
        ("", None),
    ],
)
def test_where_the_key_stands(header: str, key: str | None) -> None:
    assert ENDPOINT.credential(Opening("POST", "/", headers={"authorization": header})) == (key and Bearer(key))
    assert ENDPOINT.credential(Opening("POST", "/")) is None


def test_the_file_limit_is_openai_s() -> None:
    assert ENDPOINT.max_body_bytes == 25 * 2**20
    opening, body = Script("", file=bytes(25 * 2**20)).negotiate()
    ENDPOINT.negotiate(opening, body)
    with pytest.raises(TooLarge) as caught:
        ENDPOINT.negotiate(opening, replace(body, data=body.data + b"!"))
    assert caught.value.param == "file"


def test_a_verbose_segment_shows_repetition_and_doubt() -> None:
    """Whisper's own thresholds (a ratio above 2.4, a log probability below -1) must mean the same here."""
    surface = ENDPOINT.negotiate(*Script("", fields=[("response_format", "verbose_json")]).negotiate()).surface
    surface.emit(Final(0, 0, 10, Transcript("ha " * 40, 0.1), Cause.END), 0)
    answer = surface.emit(Closed(10, 1, ""), 0).sends[1]
    assert isinstance(answer, bytes)
    (segment,) = msgspec.json.decode(answer, type=wire.TranscriptionVerbose).segments
    assert segment.compression_ratio > 2.4
    assert segment.avg_logprob == pytest.approx(-2.3026, abs=1e-4)


KNOWN = [
    *("model", "language", "prompt", "response_format", "stream", "temperature", "chunking_strategy"),
    *("include[]", "languages[]", "timestamp_granularities[]", "keywords[]", "file"),
    *("chunking_strategy[type]", "chunking_strategy[silence_duration_ms]", "chunking_strategy[threshold]"),
]
VALUES = [
    "",
    "whisper-1",
    "en",
    "json",
    "verbose_json",
    "srt",
    "true",
    "0",
    "1e999",
    "-1",
    "auto",
    "server_vad",
    "word",
]


@given(
    form=st.lists(
        st.tuples(st.sampled_from(KNOWN) | st.text(max_size=20), st.sampled_from(VALUES) | st.text(max_size=20)),
        max_size=8,
    ),
    query=st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=1),
    header=st.sampled_from(["multipart/form-data", "text/plain", "MULTIPART/FORM-DATA; boundary=q", ""]),
    file=st.none() | st.binary(max_size=4),
    text=st.text(max_size=30),
)
def test_no_form_breaks_it(
    form: list[tuple[str, str]], query: list[tuple[str, str]], header: str, file: bytes | None, text: str
) -> None:
    """Any form is honoured or refused in OpenAI's words, and any text leaves as UTF-8."""
    opening = Opening("POST", "/", tuple(query), {"content-type": header}, (), REQUEST_ID)
    try:
        accepted = ENDPOINT.negotiate(opening, Body(file or b"", tuple(form), "", file is not None))
    except AntiphonError as error:
        refused: Response = ENDPOINT.refuse(opening, error)
        assert 400 <= refused.status < 500
        msgspec.json.decode(refused.body, type=wire.ErrorBody, strict=True)
        return
    final = Final(0, 10, 500, Transcript(text, 0.5), Cause.END)
    dump(accepted.surface.emit(final, 0))
    assert dump(accepted.surface.emit(Closed(600, 1, ""), 0))[-1] == "CLOSE"


@given(texts=st.lists(st.text(max_size=12), max_size=6))
def test_deltas_add_up_to_the_whole(texts: list[str]) -> None:
    script = Script("", fields=[("stream", "true")])
    surface = ENDPOINT.negotiate(*script.negotiate()).surface
    finals = [Final(0, 0, 10, Transcript(text, 0.5), Cause.ENDPOINT) for text in texts]
    sent = [line for happens in (*finals, Closed(10, 1, "")) for line in dump(surface.emit(happens, 0))]
    told = [json.loads(line.removeprefix("data: ")) for line in sent if line.startswith("data: {")]
    assert "".join(message["delta"] for message in told[:-1]) == told[-1]["text"]
