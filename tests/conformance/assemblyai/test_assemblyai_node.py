"""AssemblyAI's SDK for Node: streams, which it opens over TLS only, recordings and transcripts."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from node_packages import CACHE, NODE, beside_packages, needs_node

from serving import Server
from tls import terminated

TALK_S = 90

pytestmark = [*needs_node, pytest.mark.long]


@pytest.fixture(scope="module")
def script() -> Path:
    return beside_packages("stream.js")


@pytest.fixture(scope="module")
def told(
    server: Server, script: Path, sentence: bytes, beckett: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What happened."""
    folder = tmp_path_factory.mktemp("node")
    speech = folder / "sentence.pcm"
    speech.write_bytes(sentence)
    with terminated(int(server.base_url.rpartition(":")[2]), folder) as front:
        wss = f"wss://127.0.0.1:{front.port}/v3/ws"
        trusting = {**os.environ, "NODE_EXTRA_CA_CERTS": str(front.trusted)}
        arguments = [str(NODE), str(script), server.base_url, wss, server.api_key, str(speech), str(beckett)]
        ran = subprocess.run(
            arguments, cwd=CACHE, env=trusting, timeout=TALK_S, capture_output=True, text=True, check=False
        )
    assert ran.stdout, ran.stderr
    happened: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    assert ran.returncode == 0, (happened, ran.stderr)
    return happened


def test_streams_by_key_and_by_token(told: dict[str, Any]) -> None:
    for heard, longest_s in zip(told["streams"], (10_800, 600), strict=True):
        assert heard["errors"] == []
        last = heard["turns"][-1]
        assert last["end_of_turn"]
        assert last["turn_is_formatted"]
        assert last["transcript"].startswith("The ship was painted")
        (warned,) = heard["warnings"]
        assert "keyterms_prompt" in warned
        assert abs(heard["expiresAt"] - time.time() - longest_s) < TALK_S


def test_heartbeats_and_silences(told: dict[str, Any]) -> None:
    asked, unasked = told["streams"]
    (heartbeat,) = asked["heartbeats"]
    assert heartbeat["total_audio_received_ms"] > 4_000
    assert heartbeat["max_speech_probability"] > 0.5
    words = asked["turns"][-1]["words"]
    assert len(asked["silences"]) >= 4
    assert all(each["start_ms"] >= words[-1]["end"] for each in asked["silences"])
    assert unasked["heartbeats"] == unasked["silences"] == []


def test_a_wrong_key_is_tried_once(told: dict[str, Any]) -> None:
    assert told["refused"]["code"] == 4001
    assert "key" in told["refused"]["message"]


def test_a_recording(told: dict[str, Any]) -> None:
    assert told["sync"]["warm"] is True
    assert told["sync"]["text"].startswith("The ship was painted blue")
    assert told["sync"]["words"][0]["end"] > told["sync"]["words"][0]["start"]


def test_transcripts(told: dict[str, Any]) -> None:
    heard = told["transcript"]
    whole = heard["whole"]
    assert (whole["status"], whole["language_code"], whole["audio_channels"]) == ("completed", "en_us", 1)
    assert "ever tried" in whole["text"].lower()
    assert [each["channel"] for each in whole["utterances"]] == ["1"] * len(whole["utterances"])
    for view in ("sentences", "paragraphs"):
        assert " ".join(each["text"] for each in heard[view]) == whole["text"]
    assert heard["srt"].startswith("1\n00:00:0")
    assert heard["found"]["total_count"] >= 1
    assert heard["listed"][0][0] == whole["id"]
    assert abs(heard["listed"][0][1] / 1000 - time.time()) < TALK_S
    assert heard["older"]["page_details"]["limit"] == 1
    assert heard["deleted"] == "Deleted by user."
    assert "not found" in heard["gone"]
