"""Spoken conversations with a running server: from the caller's last sound to the first of the reply, and from the
caller's first sound during a reply to its end.

    python bench/conversations.py --url http://127.0.0.1:8080 --callers 4 --turns 10

Every caller speaks in real time, in pieces of 20 ms, over OpenAI's Realtime protocol, and hears each reply before the
next turn; in every other turn it breaks into the reply. What callers say was made by the server's own voice beforehand.
Voice to voice is measured at the client, from when the last sound of the speech was sent; the silence that ends a turn
is part of it.
"""

import argparse
import asyncio
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import msgspec
import numpy as np
import uvloop

from antiphon.bench import process
from antiphon.bench.realtime import BYTES_PER_MS, Connection, connect
from serving import table

CHUNK_MS = 20
SOUND = 300  # a sample beyond this is speech
PATIENCE_S = 20  # for a reply, and for its end; what takes longer is lost
QUESTIONS = (
    "What is the capital of France?",
    "How far away is the moon?",
    "Please tell me something about the sea.",
    "Why do the leaves fall in autumn?",
    "What should I cook for dinner tonight?",
    "Can you explain how a clock works?",
)
INTERRUPTION = "Wait a moment, please stop."
INSTRUCTIONS = "You are a friendly assistant. Answer in two or three sentences."


@dataclass(slots=True)
class Latencies:
    """Milliseconds, of each turn."""

    voice_to_voice: list[float] = field(default_factory=list)
    barge_in: list[float] = field(default_factory=list)
    lost: int = 0


@dataclass(slots=True)
class Caller:
    """One conversation. `sound_s` is when its latest piece with sound in it was sent, `onset_s` when the first one of
    the present speech was. `answered` says that what comes is the reply to what was said last, and not the rest of the
    one before.
    """

    connection: Connection
    latencies: Latencies
    queue: list[bytes] = field(default_factory=list)
    sound_s: float = 0.0
    onset_s: float = 0.0
    reply: asyncio.Event = field(default_factory=asyncio.Event)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    answered: bool = False
    plays_until_s: float = 0.0

    async def speak(self) -> None:
        """The microphone: what is queued, and else silence."""
        due = time.monotonic()
        while True:
            piece = self.queue.pop(0) if self.queue else bytes(CHUNK_MS * BYTES_PER_MS)
            await self.connection.hear(piece)
            if np.abs(np.frombuffer(piece, "<i2").astype(int)).max(initial=0) > SOUND:
                self.sound_s = time.monotonic()
                self.onset_s = self.onset_s or self.sound_s
            due += CHUNK_MS / 1000
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def listen(self) -> None:
        while True:
            event = await self.connection.receive()
            now = time.monotonic()
            if event.type == "response.output_audio.delta":
                self.plays_until_s = max(now, self.plays_until_s) + len(event.audio) / BYTES_PER_MS / 1000
                if self.answered and not self.reply.is_set():
                    self.latencies.voice_to_voice.append((now - self.sound_s) * 1000)
                    self.reply.set()
            elif event.type == "input_audio_buffer.speech_started":
                self.started.set()
            elif event.type == "response.created":
                self.answered = self.started.is_set()
            elif event.type == "response.done" and self.answered and event.response["status"] != "cancelled":
                self.ended.set()

    def say(self, pcm: bytes) -> None:
        size = CHUNK_MS * BYTES_PER_MS
        self.onset_s = 0.0
        self.answered = False
        for waiter in (self.reply, self.started, self.ended):
            waiter.clear()
        self.queue += [pcm[at : at + size].ljust(size, b"\0") for at in range(0, len(pcm), size)]

    async def turn(self, question: bytes, interruption: bytes | None) -> None:
        self.say(question)
        async with asyncio.timeout(len(question) / BYTES_PER_MS / 1000 + PATIENCE_S):
            await self.reply.wait()
        if interruption is None:
            async with asyncio.timeout(PATIENCE_S):  # a reply that noise has cut does not end
                await self.ended.wait()
            await asyncio.sleep(max(0.0, self.plays_until_s - time.monotonic()) + 0.3)
            return
        await asyncio.sleep(0.7)
        self.say(interruption)
        async with asyncio.timeout(10):
            await self.started.wait()
        self.latencies.barge_in.append((time.monotonic() - self.onset_s) * 1000)
        self.plays_until_s = 0.0
        async with asyncio.timeout(PATIENCE_S):  # the interruption is answered, too
            await self.reply.wait()
            self.latencies.voice_to_voice.pop()
            await self.ended.wait()
        await asyncio.sleep(max(0.0, self.plays_until_s - time.monotonic()) + 0.3)


