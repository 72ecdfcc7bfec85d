"""Callers of language models who come by the thousand and drop their streams, and servers that are killed under them:
nothing is left behind, and what callers received is in the ledger, once.

`ANTIPHON_KILLS` sets how often the ledger's own tests kill; a server before language models is killed once for ten of
those, one with an embedded model, which takes longer to start, once for a hundred.
"""

import asyncio
import contextlib
import json
import os
import random
import uuid
from collections import Counter
from functools import partial

import aiohttp
import pytest
from aiohttp import web
from callers import (
    alive,
    children,
    crowd,
    failures,
    http,
    left_as_found,
    metric,
    resident_mb,
    rows,
    socket_of,
    until,
)

from serving import API_KEY, LANGUAGE, Server, served, start

pytestmark = pytest.mark.xdist_group("faults")
KILLS = max(2, int(os.environ.get("ANTIPHON_KILLS", "20")) // 10)
POOL = 8  # threads of asyncio's own, which come when they are needed and stay
MODEL = "smollm2-135m-instruct"
COUNT = [
    {"role": "user", "content": "Count from 1 to 9."},
    {"role": "assistant", "content": "1 2 3 4 5 6 7 8 9"},
    {"role": "user", "content": "Again."},
]
GONE = (OSError, EOFError, aiohttp.ClientError, asyncio.IncompleteReadError)  # what a caller sees of a dead server


# -- those who come and go ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory, models):
    with served(tmp_path_factory.mktemp("data"), models, LANGUAGE) as server:
        yield server
        workers = children(server.pid)
    assert not [pid for pid in workers if alive(pid)]
    assert failures(server, API_KEY, "Count from") == set()


@pytest.fixture
async def nothing_left(server):
    """Afterwards no session, place, request inside the engine, block of its cache, descriptor or thread is left."""
    async with http(server) as session:
        await whole(session)
        async with left_as_found(server, session, POOL, 30):
            yield


async def whole(session, tokens=8):
    body = {"model": MODEL, "messages": COUNT, "max_completion_tokens": tokens, "temperature": 0}
    async with session.post("/v1/chat/completions", json=body) as response:
        answer = await response.json()
        assert response.status == 200, answer
    return answer["choices"][0]["message"]["content"]


async def streamed(session, tokens=40):
    """A stream to its end: its text, and the usage it told."""
    body = {"model": MODEL, "messages": COUNT, "max_completion_tokens": tokens, "temperature": 0}
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    text, usage, ended = "", None, False
    async with session.post("/v1/chat/completions", json=body) as response:
        if response.status == 429:  # as often as it is told to, amid a flood of its own project
            await asyncio.sleep(int(response.headers["Retry-After"]))
            return await streamed(session, tokens)
        assert response.status == 200
        async for line in response.content:
            if line.startswith(b"data: [DONE]"):
                ended = True
            elif line.startswith(b"data: "):
                chunk = json.loads(line[6:])
                text += "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
                usage = chunk.get("usage") or usage
    assert ended
    return text, usage


async def passer_by(server, chance, within_s=5):
    """Asks for a stream and vanishes at any moment: before all is said, before the first token, amid, or not at all."""
    await asyncio.sleep(chance.uniform(0, within_s))
    body = {"model": MODEL, "messages": [{"role": "user", "content": f"Tell me about {chance.random()}."}]}
    body |= {"max_completion_tokens": chance.randrange(1, 48), "stream": chance.random() < 0.9}
    body |= {"n": chance.choice([1, 1, 1, 2])}
    data = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer {API_KEY}\r\n"
    request = f"{head}Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data
    reader, writer = await socket_of(server)
    way = chance.choice(["half", "at once", "soon", "amid", "amid", "amid", "deaf", "end"])
    writer.write(request[: chance.randrange(1, len(request))] if way == "half" else request)
    if way in ("soon", "deaf"):
        await asyncio.sleep(chance.uniform(0, 1))
    elif way == "amid":
        for _ in range(chance.randrange(1, 6)):
            await reader.read(300)
    elif way == "end":
        answer = await reader.read()
        assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 429")), answer
        end = b"data: [DONE]\n\n" if body["stream"] else b'"usage"'
        assert answer.startswith(b"HTTP/1.1 429") or end in answer
    if way in ("at once", "end") and chance.random() < 0.5:
        writer.close()
    else:
        writer.transport.abort()


@pytest.mark.parametrize("count", [40, pytest.param(400, marks=pytest.mark.long)])
async def test_hundreds_of_streams_that_come_and_go_leave_nothing(server, nothing_left, count):
    workers = children(server.pid)
    async with http(server) as session:
        alone = await streamed(session)
        # So that what is kept for ever is there before it is measured.
        await crowd(partial(passer_by, within_s=3), server, 5000, count)
        before_mb = resident_mb(server.pid), sum(map(resident_mb, workers))
        flood = asyncio.create_task(crowd(passer_by, server, 0, count))
        await asyncio.sleep(2)
        amid = [await streamed(session) for _ in range(3)]  # who behaves notices nothing but the time it takes
        await flood
        assert {text for text, _ in amid} == {alone[0]}
        assert {usage["completion_tokens"] for _, usage in amid} == {alone[1]["completion_tokens"]}
        cache_mb = await metric(session, "antiphon_engine_cache_bytes") / 2**20
    assert children(server.pid) == workers  # nothing had to be started again
    assert resident_mb(server.pid) < before_mb[0] + 60
    # Prompts are kept in the engine's cache, within its bound, for those who come with the same ones again.
    assert sum(map(resident_mb, workers)) < before_mb[1] + cache_mb + 60


# -- servers that are killed -------------------------------------------------------------------------------------------

TOKENS, INPUT_TOKENS = 200, 16
UPSTREAM = """
[models]
behind = {{ engines = ["behind"] }}
[engines.behind]
kind = "openai"
server = "vllm"
url = "{url}"
model = "behind"
"""


class Upstream:
    """A server with OpenAI's API that says the same to all, in pieces of uneven size and at an uneven pace. One that is
    `broken` says that it is well, and breaks off in the middle of its streams and before whole answers.
    """

    def __init__(self, broken=False):
        self.chance = random.Random(3)
        self.broken = broken

    async def answer(self, request):
        body = await request.json()
        if self.broken and not body.get("stream"):
            request.transport.abort()
            return web.Response()
        usage = {"prompt_tokens": INPUT_TOKENS, "completion_tokens": TOKENS, "total_tokens": INPUT_TOKENS + TOKENS}
        if not body.get("stream"):
            await asyncio.sleep(self.chance.uniform(0, 0.02))
            message = {"role": "assistant", "content": "word " * TOKENS}
            choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
            return web.json_response({**self.head("chat.completion"), "choices": choices, "usage": usage})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        left = TOKENS
        while left:
            some = min(left, self.chance.randrange(1, 20))
            left -= some
            if self.broken and left < TOKENS / 2:
                request.transport.abort()
                return response
            await response.write(b"".join(self.chunk({"content": "word "}) for _ in range(some)))
            await asyncio.sleep(self.chance.uniform(0, 0.02))
        last = self.event({"choices": [], "usage": usage})
        await response.write(self.chunk({}, "stop") + last + b"data: [DONE]\n\n")
        return response

    async def models(self, request):
        return web.json_response({"object": "list", "data": [{"id": "behind", "object": "model"}]})

    def head(self, kind):
        return {"id": "chatcmpl-1", "object": kind, "created": 1_767_225_600, "model": "behind"}

    def chunk(self, delta, finish=None):
        return self.event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    def event(self, more):
        return b"data: " + json.dumps(self.head("chat.completion.chunk") | more).encode() + b"\n\n"


@contextlib.asynccontextmanager
async def serving(upstream):
    app = web.Application()
    app.router.add_post("/v1/chat/completions", upstream.answer)
    app.router.add_get("/{any:.*}", upstream.models)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def upstream():
    async with serving(Upstream()) as url:
        yield url


class Callers:
    """Streams and whole answers, some at a time, which remember what they were told."""

    def __init__(self, model="behind"):
        self.model = model
        self.heard = Counter()  # tokens of each stream that were received
        self.ended = {}  # the usage of each stream that told it
        self.asked = Counter()  # how often each idempotency key was sent
        self.asking = set()  # those that are under way
        self.answered = {}  # the usage it got
        self.server = None

    async def load(self):
        await asyncio.gather(
            *(self.forever(self.stream) for _ in range(12)), *(self.forever(self.ask) for _ in range(4))
        )

    async def forever(self, call):
        with contextlib.suppress(*GONE):
            async with http(self.server) as session:
                while True:
                    await call(session)

    async def stream(self, session):
        body = {"model": self.model, "messages": COUNT, "stream": True, "stream_options": {"include_usage": True}}
        async with session.post("/v1/chat/completions", json=body | {"max_completion_tokens": 200}) as response:
            assert response.status == 200
            async for line in response.content:
                if line.startswith(b"data: {"):
                    chunk = json.loads(line[6:])
                    id = str(uuid.UUID(chunk["id"].removeprefix("chatcmpl-")))
                    self.heard[id] += sum(bool(choice["delta"].get("content")) for choice in chunk["choices"])
                    if chunk.get("usage"):
                        self.ended[id] = spent(chunk["usage"])

    async def ask(self, session):
        """A request without an answer is sent again, with the same key, as soon as there is a server."""
        key = next((key for key in self.unanswered() if key not in self.asking), None) or str(uuid.uuid4())
        self.asking.add(key)
        try:
            await self.ask_once(session, key)
        finally:
            self.asking.discard(key)

    def unanswered(self):
        return [key for key in self.asked if key not in self.answered]

    async def ask_once(self, session, key):
        self.asked[key] += 1
        body = {"model": self.model, "messages": COUNT, "max_completion_tokens": 200, "temperature": 0}
        async with session.post("/v1/chat/completions", json=body, headers={"Idempotency-Key": key}) as response:
            answer = await response.json()
            assert response.status == 200, answer
            self.answered[key] = spent(answer["usage"])


def spent(usage):
    return usage["prompt_tokens"] + usage["completion_tokens"]


async def killed_again_and_again(callers, data_dir, models, settings, kills, least_s):
    """Each time at a random moment, but not before something was heard. Afterwards what had no answer has one."""
    chance = random.Random(11)
    for _ in range(kills):
        process, url = await asyncio.to_thread(start, data_dir, models, settings)
        callers.server = Server(url, API_KEY, data_dir, process.pid)
        workers = children(process.pid)
        before = callers.heard.total()
        loading = asyncio.create_task(callers.load())

        async def something_heard(before=before):
            return callers.heard.total() > before

        await asyncio.sleep(chance.uniform(least_s, least_s + 1))
        await until(something_heard, 60)
        process.kill()
        await asyncio.to_thread(process.wait)
        await loading

        async def all_gone(pids=workers):
            return not any(alive(pid) for pid in pids)

        await until(all_gone, 60)  # and what it started ends with it
    process, url = await asyncio.to_thread(start, data_dir, models, settings)
    try:
        callers.server = Server(url, API_KEY, data_dir, process.pid)
        async with http(callers.server) as session:
            for key in callers.unanswered():
                await callers.ask_once(session, key)
    finally:
        process.terminate()
        code = await asyncio.to_thread(process.wait, 20)
    assert code == 0
    assert not callers.unanswered()


def check(callers, path):
    """What was acknowledged is in the ledger, and nothing is there twice."""
    sums = "SELECT session, sum(amount) FROM entries WHERE feature = 'stream' GROUP BY session"
    charged = dict(rows(path, sums))
    assert {id: charged.get(id) for id in callers.ended} == callers.ended
    outputs = dict(rows(path, sums.replace("GROUP", "AND dimension = 'llm.output_tokens' GROUP")))
    behind = {id: heard - outputs.get(id, 0) for id, heard in callers.heard.items()}
    assert max(behind.values()) <= 0  # not one token that was received is missing
    whole = rows(path, "SELECT sum(amount) FROM entries WHERE feature = 'whole'")[0][0]
    assert whole == sum(callers.answered.values())  # however often each was asked for
    assert rows(path, "SELECT count(*) FROM entries GROUP BY project, session, sequence HAVING count(*) > 1") == []
    ends = rows(path, "SELECT sum(kind IN ('completed', 'abandoned')) FROM entries GROUP BY session")
    assert set(ends) == {(1,)}


async def test_a_server_killed_before_another_loses_and_repeats_nothing(tmp_path, models, upstream):
    callers = Callers()
    await killed_again_and_again(callers, tmp_path, models, UPSTREAM.format(url=upstream), KILLS, 0.3)
    assert len(callers.ended) > KILLS
    assert len(callers.heard) > len(callers.ended)
    assert len(callers.answered) > KILLS
    assert set(callers.ended.values()) == set(callers.answered.values()) == {INPUT_TOKENS + TOKENS}
    check(callers, tmp_path / "ledger.db")


@pytest.mark.long
async def test_a_server_killed_with_its_embedded_model_loses_and_repeats_nothing(tmp_path, models):
    callers = Callers(MODEL)
    await killed_again_and_again(callers, tmp_path, models, LANGUAGE, max(1, KILLS // 10), 2)
    assert callers.heard
    assert callers.answered
    check(callers, tmp_path / "ledger.db")


# -- servers behind that die -------------------------------------------------------------------------------------------

TWO = """
[models]
behind = {{ engines = ["well", "broken"] }}
[engines.well]
kind = "openai"
server = "vllm"
url = "{well}"
model = "behind"
[engines.broken]
kind = "openai"
server = "vllm"
url = "{broken}"
model = "behind"
"""


async def one_stream(session, number):
    """What a stream of a conversation of its own got: its id, its tokens, whether it ended well, and the error."""
    heard, ended, error, id = 0, False, None, None
    body = {"model": "behind", "messages": [{"role": "user", "content": f"conversation {number}"}], "stream": True}
    async with session.post("/v1/chat/completions", json=body) as response:
        assert response.status == 200
        async for line in response.content:
            ended = ended or line.startswith(b"data: [DONE]")
            if line.startswith(b"data: {"):
                chunk = json.loads(line[6:])
                error = chunk.get("error") or error
                id = chunk.get("id", id)
                heard += sum(bool(choice["delta"].get("content")) for choice in chunk.get("choices", ()))
    return str(uuid.UUID(id.removeprefix("chatcmpl-"))), heard, ended, error


async def one_whole(session, number):
    body = {"model": "behind", "messages": [{"role": "user", "content": f"question {number}"}]}
    async with session.post("/v1/chat/completions", json=body) as response:
        assert response.status == 200, await response.text()


async def test_a_server_behind_that_dies_amid_ends_streams_with_an_error_and_they_cost_what_was_delivered(
    tmp_path, models
):
    async with serving(Upstream()) as well, serving(Upstream(broken=True)) as broken:
        process, url = await asyncio.to_thread(start, tmp_path, models, TWO.format(well=well, broken=broken))
        try:
            async with http(Server(url, API_KEY, tmp_path, process.pid)) as session:
                streams = await asyncio.gather(*(one_stream(session, n) for n in range(6)))
                for n in range(6, 30):
                    streams.append(await one_stream(session, n))
                    await one_whole(session, n)
                failures = await metric(session, "antiphon_backend_failures_total")
                retries = await metric(session, "antiphon_retries_total")
        finally:
            process.terminate()
            code = await asyncio.to_thread(process.wait, 20)
    assert code == 0
    whole = [heard for _, heard, ended, error in streams if ended and not error]
    broken_off = [(id, heard, error) for id, heard, ended, error in streams if not ended and error]
    assert len(whole) + len(broken_off) == len(streams)
    assert set(whole) == {TOKENS}
    assert 1 <= len(broken_off) <= 15  # it is left out, and tried again now and then
    assert failures == len(broken_off) + retries  # no whole answer was lost
    outputs = "SELECT session, sum(amount) FROM entries WHERE dimension = 'llm.output_tokens' GROUP BY session"
    charged = dict(rows(tmp_path / "ledger.db", outputs))
    assert {id: charged[id] for id, _, _ in broken_off} == {id: heard for id, heard, _ in broken_off}
    assert all(0 < heard <= TOKENS / 2 for _, heard, _ in broken_off)
