"""Many voices at once: Antiphon, the plainest FastAPI server around the piper library, and the library called directly.

Every caller asks for its next sentence when the last one would have been played, as a conversation does, and starts at
a moment of its own. TTFB is from the request to the first sound. A sentence is good if its TTFB is within the objective
and its sound never runs out while it is played. RTF is the time all callers waited for sound over the sound's length,
with one caller. The systems take turns in every round; the others idle meanwhile. The library is called from one thread
a caller, in a process of its own, by nothing but a loop.

    python bench/voices.py --voice models/en-us-joe-medium/en_US-joe-medium.onnx --rounds 3 --out voices.json
"""

import argparse
import asyncio
import os
import random
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from statistics import median

import aiohttp
import msgspec
import uvloop

from antiphon.bench import process
from serving import KEY, System, start, start_antiphon, table

OBJECTIVE_MS = 75.0
DIRECT = "piper library"
SENTENCES = (Path(__file__).parent / "sentences.txt").read_text().splitlines()
RATE = {"FastAPI": 22_050, DIRECT: 22_050}  # Hz; Antiphon's is OpenAI's
OPENAI_RATE = 24_000
ANTIPHON = """
[models]
"tts-1" = { engines = ["joe"] }
[voices]
alloy = "joe"
[engines.joe]
kind = "piper"
model = "VOICE"
"""


class Sentence(msgspec.Struct, frozen=True):
    """One that was spoken: milliseconds until its first sound and its last, and of its sound; whether it ran out."""

    first_ms: float
    last_ms: float
    audio_ms: float
    ran_dry: bool

    @property
    def good(self) -> bool:
        return self.first_ms <= OBJECTIVE_MS and not self.ran_dry


class Level(msgspec.Struct, frozen=True):
    """So many callers at once, for a while. `refused` is how many milliseconds each refusal took."""

    callers: int
    sentences: list[Sentence]
    cpu_percent: float
    rss_mb: float
    seconds: float
    refused: list[float] = []

    def first_ms(self, share: float) -> float:
        found = sorted(sentence.first_ms for sentence in self.sentences)
        return found[min(len(found) - 1, int(share * len(found)))]

    @property
    def good(self) -> float:
        return sum(sentence.good for sentence in self.sentences) / len(self.sentences)

    @property
    def good_a_second(self) -> float:
        return sum(sentence.good for sentence in self.sentences) / self.seconds

    @property
    def refused_ms(self) -> float:
        """P95 of what a refusal took; 0 without one."""
        found = sorted(self.refused)
        return found[int(0.95 * len(found))] if found else 0.0

    @property
    def rtf(self) -> float:
        return sum(s.last_ms for s in self.sentences) / sum(s.audio_ms for s in self.sentences)


