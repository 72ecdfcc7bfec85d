"""What leaves, against the official SDK's own types: nothing missing, nothing of another type, and no field of ours.

The SDK takes whatever comes. Here its types are strict, and what they do not know is a fault, at any depth.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from openai._base_client import BaseClient
from openai.resources.realtime.realtime import AsyncRealtimeConnection, RealtimeConnection
from openai.resources.responses.responses import AsyncResponsesConnection, ResponsesConnection
from openai.types.audio import (
    Transcription,
    TranscriptionDiarized,
    TranscriptionStreamEvent,
    TranscriptionVerbose,
    TranslationVerbose,
)
from openai.types.batch import Batch
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.completion import Completion
from openai.types.create_embedding_response import CreateEmbeddingResponse
from openai.types.file_deleted import FileDeleted
from openai.types.file_object import FileObject
from openai.types.model import Model
from openai.types.realtime import RealtimeServerEvent
from openai.types.realtime.client_secret_create_response import ClientSecretCreateResponse
from openai.types.realtime.realtime_session_create_response import RealtimeSessionCreateResponse
from openai.types.realtime.realtime_transcription_session_create_response import (
    RealtimeTranscriptionSessionCreateResponse,
)
from openai.types.responses import Response, ResponseItemList, ResponsesServerEvent, ResponseStreamEvent
from openai.types.shared.error_object import ErrorObject
from pydantic import BaseModel, TypeAdapter

# Fields that no type of the SDK has, each for a reason.
OURS = {
    "Response.store": "OpenAI's own answers say it; it tells whether the response is kept",
    "TranscriptionVerbose.task": "OpenAI's own answers say it",
    "TranslationVerbose.task": "the same",
    "ChoiceDelta.reasoning_content": "where clients of open models look for what a model thought",
    "ChatCompletionMessage.reasoning_content": "the same",
}
SESSIONS = {"realtime": RealtimeSessionCreateResponse, "transcription": RealtimeTranscriptionSessionCreateResponse}
BY_OBJECT: dict[str, Any] = {
    "chat.completion": ChatCompletion,
    "chat.completion.chunk": ChatCompletionChunk,
    "batch": Batch,
    "file": FileObject,
    "response": Response,
    "model": Model,
    "realtime.session": RealtimeSessionCreateResponse,
    "realtime.transcription_session": RealtimeTranscriptionSessionCreateResponse,
}


def check(message: Any, kind: Any) -> None:
    """`message` is an answer or event, `kind` the SDK's type. Raises `pydantic.ValidationError`, `AssertionError`."""
    strange = unknown(message, kind)
    assert not strange, f"the SDK does not know {strange} in {json.dumps(message)[:500]}"


def unknown(message: Any, kind: Any) -> list[str]:
    """The fields that the type does not have. Raises `pydantic.ValidationError`."""
    known = _adapter(kind).validate_json(json.dumps(message), strict=True)
    return [each for each in _strange(known) if each not in OURS]


def check_error(message: Any) -> None:
    assert list(message) == ["error"]
    check(message["error"], ErrorObject)


def check_realtime(message: Any) -> None:
    """An event of the Realtime API. The SDK types the sessions in events as callers write them, and has other types
    where it reads them: a field is known that either has.
    """
    strange = unknown(message, RealtimeServerEvent)
    if strange and message["type"] in ("session.created", "session.updated"):
        read = {each.rpartition(".")[2] for each in unknown(message["session"], SESSIONS[message["session"]["type"]])}
        strange = [each for each in strange if each.rpartition(".")[2] in read]
    assert not strange, f"the SDK does not know {strange} in {json.dumps(message)[:500]}"


def check_any(message: Any) -> None:
    """An answer or event of any HTTP endpoint, by what it says that it is."""
    if "error" in message and "object" not in message and "type" not in message:
        check_error(message)
    elif "first_id" in message and all(each.get("object") in ("batch", "file") for each in message["data"]):
        for each in message["data"]:
            check_any(each)
    elif "first_id" in message:
        check(message, ResponseItemList)
    elif message.get("deleted"):
        check(message, FileDeleted)
    elif message.get("object") == "list":
        for each in message["data"]:
            if each.get("object") == "model":
                check(each, Model)
        if message["data"] and message["data"][0].get("object") == "embedding":
            check(_decoded(message), CreateEmbeddingResponse)
    elif message.get("object") == "text_completion":
        check(_ended(message), Completion)
    elif message.get("object") in BY_OBJECT:
        check(message, BY_OBJECT[message["object"]])
    elif message.get("type", "").startswith("transcript."):
        check(message, TranscriptionStreamEvent)
    elif "sequence_number" in message:
        check(message, ResponseStreamEvent)
    elif "status" in message and message.get("type") == "error":
        check(message, ResponsesServerEvent)
    elif "expires_at" in message and "value" in message:
        check(message, ClientSecretCreateResponse)
    elif message.get("task") == "translate":
        check(message, TranslationVerbose)
    elif "duration" in message and "task" in message:
        diarized = "speaker" in (message.get("segments") or [{}])[0]
        check(message, TranscriptionDiarized if diarized else TranscriptionVerbose)
    elif "text" in message:
        check(message, Transcription)
    else:
        raise AssertionError(f"nobody knows what this is: {json.dumps(message)[:500]}")


def _decoded(message: Any) -> Any:
    """Embeddings as the SDK types them, which decodes base64 before."""
    data = [{**each, "embedding": [0.0]} if isinstance(each["embedding"], str) else each for each in message["data"]]
    return {**message, "data": data}


def _ended(message: Any) -> Any:
    """A completion's chunk as one whose choices have ended: of those that go on OpenAI says null, as its reference
    does and the SDK's type does not.
    """
    return {
        **message,
        "choices": [{**each, "finish_reason": each["finish_reason"] or "stop"} for each in message["choices"]],
    }


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _strange(value: Any) -> Iterator[str]:
    """Fields that the SDK's types do not have, at any depth."""
    if isinstance(value, BaseModel):
        for name in value.model_extra or {}:
            yield f"{type(value).__name__}.{name}"
        for name in type(value).model_fields:
            yield from _strange(getattr(value, name))
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strange(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _strange(each)


def check_answers(patch: Any) -> None:
    """From now on every answer and event that the SDK gets over a socket is checked before the SDK takes it."""
    process = BaseClient._process_response_data

    def processed(self: Any, *, data: Any, cast_to: Any, response: Any) -> Any:
        if isinstance(cast_to, type) and issubclass(cast_to, BaseModel) and isinstance(data, dict):
            check_any(data)
        return process(self, data=data, cast_to=cast_to, response=response)

    patch.setattr(BaseClient, "_process_response_data", processed)
    for connection, check_event in (
        (RealtimeConnection, check_realtime),
        (AsyncRealtimeConnection, check_realtime),
        (ResponsesConnection, check_response_event),
        (AsyncResponsesConnection, check_response_event),
    ):
        patch.setattr(connection, "parse_event", _parsing(connection.parse_event, check_event))


def check_response_event(message: Any) -> None:
    """An event of a response over a WebSocket."""
    check(message, ResponsesServerEvent)


def _parsing(parse: Any, check_event: Any) -> Any:
    def parsed(self: Any, data: str | bytes) -> Any:
        check_event(json.loads(data))
        return parse(self, data)

    return parsed
