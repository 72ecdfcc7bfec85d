"""The list of models, byte by byte."""

import pytest
from openai.types import Model

from antiphon.core.wire import ModelCard, Opening
from antiphon.surfaces.openai.models import Models

CARDS = [ModelCard("whisper-1", "moonshine-tiny-en", 1_700_000_000), ModelCard("acme/stt", "moonshine-tiny-en", 1)]
HEADERS = (("content-type", "application/json"), ("x-request-id", "r1"))
WHISPER = b'{"id":"whisper-1","created":1700000000,"owned_by":"antiphon","object":"model"}'


def get(path: str) -> tuple[int, bytes]:
    response = Models().answer(Opening("GET", path, request_id="r1"), CARDS)
    assert response.headers == HEADERS
    return response.status, response.body


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/"])
def test_all(path: str) -> None:
    other = b'{"id":"acme/stt","created":1,"owned_by":"antiphon","object":"model"}'
    assert get(path) == (200, b'{"data":[' + WHISPER + b"," + other + b'],"object":"list"}')


def test_one() -> None:
    assert get("/v1/models/whisper-1") == (200, WHISPER)
    Model.model_validate_json(WHISPER, strict=True)


def test_a_name_with_a_slash() -> None:
    assert get("/v1/models/acme/stt")[0] == 200


def test_none_of_that_name() -> None:
    status, body = get("/v1/models/whisper-2")
    assert status == 404
    assert body == (
        b'{"error":{"message":"Model \'whisper-2\' not found. Available: whisper-1, acme/stt.",'
        b'"type":"invalid_request_error","param":"model","code":"model_not_found"}}'
    )
