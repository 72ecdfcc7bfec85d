"""The peer: the native streaming library of `moonshine-voice` behind the thinnest WebSocket server.

It speaks the part of Deepgram's live protocol that `antiphon bench stt` needs: linear16 in; `Results`, interim and
final, out; `CloseStream` ends. One native stream per connection, as the library's documentation says, on the tiny-en
model that its wheel carries, with the library's own voice activity and its default update interval. Calls into the
library block and release the interpreter's lock, so each connection feeds its stream from a thread, in order, and all
that waits goes in with one call, as the library's own microphone loop does it: a backlog costs one pass.
Options are the library's defaults, but for `return_audio_data`: the copy of every line's audio that each update would
turn into a Python list is of no use here.

    python -m venv peer-venv && peer-venv/bin/pip install moonshine-voice==0.1.0 websockets
    peer-venv/bin/python bench/peer_moonshine_voice.py --port 8090
"""

import argparse
import array
import asyncio
import json
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

from moonshine_voice import ModelArch, get_assets_path
from moonshine_voice.transcriber import Transcriber
from websockets.asyncio.server import ServerConnection, serve

MAX_STREAMS = 256  # threads, one for each connection that is being fed
MAX_MESSAGE_BYTES = 1 << 20
END = b""


def results(line: Any, *, final: bool) -> str:
    """One `Results` message for a line of the library's transcript."""
    start, duration = line.start_time, line.duration
    alternative = {"transcript": line.text.strip(), "confidence": 1.0, "words": []}
    return json.dumps(
        {
            "type": "Results",
            "channel_index": [0, 1],
            "start": start,
            "duration": duration,
            "is_final": final,
            "speech_final": final,
            "channel": {"alternatives": [alternative]},
        }
    )


def listener(send: Callable[[str], object], *, interims: bool) -> Callable[[object], None]:
    """Turns the library's events into messages; it is called in the thread that feeds the stream."""

    def on_event(event: object) -> None:
        kind = type(event).__name__
        line = getattr(event, "line", None)
        if line is None or not line.text.strip():
            return
        if kind == "LineCompleted":
            send(results(line, final=True))
        elif kind == "LineTextChanged" and interims and not line.is_complete:
            send(results(line, final=False))

    return on_event


async def connection(socket: ServerConnection, transcriber: Transcriber, pool: ThreadPoolExecutor) -> None:
    """One client: audio in, results out, until it closes."""
    request = socket.request
    query = parse_qs(urlsplit(request.path).query if request else "")
    rate = int(query.get("sample_rate", ["16000"])[0])
    interims = query.get("interim_results", ["false"])[0] == "true"
    loop = asyncio.get_running_loop()
    outgoing: asyncio.Queue[str] = asyncio.Queue()
    incoming: asyncio.Queue[bytes] = asyncio.Queue()
    stream = transcriber.create_stream()
    stream.add_listener(listener(lambda text: loop.call_soon_threadsafe(outgoing.put_nowait, text), interims=interims))

    async def deliver() -> None:
        while True:
            await socket.send(await outgoing.get())
            outgoing.task_done()

    async def feed() -> None:
        ended = False
        while not ended:
            parts = [await incoming.get()]
            while not incoming.empty():
                parts.append(incoming.get_nowait())
            ended = parts[-1] == END
            if pcm := b"".join(parts):
                samples = [sample / 32768 for sample in array.array("h", pcm)]
                await loop.run_in_executor(pool, stream.add_audio, samples, rate)

    stream.start()
    delivering, feeding = asyncio.create_task(deliver()), asyncio.create_task(feed())
    try:
        async for message in socket:
            if isinstance(message, bytes) and message:
                incoming.put_nowait(message)
            elif isinstance(message, str) and json.loads(message).get("type") == "CloseStream":
                break
        incoming.put_nowait(END)
        await feeding
        await loop.run_in_executor(pool, stream.stop)
        await asyncio.sleep(0)  # let the last call_soon_threadsafe land
        await outgoing.join()
        await socket.send(json.dumps({"type": "Metadata"}))
    finally:
        delivering.cancel()
        while not incoming.empty():  # of a client that left, nothing more is worth hearing
            incoming.get_nowait()
        incoming.put_nowait(END)
        await asyncio.gather(feeding, delivering, return_exceptions=True)
        stream.close()


async def main() -> None:
    parser = argparse.ArgumentParser(description="A Deepgram-like server over moonshine-voice's native library.")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--update-interval", type=float, default=0.5, help="seconds of audio between two updates")
    arguments = parser.parse_args()
    port, interval = arguments.port, arguments.update_interval
    options = {"return_audio_data": "false"}
    with Transcriber(f"{get_assets_path()}/tiny-en", ModelArch.TINY, interval, options) as transcriber:
        stopped = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(name, stopped.set)
        with ThreadPoolExecutor(MAX_STREAMS) as pool:

            async def handle(socket: ServerConnection) -> None:
                await connection(socket, transcriber, pool)

            async with serve(
                handle, "127.0.0.1", port, max_size=MAX_MESSAGE_BYTES, compression=None, ping_interval=None
            ):
                print(f"listening on ws://127.0.0.1:{port}/v1/listen", flush=True)
                await stopped.wait()


if __name__ == "__main__":
    asyncio.run(main())
