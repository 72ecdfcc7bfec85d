"""The language load generator and `antiphon bench chat` against a small server whose delays are known."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from anyio.from_thread import start_blocking_portal
from typer.testing import CliRunner

from antiphon.bench.chat import Target, run_level, warm_up
from antiphon.bench.generations import Objectives
from antiphon.cli.bench import app
from antiphon.core.errors import CallerError, EngineError

FIRST_MS, GAP_MS, TOKENS = 60, 20, 6
TOTAL_MS = FIRST_MS + (TOKENS - 1) * GAP_MS
SLACK_MS = 60  # for a busy machine
PROMPTS = [[{"role": "user", "content": "Hello"}]]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Says `TOKENS` words, the first after `FIRST_MS`, the others `GAP_MS` apart; two words in each chunk."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, object]] = []
        self.keys: list[str] = []
        self.at_once = self.most_at_once = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.keys.append(request.headers["Authorization"])
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await (self._stream(request) if body["stream"] else self._whole())
        finally:
            self.at_once -= 1

    async def _whole(self) -> web.Response:
        await asyncio.sleep(TOTAL_MS / 1000)
        choice = {"index": 0, "message": {"role": "assistant", "content": "word " * TOKENS}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 3, "completion_tokens": TOKENS}
        return web.json_response({"choices": [choice], "usage": usage})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(event(choices=[choice({"role": "assistant", "content": ""})]))
        await asyncio.sleep(FIRST_MS / 1000)
        for number in range(TOKENS // 2):
            await response.write(event(choices=[choice({"content": "two words "})]))
            last = number == TOKENS // 2 - 1
            await asyncio.sleep(0 if last else (TOTAL_MS - FIRST_MS) / (TOKENS // 2 - 1) / 1000)
        await response.write(event(choices=[choice({}, "stop")]))
        await response.write(event(choices=[], usage={"prompt_tokens": 3, "completion_tokens": TOKENS}))
        await response.write(b"data: [DONE]\n\n")
        return response


def choice(delta: dict[str, object], reason: str | None = None) -> dict[str, object]:
    return {"index": 0, "delta": delta, "finish_reason": reason}


def event(**values: object) -> bytes:
    return b"data: " + json.dumps({"id": "c", "object": "chat.completion.chunk"} | values).encode() + b"\n\n"


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_the_figures_of_streams_are_the_servers_known_delays() -> None:
    server = Server()
    async with serving(server.handle) as url:
        measured = await run_level(Target(url, "k", "m"), PROMPTS, 6, concurrency=3)
    assert (measured.requests, measured.refused, measured.failed) == (6, 0, 0)
    assert server.most_at_once == 3
    assert measured.ttft.p50 is not None
    assert measured.tpot.p50 is not None
    assert measured.total.p50 is not None
    assert FIRST_MS <= measured.ttft.p50 < FIRST_MS + SLACK_MS
    assert GAP_MS * 0.9 <= measured.tpot.p50 < GAP_MS * 1.5  # by the six tokens counted, not the three chunks
    assert TOTAL_MS * 0.95 <= measured.total.p50 < TOTAL_MS + SLACK_MS
    assert measured.tokens == 6 * TOKENS
    assert measured.input_tokens == 18
    assert measured.reported
    assert server.keys == ["Bearer k"] * 6
    assert server.bodies[0]["max_tokens"] == 64


async def test_whole_answers_have_a_total_and_their_tokens() -> None:
    async with serving(Server().handle) as url:
        measured = await run_level(Target(url, "k", "m", stream=False), PROMPTS, 2, concurrency=2)
    assert (measured.failed, measured.ttft.p50, measured.tokens) == (0, None, 2 * TOKENS)
    assert measured.total.p50 is not None
    assert TOTAL_MS <= measured.total.p50 < TOTAL_MS + SLACK_MS


async def test_an_open_loop_waits_for_nobody() -> None:
    server = Server()
    async with serving(server.handle) as url:
        measured = await run_level(Target(url, "k", "m"), PROMPTS, 20, rate=200.0, objectives=Objectives(tpot_ms=1_000))
    assert (measured.requests, measured.failed, measured.goodput) == (20, 0, 1.0)
    assert server.most_at_once > 10  # 100 ms of arrivals, 160 ms of answer
    assert measured.wall_s < 1


async def test_what_goes_wrong_is_counted_by_kind() -> None:
    server, seen = Server(), 0

    async def troubled(request: web.Request) -> web.StreamResponse:
        nonlocal seen
        seen += 1
        if seen == 1:
            return web.Response(status=429)
        if seen == 2:
            return web.json_response({"error": {"message": "No."}}, status=500)
        if seen == 6:
            return await server.handle(request)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(event(choices=[choice({"content": "a"})]))
        if seen == 3:
            await response.write(event(error={"message": "Lost."}))
        if seen == 4:
            assert request.transport is not None
            request.transport.abort()
        return response

    async with serving(troubled) as url:
        patient = Objectives(tpot_ms=1_000)
        measured = await run_level(Target(url, "k", "m"), PROMPTS, 6, concurrency=1, objectives=patient)
    assert (measured.requests, measured.refused, measured.failed) == (6, 1, 4)
    assert measured.failures is not None
    kinds = sorted(kind.split(":")[0] for kind in measured.failures)
    assert kinds == ["500", "ConnectionError", "in the stream", "in the stream"]
    assert {"500: No.", "in the stream: Lost.", "in the stream: no end"} < set(measured.failures)
    assert (measured.tokens, measured.goodput) == (TOKENS, round(1 / 6, 4))


async def test_a_connection_that_the_server_closed_meanwhile_costs_no_request() -> None:
    async def once(request: web.Request) -> web.StreamResponse:
        answer = {"choices": [{"message": {"content": "a"}}]}
        response = web.json_response(answer)
        await response.prepare(request)
        await response.write_eof()
        assert request.transport is not None
        request.transport.close()  # without having said so
        return response

    async with serving(once) as url:
        measured = await run_level(Target(url, "k", "m", stream=False), PROMPTS, 5, concurrency=1)
    assert (measured.failed, measured.requests) == (0, 5)


async def test_a_server_that_is_not_there_or_says_no_ends_the_run() -> None:
    async def unknown(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": "No such model."}}, status=404)

    async with serving(unknown) as url:
        with pytest.raises(EngineError, match="404: No such model"):
            await warm_up(Target(url, "k", "m"), PROMPTS[0])
    with pytest.raises(EngineError, match="does not answer"):
        await warm_up(Target(url, "k", "m"), PROMPTS[0])
    with pytest.raises(EngineError, match="cannot reach"):
        await run_level(Target(url, "k", "m"), PROMPTS, 1, concurrency=1)


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def url() -> Iterator[str]:
    """In a thread, because a command runs a loop of its own."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serving(Server().handle)) as address:
        yield address


