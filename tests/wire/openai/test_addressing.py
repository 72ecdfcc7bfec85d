"""Azure's addresses and its key header, on every endpoint that has a model."""

import json

import pytest

from antiphon.core.endpoints import CallEndpoint
from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.wire import Bearer, Body, ModelCard, Opening
from antiphon.surfaces.openai.chat import ChatCompletions
from antiphon.surfaces.openai.completions import Completions
from antiphon.surfaces.openai.embeddings import Embeddings
from antiphon.surfaces.openai.models import Models
from antiphon.surfaces.openai.speech import Speech
from antiphon.surfaces.openai.transcriptions import Transcriptions

CHAT = ("chat/completions", ChatCompletions(), {"messages": [{"role": "user", "content": "Hi"}]})
COMPLETION = ("completions", Completions(), {"prompt": "It"})
EMBEDDING = ("embeddings", Embeddings(), {"input": "It"})
SPEECH = ("audio/speech", Speech(), {"input": "It", "voice": "v"})
ENDPOINTS = pytest.mark.parametrize(
    ("path", "endpoint", "body"), [CHAT, COMPLETION, EMBEDDING, SPEECH], ids=lambda each: ""
)


def model(endpoint: CallEndpoint[bytes], path: str, body: object, *query: tuple[str, str]) -> str:
    return endpoint.negotiate(Opening("POST", path, query), json.dumps(body).encode()).spec.model


@ENDPOINTS
def test_the_deployment_is_the_model(path: str, endpoint: CallEndpoint[bytes], body: dict[str, object]) -> None:
    deployed = f"/openai/deployments/smollm2/{path}"
    assert model(endpoint, deployed, body) == "smollm2"
    assert model(endpoint, deployed, body | {"model": "gpt-4o"}, ("api-version", "2024-10-21")) == "smollm2"
    assert model(endpoint, f"/openai/deployments/acme/small/{path}", body) == "acme/small"


@ENDPOINTS
def test_under_another_prefix(path: str, endpoint: CallEndpoint[bytes], body: dict[str, object]) -> None:
    for version in ("preview", "latest", "v1", "2025-04-01-preview"):
        assert model(endpoint, f"/openai/v1/{path}", body | {"model": "m"}, ("api-version", version)) == "m"
    with pytest.raises(CallerError) as caught:
        model(endpoint, f"/openai/v1/{path}", body)
    assert caught.value.param == "model"


@ENDPOINTS
@pytest.mark.parametrize(
    ("prefix", "name", "value", "kind"),
    [
        ("/openai/deployments/m", "api-version", "soon", CallerError),
        ("/openai/deployments/m", "api-version", "2024-10-21-", CallerError),
        ("/openai/deployments/m", "api-version", "", CallerError),
        ("/openai/deployments/m", "stream", "true", UnsupportedParameter),
        ("/v1", "api-version", "2024-10-21", UnsupportedParameter),
    ],
)
def test_what_does_not_belong_in_the_url(
    path: str,
    endpoint: CallEndpoint[bytes],
    body: dict[str, object],
    prefix: str,
    name: str,
    value: str,
    kind: type[CallerError],
) -> None:
    with pytest.raises(CallerError) as caught:
        model(endpoint, f"{prefix}/{path}", body | {"model": "m"}, (name, value))
    assert (type(caught.value), caught.value.param) == (kind, name)


def test_transcriptions() -> None:
    path = "/openai/deployments/whisper-1/audio/transcriptions"
    opening = Opening("POST", path, (("api-version", "2024-10-21"),), {"content-type": "multipart/form-data"})
    for fields in ((), (("model", "other"), ("language", "en"))):
        assert Transcriptions().negotiate(opening, Body(b"RIFF", fields, has_file=True)).spec.model == "whisper-1"


@pytest.mark.parametrize("path", ["/openai/models", "/openai/v1/models"])
def test_models(path: str) -> None:
    cards = [ModelCard("m", "m", 1), ModelCard("n", "n", 1)]
    assert b'"data":[{"id":"m"' in Models().answer(Opening("GET", path), cards).body
    assert Models().answer(Opening("GET", f"{path}/n"), cards).body.startswith(b'{"id":"n"')


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"api-key": "k"}, "k"),
        ({"api-key": " k "}, "k"),
        ({"api-key": ""}, None),
        ({"authorization": "Bearer b", "api-key": "k"}, "b"),
        ({"authorization": "Basic b", "api-key": "k"}, "k"),
        ({"authorization": "Bearer ", "api-key": "k"}, None),
    ],
)
def test_where_the_key_stands(headers: dict[str, str], key: str | None) -> None:
    assert ChatCompletions().credential(Opening("POST", "/", headers=headers)) == (key and Bearer(key))
