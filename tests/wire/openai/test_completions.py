"""Completions, byte by byte; what each parameter becomes; and what is refused, with where it stands."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from json_script import REQUEST_ID, Script, dump, play, scripts
from openai.types import Completion

from antiphon.core.errors import AntiphonError, CallerError, UnsupportedParameter
from antiphon.core.events import (
    ChoiceEnded,
    Completed,
    FinishReason,
    LanguageOutput,
    Opened,
    ScoredToken,
    TextDelta,
    TokenUsage,
)
from antiphon.core.specs import GenerateSpec, Sampling
from antiphon.core.wire import Opening
from antiphon.surfaces.openai import wire
from antiphon.surfaces.openai.completions import CompletionRequest, Completions

PATH = "/v1/completions"
ENDPOINT = Completions()
GOLDEN = scripts("completions.txt", PATH)


def asked(**fields: Any) -> GenerateSpec:
    body = json.dumps({"model": "m", "prompt": "It", **fields}).encode()
    spec = ENDPOINT.negotiate(Opening("POST", PATH), body).spec
    assert isinstance(spec, GenerateSpec)
    return spec


@pytest.mark.parametrize("script", GOLDEN)
def test_golden(script: Script) -> None:
    play(ENDPOINT, script)


@pytest.mark.parametrize("script", GOLDEN)
def test_the_official_sdk_accepts_what_leaves(script: Script) -> None:
    """The SDK itself is lenient. Its type of a completion knows no reason that is null, as it is until the end."""
    for message in script.sent():
        for choice in message["choices"]:
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        Completion.model_validate_json(json.dumps(message), strict=True)


def test_nothing_but_a_prompt() -> None:
    assert asked() == GenerateSpec("m", "It", sampling=Sampling(max_tokens=16))
    assert asked(prompt=["It"]) == asked()


@pytest.mark.parametrize(
    ("fields", "sampling"),
    [
        ({"max_tokens": 7}, Sampling(max_tokens=7)),
        ({"temperature": 0, "top_p": 1, "seed": 5}, Sampling(16, 0.0, 1.0, seed=5)),
        ({"stop": ["a", "b"]}, Sampling(16, stop=("a", "b"))),
        ({"presence_penalty": 1, "frequency_penalty": -1}, Sampling(16, presence_penalty=1.0, frequency_penalty=-1.0)),
        ({"logprobs": 0}, Sampling(16, logprobs=True)),
        ({"logprobs": 5}, Sampling(16, logprobs=True, top_logprobs=5)),
    ],
)
def test_sampling(fields: dict[str, Any], sampling: Sampling) -> None:
    assert asked(**fields).sampling == sampling


@pytest.mark.parametrize(
    "fields",
    [
        {"echo": False, "suffix": "", "best_of": 1, "n": 1, "logit_bias": {}, "user": "u", "stream": False},
        dict.fromkeys(set(CompletionRequest.__struct_fields__) - {"prompt", "model"}),
    ],
)
def test_what_changes_nothing(fields: dict[str, Any]) -> None:
    assert asked(**fields) == asked()


def test_choices_and_stream() -> None:
    spec = asked(n=2, best_of=2, stream=True)
    assert (spec.choices, spec.stream) == (2, True)


@pytest.mark.parametrize(
    ("fields", "param", "kind"),
    [
        ({"model": None}, "model", CallerError),
        ({"prompt": None}, "prompt", CallerError),
        ({"prompt": ""}, "prompt", CallerError),
        ({"prompt": 7}, "prompt", CallerError),
        ({"prompt": []}, "prompt", UnsupportedParameter),
        ({"prompt": ["a", "b"]}, "prompt", UnsupportedParameter),
        ({"prompt": [1, 2]}, "prompt", UnsupportedParameter),
        ({"prompt": [[1, 2]]}, "prompt", UnsupportedParameter),
        ({"max_tokens": 0}, "max_tokens", CallerError),
        ({"logprobs": 6}, "logprobs", CallerError),
        ({"logprobs": True}, "logprobs", CallerError),
        ({"stream_options": {"include_usage": True}}, "stream_options", CallerError),
        ({"best_of": 3}, "best_of", UnsupportedParameter),
        ({"echo": True}, "echo", UnsupportedParameter),
        ({"suffix": "end"}, "suffix", UnsupportedParameter),
        ({"logit_bias": {"the": 1}}, "logit_bias", CallerError),
        ({"logit_bias": {"1": 101}}, "logit_bias", CallerError),
        ({"messages": []}, "messages", UnsupportedParameter),
    ],
)
def test_refused(fields: dict[str, Any], param: str, kind: type[CallerError]) -> None:
    with pytest.raises(CallerError) as caught:
        asked(**fields)
    assert (type(caught.value), caught.value.param) == (kind, param)


LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=8)


@given(
    fields=st.dictionaries(
        st.sampled_from(CompletionRequest.__struct_fields__) | st.text(max_size=8),
        LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(st.text(max_size=5), LEAVES, max_size=2),
        max_size=5,
    ),
    texts=st.lists(st.text(max_size=8), max_size=4),
)
def test_any_object_is_honoured_or_refused(fields: dict[str, Any], texts: list[str]) -> None:
    """And the deltas of a stream, one after the other, are the whole text."""
    opening = Opening("POST", PATH, request_id=REQUEST_ID)
    body = {"model": "m", "prompt": "It", **fields}
    try:
        ENDPOINT.negotiate(opening, json.dumps(body).encode())
    except AntiphonError as error:
        response = ENDPOINT.refuse(opening, error)
        assert 400 <= response.status < 500
        msgspec.json.decode(response.body, type=wire.ErrorBody, strict=True)
        return
    told = []
    for stream in (True, False):
        surface = ENDPOINT.negotiate(
            opening, json.dumps({**body, "stream_options": None, "stream": stream}).encode()
        ).surface
        deltas = [TextDelta(0, text, 1, (ScoredToken(text, -0.5),)) for text in texts]
        events: list[LanguageOutput] = [Opened("m"), *deltas, ChoiceEnded(0, FinishReason.STOP)]
        lines = [line for event in (*events, Completed(TokenUsage(1, 1))) for line in dump(surface.emit(event, 0))]
        assert lines[-1] == "CLOSE"
        sent = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith(("{", "data: {"))]
        choices = [each for message in sent for each in message["choices"] if each["index"] == 0]
        offsets = [place for each in choices if each["logprobs"] for place in each["logprobs"]["text_offset"]]
        told.append(("".join(each["text"] for each in choices), offsets))
    assert told[0] == told[1]
    assert told[0][0] == "".join(texts)
