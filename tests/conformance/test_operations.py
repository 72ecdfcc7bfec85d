"""What docs/operations.md tells operators to do, done: its proxies before a server, its backup of one that works."""

import contextlib
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import websockets

from antiphon.models import Store
from antiphon.trust.authority import AUTHORITY_NAME, certify
from serving import LIGHT, Server, start

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
HOST = "localhost"
START_S = 20


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def replaced(text: str, **replacements: str) -> str:
    """The text with each of these, which must be in it, replaced."""
    for old, new in replacements.items():
        assert old in text
        text = text.replace(old, new)
    return text


# -- proxies -----------------------------------------------------------------------------------------------------------


def nginx(folder: Path, port: int, server: str, certificate: Path, key: Path) -> list[str]:
    site = replaced(
        block("nginx"),
        **{
            "127.0.0.1:8080": server,
            "listen 443": f"listen 127.0.0.1:{port}",
            "api.example.com;": f"{HOST};",
            "/etc/ssl/api.example.com.pem": str(certificate),
            "/etc/ssl/api.example.com.key": str(key),
        },
    )
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; pid {folder}/pid; events {{}} http {{ access_log off; {temporary}\n{site}\n}}",
    )
    return ["nginx", "-c", str(config), "-e", str(folder / "error.log")]


def caddy(folder: Path, port: int, server: str, certificate: Path, key: Path) -> list[str]:
    site = replaced(
        block("caddyfile"),
        **{
            "127.0.0.1:8080": server,
            "api.example.com {\n": f"https://{HOST}:{port} {{\n    bind 127.0.0.1\n    tls {certificate} {key}\n",
        },
    )
    config = folder / "Caddyfile"
    config.write_text(f"{{\n admin off\n auto_https disable_redirects\n storage file_system {folder}\n}}\n{site}")
    return ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"]


@dataclass(frozen=True, slots=True)
class Proxy:
    name: str
    url: str
    context: ssl.SSLContext
    bearer: dict[str, str]


