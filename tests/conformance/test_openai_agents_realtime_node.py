"""OpenAI's agents SDK for Node holds a spoken conversation with a function call, over WebSocket."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from node_packages import CACHE, NODE, beside_packages, needs_node
from openai import OpenAI

from serving import Server

TALK_S = 120

pytestmark = [*needs_node, pytest.mark.long]


@pytest.fixture(scope="module")
def script() -> Path:
    return beside_packages("converse.js")


@pytest.fixture(scope="module")
def question(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Spoken by the embedded voice: 24 kHz mono int16, with silence behind."""
    with OpenAI(base_url=f"{server.base_url}/v1", api_key=server.api_key) as client:
        text = "What is the weather like in Paris today?"
        spoken = client.audio.speech.create(model="tts-1", voice="alloy", input=text, response_format="pcm")
    path = tmp_path_factory.mktemp("speech") / "question.pcm"
    path.write_bytes(spoken.content + bytes(48_000))
    return path


@pytest.mark.parametrize("place", ["header", "protocol"])
def test_a_spoken_conversation_with_a_function(server: Server, script: Path, question: Path, place: str):
    key = server.api_key
    if place == "protocol":
        with OpenAI(base_url=f"{server.base_url}/v1", api_key=key) as client:
            key = client.realtime.client_secrets.create().value
    url = f"{server.ws_url}/v1/realtime?model=gpt-4o-mini"
    arguments = [str(NODE), str(script), url, key, place, str(question)]
    ran = subprocess.run(arguments, cwd=CACHE, timeout=TALK_S, capture_output=True, text=True, check=False)
    assert ran.stdout, ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    assert ran.returncode == 0, told
    assert told["errors"] == []
    assert told["called"] in (["Paris"], ["Rome"])
    assert told["outputBytes"] > 10_000, told
    assert told["transcripts"].strip()
    history = told["history"]
    assert [item["type"] for item in history if item["type"] == "function_call"] == ["function_call"]
    assert any(item["role"] == "user" and "weather" in (item["text"] or "").lower() for item in history)
    assert history[-1]["role"] == "assistant"
    assert history[-1]["text"].strip()
