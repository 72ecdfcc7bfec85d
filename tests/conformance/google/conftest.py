"""A server that speaks gRPC, on the real models, for Google's own clients."""

import json
import time
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import pytest
from google_requests import GOOGLE_MODELS, free_port

from antiphon.models import Store
from serving import API_KEY, start

MOST_STREAMS = 6
LIMITS = f"[limits]\nlive_streams = {MOST_STREAMS}\n"
END_S = 20.0


@dataclass(frozen=True, slots=True)
class GoogleServer:
    """A running server, and where it speaks gRPC."""

    url: str
    grpc_port: int
    data_dir: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def key(self) -> list[tuple[str, str]]:
        return [("x-goog-api-key", API_KEY)]

    def ended(self) -> list[dict[str, Any]]:
        """What the log says of the sessions that have ended."""
        lines = (self.data_dir / "log").read_text().splitlines()
        records = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in records if line["message"] == "session ended"]

    def next_end(self, after: int) -> dict[str, Any]:
        """How the session ended that is the first after so many."""
        deadline = time.monotonic() + END_S
        while len(ended := self.ended()) <= after:
            assert time.monotonic() < deadline, "no session ended"
            time.sleep(0.05)
        return ended[after]


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory, models: Store) -> Iterator[GoogleServer]:
    data_dir, port = tmp_path_factory.mktemp("data"), free_port()
    settings = f"{LIMITS}[grpc]\nport = {port}\nreflection = true\n{GOOGLE_MODELS}"
    process, url = start(data_dir, models, settings)
    yield GoogleServer(url, port, data_dir)
    process.terminate()
    assert process.wait(30) == 0


@pytest.fixture
def channel(google: GoogleServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(google.address) as channel:
        yield channel


@pytest.fixture(scope="session")
def pcm(beckett: Path) -> bytes:
    """10 s of speech, 16 kHz mono int16, without a header."""
    with wave.open(str(beckett)) as file:
        return file.readframes(file.getnframes())


@pytest.fixture(scope="module")
def recording(beckett: Path) -> Iterator[str]:
    """Where a recording can be fetched."""
    data = beckett.read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}/beckett.wav"
        web.shutdown()
