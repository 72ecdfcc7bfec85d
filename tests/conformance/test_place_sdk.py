"""A project that no engine may serve, and a key for one model: what the official SDKs and clients see."""

import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from serving import Server

SOUND = ("a.wav", b"RIFF\x26\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80>\0\0\0}\0\0\x02\0\x10\0data\x02\0\0\0\0\0")
ASKED: Any = [{"role": "user", "content": "Hi"}]
CALLS: dict[str, Callable[[OpenAI], Any]] = {
    "chat": lambda client: client.chat.completions.create(model="gpt-4o-mini", messages=ASKED),
    "stream": lambda client: client.chat.completions.create(model="gpt-4o-mini", messages=ASKED, stream=True),
    "responses": lambda client: client.responses.create(model="gpt-4o-mini", input="Hi"),
    "embeddings": lambda client: client.embeddings.create(model="text-embedding-3-small", input="Hi"),
    "transcriptions": lambda client: client.audio.transcriptions.create(model="whisper-1", file=SOUND),
    "speech": lambda client: client.audio.speech.create(model="tts-1", voice="alloy", input="Hi"),
}


@pytest.fixture(scope="module")
def administer(server: Server) -> Callable[[str, Any], Any]:
    def post(path: str, body: Any) -> Any:
        bearer = {"authorization": f"Bearer {server.api_key}"}
        answer = httpx.post(f"{server.base_url}/admin/v1{path}", headers=bearer, json=body, timeout=60)
        assert answer.status_code == 201
        return answer.json()

    return post


@pytest.fixture(scope="module")
def placed(server: Server, administer: Callable[[str, Any], Any]) -> str:
    """The key of a project that requires a region; this server says none."""
    administer("/projects", {"id": "placed", "regions": "eu"})
    key: str = administer("/keys", {"project": "placed"})["key"]
    return _known(server, key)


def _known(server: Server, key: str) -> str:
    """Wait until the server knows the key and its project."""
    deadline = time.monotonic() + 10
    while OpenAI(base_url=f"{server.base_url}/v1", api_key=key).models.list().data[5:]:
        assert time.monotonic() < deadline
    return key


@pytest.mark.parametrize("call", CALLS)
def test_openais_sdk_says_that_it_is_not_permitted(server: Server, placed: str, call: str) -> None:
    client = OpenAI(base_url=f"{server.base_url}/v1", api_key=placed, max_retries=0, timeout=60)
    with pytest.raises(openai.PermissionDeniedError) as refused:
        CALLS[call](client)
    assert refused.value.code == "no_engine_allowed"
    assert "requires: region eu" in str(refused.value)
    assert client.models.list().data == []


async def test_a_realtime_conversation_is_refused(server: Server, placed: str) -> None:
    async with AsyncOpenAI(base_url=f"{server.base_url}/v1", api_key=placed, timeout=60) as client:
        with pytest.raises(InvalidStatus) as refused:
            async with client.realtime.connect(model="gpt-realtime"):
                pass
    assert refused.value.response.status_code == 403
    assert b"no_engine_allowed" in (refused.value.response.body or b"")


def test_a_live_stream_of_deepgrams_is_refused(server: Server, placed: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{server.ws_url}/v1/listen?model=nova-3", additional_headers={"authorization": f"Token {placed}"})
    assert refused.value.response.status_code == 403
    assert json.loads(refused.value.response.body or b"{}")["err_code"] == "INSUFFICIENT_PERMISSIONS"


def test_a_key_for_one_model_sees_and_uses_that(server: Server, administer: Callable[[str, Any], Any]) -> None:
    key = _known(server, administer("/keys", {"project": "default", "models": ["gpt-4o-mini"]})["key"])
    with OpenAI(base_url=f"{server.base_url}/v1", api_key=key, max_retries=0, timeout=60) as client:
        assert [each.id for each in client.models.list()] == ["gpt-4o-mini"]
        assert client.chat.completions.create(model="gpt-4o-mini", messages=ASKED, max_tokens=1).choices
        with pytest.raises(openai.PermissionDeniedError, match="may not use the model 'gpt-4o'"):
            client.chat.completions.create(model="gpt-4o", messages=ASKED)
