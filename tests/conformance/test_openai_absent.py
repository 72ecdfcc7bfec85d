"""What the official SDK can call and this server has not: 404 in OpenAI's words, whatever stands beside it."""

from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from serving import Server

CALLS: dict[str, Callable[[OpenAI], Any]] = {
    "responses.compact": lambda client: client.responses.compact(model="gpt-4o-mini", input="Hi"),
    "responses.input_tokens": lambda client: client.responses.input_tokens.count(model="gpt-4o-mini", input="Hi"),
    "realtime.calls.create": lambda client: client.realtime.calls.create(sdp="v=0"),
    "realtime.calls.accept": lambda client: client.realtime.calls.accept("call_1", type="realtime"),
    "realtime.calls.hangup": lambda client: client.realtime.calls.hangup("call_1"),
    "batches.retrieve": lambda client: client.batches.retrieve("batch_1"),
    "chat.completions.retrieve": lambda client: client.chat.completions.retrieve("chatcmpl-1"),
    "conversations.create": lambda client: client.conversations.create(),
    "files.retrieve": lambda client: client.files.retrieve("file-1"),
    "fine_tuning.jobs.list": lambda client: client.fine_tuning.jobs.list(),
    "images.generate": lambda client: client.images.generate(prompt="A cat."),
    "moderations.create": lambda client: client.moderations.create(input="Hi"),
    "uploads.create": lambda client: client.uploads.create(
        bytes=1, filename="a", mime_type="text/plain", purpose="batch"
    ),
    "vector_stores.list": lambda client: client.vector_stores.list(),
    "responses.retrieve": lambda client: client.responses.retrieve("compact"),
    "responses.cancel": lambda client: client.responses.cancel("resp_1"),
    "responses.delete": lambda client: client.responses.delete("resp_1"),
    "models.retrieve": lambda client: client.models.retrieve("gpt-0"),
}


@pytest.mark.parametrize("call", CALLS)
def test_what_is_not_there_is_not_found(client: OpenAI, call: str) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        CALLS[call](client)
    body: Any = refused.value.response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert (body["error"]["type"], bool(body["error"]["message"])) == ("invalid_request_error", True)


@pytest.mark.parametrize("prefix", ["/v1", "/openai/v1", "/openai"])
@pytest.mark.parametrize("path", ["/responses/compact", "/responses/input_tokens"])
def test_nothing_is_called_like_a_response(server: Server, prefix: str, path: str) -> None:
    answer = httpx.post(f"{server.base_url}{prefix}{path}", json={})
    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"]
