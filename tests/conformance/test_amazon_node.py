"""Amazon's official SDK for Node, over HTTP/2 with TLS and without, and as browsers run it, over WebSocket."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from amazon_client import SPEECH_ONLY, Secure
from node_packages import CACHE, NODE, beside_packages, needs_node

from antiphon.models import Store
from antiphon.trust.authority import AUTHORITY_NAME
from serving import API_KEY, start

TALK_S = 60
BROWSERS_PORT = 8443  # which the SDK has built in

pytestmark = [*needs_node, pytest.mark.long]  # one worker, for the port is one


@pytest.fixture(scope="module")
def script() -> Path:
    return beside_packages("transcribe.cjs")


def serving(data_dir: Path, models: Store, *flags: str) -> Iterator[Secure]:
    process, url = start(data_dir, models, SPEECH_ONLY, flags=("--offline", *flags))
    yield Secure(url, data_dir, data_dir / AUTHORITY_NAME)
    process.terminate()
    assert process.wait(20) == 0


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, models: Store) -> Iterator[Secure]:
    yield from serving(tmp_path_factory.mktemp("data"), models)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, models: Store) -> Iterator[Secure]:
    with socket.socket() as knocking:
        if knocking.connect_ex(("127.0.0.1", BROWSERS_PORT)) == 0:
            pytest.skip(f"port {BROWSERS_PORT} is another's")
    flags = ("--tls-self-signed", "--port", str(BROWSERS_PORT))
    yield from serving(tmp_path_factory.mktemp("data"), models, *flags)


def run(
    script: Path, server: Secure, speech: Path, kind: str, key: str = API_KEY, language: str = ""
) -> dict[str, Any]:
    url = "https://127.0.0.1" if kind == "browser" else server.url
    arguments = [url, key, str(speech), "16000", kind, *([language] if language else [])]
    environment = {**os.environ, "NODE_EXTRA_CA_CERTS": str(server.authority)}
    command = [str(NODE), "--no-warnings", "--experimental-websocket", str(script), *arguments]
    ran = subprocess.run(command, cwd=CACHE, env=environment, timeout=TALK_S, capture_output=True, text=True)
    assert ran.stdout, ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return told


def heard(told: dict[str, Any]) -> None:
    assert told["error"] is None
    assert "ever tried" in " ".join(told["texts"]).lower()
    assert told["partials"]


def test_http2_by_prior_knowledge(script: Path, plain: Secure, beckett: Path) -> None:
    heard(run(script, plain, beckett, "node"))


def test_http2_over_tls(script: Path, secure: Secure, beckett: Path) -> None:
    heard(run(script, secure, beckett, "node"))


def test_a_browsers_socket(script: Path, secure: Secure, beckett: Path) -> None:
    heard(run(script, secure, beckett, "browser"))


@pytest.mark.parametrize("kind", ["node", "browser"])
def test_refusals_have_their_names(script: Path, secure: Secure, beckett: Path, kind: str) -> None:
    assert run(script, secure, beckett, kind, "wrong")["error"] == "UnrecognizedClientException"
    assert run(script, secure, beckett, kind, language="de-DE")["error"] == "BadRequestException"
