"""`antiphon transcribe` against a small server that answers as Deepgram does."""

import json
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web
from anyio.from_thread import start_blocking_portal
from typer.testing import CliRunner

from antiphon.cli.transcribe import app
from antiphon.core.errors import CallerError, EngineError


class Server:
    """Answers every file and every stream with the same words, and remembers what it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.query: dict[str, str] = {}
        self.authorization = ""
        self.received = b""
        self.fails = False

    async def file(self, request: web.Request) -> web.Response:
        self.query, self.authorization = dict(request.query), request.headers["Authorization"]
        self.received = await request.read()
        if self.fails:
            body = {"err_code": "INVALID_AUTH", "err_msg": "Invalid credentials.", "request_id": "r"}
            return web.json_response(body, status=401)
        results = {"channels": [{"alternatives": [{"transcript": "Hello there. General."}]}]}
        if request.query.get("utterances") == "true":
            results["utterances"] = [
                {"start": 0.25, "end": 1.0, "transcript": "Hello there."},
                {"start": 1.5, "end": 2.004, "transcript": "General."},
            ]
        return web.json_response({"metadata": {"request_id": "r"}, "results": results})

    async def live(self, request: web.Request) -> web.StreamResponse:
        if self.fails:
            return web.Response(status=429, headers={"dg-error": "No room for another stream."})
        self.query = dict(request.query)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                assert json.loads(message.data) == {"type": "CloseStream"}
                break
            self.received += message.data
        await socket.send_str(_results("Hello", 0.25, 0.5, final=False))
        await socket.send_str(_results("Hello there.", 0.25, 1.0, final=True))
        await socket.send_str('{"type":"UtteranceEnd","channel":[0,1],"last_word_end":1.0}')
        await socket.send_str(_results("General.", 1.5, 2.0, final=True))
        if "breaks" in request.query["model"]:
            await socket.send_str('{"type":"Error","variant":"x","description":"The engine failed."}')
            await socket.close(code=1011)
        await socket.close()
        return socket


def _results(text: str, start: float, end: float, *, final: bool) -> str:
    channel = {"alternatives": [{"transcript": text, "confidence": 0.9, "words": []}]}
    return json.dumps(
        {"type": "Results", "start": start, "duration": end - start, "is_final": final, "channel": channel}
    )


@pytest.fixture
def server() -> Iterator[Server]:
    """In a thread, because a command runs a loop of its own."""
    server = Server()

    @asynccontextmanager
    async def serving() -> AsyncIterator[None]:
        application = web.Application()
        application.router.add_post("/v1/listen", server.file)
        application.router.add_get("/v1/listen", server.live)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield
        await runner.cleanup()

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serving()):
        yield server


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """0.35 s, 16 kHz mono."""
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(b"\x01\x02" * 5_600)
    return path


def run(server: Server, *arguments: object) -> str:
    command = ["--url", server.url, "--api-key", "secret", *map(str, arguments)]
    return CliRunner().invoke(app, command, catch_exceptions=False).stdout


def test_a_file_goes_up_as_it_is_and_its_text_comes_back(server: Server, recording: Path) -> None:
    assert run(server, recording) == "Hello there. General.\n"
    assert server.received == recording.read_bytes()
    assert server.authorization == "Token secret"
    assert server.query == {"model": "nova-3", "punctuate": "true"}


def test_json_is_the_servers_answer(server: Server, recording: Path) -> None:
    assert json.loads(run(server, recording, "--format", "json"))["metadata"] == {"request_id": "r"}


@pytest.mark.parametrize("live", [(), ("--live",)])
def test_subtitles_are_timed(server: Server, recording: Path, live: tuple[str, ...]) -> None:
    srt = run(server, recording, "--format", "srt", *live)
    assert srt.startswith("1\n00:00:00,250 --> 00:00:01,000\nHello there.\n\n2\n00:00:01,500 --> 00:00:02,00")
    assert run(server, recording, "--format", "vtt", *live).startswith("WEBVTT\n\n00:00:00.250 --> 00:00:01.000\n")


def test_each_recording_gets_a_file_of_its_own(server: Server, recording: Path, tmp_path: Path) -> None:
    other = recording.rename(tmp_path / "b.wav")
    recording.write_bytes(other.read_bytes())
    assert run(server, recording, other, "--format", "vtt", "--output-dir", tmp_path / "out") == ""
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.wav.vtt", "b.wav.vtt"]
    with pytest.raises(CallerError, match="--output-dir"):
        run(server, recording, other, "--format", "vtt")


def test_no_recording_replaces_the_file_of_another(server: Server, recording: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / recording.name
    other.parent.mkdir()
    other.write_bytes(recording.read_bytes())
    with pytest.raises(CallerError, match=recording.name):
        run(server, recording, other, "--output-dir", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_live_sends_the_samples_and_prints_each_final_once(server: Server, recording: Path) -> None:
    assert run(server, recording, "--live") == "Hello there.\nGeneral.\n"
    assert server.received == b"\x01\x02" * 5_600
    assert server.query["encoding"] == "linear16"
    assert server.query["interim_results"] == "true"


def test_live_json_is_the_list_of_the_servers_finals(server: Server, recording: Path) -> None:
    finals = json.loads(run(server, recording, "--live", "--format", "json"))
    assert [(final["is_final"], final["start"]) for final in finals] == [(True, 0.25), (True, 1.5)]


def test_what_the_server_refuses_is_said_with_its_own_words(server: Server, recording: Path) -> None:
    server.fails = True
    with pytest.raises(CallerError, match=r"a\.wav: Invalid credentials\. \(401\)"):
        run(server, recording)
    with pytest.raises(CallerError, match=r"a\.wav: No room for another stream\. \(429\)"):
        run(server, recording, "--live")


def test_a_stream_that_breaks_and_a_server_that_is_not_there_are_errors(server: Server, recording: Path) -> None:
    with pytest.raises(EngineError, match=r"a\.wav: .*1011 The engine failed\."):
        run(server, recording, "--live", "--model", "breaks")
    server.url = "http://127.0.0.1:9"
    for live in ((), ("--live",)):
        with pytest.raises(EngineError, match=r"no answer from http://127\.0\.0\.1:9"):
            run(server, recording, *live)
