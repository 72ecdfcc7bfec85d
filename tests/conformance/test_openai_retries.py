"""OpenAI's official SDK, unmodified, behind a connection that is cut: it asks again, silently and without an
idempotency key. What never left the server it pays once; what left and was lost behind it, the server cannot tell from
what arrived.
"""

import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI, UnprocessableEntityError

from serving import Server

MODEL = "gpt-4o-mini"
ASKED: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Name a colour."}],
    "max_tokens": 5,
    "temperature": 0,
}
EARLY_S = 0.1
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


class Line:
    """A proxy on loopback. `cuts` is how many answers it still loses, once they have come whole from the server; if
    `early`, it cuts both connections before there is one.
    """

    def __init__(self, server_port: int) -> None:
        self.cuts = 0
        self.early = False
        self.lost = 0
        self._server_port = server_port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listening.accept()
            except OSError:
                return  # closed
            self._threads.append(threading.Thread(target=self._carry, args=(caller,), daemon=True))
            self._threads[-1].start()

    def _carry(self, caller: socket.socket) -> None:
        with caller, socket.create_connection(("127.0.0.1", self._server_port), timeout=60) as server:
            asking = threading.Thread(target=_copy, args=(caller, server), daemon=True)
            asking.start()
            if self.cuts:
                answer = b""
                if self.early:
                    time.sleep(EARLY_S)
                    server.shutdown(socket.SHUT_RDWR)
                while not self.early and not _whole(answer) and (data := server.recv(65536)):
                    answer += data
                self.cuts -= 1
                self.lost += 1
                caller.shutdown(socket.SHUT_RDWR)
            else:
                _copy(server, caller)

    def close(self) -> None:
        self._listening.close()


def _whole(answer: bytes) -> bool:
    head, ends, body = answer.partition(b"\r\n\r\n")
    length = LENGTH.search(head + b"\r\n")
    return bool(ends) and (len(body) >= int(length[1]) if length else body.endswith(b"\r\n0\r\n\r\n"))


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # either end has gone


@pytest.fixture
def line(server: Server) -> Iterator[Line]:
    line = Line(int(server.base_url.rpartition(":")[2]))
    yield line
    line.close()


class Payer:
    """A project of its own, and what it has been charged."""

    def __init__(self, server: Server, project: str) -> None:
        bearer = {"authorization": f"Bearer {server.api_key}"}
        with httpx.Client(base_url=server.base_url, headers=bearer, timeout=60) as client:
            assert client.post("/admin/v1/projects", json={"id": project}).status_code == 201
            self.key: str = client.post("/admin/v1/keys", json={"project": project}).json()["key"]
        self._server = server
        self._project = project

    def client(self, line: Line) -> OpenAI:
        return OpenAI(base_url=f"{line.url}/v1", api_key=self.key, timeout=60)

    def charged(self) -> dict[str, int]:
        bearer = {"authorization": f"Bearer {self._server.api_key}"}
        query = {"by": "project", "project": self._project}
        with httpx.Client(base_url=self._server.base_url, headers=bearer, timeout=60) as client:
            totals = client.get("/admin/v1/usage", params=query).json()["data"]
        return {total["dimension"]: total["amount"] for total in totals}


@pytest.fixture
def payer(server: Server, request: pytest.FixtureRequest) -> Payer:
    return Payer(server, re.sub("[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[-40:].strip("-"))


@pytest.mark.parametrize("cuts", [pytest.param(1, marks=pytest.mark.long), 2])
def test_an_answer_that_did_not_leave_is_charged_once(line: Line, payer: Payer, cuts: int) -> None:
    line.cuts, line.early = cuts, True
    long = {"messages": [{"role": "user", "content": "Write a long story about the sea."}], "max_tokens": 200}
    with payer.client(line) as client:
        answer = client.chat.completions.create(**ASKED | long)
    assert line.lost == cuts
    assert answer.usage
    charged = payer.charged()
    assert charged["llm.output_tokens"] == answer.usage.completion_tokens
    asked = charged.get("llm.input_tokens", 0) + charged.get("llm.cached_input_tokens", 0)
    assert asked == answer.usage.prompt_tokens


def test_an_answer_that_left_is_charged_and_so_is_the_next(line: Line, payer: Payer) -> None:
    line.cuts = 1
    with payer.client(line) as client:
        answer = client.chat.completions.create(**ASKED)
    assert line.lost == 1
    assert answer.usage
    assert payer.charged()["llm.output_tokens"] == 2 * answer.usage.completion_tokens


def test_with_a_key_it_is_charged_once_and_not_answered_again(line: Line, payer: Payer) -> None:
    line.cuts = 1
    with payer.client(line) as client, pytest.raises(UnprocessableEntityError) as refused:
        client.chat.completions.create(**ASKED, extra_headers={"Idempotency-Key": "once"})
    assert refused.value.code == "already_answered"
    once = payer.charged()
    with payer.client(line) as client:
        client.chat.completions.create(**ASKED, extra_headers={"Idempotency-Key": "again"})
    assert payer.charged()["llm.output_tokens"] == 2 * once["llm.output_tokens"]


def test_the_same_call_made_twice_is_charged_twice(line: Line, payer: Payer) -> None:
    with payer.client(line) as client:
        taken = [client.chat.completions.create(**ASKED).usage for _ in range(2)]
    assert payer.charged()["llm.output_tokens"] == sum(usage.completion_tokens for usage in taken if usage)


def test_a_recording_too(line: Line, payer: Payer, two_cities: Path) -> None:
    line.cuts, line.early = 1, True
    with payer.client(line) as client:
        client.audio.transcriptions.create(model="whisper-1", file=two_cities)
    assert line.lost == 1
    once = payer.charged()
    with payer.client(line) as client:
        client.audio.transcriptions.create(model="whisper-1", file=two_cities)
    assert payer.charged() == {dimension: 2 * amount for dimension, amount in once.items()}


def test_speech_is_charged_for_what_was_sent_each_time(line: Line, payer: Payer) -> None:
    line.cuts = 1
    asked: dict[str, Any] = {
        "model": "tts-1",
        "voice": "alloy",
        "input": "Once, and no more.",
        "response_format": "pcm",
    }
    with payer.client(line) as client:
        pcm = client.audio.speech.create(**asked).content
    assert line.lost == 1
    bill = payer.charged()
    assert bill["tts.characters"] == 2 * len(asked["input"])
    assert abs(bill["tts.audio_ms"] - 2 * len(pcm) / 48) < 20