async def spoken(url: str, key: str, text: str) -> bytes:
    """In the server's own voice, 24 kHz."""
    request = {"model": "tts-1", "voice": "alloy", "input": text, "response_format": "pcm"}
    headers = {"authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(f"{url}/v1/audio/speech", json=request) as answer,
    ):
        answer.raise_for_status()
        return await answer.read()


async def converse(
    arguments: argparse.Namespace, key: str, number: int, questions: list[bytes], stop: bytes
) -> Latencies:
    detection = {"type": "server_vad", "silence_duration_ms": arguments.endpointing_ms}
    session = {
        "instructions": INSTRUCTIONS,
        "max_output_tokens": 80,
        "audio": {"input": {"turn_detection": detection}, "output": {"voice": "alloy"}},
    }
    latencies = Latencies()
    await asyncio.sleep(number * 0.7)
    async with connect(arguments.url, key, arguments.model, session) as connection:
        caller = Caller(connection, latencies)
        tasks = [asyncio.create_task(caller.speak()), asyncio.create_task(caller.listen())]
        await asyncio.sleep(0.5)
        for turn in range(arguments.turns):
            try:
                await caller.turn(questions[(number + turn) % len(questions)], stop if turn % 2 else None)
            except TimeoutError:
                latencies.lost += 1
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return latencies


async def run(arguments: argparse.Namespace, key: str) -> list[Latencies]:
    questions = [await spoken(arguments.url, key, text) for text in QUESTIONS]
    stop = await spoken(arguments.url, key, INTERRUPTION)
    await converse(argparse.Namespace(**{**vars(arguments), "turns": 2}), key, 0, questions, stop)  # to warm up
    return await asyncio.gather(
        *(converse(arguments, key, number, questions, stop) for number in range(arguments.callers))
    )


def percentiles(values: list[float]) -> str:
    found = sorted(values)
    return " / ".join(f"{found[min(len(found) - 1, int(share * len(found)))]:.0f}" for share in (0.5, 0.95))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--endpointing-ms", type=int, default=300)
    parser.add_argument("--pid", type=int, help="the server's process, to say what it used")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    before, begun = process.usage(arguments.pid) if arguments.pid else None, time.monotonic()
    ended = uvloop.run(run(arguments, os.environ.get("ANTIPHON_API_KEY", "")))
    used = process.usage(arguments.pid) if arguments.pid else None
    cpu = f"{100 * (used.cpu_s - before.cpu_s) / (time.monotonic() - begun):.0f}" if used and before else "-"
    voice = [value for latencies in ended for value in latencies.voice_to_voice]
    barge = [value for latencies in ended for value in latencies.barge_in]
    columns = ("at once", "turns", "voice to voice ms P50 / P95", "barge-in ms P50 / P95", "without an answer", "CPU %")
    lost = str(sum(latencies.lost for latencies in ended))
    turns = f"{len(voice)} and {len(barge)}"
    print(table(columns, [[str(arguments.callers), turns, percentiles(voice), percentiles(barge), lost, cpu]]))
    if arguments.out:
        arguments.out.write_bytes(msgspec.json.format(msgspec.json.encode(ended)) + b"\n")


if __name__ == "__main__":
    main()
