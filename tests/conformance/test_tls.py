"""TLS by the server itself: SDKs that are told of its authority, certificates that change, handshakes that stall."""

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import deepgram
import httpx
import pytest
import websockets
from deepgram.environment import DeepgramClientEnvironment
from openai import OpenAI

from antiphon.models import Store
from antiphon.trust.authority import AUTHORITY_NAME, SERVER_KEY_NAME, SERVER_NAME, certify
from serving import API_KEY, LIGHT, SPEECH, start

NODE = shutil.which("node")
BEARER = {"authorization": f"Bearer {API_KEY}"}


@dataclass(frozen=True, slots=True)
class Secure:
    """A server with TLS, and the folder that its certificate is copied from."""

    url: str
    data_dir: Path
    authority: Path
    files: tuple[Path, Path]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, models: Store) -> Iterator[Secure]:
    made = tmp_path_factory.mktemp("made")
    sources = certify(made, "127.0.0.1")
    files = made / "cert.pem", made / "key.pem"
    for source, file in zip(sources, files, strict=True):
        shutil.copy(source, file)
    data_dir = tmp_path_factory.mktemp("data")
    flags = ("--offline", "--tls-cert", str(files[0]), "--tls-key", str(files[1]))
    process, url = start(data_dir, models, SPEECH, flags=flags)
    yield Secure(url, data_dir, made / AUTHORITY_NAME, files)
    process.terminate()
    assert process.wait(20) == 0


@pytest.fixture
def trusting(secure: Secure, monkeypatch: pytest.MonkeyPatch) -> Secure:
    """As the server's own advice has it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(secure.authority))
    return secure


def serial(secure: Secure) -> bytes:
    context = ssl.create_default_context(cafile=str(secure.authority))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with context.wrap_socket(
        socket.create_connection(("127.0.0.1", secure.port), 10), server_hostname="localhost"
    ) as s:
        return s.getpeercert(binary_form=True) or b""


def test_who_does_not_trust_it_does_not_connect(secure: Secure):
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{secure.url}/healthz")


def test_the_openai_sdk(trusting: Secure):
    sound = trusting.data_dir / "models" / "speech-samples"
    with OpenAI(base_url=f"{trusting.url}/v1", api_key=API_KEY) as client:
        assert "whisper-1" in {model.id for model in client.models.list()}
        heard = client.audio.transcriptions.create(model="whisper-1", file=next(sound.rglob("two_cities.wav")))
    assert heard.text


async def test_the_deepgram_sdk(trusting: Secure):
    live = trusting.url.replace("https", "wss")
    places = DeepgramClientEnvironment(base=trusting.url, production=live, agent=live, agent_rest=trusting.url)
    client = deepgram.AsyncDeepgramClient(api_key=API_KEY, environment=places)
    async with client.listen.v1.connect(model="nova-3", encoding="linear16", sample_rate=16000) as connection:
        await connection.send_media(bytes(32000))
        await connection.send_close_stream()
        async with asyncio.timeout(20):
            types = [getattr(message, "type", "") async for message in connection]
    assert types[-1] == "Metadata"


async def test_websockets(trusting: Secure):
    url = trusting.url.replace("https", "wss")
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(f"{url}/v1/nothing")
    assert refused.value.response.status_code == 404
    async with websockets.connect(f"{url}/v1/listen?model=nova-3", additional_headers=BEARER) as socket_:
        await socket_.send('{"type": "CloseStream"}')
        assert "Metadata" in str([message async for message in socket_])


@pytest.mark.skipif(not NODE, reason="needs node")
def test_node(secure: Secure):
    script = f"fetch('{secure.url}/healthz').then(async (answer) => console.log(await answer.text()))"
    trusted = {**os.environ, "NODE_EXTRA_CA_CERTS": str(secure.authority)}
    ran = subprocess.run([str(NODE), "-e", script], env=trusted, capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout.strip() == "ok"


def test_a_handshake_that_stalls_is_counted(secure: Secure):
    with httpx.Client(base_url=secure.url, verify=ssl.create_default_context(cafile=str(secure.authority))) as client:

        def connections() -> float:
            lines = client.get("/metrics").text.splitlines()
            return float(next(line.split()[1] for line in lines if line.startswith("antiphon_connections_open ")))

        before = connections()
        stalled = [socket.create_connection(("127.0.0.1", secure.port)) for _ in range(5)]
        deadline = time.monotonic() + 10
        while connections() != before + 5:
            assert time.monotonic() < deadline
        stalled[0].sendall(b"GET / HTTP/1.1\r\n\r\n")  # no TLS: ended at once
        stalled[0].settimeout(10)
        assert stalled[0].recv(1 << 16) in (b"", b"\x15\x03\x01\0\x02\x02\x46")
        for each in stalled:
            each.close()
        while connections() != before:
            assert time.monotonic() < deadline


def test_new_files_are_loaded_and_broken_ones_are_not(secure: Secure):
    context = ssl.create_default_context(cafile=str(secure.authority))
    with httpx.Client(base_url=secure.url, verify=context) as client:
        assert client.get("/healthz").status_code == 200
        before = serial(secure)
        secure.files[0].write_text("no certificate")
        log = secure.data_dir / "log"
        deadline = time.monotonic() + 20
        while "the new TLS certificate is invalid" not in log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert serial(secure) == before
        later = datetime.now(UTC) + timedelta(days=70)  # when it is renewed
        for source, file in zip(certify(secure.authority.parent, "127.0.0.1", later), secure.files, strict=True):
            shutil.copy(source, file)
        while _served(secure) == before:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert client.get("/healthz").status_code == 200  # on the connection that was there
    assert log.read_text().count("the new TLS certificate is invalid") == 1


def _served(secure: Secure) -> bytes:
    """The certificate, which may be of another time."""
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", secure.port)))


def test_an_authority_of_its_own(tmp_path: Path, models: Store):
    flags = ("--offline", "--tls-self-signed")
    for _ in range(2):  # it is made once
        process, url = start(tmp_path, models, LIGHT, flags=flags)
        context = ssl.create_default_context(cafile=str(tmp_path / AUTHORITY_NAME))
        named = url.replace("127.0.0.1", "localhost")
        assert [httpx.get(f"{each}/healthz", verify=context).status_code for each in (url, named)] == [200, 200]
        process.terminate()
        assert process.wait(20) == 0
        authority = (tmp_path / AUTHORITY_NAME).read_bytes()
    assert (tmp_path / AUTHORITY_NAME).read_bytes() == authority
    for name in (AUTHORITY_NAME, SERVER_NAME, SERVER_KEY_NAME, "tls-authority-key.pem"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
