"""`antiphon chat` against a small server that answers as OpenAI does; once, in a loop, and in a real terminal."""

import asyncio
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from aiohttp import web
from anyio.from_thread import start_blocking_portal
from typer.testing import CliRunner

from antiphon.cli.chat import Conversation, app, converse, harmless
from antiphon.core.errors import CallerError, EngineError


class Server:
    """Answers with the words of `says`, and remembers what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.says = ["Hello", " there."]
        self.fails = self.breaks = False
        self.hangs = False
        self.bodies: list[dict[str, object]] = []
        self.authorization = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        self.authorization = request.headers["Authorization"]
        if self.fails:
            return web.json_response({"error": {"message": "No such model.", "type": "x"}}, status=404)
        response = web.StreamResponse()
        await response.prepare(request)
        for word in self.says:
            await response.write(_event({"choices": [{"delta": {"content": word}, "finish_reason": None}]}))
        if self.hangs:
            await asyncio.sleep(30)
        if self.breaks:
            await response.write(_event({"error": {"message": "The engine failed."}}))
            return response
        await response.write(_event({"choices": [{"delta": {}, "finish_reason": "stop"}]}))
        await response.write(_event({"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 2}}))
        await response.write(b"data: [DONE]\n\n")
        return response


def _event(values: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(values).encode() + b"\n\n"


@pytest.fixture
def server() -> Iterator[Server]:
    """In a thread, because a command runs a loop of its own."""
    server = Server()

    @asynccontextmanager
    async def serving() -> AsyncIterator[None]:
        application = web.Application()
        application.router.add_post("/v1/chat/completions", server.handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield
        await runner.cleanup()

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serving()):
        yield server


def test_a_prompt_is_answered_once(server: Server) -> None:
    options = ["--url", server.url, "--api-key", "k", "--model", "m", "--system", "Be brief.", "--temperature", "0"]
    result = CliRunner().invoke(app, ["Hi", *options, "--max-tokens", "9"])
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Hello there.\n", "")
    assert server.authorization == "Bearer k"
    assert server.bodies == [
        {
            "model": "m",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": 9,
            "temperature": 0,
        }
    ]


def test_what_is_piped_in_is_the_prompt_and_verbose_tells_apart_from_the_answer(server: Server) -> None:
    result = CliRunner().invoke(app, ["--url", server.url, "--verbose"], input="Sum\nthis up\n")
    assert (result.exit_code, result.stdout) == (0, "Hello there.\n")
    assert server.bodies[0]["messages"] == [{"role": "user", "content": "Sum\nthis up\n"}]
    assert "4 tokens read, 2 written; TTFT " in result.stderr


def test_nothing_asked_is_refused(server: Server) -> None:
    result = CliRunner().invoke(app, ["--url", server.url], input="\n")
    assert isinstance(result.exception, CallerError)
    assert server.bodies == []


def test_a_refusal_and_a_failure_are_said(server: Server) -> None:
    server.breaks = True
    broken = CliRunner().invoke(app, ["Hi", "--url", server.url])
    assert isinstance(broken.exception, EngineError)
    assert broken.exception.message == "The engine failed."
    server.fails = True
    refused = CliRunner().invoke(app, ["Hi", "--url", server.url])
    assert isinstance(refused.exception, CallerError)
    assert refused.exception.message == "No such model. (404)"
    away = CliRunner().invoke(app, ["Hi", "--url", "http://127.0.0.1:9"])
    assert isinstance(away.exception, EngineError)
    assert "no answer from http://127.0.0.1:9" in away.exception.message


def test_a_conversation_goes_on_from_what_was_said_and_forgets_what_failed(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = iter(["One", "", "Two", "Three"])

    def read(prompt: str) -> str:
        server.fails = len(server.bodies) == 1
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    converse(Conversation(server.url, "k", "m", None, None, verbose=False), read)
    assert [len(body["messages"]) for body in server.bodies] == [1, 3, 3]  # type: ignore[arg-type]
    assert server.bodies[2]["messages"] == [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Hello there."},
        {"role": "user", "content": "Three"},
    ]
    said = capsys.readouterr()
    assert said.out == "Hello there.\nHello there.\n\n"
    assert said.err == "antiphon: No such model. (404)\n"


def test_a_terminal_gets_no_control_characters() -> None:
    assert harmless("a\x1b[31m\tb\n\x07\x9bc é") == "a[31m\tb\nc é"


def test_in_a_terminal_ctrl_c_stops_the_answer_and_ctrl_d_leaves(server: Server) -> None:
    master, slave = pty.openpty()
    terminal = Terminal(master)
    command = [sys.executable, "-m", "antiphon", "chat", "--url", server.url]
    server.hangs = True
    # Tests that run in the background ignore the signal, and so would what they start.
    heeds = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    terminal_of = {"stdin": slave, "stdout": slave, "stderr": slave, "start_new_session": True}
    with subprocess.Popen(command, **terminal_of, preexec_fn=heeds) as process:
        os.close(slave)
        try:
            terminal.wait_for(b"> ")
            os.write(master, b"One\n")
            terminal.wait_for(b"Hello there.")
            server.hangs = False
            process.send_signal(signal.SIGINT)
            terminal.wait_for(b"> ")
            os.write(master, b"Two\n")
            terminal.wait_for(b"Hello there.")
            terminal.wait_for(b"> ")
            os.write(master, b"\x04")
            assert process.wait(10) == 0
        finally:
            process.kill()
            os.close(master)
    assert [message["content"] for message in server.bodies[1]["messages"]] == ["One", "Hello there.", "Two"]  # type: ignore[attr-defined]


class Terminal:
    def __init__(self, master: int) -> None:
        self._master = master
        self._seen = b""

    def wait_for(self, wanted: bytes) -> None:
        deadline = time.monotonic() + 20
        while wanted not in self._seen:
            assert time.monotonic() < deadline, self._seen
            if select.select([self._master], [], [], 0.5)[0]:
                self._seen += os.read(self._master, 4096)
        self._seen = self._seen.partition(wanted)[2]
