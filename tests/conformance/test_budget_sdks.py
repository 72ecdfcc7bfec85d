"""A budget that is used up, as the vendors' SDKs say it; and limits of rate in OpenAI's headers."""

import json
import time
import wave
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from deepgram import DeepgramClient
from deepgram.core.api_error import ApiError as DeepgramError
from deepgram.environment import DeepgramClientEnvironment
from elevenlabs import ElevenLabs
from elevenlabs.core.api_error import ApiError as ElevenLabsError
from openai import OpenAI, RateLimitError

from serving import Server

HEARD_MS = 35_000


@pytest.fixture(scope="module")
def admin(server: Server) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {server.api_key}"}
    with httpx.Client(base_url=f"{server.base_url}/admin/v1", headers=headers, timeout=60) as client:
        yield client


def key_of(admin: httpx.Client, project: str, **policy: str) -> str:
    """The key of a new project with that policy."""
    assert admin.post("/projects", json={"id": project, **policy}).status_code == 201
    key: str = admin.post("/keys", json={"project": project}).json()["key"]
    deadline = time.monotonic() + 10
    while not states(admin, project):  # the server follows within a second
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return key


def states(admin: httpx.Client, project: str) -> dict[str, tuple[int, int]]:
    """What is used and left of each budget; nothing while the project is not known."""
    found = admin.get("/budgets", params={"project": project}).json().get("data", ())
    return {each["name"]: (each["used"], each["left"]) for each in found}


def test_a_used_up_budget_is_said_in_each_vendors_words_and_not_tried_again(
    server: Server, admin: httpx.Client, beckett: Path
) -> None:
    key = key_of(admin, "poor", budgets="calls requests 1 day", limits="requests_per_minute=100")
    attempts: list[httpx.Request] = []
    with (
        httpx.Client(event_hooks={"request": [attempts.append]}, timeout=60) as http,
        OpenAI(base_url=f"{server.base_url}/v1", api_key=key, http_client=http) as client,
    ):
        asked = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}
        answer = client.chat.completions.with_raw_response.create(**asked)
        assert answer.headers["x-ratelimit-limit-requests"] == "100"
        assert answer.headers["x-ratelimit-remaining-requests"] == "99"
        with pytest.raises(RateLimitError) as refused:
            client.chat.completions.create(**asked)
        assert (refused.value.code, refused.value.type) == ("insufficient_quota", "insufficient_quota")
        assert len(attempts) == 2
    deadline = time.monotonic() + 10
    while states(admin, "poor") != {"calls": (1, 0)}:  # what it had reserved is settled after the answer
        assert time.monotonic() < deadline

    origins = {"base": server.base_url, "production": server.ws_url, "agent": server.ws_url}
    places = DeepgramClientEnvironment(**origins, agent_rest=server.base_url)
    listen = DeepgramClient(api_key=key, environment=places).listen.v1.media
    with pytest.raises(DeepgramError) as unpaid:
        listen.transcribe_file(request=beckett.read_bytes(), model="nova-3")
    assert (unpaid.value.status_code, unpaid.value.body["err_code"]) == (402, "ASR_PAYMENT_REQUIRED")

    voice = ElevenLabs(base_url=server.base_url, api_key=key, timeout=60).text_to_speech
    with pytest.raises(ElevenLabsError) as exceeded:
        list(voice.convert("joe", text="Hi.", model_id="eleven_flash_v2_5"))
    assert exceeded.value.status_code == 401
    assert exceeded.value.body["detail"]["status"] == "quota_exceeded"


async def test_a_stream_that_uses_a_budget_up_ends_with_what_was_heard(
    server: Server, admin: httpx.Client, two_cities: Path
) -> None:
    key = key_of(admin, "brief", budgets=f"audio audio_ms {HEARD_MS} day")
    with wave.open(str(two_cities)) as file:
        rate, pcm = file.getframerate(), file.readframes(file.getnframes())
    url = f"{server.ws_url}/v1/listen?model=nova-3&encoding=linear16&sample_rate={rate}"
    async with websockets.connect(url, additional_headers={"authorization": f"Token {key}"}) as stream:
        for at in range(0, len(pcm), rate):
            await stream.send(pcm[at : at + rate])
        messages: list[dict[str, Any]] = []
        with suppress(websockets.ConnectionClosedError):
            async for message in stream:
                messages.append(json.loads(message))  # noqa: PERF401  # the last ones come with the close
    assert (stream.close_code, messages[-1]["variant"]) == (1008, "ASR_PAYMENT_REQUIRED")
    finals = [each for each in messages if each["type"] == "Results" and each["is_final"]]
    assert sum(bool(each["channel"]["alternatives"][0]["transcript"]) for each in finals) > 3
    deadline = time.monotonic() + 10
    while sum(states(admin, "brief")["audio"]) < HEARD_MS:  # what it had reserved is settled after the close
        assert time.monotonic() < deadline
    _, left = states(admin, "brief")["audio"]
    assert left < 500  # of the last piece that was sent
