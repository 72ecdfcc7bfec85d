"""Deepgram's short-lived tokens and lists of models, with its SDK."""

from typing import Any

import httpx
import pytest
from deepgram import DeepgramClient
from deepgram.core.api_error import ApiError
from deepgram.listen.v1.types import ListenV1CloseStream, ListenV1Metadata
from deepgram.types.get_model_v1response_batch import GetModelV1ResponseBatch
from deepgram.types.get_model_v1response_metadata import GetModelV1ResponseMetadata
from deepgram.types.grant_v1response import GrantV1Response
from deepgram.types.list_models_v1response import ListModelsV1Response
from deepgram_environment import environment

from vendor_types import check

VOICE = "aura-2-thalia-en"


@pytest.fixture
def holder(server: Any, client: DeepgramClient) -> DeepgramClient:
    """Who has a token."""
    granted = client.auth.v1.tokens.grant(ttl_seconds=60)
    return DeepgramClient(access_token=granted.access_token, environment=environment(server))


def test_a_token_does_what_its_key_may_on_every_path(holder: DeepgramClient) -> None:
    for _ in range(2):
        speech = b"".join(holder.speak.v1.audio.generate(text="The ship was painted blue.", model=VOICE))
        answer: Any = holder.listen.v1.media.transcribe_file(request=speech, model="nova-3")
        assert "painted blue" in answer.results.channels[0].alternatives[0].transcript
    with holder.listen.v1.connect(model="nova-3", encoding="linear16", sample_rate=16000) as live:
        live.send_close_stream(ListenV1CloseStream(type="CloseStream"))
        assert isinstance(live.recv(), ListenV1Metadata)
    with holder.speak.v1.connect(model=VOICE) as speaking:
        assert speaking.recv().type == "Metadata"
    names = {model.name for model in holder.manage.v1.models.list().stt or ()}
    assert "nova-3" in names


def test_a_token_says_how_long_it_holds(client: DeepgramClient) -> None:
    for asked, told in ((None, 30), (1.0, 1), (3600.0, 3600)):
        granted = client.auth.v1.tokens.grant(**({} if asked is None else {"ttl_seconds": asked}))
        check(GrantV1Response, granted.model_dump())
        assert granted.expires_in == told
    for wrong in (0.0, 3601.0):
        with pytest.raises(ApiError) as refused:
            client.auth.v1.tokens.grant(ttl_seconds=wrong)
        assert (refused.value.status_code, refused.value.body["err_code"]) == (400, "Bad Request")


def test_a_token_makes_no_token_and_opens_no_other_vendors_path(server: Any, holder: DeepgramClient) -> None:
    with pytest.raises(ApiError) as refused:
        holder.auth.v1.tokens.grant()
    assert refused.value.status_code == 401
    granted = DeepgramClient(api_key=server.api_key, environment=environment(server)).auth.v1.tokens.grant()
    bearer = {"authorization": f"Bearer {granted.access_token}"}
    asked = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}
    assert httpx.post(f"{server.base_url}/v1/chat/completions", headers=bearer, json=asked).status_code == 401
    assert httpx.get(f"{server.base_url}/v1/voices", headers=bearer).status_code == 401


def test_the_models(server: Any, client: DeepgramClient) -> None:
    listed = client.manage.v1.models.list(include_outdated=True)
    assert {"nova-3", "flux-general-en"} <= {model.name for model in listed.stt or ()}
    assert VOICE in {model.name for model in listed.tts or ()}
    token = {"authorization": f"Token {server.api_key}"}
    with httpx.Client(base_url=server.base_url, headers=token) as plain:
        check(ListModelsV1Response, plain.get("/v1/models").json())
        check(GetModelV1ResponseBatch, plain.get("/v1/models/nova-3").json())
        check(GetModelV1ResponseMetadata, plain.get(f"/v1/models/{VOICE}").json())
    nova: Any = client.manage.v1.models.get("nova-3")
    assert (nova.name, nova.streaming, nova.languages) == ("nova-3", True, ["en"])
    assert client.manage.v1.models.get(nova.uuid_).uuid_ == nova.uuid_
    with pytest.raises(ApiError) as missing:
        client.manage.v1.models.get("nova-99")
    assert (missing.value.status_code, missing.value.body["err_code"]) == (404, "NOT_FOUND")


def test_whose_list_of_models_it_is(server: Any) -> None:
    """Deepgram's is who says `Token`, ElevenLabs' who sends `xi-api-key`, anybody else is OpenAI's."""
    for headers, fields in (
        ({"authorization": f"Token {server.api_key}"}, {"stt", "tts"}),
        ({"authorization": f"Bearer {server.api_key}"}, {"object", "data"}),
    ):
        assert set(httpx.get(f"{server.base_url}/v1/models", headers=headers).json()) == fields
    assert isinstance(httpx.get(f"{server.base_url}/v1/models", headers={"xi-api-key": server.api_key}).json(), list)
