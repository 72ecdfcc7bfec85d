import json
import re

import msgspec
import pytest

from antiphon.core.errors import AntiphonError
from antiphon.routes import ROUTES, Document, Json, Kept, Listing, Secret, Shared
from antiphon.surfaces.openai.chat import ChatRequest
from antiphon.surfaces.openai.completions import CompletionRequest
from antiphon.surfaces.openai.document import STATUSES, document
from antiphon.surfaces.openai.embeddings import EmbeddingRequest
from antiphon.surfaces.openai.realtime.secrets import ClientSecretRequest
from antiphon.surfaces.openai.responses import ResponseRequest
from antiphon.surfaces.openai.speech import SpeechRequest

DOCUMENT = json.loads(document("1.2.3"))
SCHEMAS = DOCUMENT["components"]["schemas"]


def test_it_holds_every_route_that_takes_json_and_no_other():
    routed = set()
    for each in ROUTES:
        route = each.ours if isinstance(each, Shared) else each
        if (
            isinstance(route, Json | Kept | Listing | Secret)
            and route.surface == "openai"
            and route.path.startswith("/v1/")
        ):
            method = route.method if isinstance(route, Kept) else "GET" if isinstance(route, Listing) else "POST"
            routed.add((method.lower(), route.path.replace(":path}", "}")))
    documented = {(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert documented == routed


def test_it_is_served():
    (served,) = [route for route in ROUTES if isinstance(route, Document)]
    assert served.path == "/openapi.json"
    assert json.loads(served.body)["paths"] == DOCUMENT["paths"]


@pytest.mark.parametrize(
    "request_type",
    [ChatRequest, ClientSecretRequest, CompletionRequest, EmbeddingRequest, ResponseRequest, SpeechRequest],
)
def test_bodies_are_what_is_decoded(request_type):
    schema = SCHEMAS[request_type.__name__]
    assert set(schema["properties"]) == {field.encode_name for field in msgspec.structs.fields(request_type)}
    assert schema["additionalProperties"] is False


def test_the_items_of_a_response_are_said():
    asked = SCHEMAS["ResponseRequest"]["properties"]
    assert '"$ref": "#/components/schemas/MessageIn"' in json.dumps(asked["input"])
    assert '"$ref": "#/components/schemas/responses.FunctionTool"' in json.dumps(asked["tools"])


def test_what_a_client_secret_settles_is_said():
    assert '"$ref": "#/components/schemas/SessionIn"' in json.dumps(SCHEMAS["ClientSecretRequest"])
    assert '"$ref": "#/components/schemas/realtime.settings.FunctionTool"' in json.dumps(SCHEMAS["SessionIn"])


def test_every_reference_leads_somewhere_and_names_no_module():
    text = json.dumps(DOCUMENT)
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert named <= set(SCHEMAS)
    assert "antiphon.surfaces" not in text


def test_speech_is_bytes_or_events():
    content = DOCUMENT["paths"]["/v1/audio/speech"]["post"]["responses"]["200"]["content"]
    assert {"audio/mpeg", "audio/wav", "audio/pcm", "text/event-stream"} < set(content)
    assert "application/json" not in content


def errors(kind=AntiphonError):
    for each in kind.__subclasses__():
        yield each
        yield from errors(each)


def test_every_error_has_a_documented_status():
    assert {str(error.status) for error in errors()} <= set(STATUSES)
    for methods in DOCUMENT["paths"].values():
        for operation in methods.values():
            assert set(operation["responses"]) == {"200", *STATUSES}
