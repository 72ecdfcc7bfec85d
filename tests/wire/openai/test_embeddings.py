"""Embeddings, byte by byte; what inputs become; and what is refused."""

import base64
import json
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from json_script import REQUEST_ID, Script, play, scripts
from openai.types import CreateEmbeddingResponse

from antiphon.core.errors import AntiphonError, CallerError
from antiphon.core.events import Embedded, Opened
from antiphon.core.specs import EmbedSpec
from antiphon.core.wire import Opening
from antiphon.surfaces.openai import wire
from antiphon.surfaces.openai.embeddings import MAX_INPUTS, MAX_TOKENS, EmbeddingRequest, Embeddings

PATH = "/v1/embeddings"
ENDPOINT = Embeddings()
GOLDEN = scripts("embeddings.txt", PATH)


def asked(**fields: Any) -> EmbedSpec:
    spec = ENDPOINT.negotiate(Opening("POST", PATH), json.dumps({"model": "m", **fields}).encode()).spec
    assert isinstance(spec, EmbedSpec)
    return spec


@pytest.mark.parametrize("script", GOLDEN)
def test_golden(script: Script) -> None:
    play(ENDPOINT, script)


@pytest.mark.parametrize("script", GOLDEN)
def test_the_official_sdk_accepts_what_leaves(script: Script) -> None:
    for message in script.sent():
        for each in message["data"]:
            if isinstance(each["embedding"], str):  # as the SDK decodes it
                packed = base64.b64decode(each["embedding"])
                each["embedding"] = list(struct.unpack(f"<{len(packed) // 4}f", packed))
        CreateEmbeddingResponse.model_validate_json(json.dumps(message), strict=True)


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("a", ("a",)),
        (["a", "b"], ("a", "b")),
        ([1, 2], ((1, 2),)),
        ([[1, 2], [3]], ((1, 2), (3,))),
        (["a"] * MAX_INPUTS, ("a",) * MAX_INPUTS),
    ],
)
def test_inputs(given: Any, texts: Any) -> None:
    assert asked(input=given) == EmbedSpec("m", texts)


@pytest.mark.parametrize(
    "given",
    ["", [], [""], ["a", ""], [[]], [[1], []], ["a", 1], ["a", [1]], [1, [1]], [1.5], [True], [[True]], None, {}],
)
def test_inputs_refused(given: Any) -> None:
    with pytest.raises(CallerError) as caught:
        asked(input=given)
    assert (caught.value.param or "").startswith("input")


def test_too_many_inputs() -> None:
    with pytest.raises(CallerError, match="maximum length 2048, but got an array with length 2049") as caught:
        asked(input=["a"] * (MAX_INPUTS + 1))
    assert caught.value.param == "input"


@pytest.mark.parametrize("given", [[1] * (MAX_TOKENS + 1), [[1] * (MAX_TOKENS // 2)] * 2 + [[1]]])
def test_too_many_tokens(given: Any) -> None:
    with pytest.raises(CallerError, match="maximum length 300000") as caught:
        asked(input=given)
    assert caught.value.param == "input"


def test_what_changes_nothing() -> None:
    assert asked(input="a", user="u", encoding_format=None, dimensions=None) == asked(input="a")
    assert asked(input="a", dimensions=3).dimensions == 3
    for dimensions in (0, -1, 1.5, "3"):
        with pytest.raises(CallerError) as caught:
            asked(input="a", dimensions=dimensions)
        assert caught.value.param == "dimensions"


LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=8)


@given(
    fields=st.dictionaries(
        st.sampled_from(EmbeddingRequest.__struct_fields__) | st.text(max_size=8),
        LEAVES | st.lists(LEAVES | st.lists(LEAVES, max_size=3), max_size=3),
        max_size=5,
    )
)
def test_any_object_is_honoured_or_refused(fields: dict[str, Any]) -> None:
    opening = Opening("POST", PATH, request_id=REQUEST_ID)
    try:
        asked = ENDPOINT.negotiate(opening, json.dumps({"model": "m", "input": "a", **fields}).encode())
    except AntiphonError as error:
        response = ENDPOINT.refuse(opening, error)
        assert 400 <= response.status < 500
        msgspec.json.decode(response.body, type=wire.ErrorBody, strict=True)
        return
    assert isinstance(asked.spec, EmbedSpec)
    assert all(asked.spec.texts)
    asked.surface.emit(Opened("m"), 0)
    vectors = tuple((0.5,) for _ in asked.spec.texts)
    _, body = asked.surface.emit(Embedded(vectors, 1), 0).sends
    assert isinstance(body, bytes)
    assert [each["index"] for each in json.loads(body)["data"]] == list(range(len(vectors)))