class _Ear:
    """Hears one sentence: when its sound came, and whether it ran out."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._begun = time.monotonic()
        self._first: float | None = None
        self._plays_until = 0.0
        self._bytes = 0
        self._ran_dry = False

    def hear(self, size: int) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = self._plays_until = now
        self._ran_dry |= now > self._plays_until + 0.001 and self._bytes > 0
        self._bytes += size
        self._plays_until = self._first + self._bytes / 2 / self._rate

    def end(self) -> Sentence:
        now, first = time.monotonic(), self._first or time.monotonic()
        audio_ms = self._bytes / 2 / self._rate * 1000
        return Sentence((first - self._begun) * 1000, (now - self._begun) * 1000, audio_ms, self._ran_dry)

    def left_s(self) -> float:
        """Until it has been played."""
        return max(0.0, self._plays_until - time.monotonic())


async def _call(system: System, callers: int, seconds: float) -> tuple[list[Sentence], list[float]]:
    """What was spoken, and what each refusal took; who is refused comes again when they are told to."""
    ended: list[Sentence] = []
    refused: list[float] = []
    texts = (SENTENCES[n % len(SENTENCES)] for n in count(random.randrange(100)))
    until = time.monotonic() + seconds

    async def caller(client: aiohttp.ClientSession, number: int) -> None:
        await asyncio.sleep(number * 3.0 / callers)  # a sentence takes about as long
        while time.monotonic() < until:
            request = {"model": "tts-1", "voice": "alloy", "input": next(texts), "response_format": "pcm"}
            ear = _Ear(RATE.get(system.name, OPENAI_RATE))
            async with client.post(f"{system.url}/v1/audio/speech", json=request) as answer:
                if answer.status == 429:
                    refused.append(ear.end().last_ms)
                    await asyncio.sleep(int(answer.headers.get("retry-after", 1)))
                    continue
                answer.raise_for_status()
                async for piece in answer.content.iter_any():
                    ear.hear(len(piece))
            ended.append(ear.end())
            await asyncio.sleep(ear.left_s())

    headers = {"authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as client:
        await asyncio.gather(*(caller(client, number) for number in range(callers)))
    return ended, refused


def measure(system: System, callers: int, seconds: float) -> Level:
    before, begun = process.usage(system.pid), time.monotonic()
    ended, refused = uvloop.run(_call(system, callers, seconds))
    used = process.usage(system.pid)
    cpu = (used.cpu_s - before.cpu_s) / (time.monotonic() - begun) * 100
    return Level(callers, ended, cpu, used.rss_bytes / 1e6, seconds, refused)


def direct(voice: Path, callers: int, seconds: float) -> Level:
    """The library itself, from as many threads as there are callers."""
    from piper import PiperVoice

    speaker = PiperVoice.load(voice)
    list(speaker.synthesize("This is only to warm up."))
    ended: list[Sentence] = []
    texts = (SENTENCES[n % len(SENTENCES)] for n in count(random.randrange(100)))
    lock = threading.Lock()
    until = time.monotonic() + seconds

    def caller(number: int) -> None:
        time.sleep(number * 3.0 / callers)
        while time.monotonic() < until:
            with lock:
                text = next(texts)
            ear = _Ear(RATE[DIRECT])
            for chunk in speaker.synthesize(text):
                ear.hear(len(chunk.audio_int16_bytes))
            ended.append(ear.end())
            time.sleep(ear.left_s())

    cpu, begun = process.own_cpu_s(), time.monotonic()
    threads = [threading.Thread(target=caller, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    percent = (process.own_cpu_s() - cpu) / (time.monotonic() - begun) * 100
    return Level(callers, ended, percent, process.usage(os.getpid()).rss_bytes / 1e6, seconds)


def measure_direct(voice: Path, callers: int, seconds: float) -> Level:
    """In a process of its own."""
    command = [sys.executable, __file__, "--voice", str(voice), "--direct", f"{callers},{seconds}"]
    output = subprocess.run(command, check=True, capture_output=True).stdout
    return msgspec.json.decode(output.splitlines()[-1], type=Level)


COLUMNS = (
    *("system", "voices", "sentences", "TTFB ms P50 / P95", "good %", "good/s", "refused (ms, P95)"),
    *("RTF", "CPU %", "RSS MB"),
)


def row(name: str, rounds: list[Level]) -> list[str]:
    first = [f"{median(level.first_ms(share) for level in rounds):.0f}" for share in (0.5, 0.95)]
    cells = [name, str(rounds[0].callers), str(sum(len(level.sentences) for level in rounds)), " / ".join(first)]
    cells += [f"{100 * median(level.good for level in rounds):.1f}"]
    cells += [f"{median(level.good_a_second for level in rounds):.2f}"]
    cells += [f"{sum(len(level.refused) for level in rounds)} ({median(level.refused_ms for level in rounds):.0f})"]
    cells += [f"{median(level.rtf for level in rounds):.3f}"]
    cells += [f"{median(level.cpu_percent for level in rounds):.0f}"]
    return [*cells, f"{median(level.rss_mb for level in rounds):.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voice", type=Path, required=True, help="the voice's .onnx file")
    parser.add_argument("--levels", default="1,10,20,40", help="callers at once, with commas between")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="Antiphon only")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--direct", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.direct:
        callers, seconds = arguments.direct.split(",")
        print(msgspec.json.encode(direct(arguments.voice, int(callers), float(seconds))).decode())
        return
    measured: dict[str, dict[int, list[Level]]] = {}
    with ExitStack() as stack:
        systems = [start_antiphon(stack, "tts-1", 8630, ANTIPHON.replace("VOICE", str(arguments.voice.resolve())))]
        if not arguments.alone:
            command = [sys.executable, str(Path(__file__).parent / "plain_piper.py"), str(arguments.voice), "8631"]
            systems.append(start(stack, "FastAPI", "tts-1", 8631, command))
        for system in systems:
            measure(system, 2, 4)
        for callers in map(int, arguments.levels.split(",")):
            for _ in range(arguments.rounds):
                for system in systems:
                    level = measure(system, callers, arguments.seconds)
                    measured.setdefault(system.name, {}).setdefault(callers, []).append(level)
                if not arguments.alone:
                    level = measure_direct(arguments.voice, callers, arguments.seconds)
                    measured.setdefault(DIRECT, {}).setdefault(callers, []).append(level)
    levels = sorted({callers for found in measured.values() for callers in found})
    print(table(COLUMNS, [row(name, found[callers]) for callers in levels for name, found in measured.items()]))
    if arguments.out:
        arguments.out.write_bytes(msgspec.json.format(msgspec.json.encode(measured)) + b"\n")


if __name__ == "__main__":
    main()
