import json
import re

import msgspec
import pytest

from antiphon.core.errors import AntiphonError
from antiphon.core.routing import CallRow, LookupRow
from antiphon.core.wire import Opening, Response
from antiphon.routes import ROUTES
from antiphon.surfaces.openai.absent import Absent
from antiphon.surfaces.openai.chat import ChatRequest
from antiphon.surfaces.openai.completions import CompletionRequest
from antiphon.surfaces.openai.document import STATUSES, document
from antiphon.surfaces.openai.embeddings import EmbeddingRequest
from antiphon.surfaces.openai.files import CreateFile, FileContent
from antiphon.surfaces.openai.realtime.secrets import ClientSecretRequest
from antiphon.surfaces.openai.responses import ResponseRequest
from antiphon.surfaces.openai.speech import SpeechRequest
from antiphon.surfaces.openai.transcriptions import Transcriptions
from antiphon.surfaces.openai.voices import SpeechModels, Voices

DOCUMENT = json.loads(document("1.2.3"))
SCHEMAS = DOCUMENT["components"]["schemas"]


def test_it_holds_every_route_that_takes_json_and_no_other():
    routed = {
        ("post" if isinstance(row, CallRow) else row.method.lower(), row.path.replace(":path}", "}"))
        for row in ROUTES
        if isinstance(row, CallRow | LookupRow)
        and (row.surface, row.path[:4]) == ("openai", "/v1/")
        and not isinstance(row.endpoint, Transcriptions | Voices | SpeechModels | Absent | CreateFile | FileContent)
    }
    documented = {(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert documented == routed


def test_it_is_served():
    (served,) = [row for row in ROUTES if row.path == "/openapi.json"]
    assert isinstance(served, LookupRow)
    assert served.open
    answer = served.endpoint.ask(Opening("GET", served.path), b"")
    assert isinstance(answer, Response)
    assert json.loads(answer.body)["paths"] == DOCUMENT["paths"]


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
    of_paths = {"405", "501", "402"}  # and of no operation at one; OpenAI's own of a budget is 429
    assert {str(error.status) for error in errors()} <= set(STATUSES) | of_paths
    for methods in DOCUMENT["paths"].values():
        for operation in methods.values():
            assert set(operation["responses"]) == {"200", *STATUSES}


@pytest.mark.parametrize(
    ("name", "required"),
    [
        ("ChatRequest", {"model", "messages"}),
        ("CompletionRequest", {"model", "prompt"}),
        ("EmbeddingRequest", {"model", "input"}),
        ("ResponseRequest", {"model", "input"}),
        ("SpeechRequest", {"model", "input", "voice"}),
    ],
)
def test_what_must_be_said_may_not_be_null(name, required):
    schema = SCHEMAS[name]
    assert set(schema["required"]) == required
    for field in required:
        assert "null" not in json.dumps(schema["properties"][field].get("anyOf", []))
        assert "default" not in schema["properties"][field]
    assert SCHEMAS[name]["properties"]["model"] == {"type": "string"}
