"""The OpenAPI document of the endpoints that take JSON, made from the types that decode their bodies.

Checks that depend on two fields, or on the model, are not in the schemas: a valid body may still be answered by a 400.
Azure's addresses are the same operations under other prefixes.
"""

from typing import Any

import msgspec

from antiphon.core.wire import Opening, Response
from antiphon.surfaces.openai import batch_wire, response_items, response_wire, responses, wire
from antiphon.surfaces.openai.batches import BatchRequest
from antiphon.surfaces.openai.chat import ChatRequest
from antiphon.surfaces.openai.completions import CompletionRequest
from antiphon.surfaces.openai.embeddings import EmbeddingList, EmbeddingRequest
from antiphon.surfaces.openai.files import MAX_FILES_LISTED
from antiphon.surfaces.openai.realtime import settings
from antiphon.surfaces.openai.realtime import wire as realtime_wire
from antiphon.surfaces.openai.realtime.secrets import ClientSecretRequest
from antiphon.surfaces.openai.speech import FORMATS, SpeechRequest

Object = dict[str, Any]

STATUSES = {
    "400": "The request is wrong; `param` says where.",
    "401": "No key, or none that holds.",
    "403": "The key may not do this.",
    "404": "No such model, or nothing kept under this id.",
    "408": "The body came too slowly.",
    "409": "The request with this idempotency key is still being answered.",
    "413": "The body is too large.",
    "415": "The body is compressed.",
    "422": "The idempotency key was used for another request, or for one whose answer is not given again.",
    "429": "There is no room now; `retry-after` says when to try again.",
    "500": "A defect, or a broken machine.",
    "502": "The model failed.",
    "503": "The server is stopping, or cannot record usage.",
    "504": "The model took too long.",
}
_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
_PAGE = (
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100}},
    {"name": "order", "in": "query", "schema": {"enum": ["asc", "desc"]}},
    {"name": "after", "in": "query", "schema": {"type": "string"}},
)
_FILES = (
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": MAX_FILES_LISTED}},
    *_PAGE[1:],
    {"name": "purpose", "in": "query", "schema": {"type": "string"}},
)
_SECRETS = "/v1/realtime/client_secrets"
# Method, path, summary, body, answer (`None` is speech), whether it streams, more parameters.
_OPERATIONS: tuple[tuple[str, str, str, Any, Any, bool, tuple[Object, ...]], ...] = (
    ("post", "/v1/chat/completions", "Continue a conversation", ChatRequest, wire.ChatCompletion, True, ()),
    ("post", "/v1/completions", "Continue a text", CompletionRequest, wire.TextCompletion, True, ()),
    ("post", "/v1/audio/speech", "Say a text", SpeechRequest, None, True, ()),
    ("post", "/v1/embeddings", "A vector for each text", EmbeddingRequest, EmbeddingList, False, ()),
    ("post", "/v1/responses", "Answer", responses.ResponseRequest, response_wire.Response, True, ()),
    ("get", "/v1/responses/{id}", "A kept response", None, response_wire.Response, False, (_ID,)),
    ("delete", "/v1/responses/{id}", "Forget a kept response", None, response_wire.Deleted, False, (_ID,)),
    ("post", "/v1/responses/{id}/cancel", "Cancel a response", None, response_wire.Response, False, (_ID,)),
    ("get", "/v1/responses/{id}/input_items", "Its input", None, response_wire.InputItems, False, (_ID, *_PAGE)),
    ("get", "/v1/files", "The files there are", None, batch_wire.FileList, False, _FILES),
    ("get", "/v1/files/{id}", "One file", None, batch_wire.FileObject, False, (_ID,)),
    ("delete", "/v1/files/{id}", "Delete a file", None, batch_wire.FileDeleted, False, (_ID,)),
    ("post", "/v1/batches", "Answer the calls in a file", BatchRequest, batch_wire.Batch, False, ()),
    ("get", "/v1/batches", "The batches there are", None, batch_wire.BatchList, False, (_PAGE[0], _PAGE[2])),
    ("get", "/v1/batches/{id}", "One batch", None, batch_wire.Batch, False, (_ID,)),
    ("post", "/v1/batches/{id}/cancel", "Cancel a batch", None, batch_wire.Batch, False, (_ID,)),
    ("post", _SECRETS, "A secret for one Realtime session", ClientSecretRequest, realtime_wire.ClientSecret, False, ()),
    ("get", "/v1/models", "The models there are", None, wire.ModelList, False, ()),
    ("get", "/v1/models/{id}", "One model", None, wire.Model, False, (_ID,)),
)
# Required fields that the types let be absent: a deployment's address names the model, or the error is better.
_REQUIRED: dict[type[msgspec.Struct], tuple[str, ...]] = {
    ChatRequest: ("model",),
    CompletionRequest: ("model", "prompt"),
    EmbeddingRequest: ("model",),
    SpeechRequest: ("model",),
    responses.ResponseRequest: ("model", "input"),
}
# Lists whose items are decoded one by one, for better errors, so the request's type does not describe them.
_ITEMS = (
    response_items.MessageIn,
    response_items.CallIn,
    response_items.OutputIn,
    response_items.ReasoningIn,
    response_items.ReferenceIn,
)