@pytest.fixture(scope="module", params=[nginx, caddy], ids=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The example of the page, with addresses and certificates of this test."""
    name = request.param.__name__
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    folder = tmp_path_factory.mktemp(name)
    certificate, key = certify(folder, HOST)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = request.param(folder, port, server.base_url.removeprefix("http://"), certificate, key)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={"HOME": str(folder), "PATH": os.environ["PATH"]}
        )
    try:
        wait_for(lambda: reachable(port), (folder / "log").read_text)
        context = ssl.create_default_context(cafile=str(folder / AUTHORITY_NAME))
        yield Proxy(name, f"https://{HOST}:{port}", context, {"authorization": f"Bearer {server.api_key}"})
    finally:
        process.terminate()
        process.wait(20)


def reachable(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def wait_for(holds: Callable[[], bool], why: Callable[[], str] = str) -> None:
    deadline_s = time.monotonic() + START_S
    while not holds():
        assert time.monotonic() < deadline_s, why()
        time.sleep(0.05)


@pytest.fixture
def client(proxy: Proxy) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=proxy.url, verify=proxy.context, headers=proxy.bearer, timeout=60) as client:
        yield client


def test_tokens_pass_as_they_come(client: httpx.Client) -> None:
    body = {
        "model": "gpt-4o-mini",
        "stream": True,
        "max_tokens": 60,
        "messages": [{"role": "user", "content": "Tell a story."}],
    }
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        pieces = list(response.iter_raw())
    assert response.status_code == 200
    assert pieces[-1].endswith(b"data: [DONE]\n\n")
    assert len(pieces) > 10  # a proxy that buffers makes one or two of them


def test_speech_passes_as_it_comes(client: httpx.Client) -> None:
    text = "This is a long text. It has many sentences. " * 6
    body = {"model": "tts-1", "voice": "alloy", "input": text, "response_format": "pcm"}
    with client.stream("POST", "/v1/audio/speech", json=body) as response:
        assert response.status_code == 200
        assert len(list(response.iter_raw())) > 5


@pytest.fixture(scope="module")
def speech(beckett: Path) -> bytes:
    """Raw, 16 kHz."""
    return beckett.read_bytes()[44:]


async def test_a_live_stream_is_transcribed_while_it_is_sent(proxy: Proxy, speech: bytes) -> None:
    url = f"{proxy.url.replace('https', 'wss')}/v1/listen?interim_results=true&encoding=linear16&sample_rate=16000"
    async with websockets.connect(url, additional_headers=proxy.bearer, ssl=proxy.context) as socket:
        await socket.send(speech[: 32_000 * 3])
        first = json.loads(await socket.recv())
        assert first["type"] == "Results"
        await socket.send(speech[32_000 * 3 :])
        await socket.send('{"type": "CloseStream"}')
        kinds = [json.loads(message)["type"] async for message in socket]
    assert kinds[-1] == "Metadata"


def test_a_recording_passes(client: httpx.Client, two_cities: Path) -> None:
    answer = client.post(
        "/v1/audio/transcriptions", files={"file": two_cities.read_bytes()}, data={"model": "whisper-1"}
    )
    assert answer.status_code == 200
    assert "best of times" in answer.json()["text"]


def test_a_body_is_not_awaited_before_the_key_is_checked(proxy: Proxy) -> None:
    if proxy.name == "caddy":
        pytest.skip("Caddy passes an answer on only when it has read the body")
    address = httpx.URL(proxy.url)
    with (
        socket.create_connection((address.host, address.port), 20) as plain,
        proxy.context.wrap_socket(plain, server_hostname=HOST) as connection,
    ):
        connection.sendall(
            f"POST /v1/audio/speech HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9000000\r\n\r\n".encode()
        )
        assert connection.recv(12) == b"HTTP/1.1 401"


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz", "/admin/v1/usage", "/admin/v1/openapi.json"])
def test_what_is_the_operators_stays_inside(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


# -- backup ------------------------------------------------------------------------------------------------------------


def test_a_backup_of_a_working_server_can_be_restored(server: Server, models: Store, tmp_path: Path) -> None:
    bearer = {"authorization": f"Bearer {server.api_key}"}
    done = threading.Event()

    def work() -> None:
        with httpx.Client(base_url=server.base_url, headers=bearer, timeout=60) as client:
            while not done.is_set():
                asked = {"model": "text-embedding-3-small", "input": "one two three"}
                assert client.post("/v1/embeddings", json=asked).status_code == 200

    with httpx.Client(base_url=server.base_url, headers=bearer, timeout=60) as client:
        made = client.post("/admin/v1/keys", json={"project": "default", "scopes": ["usage"]})
        assert made.status_code == 201
        before = usage(client)
        worker = threading.Thread(target=work)
        script, restored = tmp_path / "backup.py", tmp_path / "restored"
        script.write_text(block("python"))
        restored.mkdir(mode=0o700)
        worker.start()
        try:
            wait_for(lambda: usage(client) > before + 10)
            least = usage(client)
            subprocess.run([sys.executable, script, server.data_dir, restored], check=True, timeout=60)
        finally:
            done.set()
            worker.join(60)
        most = usage(client)
    assert {file.stat().st_mode & 0o777 for file in restored.iterdir()} == {0o600}

    process, url = start(restored, models, LIGHT)
    try:
        key = {"authorization": f"Bearer {made.json()['key']}"}  # made before the backup, it holds in what is restored
        with httpx.Client(base_url=url, headers=key, timeout=60) as client:
            assert client.get("/readyz").status_code == 200
            assert least <= usage(client) <= most
    finally:
        process.terminate()
        assert process.wait(20) == 0


def usage(client: httpx.Client) -> int:
    """How many tokens were embedded."""
    answer = client.get("/admin/v1/usage", params={"by": "model"})
    assert answer.status_code == 200, answer.text
    return sum(row["amount"] for row in answer.json()["data"] if row["dimension"] == "embedding.input_tokens")
