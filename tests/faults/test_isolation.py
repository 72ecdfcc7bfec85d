"""One project takes all it can get, and another notices nothing: live streams, recordings, speeches and generations."""

import asyncio
import contextlib
import io
import json
import time
import wave

import pytest
from callers import http, pcm_of, transcribe, transcript, words
from speakers import SENTENCES, TEXT, answered, request
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from antiphon.core.identity import USUAL_SCOPES
from antiphon.stores.sqlite.directory import SqliteDirectory
from antiphon.trust.control import Control
from serving import API_KEY, Server, start

pytestmark = pytest.mark.xdist_group("faults")
SETTINGS = """
[limits]
recordings = 3
generations = 4
[recognition]
workers = 1
"""
MOST = 300  # that anybody tries to open
LISTEN = "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000&interim_results=true"


@pytest.fixture(scope="module")
def server(tmp_path_factory, models):
    data_dir = tmp_path_factory.mktemp("data")
    process, url = start(data_dir, models, SETTINGS)
    yield Server(url, API_KEY, data_dir, process.pid)
    process.terminate()
    assert process.wait(20) == 0


@pytest.fixture(scope="module")
def other(server):
    """The same server, for somebody of another project."""
    control = Control(SqliteDirectory(server.data_dir))
    control.create_project("other", "", int(time.time() * 1000))
    _, secret = control.create_key("other", "", USUAL_SCOPES, int(time.time() * 1000))
    return Server(server.base_url, secret, server.data_dir, server.pid)


def listen(server):
    headers = {"Authorization": f"Token {server.api_key}"}
    return connect(server.ws_url + LISTEN, additional_headers=headers, compression=None, open_timeout=20)


async def say(socket, pcm):
    for at in range(0, len(pcm), 3200):
        await socket.send(pcm[at : at + 3200])
        await asyncio.sleep(0.05)
    await socket.send('{"type": "CloseStream"}')
    return [json.loads(message) async for message in socket]


def wav_of(pcm):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 16_000, 0, "NONE", ""))
        writer.writeframes(pcm)
    return file.getvalue()


@contextlib.asynccontextmanager
async def silent_streams(server):
    """As many as it is let in, and what the next one is told."""
    async with contextlib.AsyncExitStack() as stack:
        opened = []
        for _ in range(MOST):
            try:
                opened.append(await stack.enter_async_context(listen(server)))
            except InvalidStatus as refused:
                yield opened, refused.response
                return
        raise AssertionError("there is no bound")


async def test_silent_streams_of_one_shut_nobody_else_out(server, other, beckett):
    pcm = pcm_of(beckett)
    async with silent_streams(server) as (opened, refusal), http(other) as session:
        assert len(opened) > 10
        assert refusal.status_code == 429
        assert 1 <= int(refusal.headers["retry-after"]) <= 60
        async with listen(other) as socket:
            said, (status, answer) = await asyncio.gather(say(socket, pcm), transcribe(session, beckett.read_bytes()))
        assert words(transcript(said))
        assert status == 200
        assert answer["results"]["channels"]


async def test_recordings_of_one_keep_no_other_waiting(server, other, beckett):
    data, long = beckett.read_bytes(), wav_of(pcm_of(beckett) * 10)
    async with http(server) as many, http(other) as few, asyncio.TaskGroup() as group:
        crowd = [group.create_task(transcribe(many, long)) for _ in range(8)]
        await asyncio.sleep(0.5)
        status, _ = await transcribe(few, data)
        assert status == 200
        assert not all(task.done() for task in crowd)
        statuses = [(await task)[0] for task in crowd]
    assert statuses.count(200) >= 1  # how many, the machine says: who would wait too long is refused
    assert set(statuses) <= {200, 429}


def asked(server, text):
    return request(text).replace(API_KEY.encode(), server.api_key.encode())


async def test_a_flood_of_speeches_of_one_delays_no_other(server, other):
    until = time.monotonic() + 4

    async def flood():
        while time.monotonic() < until:
            head, _, _ = await answered(server, asked(server, TEXT))
            assert head.status_code in (200, 429)
            if head.status_code == 429:
                assert int(dict(head.headers)[b"retry-after"]) >= 1
                await asyncio.sleep(0.1)

    async def first_s():
        """Until the first sound, alone at the line of its project."""
        begun, sounded = time.monotonic(), []
        head, _, ended = await answered(
            other, asked(other, SENTENCES[0]), lambda head, data: sounded.append(time.monotonic())
        )
        assert (head.status_code, ended) == (200, True), head
        return sounded[0] - begun

    alone_s = min([await first_s() for _ in range(2)])
    async with asyncio.TaskGroup() as group:
        for _ in range(40):
            group.create_task(flood())
        await asyncio.sleep(1)
        waits = [await first_s() for _ in range(3)]
    assert sorted(waits)[1] < max(0.6, 8 * alone_s), (alone_s, waits)  # by turns of forty it would be far more


async def test_generations_of_one_keep_a_place_for_another(server, other):
    async def ask(session, tokens):
        body = {
            "model": "smollm2-135m-instruct",
            "max_tokens": tokens,
            "messages": [{"role": "user", "content": "Tell me a long story about the sea."}],
        }
        async with session.post("/v1/chat/completions", json=body) as response:
            return response.status

    async with http(server) as many, http(other) as few, asyncio.TaskGroup() as group:
        crowd = [group.create_task(ask(many, 120)) for _ in range(8)]
        await asyncio.sleep(0.3)
        assert await ask(few, 1) == 200
        statuses = [await task for task in crowd]
    assert statuses.count(200) == 4
    assert statuses.count(429) == 4
