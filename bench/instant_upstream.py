"""A language model's server that thinks for no time: chat completions at once, whole or as a stream.

Run it (`python bench/instant_upstream.py --port 9000`) behind whatever forwards to it, to see what forwarding costs. An
asyncio protocol over answers that were encoded beforehand; it understands just enough HTTP/1.1 (keep-alive, a
`content-length`) and JSON (`"stream": true`, wherever it stands) for that, and nothing that a caller outside of a
benchmark should rely on. It listens on loopback only.

`--gap-ms` puts time between the chunks of a stream; without it a stream is one write. `--apart` writes each chunk of a
stream on its own, and the end of the answer too, as most real servers do.
"""

import argparse
import asyncio
import json
import signal
from collections.abc import Callable
from typing import cast

import uvloop

MODEL = "instant"
PROMPT_TOKENS = 16


def chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    """One event of a stream, in an HTTP chunk of its own."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _framed(_event({"choices": [choice]}))


def _event(more: dict[str, object]) -> bytes:
    head = {"id": "chatcmpl-instant", "object": "chat.completion.chunk", "created": 1_767_225_600, "model": MODEL}
    return b"data: " + json.dumps(head | more, separators=(",", ":")).encode() + b"\n\n"


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": tokens, "total_tokens": PROMPT_TOKENS + tokens}


def stream_of(tokens: int) -> list[bytes]:
    """The answer's parts: head and role, a chunk for each token, the reason, the usage and `[DONE]`, the end."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
    last = _event({"choices": [], "usage": _usage(tokens)}) + b"data: [DONE]\n\n"
    return [
        head + chunk({"role": "assistant", "content": ""}),
        *(chunk({"content": f" word{number}"}) for number in range(tokens)),
        chunk({}, "stop") + _framed(last),
        b"0\r\n\r\n",
    ]


def whole_of(tokens: int) -> bytes:
    message = {"role": "assistant", "content": "".join(f" word{number}" for number in range(tokens))}
    body = json.dumps(
        {
            "id": "chatcmpl-instant",
            "object": "chat.completion",
            "created": 1_767_225_600,
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": _usage(tokens),
        }
    ).encode()
    return _json(body)


def _json(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


class Instant(asyncio.Protocol):
    """One connection; its requests are answered in order."""

    def __init__(self, whole: bytes, parts: list[bytes], gap_s: float, apart: bool) -> None:
        self._whole = whole
        self._parts = parts if apart or gap_s else [b"".join(parts)]
        self._gap_s = gap_s
        self._models = _json(json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}).encode())
        self._buffer = b""
        self._streaming: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._streaming:
            self._streaming.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while not self._streaming:
            head_end = self._buffer.find(b"\r\n\r\n")
            if head_end < 0:
                return
            head = self._buffer[:head_end].lower()
            end = head_end + 4 + _length(head)
            if len(self._buffer) < end:
                return
            body, self._buffer = self._buffer[head_end + 4 : end], self._buffer[end:]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"get"):
            self._transport.write(self._models)
        elif b'"stream":true' not in body and b'"stream": true' not in body:
            self._transport.write(self._whole)
        elif self._gap_s:
            self._streaming = asyncio.create_task(self._stream())
        else:
            for part in self._parts:
                self._transport.write(part)

    async def _stream(self) -> None:
        for part in self._parts:
            self._transport.write(part)
            await asyncio.sleep(self._gap_s)
        self._streaming = None
        self.data_received(b"")


def _length(head: bytes) -> int:
    at = head.find(b"content-length:")
    return int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


def instant(tokens: int, gap_s: float = 0.0, apart: bool = False) -> Callable[[], Instant]:
    """A factory of connections whose answers are `tokens` long."""
    whole, parts = whole_of(tokens), stream_of(tokens)
    return lambda: Instant(whole, parts, gap_s, apart)


async def serve(port: int, tokens: int, gap_s: float, apart: bool) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(instant(tokens, gap_s, apart), "127.0.0.1", port)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    print(f"instant upstream on http://127.0.0.1:{server.sockets[0].getsockname()[1]}, model {MODEL!r}", flush=True)
    await stop.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=9000, help="0 takes any free one")
    parser.add_argument("--tokens", type=int, default=32, help="of each answer, a chunk each where it streams")
    parser.add_argument("--gap-ms", type=float, default=0.0, help="between the chunks of a stream")
    parser.add_argument("--apart", action="store_true", help="a write for each chunk, and for the end")
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.tokens, options.gap_ms / 1000, options.apart))


if __name__ == "__main__":
    main()
