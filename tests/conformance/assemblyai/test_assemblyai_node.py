"""AssemblyAI's SDK for Node: it streams over TLS only."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from serving import Server
from tls import terminated

HERE = Path(__file__).parent / "node"
CACHE = Path(__file__).parents[3] / ".cache" / "test-node-assemblyai"
INSTALL_S, TALK_S = 300, 90
NPM, NODE = shutil.which("npm"), shutil.which("node")

pytestmark = [
    pytest.mark.skipif(not (NPM and NODE), reason="needs node and npm"),
    pytest.mark.xdist_group("node-assemblyai"),  # the packages are installed once
]


@pytest.fixture(scope="module")
def script() -> Path:
    """The script, beside the packages that it needs; installed anew when they change, and there when all are."""
    wanted, had = (HERE / "package.json").read_text(), CACHE / "package.json"
    if not had.exists() or had.read_text() != wanted:
        CACHE.parent.mkdir(exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=CACHE.parent))
        (made / "package.json").write_text(wanted)
        flags = ("--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
        subprocess.run([str(NPM), "install", *flags], cwd=made, check=True, timeout=INSTALL_S, capture_output=True)
        shutil.rmtree(CACHE, ignore_errors=True)
        made.rename(CACHE)
    return Path(shutil.copy(HERE / "stream.js", CACHE))


@pytest.fixture(scope="module")
def told(server: Server, script: Path, sentence: bytes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What happened."""
    folder = tmp_path_factory.mktemp("node")
    speech = folder / "sentence.pcm"
    speech.write_bytes(sentence)
    with terminated(int(server.base_url.rpartition(":")[2]), folder) as front:
        wss = f"wss://127.0.0.1:{front.port}/v3/ws"
        trusting = {**os.environ, "NODE_EXTRA_CA_CERTS": str(front.trusted)}
        arguments = [str(NODE), str(script), server.base_url, wss, server.api_key, str(speech)]
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


def test_a_wrong_key_is_tried_once(told: dict[str, Any]) -> None:
    assert told["refused"]["code"] == 4001
    assert "key" in told["refused"]["message"]


def test_a_recording(told: dict[str, Any]) -> None:
    assert told["sync"]["warm"] is True
    assert told["sync"]["text"].startswith("The ship was painted blue")
    assert told["sync"]["words"][0]["end"] > told["sync"]["words"][0]["start"]
