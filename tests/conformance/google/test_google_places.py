"""Google's clients where TLS is spoken, in Node, at a server that shuts down, and as the example has them."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import speech_v2
from google.cloud.speech_v2.services.speech.transports import SpeechGrpcTransport
from google_requests import GOOGLE_MODELS, NAME, config_v2, free_port, speech_v2_requests
from node_packages import CACHE, NODE, beside_packages, needs_node

from antiphon.models import Store
from antiphon.trust.authority import AUTHORITY_NAME, certify
from serving import API_KEY, LIGHT, start

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[3]
TALK_S = 120


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, models: Store) -> Iterator[tuple[int, Path]]:
    """Where gRPC is spoken with TLS, and the authority to trust."""
    data_dir, port = tmp_path_factory.mktemp("data"), free_port()
    flags = ("--offline", "--tls-self-signed", "--grpc-port", str(port))
    process, _ = start(data_dir, models, GOOGLE_MODELS, flags=flags)
    yield port, data_dir / AUTHORITY_NAME
    process.terminate()
    assert process.wait(30) == 0


@pytest.fixture(scope="module")
def script() -> Path:
    return beside_packages("recognise.cjs")


SECURE_CLIENT = """
import sys
from google.cloud import speech_v2
options = {"api_endpoint": sys.argv[1], "api_key": sys.argv[2]}
config = {"auto_decoding_config": {}, "language_codes": ["en-US"]}
heard = speech_v2.SpeechClient(client_options=options).recognize(
    request={"recognizer": sys.argv[3], "config": config, "content": open(sys.argv[4], "rb").read()})
print(heard.results[0].alternatives[0].transcript)
"""


def test_tls_and_an_api_key(secure: tuple[int, Path], beckett: Path):
    """In a process of its own: `grpc` reads once whom it trusts."""
    port, authority = secure
    trusting = {**os.environ, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(authority)}
    arguments = [sys.executable, "-c", SECURE_CLIENT, f"localhost:{port}", API_KEY, NAME, str(beckett)]
    ran = subprocess.run(arguments, env=trusting, timeout=TALK_S, capture_output=True, text=True, check=False)
    assert "ever tried" in ran.stdout.lower(), ran.stderr


@pytest.mark.parametrize("how", ["plain", "tls"], scope="module")
class TestNode:
    pytestmark = needs_node

    def test_all(self, google: Any, secure: tuple[int, Path], script: Path, beckett: Path, recording: str, how: str):
        port = google.grpc_port if how == "plain" else secure[0]
        trusting = {**os.environ, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(secure[1])}
        arguments = [str(NODE), str(script), "localhost", str(port), API_KEY, how, str(beckett), recording]
        ran = subprocess.run(
            arguments, cwd=CACHE, env=trusting, timeout=TALK_S, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        told = json.loads(ran.stdout)
        heard = [name for name in ("v2Stream", "v2", "v1", "v1Stream", "batch", "again", "long") if name in told]
        assert len(heard) == (3 if how == "plain" else 7)
        if how == "tls":
            assert (told["percent"], told["recognizers"], told["deleted"]) == (100, ["node"], 4)
        assert all("ever tried" in told[name].lower() for name in heard), told
        assert told["billed"] == 9
        assert told["refused"] == {"code": 3, "reason": "UNSUPPORTED_PARAMETER", "details": 2}


def collect(call: Any, said: list[Any]) -> None:
    """Keeps what came before an error, too."""
    for response in call:
        said.append(response)  # noqa: PERF402


def test_a_server_that_shuts_down(tmp_path: Path, models: Store, pcm: bytes):
    """What was heard is told and charged; then the stream ends with what says so."""
    port = free_port()
    process, _ = start(tmp_path, models, f"[grpc]\nport = {port}\n{GOOGLE_MODELS}")
    over = threading.Event()

    def held() -> Iterator[speech_v2.StreamingRecognizeRequest]:
        yield from islice(speech_v2_requests(pcm), 31)
        over.wait(30)

    try:
        client = speech_v2.SpeechClient(
            transport=SpeechGrpcTransport(channel=grpc.insecure_channel(f"127.0.0.1:{port}"))
        )
        call = client.streaming_recognize(requests=held(), metadata=[("x-goog-api-key", API_KEY)])
        threading.Timer(2, process.terminate).start()
        said: list[Any] = []
        with pytest.raises(exceptions.ServiceUnavailable, match="shutting down"):
            collect(call, said)
        assert any(result.is_final for response in said for result in response.results)
        assert said[-1].metadata.total_billed_duration.total_seconds() == 3
        assert process.wait(30) == 0
    finally:
        over.set()
        process.kill()


def test_the_example(google: Any, beckett: Path):
    environment = {**os.environ, "ANTIPHON_GRPC": google.address, "ANTIPHON_API_KEY": API_KEY}
    arguments = [sys.executable, str(ROOT / "examples" / "google_live.py"), str(beckett)]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "ever tried" in done.stdout.lower()


def test_an_old_client_that_is_refused(secure: tuple[int, Path]):
    """A plain client at a TLS port is no harm to others."""
    with grpc.insecure_channel(f"127.0.0.1:{secure[0]}") as channel:
        client = speech_v2.SpeechClient(transport=SpeechGrpcTransport(channel=channel))
        request = speech_v2.RecognizeRequest(recognizer=NAME, config=config_v2(auto=True), content=b"1234")
        with pytest.raises(exceptions.GoogleAPICallError):
            client.recognize(request=request, timeout=3)


def test_new_certificates_hold_for_new_connections(tmp_path: Path, models: Store):
    made, data_dir, port = tmp_path / "made", tmp_path / "data", free_port()
    made.mkdir()
    files = made / "cert.pem", made / "key.pem"
    for source, file in zip(certify(made, "127.0.0.1"), files, strict=True):
        shutil.copy(source, file)
    flags = ("--offline", "--tls-cert", str(files[0]), "--tls-key", str(files[1]), "--grpc-port", str(port))
    process, _ = start(data_dir, models, LIGHT, flags=flags)
    try:
        before = served(port)
        later = datetime.now(UTC) + timedelta(days=70)  # when it is renewed
        for source, file in zip(certify(made, "127.0.0.1", later), files, strict=True):
            shutil.copy(source, file)
        deadline = time.monotonic() + 20
        while served(port) == before:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        process.terminate()
        assert process.wait(30) == 0


def served(port: int) -> bytes:
    """The certificate at a port of gRPC, which may be of another time."""
    context = ssl._create_unverified_context()
    context.set_alpn_protocols(["h2"])
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        return connection.getpeercert(binary_form=True) or b""
