"""The load generator against a small server whose delays are known. About three seconds, the streams' own length."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest
from aiohttp import WSMsgType, web

from antiphon.bench.client import run_level
from antiphon.bench.clips import Clip
from antiphon.bench.measure import Percentiles
from antiphon.bench.protocols.line import Target
from antiphon.bench.speech import Span
from antiphon.core.errors import CallerError, EngineError

TTFB_MS, FINAL_MS = 120, 260
SLACK_MS = 120  # for a busy machine; still less than a chunk and a half

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
def clip() -> Clip:
    """Speech from 0.1 s to 0.9 s of 1 s."""
    samples = np.zeros(16_000, "<i2")
    samples[1_600:14_400] = 5_000
    return Clip("one.wav", samples.tobytes(), (Span(1_600, 14_400),), "one two")


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/v1/listen", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def results(start_s: float, end_s: float, text: str, *, final: bool) -> str:
    channel = {"alternatives": [{"transcript": text, "confidence": 0.9, "words": []}]}
    message = {"type": "Results", "start": start_s, "duration": end_s - start_s, "is_final": final, "channel": channel}
    return json.dumps(message)


class Server:
    """Hears sound as speech: says one word `TTFB_MS` after its first sample, two words `FINAL_MS` after its last."""

    def __init__(self) -> None:
        self.queries: list[dict[str, str]] = []
        self.keys: list[str] = []
        self.bytes: list[int] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.queries.append(dict(request.query))
        self.keys.append(request.headers["Authorization"])
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        loop, heard, onset_s = asyncio.get_running_loop(), 0, None

        def later(ms: int, text: str) -> None:
            loop.call_later(ms / 1000, lambda: asyncio.ensure_future(socket.send_str(text)))

        async for message in socket:
            if message.type is WSMsgType.TEXT:
                assert json.loads(message.data) == {"type": "CloseStream"}
                await asyncio.sleep(FINAL_MS / 1000)
                await socket.send_str('{"type":"Metadata","channels":1}')
                break
            samples = np.frombuffer(message.data, "<i2")
            loud = np.flatnonzero(samples)
            if len(loud) and onset_s is None:
                onset_s = (heard + int(loud[0])) / 16_000
                later(TTFB_MS, results(onset_s, onset_s + 0.05, "One", final=False))
            if onset_s is not None and not samples[-1]:
                end_s = (heard + (int(loud[-1]) + 1 if len(loud) else 0)) / 16_000
                later(5, '{"type":"UtteranceEnd","channel":[0,1],"last_word_end":1.0}')
                later(FINAL_MS, results(onset_s, end_s, "One, two.", final=True))
                onset_s = None
            heard += len(samples)
        self.bytes.append(heard * 2)
        await socket.close()
        return socket


async def test_the_figures_are_the_servers_known_delays(clip: Clip) -> None:
    server = Server()
    async with serving(server.handle) as url:
        # A stream that begins in the middle of a chunk ends its speech in one too, the other at a chunk's end: there
        # this server hears the silence with the next chunk, 100 ms later.
        measured = await run_level(Target(url, "k"), [clip], 2, seconds=4, pid=None)
    assert (measured.streams, measured.refused, measured.failed) == (2, 0, 0)
    assert (measured.utterances, measured.lost) == (3, 0)
    assert measured.ttfb.p50 is not None
    assert measured.final.p50 is not None
    assert TTFB_MS <= measured.ttfb.p50 < TTFB_MS + SLACK_MS
    assert measured.first_word == measured.ttfb
    assert FINAL_MS + 100 <= measured.final.p50 < FINAL_MS + 100 + SLACK_MS
    assert measured.goodput == 1.0
    assert measured.wer == 0.0
    assert measured.late_ms_p99 is not None
    assert server.keys == ["Token k", "Token k"]
    assert server.bytes == [4 * 32_000] * 2
    wanted = {"encoding": "linear16", "sample_rate": "16000", "interim_results": "true", "endpointing": "300"}
    assert wanted.items() <= server.queries[0].items()


async def test_a_stream_refused_for_want_of_room_is_counted_and_the_rest_are_measured(clip: Clip) -> None:
    server, seen = Server(), 0

    async def full(request: web.Request) -> web.StreamResponse:
        nonlocal seen
        seen += 1
        return web.Response(status=429) if seen == 2 else await server.handle(request)

    async with serving(full) as url:
        measured = await run_level(Target(url, "k"), [clip], 2, seconds=1, pid=None)
    assert (measured.streams, measured.refused, measured.failed) == (2, 1, 0)


async def test_a_stream_that_the_server_breaks_has_lost_its_utterances(clip: Clip) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        await socket.close(code=1011)
        return socket

    async with serving(broken) as url:
        measured = await run_level(Target(url, "k"), [clip], 1, seconds=3, pid=None)
    assert (measured.failed, measured.utterances, measured.lost) == (1, 1, 1)
    assert measured.failures == {"closed with 1011": 1}
    assert measured.goodput == 0.0
    assert measured.ttfb == Percentiles(None, None, None)


async def test_any_other_refusal_ends_the_run(clip: Clip) -> None:
    async def stranger(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=401, headers={"dg-error": "Invalid credentials."})

    async with serving(stranger) as url:
        with pytest.raises(CallerError, match="401"):
            await run_level(Target(url, "k"), [clip], 2, seconds=1, pid=None)
    with pytest.raises(EngineError, match="cannot reach"):
        await run_level(Target(url, "k"), [clip], 2, seconds=1, pid=None)
