"""The same request again and again: what callers received is what they were charged for.

One `Idempotency-Key` is answered once, and the header in which SDKs number their tries gives nothing away; where the
connection broke before a whole answer had left, it is given once more, also when the server died in between.
"""

import asyncio
import contextlib
import json
import socket
import sqlite3
import uuid

import aiohttp
import pytest
from callers import http, metric, pcm_of, until

from antiphon.session.retries import TRY
from serving import API_KEY, LANGUAGE, Server, start

pytestmark = pytest.mark.xdist_group("faults")
MODEL = "smollm2-135m-instruct"
AGAIN, TIMES = 5, 20  # one after the other, and at once
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Tell me of the sea."}], "max_completion_tokens": 12}
TEXT = {"model": "tts-1", "voice": "alloy", "input": "One, two.", "response_format": "pcm"}
JSON = {
    "chat": ("/v1/chat/completions", CHAT),
    "chat stream": ("/v1/chat/completions", CHAT | {"stream": True}),
    "responses": ("/v1/responses", {"model": MODEL, "input": "Tell me of the sea.", "max_output_tokens": 16}),
    "completions": ("/v1/completions", {"model": MODEL, "prompt": "The sea", "max_tokens": 12}),
    "embeddings": ("/v1/embeddings", {"model": "all-minilm-l6-v2", "input": "The sea."}),
    "openai speech": ("/v1/audio/speech", TEXT),
    "elevenlabs speech": ("/v1/text-to-speech/joe?output_format=pcm_24000", {"text": "One, two."}),
    "deepgram speech": ("/v1/speak?model=aura-2-thalia-en&encoding=linear16&container=none", {"text": "One, two."}),
}
RAW = "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000"
GONE = (OSError, EOFError, aiohttp.ClientError)  # what a caller sees of a dead server
KINDS = [*JSON, "deepgram listen", "openai transcription"]


@pytest.fixture(scope="module")
def recording(beckett):
    return beckett, pcm_of(beckett)[: 2 * 32_000]


def charged(data_dir):
    """Of each session that was charged, how much in all."""
    query = "SELECT session, sum(amount) FROM entries GROUP BY session HAVING sum(amount) > 0"
    with contextlib.closing(sqlite3.connect(data_dir / "ledger.db")) as ledger:
        return dict(ledger.execute(query).fetchall())


async def ask(session, kind, recording, headers):
    """Status and session. The body is read."""
    wav, pcm = recording
    options = {"headers": headers}
    if kind in JSON:
        path, options["json"] = JSON[kind]
    elif kind == "deepgram listen":
        path, options["data"] = RAW, pcm
    else:
        path, options["data"] = "/v1/audio/transcriptions", {"model": "whisper-1", "file": wav.open("rb")}
    async with session.post(path, **options) as response:
        await response.read()
        names = ("x-request-id", "request-id", "dg-request-id")
        return response.status, next(response.headers[name] for name in names if name in response.headers)


async def quiet(session):
    async def nothing_open():
        return await metric(session, "antiphon_sessions_open") == 0

    await until(nothing_open, 20)


@pytest.mark.parametrize("kind", KINDS)
async def test_one_key_has_one_answer(server, session, recording, kind):
    before = charged(server.data_dir)
    key = {"Idempotency-Key": str(uuid.uuid4())}
    told = []
    for _ in range(AGAIN):
        told.append(await ask(session, kind, recording, key))
        await quiet(session)
    assert [status for status, _ in told] == [200] + [422] * (AGAIN - 1)
    assert charged(server.data_dir).keys() - before.keys() == {told[0][1]}


@pytest.mark.parametrize("kind", KINDS)
async def test_one_key_at_once_has_one_answer(server, session, recording, kind):
    before = charged(server.data_dir)
    key = {"Idempotency-Key": str(uuid.uuid4())}
    told = await asyncio.gather(*(ask(session, kind, recording, key) for _ in range(TIMES)))
    answered = [id for status, id in told if status == 200]
    assert len(answered) == 1
    assert {status for status, _ in told} <= {200, 409, 422}  # 422 where it has been answered before the last one came
    await quiet(session)
    assert charged(server.data_dir).keys() - before.keys() == set(answered)


@pytest.mark.parametrize("kind", KINDS)
async def test_who_counts_its_tries_in_a_circle_pays_for_each(server, session, recording, kind):
    before = charged(server.data_dir)
    told = []
    for number in (0, 1) * 2:
        told.append(await ask(session, kind, recording, {TRY: str(number)}))
        await quiet(session)
    assert {status for status, _ in told} == {200}
    assert charged(server.data_dir).keys() - before.keys() == {id for _, id in told}


@pytest.mark.long
@pytest.mark.parametrize("name", ["Idempotency-Key", TRY])
async def test_what_did_not_leave_is_given_again_once(server, session, name):
    """A caller who reads nothing of a large answer, and hangs up: it was charged before it could leave."""
    before = charged(server.data_dir)
    key = str(uuid.uuid4())
    headers = [{name: str(number) if name == TRY else key} for number in range(3)]
    path, body = "/v1/text-to-speech/joe?output_format=pcm_48000", {"text": "The sea is wide. " * (35 + len(name))}
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: h\r\nxi-api-key: {API_KEY}\r\n{name}: {headers[0][name]}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    host, port = server.base_url.removeprefix("http://").split(":")
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(caller, (host, int(port)))
        await loop.sock_sendall(caller, head.encode() + data)
        async with asyncio.timeout(180):
            assert (await loop.sock_recv(caller, 12)).endswith(b" 200")
    await quiet(session)
    first = charged(server.data_dir).keys() - before.keys()
    assert len(first) == 1

    async def again(headers):
        async with session.post(path, data=data, headers=headers | {"Content-Type": "application/json"}) as response:
            await response.read()
            return response.status

    assert await again(headers[1]) == 200
    await quiet(session)
    assert charged(server.data_dir).keys() - before.keys() == first
    assert await again(headers[2]) == (200 if name == TRY else 422)
    await quiet(session)
    assert len(charged(server.data_dir).keys() - before.keys()) == (2 if name == TRY else 1)


@pytest.mark.long
async def test_a_server_that_dies_before_its_answer_left_is_asked_again_and_charges_once(tmp_path, models):
    answered, key = {}, None
    body = CHAT | {"max_completion_tokens": 40, "temperature": 0}
    for life in range(3):
        process, url = await asyncio.to_thread(start, tmp_path, models, LANGUAGE)
        with contextlib.suppress(*GONE):
            async with http(Server(url, API_KEY, tmp_path, process.pid)) as session:
                for number in range(3):
                    key = key or str(uuid.uuid4())
                    if number == 2 and life < 2:
                        asyncio.get_running_loop().call_later(0.1 * (life + 1), process.kill)
                    headers = {"Idempotency-Key": key}
                    async with session.post("/v1/chat/completions", json=body, headers=headers) as response:
                        told = await response.json()
                        assert response.status == 200, told
                    answered[key] = told["usage"]["prompt_tokens"] + told["usage"]["completion_tokens"]
                    key = None
                await quiet(session)
        process.kill()
        await asyncio.to_thread(process.wait)
    assert key is None
    assert sorted(charged(tmp_path).values()) == sorted(answered.values())