def test_the_command_shows_writes_and_draws(url: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    dataset = tmp_path / "asked.jsonl"
    dataset.write_text('{"prompt":"a"}\n{"prompt":"b"}\n')
    command = ["chat", "--url", url, "--api-key", "secret", "--concurrency", "1,2", "--requests", "2", "--tpot-ms", "5"]
    command += ["--dataset", str(dataset), "--json", str(tmp_path / "run.json"), "--plot", str(tmp_path / "run.png")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "2 at once" in result.output
    assert "TPOT ≤ 5" in result.output
    written = (tmp_path / "run.json").read_bytes()
    assert b"secret" not in written
    run = msgspec.json.decode(written)
    assert [level["concurrency"] for level in run["levels"]] == [1, 2]
    assert [level["tokens"] for level in run["levels"]] == [2 * TOKENS] * 2
    assert [level["goodput"] for level in run["levels"]] == [0.0, 0.0]  # 20 ms a token
    assert run["dataset"] == "asked.jsonl"
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--concurrency", "0"), ("--rate", "0"), ("--rate", "1,x"), ("--rate", "-1"), ("--extra", "[]"), ("--extra", "{")],
)
def test_an_option_that_makes_no_sense_is_refused(option: str, value: str) -> None:
    result = CliRunner().invoke(app, ["chat", option, value])
    assert isinstance(result.exception, CallerError)
    assert option in result.exception.message
