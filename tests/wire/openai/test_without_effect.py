"""Parameters that ask for quality or convenience that the models here have not: calls go on, answers say so."""

from typing import Any

import msgspec
import pytest

from antiphon.core.capabilities import Ability, SpeechAbility
from antiphon.core.events import (
    AllSpoken,
    ChoiceEnded,
    Closed,
    Completed,
    FinishReason,
    Opened,
    Spoken,
    TextDelta,
    TokenUsage,
)
from antiphon.core.wire import Body, Head, Opening, Step
from antiphon.surfaces.openai.chat import ChatCompletions
from antiphon.surfaces.openai.responses import Responses
from antiphon.surfaces.openai.speech import Speech
from antiphon.surfaces.openai.transcriptions import Transcriptions

ID = "00000000-0000-4000-8000-000000000001"
ANSWERED = Opened("m", unmet=frozenset({Ability.REASONING_EFFORT, Ability.VERBOSITY}))
LACKING = Opened("m", unmet_speech=frozenset({SpeechAbility.GUIDANCE}), languages=("en",))
ANSWER = (Opened("m"), TextDelta(0, "Hi", 1), ChoiceEnded(0, FinishReason.STOP), Completed(TokenUsage(1, 1)))


def told(steps: list[Step]) -> str | None:
    (head,) = [each for step in steps for each in step.sends if isinstance(each, Head)]
    assert head.status == 200
    return dict(head.headers).get("antiphon-no-effect")


def posted(endpoint: Any, events: tuple[Any, ...], **fields: Any) -> list[Step]:
    surface = endpoint.negotiate(Opening("POST", "/", request_id=ID), msgspec.json.encode(fields)).surface
    return [surface.emit(event, 0) for event in events]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, None),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
        ({"prompt_cache_retention": "24h", "prompt_cache_options": {}}, "prompt_cache_options, prompt_cache_retention"),
        ({"request_id": "mine"}, "request_id"),
    ],
)
def test_of_a_chat(fields: dict[str, Any], names: str | None, stream: bool) -> None:
    said = [{"role": "user", "content": "Hi"}]
    assert told(posted(ChatCompletions(), ANSWER, model="m", messages=said, stream=stream, **fields)) == names


CACHED = {"cache_control": {"type": "ephemeral"}}


@pytest.mark.parametrize(
    ("message", "tool"),
    [
        ({"role": "user", "content": "Hi", **CACHED}, {}),
        ({"role": "user", "content": [{"type": "text", "text": "Hi", **CACHED}]}, {}),
        ({"role": "user", "content": "Hi"}, CACHED),
        ({"role": "user", "content": "Hi"}, {"function": {"name": "f", **CACHED}}),
    ],
)
def test_marks_of_what_to_cache(message: dict[str, Any], tool: dict[str, Any]) -> None:
    tools = [{"type": "function", "function": {"name": "f"}, **tool}]
    assert told(posted(ChatCompletions(), ANSWER, model="m", messages=[message], tools=tools)) == "cache_control"


@pytest.mark.parametrize("stream", [True, False])
def test_of_a_chat_what_its_engine_cannot_do(stream: bool) -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": stream, "prediction": {}}
    events = (ANSWERED, *ANSWER[1:])
    assert told(posted(ChatCompletions(), events, **asked)) == "reasoning_effort, verbosity, prediction"


@pytest.mark.parametrize(("opened", "effort", "verbosity"), [(ANSWERED, None, "medium"), (Opened("m"), "high", "low")])
def test_of_a_response_it_says_what_was_done(opened: Opened, effort: str | None, verbosity: str) -> None:
    asked = {
        "reasoning": {"effort": "high", "summary": "auto"},
        "text": {"verbosity": "low"},
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_retention": "24h",
    }
    (step,) = [
        step for step in posted(Responses(), (opened, *ANSWER[1:]), model="m", input="Hi", **asked) if step.sends
    ]
    (body,) = [each for each in step.sends if isinstance(each, bytes)]
    answer = msgspec.json.decode(body)
    assert answer["reasoning"] == {"effort": effort, "summary": None}
    assert answer["text"]["verbosity"] == verbosity


@pytest.mark.parametrize(("instructions", "names"), [("Cheerfully.", "instructions"), ("", None), (None, None)])
def test_of_a_speech(instructions: str | None, names: str | None) -> None:
    events = (Opened("m"), Spoken(b"\0\0", 0, 100), AllSpoken(2, 100))
    fields = {"model": "m", "voice": "v", "input": "Hi", "instructions": instructions}
    assert told(posted(Speech(), events, **fields)) == names


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ((("prompt", ""), ("temperature", "0")), None),
        ((("prompt", "Dickens"), ("temperature", "0.2")), "prompt, temperature"),
        ((("keywords[]", "a"), ("keywords[]", "b")), "keywords[]"),
        ((("timestamp_granularities[]", "segment"),), "timestamp_granularities[]"),
        ((("timestamp_granularities[]", "word"), ("response_format", "text")), "timestamp_granularities[]"),
        ((("timestamp_granularities[]", "segment"), ("response_format", "verbose_json")), None),
    ],
)
def test_of_a_transcription(fields: tuple[tuple[str, str], ...], names: str | None) -> None:
    opening = Opening("POST", "/", headers={"content-type": "multipart/form-data"}, request_id=ID)
    accepted = Transcriptions().negotiate(opening, Body(b"RIFF", (("model", "m"), *fields), has_file=True))
    assert not accepted.spec.word_times
    assert told([accepted.surface.emit(event, 0) for event in (LACKING, Closed(100, 1, ""))]) == names


@pytest.mark.parametrize("times", ["timestamp_granularities", "timestamp_granularities[0]"])
def test_of_a_transcription_as_clients_of_other_servers_ask_for_it(times: str) -> None:
    """Lists without brackets or numbered, languages by name, fields without a value, and what their servers know."""
    opening = Opening("POST", "/", headers={"content-type": "multipart/form-data"}, request_id=ID)
    asked = (
        *((times, "word"), ("response_format", "verbose_json"), ("language", "English")),
        *(("vad_filter", "True"), ("temperature", ""), ("stream", ""), ("prompt", ""), ("seed", "1")),
    )
    accepted = Transcriptions().negotiate(opening, Body(b"RIFF", (("model", "m"), *asked), has_file=True))
    assert (accepted.spec.language, accepted.spec.word_times) == ("en", True)
    assert told([accepted.surface.emit(event, 0) for event in (LACKING, Closed(100, 1, ""))]) == "vad_filter, seed"
    own = Transcriptions().negotiate(opening, Body(b"RIFF", (("model", "m"), ("language", "auto")), has_file=True))
    assert own.spec.language == ""


def test_of_a_response() -> None:
    fields = {"prompt_cache_retention": "24h", "reasoning": {"effort": "low", "context": "auto"}}
    names = "prompt_cache_retention, reasoning.context"
    assert told(posted(Responses(), ANSWER, model="m", input="Hi", **fields)) == names