class Document(wire.Endpoint):
    """The endpoint that returns the document."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def ask(self, opening: Opening, body: bytes) -> Response:
        return Response(200, wire.headers(opening, wire.JSON), self._body)


def document(version: str) -> bytes:
    """Return the document: OpenAPI 3.1, as JSON."""
    bodies = [body for _, _, _, body, _, _, _ in _OPERATIONS if body]
    answers = [answer for _, _, _, _, answer, _, _ in _OPERATIONS if answer]
    parts = [*_ITEMS, responses.FunctionTool, settings.SessionIn, settings.FunctionTool]
    types = list(dict.fromkeys([*bodies, *answers, wire.ErrorBody, *parts]))
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schema = dict(zip(types, schemas, strict=True))

    def fields(kind: type[msgspec.Struct]) -> Object:
        found: Object = components[schema[kind]["$ref"].rpartition("/")[2]]["properties"]
        return found

    for kind, names in _REQUIRED.items():
        body_schema = components[schema[kind]["$ref"].rpartition("/")[2]]
        for name in names:
            _not_null(body_schema["properties"][name])
        body_schema["required"] = [*names, *body_schema["required"]]
    request_fields = fields(responses.ResponseRequest)
    _list_of(request_fields["input"])["items"] = {"anyOf": [schema[item] for item in _ITEMS]}
    _list_of(request_fields["tools"])["items"] = schema[responses.FunctionTool]
    fields(ClientSecretRequest)["session"] = {"anyOf": [schema[settings.SessionIn], {"type": "null"}]}
    _list_of(fields(settings.SessionIn)["tools"])["items"] = schema[settings.FunctionTool]
    paths: dict[str, Object] = {}
    for method, path, summary, body, answer, streams, parameters in _OPERATIONS:
        operation: Object = {"summary": summary, "parameters": list(parameters), "responses": {}}
        if body:
            operation["requestBody"] = {"required": True, "content": {wire.JSON: {"schema": schema[body]}}}
        content: Object = (
            {wire.JSON: {"schema": schema[answer]}} if answer else {each: {} for _, each in FORMATS.values()}
        )
        if streams:
            content["text/event-stream"] = {"schema": {"type": "string"}}
        refused = {wire.JSON: {"schema": schema[wire.ErrorBody]}}
        operation["responses"] = {"200": {"description": "The answer.", "content": content}} | {
            status: {"description": description, "content": refused} for status, description in STATUSES.items()
        }
        paths.setdefault(path, {})[method] = operation
    whole = msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "Antiphon, the language and speech endpoints", "version": version},
            "security": [{"bearer": []}, {"key": []}],
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {
                    "bearer": {"type": "http", "scheme": "bearer"},
                    "key": {"type": "apiKey", "in": "header", "name": "api-key"},
                },
            },
        }
    )
    return whole.replace(__package__.encode() + b".", b"")  # before names that several modules have


def _not_null(schema: Object) -> None:
    """Remove null from a schema's alternatives and its default."""
    del schema["default"]
    others = [each for each in schema.pop("anyOf") if each != {"type": "null"}]
    schema.update(others[0] if len(others) == 1 else {"anyOf": others})


def _list_of(schema: Object) -> Object:
    """Return the alternative of a schema that is a list."""
    found: Object = next(each for each in schema["anyOf"] if each.get("type") == "array")
    return found
