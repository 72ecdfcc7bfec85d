"""Show that a server keeps nothing: canaries through every protocol, SIGKILL in the midst of streams, a search of all
that is left.

    python examples/zero_retention.py --models ~/.local/share/antiphon/models speech.wav

It starts a server of its own with an empty data directory, and sends calls of every vendor's protocol with unmistakable
random words in each text, name and file name, and random bytes among the samples of each recording. Then it opens live
streams of all protocols, waits until results come, and kills the server. What the server has left is searched for every
canary, and for what the server itself had said, in several encodings: the data directory with its databases and their
write-ahead logs, the temporary and home directories, the log, the metrics, shared memory, core files. It fails if
anything is found, or if the search does not find what it has planted itself. Where models are missing (--config),
calls are refused and only their refusals are tested; the output says so. With --keep the project keeps answers and
files for a day, and what is kept must not be readable in any file.

What it cannot see: swap (it says how much of the server is swapped out), the memory of other machines, and blocks of
the disk that no file has.
"""

import argparse
import asyncio
import base64
import json
import os
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from antiphon.bench.protocols.amazon import AmazonLine
from antiphon.bench.protocols.assemblyai import AssemblyAiLine
from antiphon.bench.protocols.deepgram import DeepgramLine
from antiphon.bench.protocols.elevenlabs import ElevenLabsLine
from antiphon.bench.protocols.google import GoogleLine
from antiphon.bench.protocols.line import Line, Target

KEY = f"zero-retention-{secrets.token_hex(8)}"
RATE = 16_000
START_S, CALL_S, LIVE_S = 300, 60, 8
CHUNK = RATE // 5  # bytes of 100 ms
PATTERN_BYTES = 64  # of noise in each second of audio: 2 ms, a click
SHORTEST = 12  # characters of what the server said that are searched for
SPAN = 24
CHAT, VOICE, CONVERSATION = "OpenAI chat stream", "ElevenLabs speech stream", "OpenAI conversation"
RESULTS = "results"  # have come on a stream
OUTSIDE = ("/tmp", "/var/tmp", "/dev/shm")
MOST_BYTES = 1 << 30  # of a file outside that is read


@dataclass
class Canaries:
    """What must not be found, by where it was sent."""

    words: dict[str, str] = field(default_factory=dict)
    audio: bytes = field(default_factory=lambda: secrets.token_bytes(PATTERN_BYTES))
    outputs: set[str] = field(default_factory=set)  # what the server said

    def word(self, place: str) -> str:
        """A new word for a place."""
        word = f"canary{secrets.token_hex(6)}"
        self.words[word] = place
        return word

    def hear(self, text: str) -> None:
        """Remember the middle of what the server said."""
        text = " ".join(text.split())
        if len(text) >= SHORTEST:
            middle = max(0, (len(text) - SPAN) // 2)
            self.outputs.add(text[middle : middle + SPAN])

    def needles(self) -> Iterator[tuple[str, bytes]]:
        """Everything to search for, as bytes, with its name."""
        for text, place in [*self.words.items(), *((output, f"said: {output!r}") for output in self.outputs)]:
            for encoding in ("utf-8", "utf-16-le"):
                yield place, text.encode(encoding)
            yield f"{place}, in a URL", quote(text).encode()
            for spelled in _base64(text.encode()):
                yield f"{place}, base64", spelled
        yield "audio", self.audio
        for spelled in _base64(self.audio):
            yield "audio, base64", spelled


def _base64(data: bytes) -> Iterator[bytes]:
    """Base64 at each of the three alignments, without the characters that depend on what is around."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data)
        yield encoded[4 if before else 0 : len(encoded) // 4 * 4 - 4]


@dataclass
class Speech:
    """A recording with the audio canary in every second."""

    pcm: bytes

    @classmethod
    def read(cls, path: Path, canary: bytes) -> "Speech":
        with wave.open(str(path)) as file:
            if file.getsampwidth() != 2:
                raise SystemExit("a WAV file of 16 bits is needed")
            samples = memoryview(file.readframes(file.getnframes())).cast("h")[:: file.getnchannels()]
            rate = file.getframerate()
        chosen = (samples[at * rate // RATE] for at in range(min(len(samples) * RATE // rate, 10 * RATE)))
        pcm = bytearray(b"".join(sample.to_bytes(2, "little", signed=True) for sample in chosen))
        for at in range(0, len(pcm) - len(canary), 2 * RATE):
            pcm[at : at + len(canary)] = canary
        return cls(bytes(pcm))

    @property
    def wav(self) -> bytes:
        size = len(self.pcm)
        head = b"RIFF" + (36 + size).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
        head += b"\1\0\1\0" + RATE.to_bytes(4, "little") + (2 * RATE).to_bytes(4, "little") + b"\2\0\x10\0"
        return head + b"data" + size.to_bytes(4, "little") + self.pcm


class Server:
    """A server of our own, in a directory of its own."""

    def __init__(self, work: Path, config: Path | None, models: Path | None, keep: bool) -> None:
        self.work = work
        for name in ("data", "tmp", "home", "cwd"):
            (work / name).mkdir(mode=0o700)
        if models is not None:
            (work / "data" / "models").symlink_to(models.absolute())
            for folder in (models.parent / "converted", models / "converted"):
                if folder.exists():
                    (work / "data" / "converted").symlink_to(folder.absolute())
                    break
        own = {"HOME": work / "home", "TMPDIR": work / "tmp", "ANTIPHON_DATA_DIR": work / "data"}
        environment = os.environ | {name: str(path) for name, path in own.items()} | {"ANTIPHON_API_KEY": KEY}
        antiphon = [sys.executable, "-m", "antiphon"]
        if keep:
            setting = [*antiphon, "projects", "set", "default", "--keep-answers", "1d"]
            subprocess.run(setting, env=environment, check=True, stdout=subprocess.DEVNULL)
        command = [*antiphon, "serve", "--port", "0", "--grpc-port", "0"]
        if models is not None:
            command.append("--offline")
        if config is not None:
            command += ["--config", str(config.absolute())]
        self.output = (work / "output").open("w+")
        self.process = subprocess.Popen(
            command,
            cwd=work / "cwd",
            env=environment,
            stdout=self.output,
            stderr=(work / "log").open("w"),
            preexec_fn=_allow_cores,
        )
        self.url, self.grpc_url = self._wait()

    def _wait(self) -> tuple[str, str]:
        ends, grpc = time.monotonic() + START_S, ""
        while time.monotonic() < ends and self.process.poll() is None:
            for line in (self.work / "output").read_text().splitlines():
                if line.startswith("Antiphon serves gRPC on "):
                    grpc = f"grpc://{line.split()[4]}"
                elif line.startswith("Antiphon serves on "):
                    return line.split()[-1], grpc
            time.sleep(0.1)
        raise SystemExit(f"the server did not start:\n{(self.work / 'log').read_text()[-2000:]}")

    def swapped_kb(self) -> int:
        """How much of the server and of its children is swapped out."""
        swapped, family = 0, {self.process.pid}
        for status in sorted(Path("/proc").glob("[0-9]*/status"), key=lambda path: int(path.parent.name)):
            with suppress(OSError):
                fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
                if int(fields["PPid"]) in family or int(status.parent.name) in family:
                    family.add(int(status.parent.name))
                    swapped += int(fields.get("VmSwap", "0").split()[0])
        return swapped

    def kill(self, number: int) -> None:
        self.process.send_signal(number)
        self.process.wait(60)


def _allow_cores() -> None:
    """Let core files be written, if the server does not forbid them itself."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))


# -- calls that end ----------------------------------------------------------------------------------------------------


class Calls:
    """One call of each kind, to its end."""

    def __init__(self, http: aiohttp.ClientSession, url: str, canaries: Canaries, speech: Speech) -> None:
        self.http, self.url, self.canaries, self.speech = http, url, canaries, speech
        self.lines: list[str] = []

    async def post(self, place: str, path: str, headers: dict[str, str] | None = None, **body: Any) -> bytes:
        """Make a call, and remember what came back."""
        word = self.canaries.word
        tags = {"antiphon-tags": f"subject={word(f'{place}: subject')},note={word(f'{place}: tag')}"}
        own = headers or {"authorization": f"Bearer {KEY}"}
        async with self.http.post(self.url + path, headers=own | tags, **body) as answer:
            content = await answer.read()
        self.lines.append(f"{place}: {answer.status}")
        with suppress(ValueError, UnicodeDecodeError):
            for text in _texts(json.loads(content)):
                self.canaries.hear(text)
        return content

    def form(self, place: str, name: str, **fields: str) -> aiohttp.FormData:
        form = aiohttp.FormData()
        for key, value in fields.items():
            form.add_field(key, value)
        filename = f"{self.canaries.word(f'{place}: file name')}.wav"
        form.add_field(name, self.speech.wav, filename=filename, content_type="audio/wav")
        return form

    async def openai(self) -> None:
        word = self.canaries.word
        place = "OpenAI transcription"
        form = self.form(place, "file", model="whisper-1", prompt=word(f"{place}: prompt"))
        await self.post(place, "/v1/audio/transcriptions", data=form)
        place = "OpenAI speech"
        text = f"Hello {word(f'{place}: text')}."
        await self.post(place, "/v1/audio/speech", json={"model": "tts-1", "voice": "alloy", "input": text})
        place = "OpenAI chat"
        messages = [{"role": role, "content": word(f"{place}: {role}")} for role in ("system", "user")]
        who = {"user": word(f"{place}: user"), "metadata": {"patient": word(f"{place}: metadata")}}
        request = {"model": "gpt-4o-mini", "messages": messages, "max_tokens": 40, **who}
        await self.post(place, "/v1/chat/completions", json=request)
        place = "OpenAI responses"
        for store in (False, None):
            who = {"safety_identifier": word(f"{place}: person"), "metadata": {"p": word(f"{place}: metadata")}}
            texts = {"input": word(f"{place}: input"), "instructions": word(f"{place}: instructions")}
            await self.post(
                place,
                "/v1/responses",
                json={"model": "gpt-4o-mini", "max_output_tokens": 16, "store": store, **texts, **who},
            )
        place = "OpenAI embeddings"
        await self.post(place, "/v1/embeddings", json={"model": "text-embedding-3-small", "input": word(place)})
        await self.batch()

    async def batch(self) -> None:
        place, word = "OpenAI batch", self.canaries.word
        body = {
            "model": "gpt-4o-mini",
            "max_tokens": 8,
            "messages": [{"role": "user", "content": word(f"{place}: text")}],
        }
        line = {"custom_id": word(f"{place}: id"), "method": "POST", "url": "/v1/chat/completions", "body": body}
        form = aiohttp.FormData({"purpose": "batch"})
        form.add_field("file", json.dumps(line).encode(), filename=f"{word(f'{place}: file name')}.jsonl")
        made = json.loads(await self.post(f"{place} file", "/v1/files", data=form))
        request = {"endpoint": "/v1/chat/completions", "completion_window": "24h", "input_file_id": made.get("id", "")}
        await self.post(place, "/v1/batches", json=request | {"metadata": {"m": word(f"{place}: metadata")}})

    async def deepgram(self) -> None:
        key, word = {"authorization": f"Token {KEY}"}, self.canaries.word
        place = "Deepgram recording"
        query = {"model": "nova-3", "tag": word(f"{place}: tag"), "keyterm": word(f"{place}: keyterm")}
        await self.post(place, "/v1/listen", key, params=query, data=self.speech.wav)
        place = "Deepgram speech"
        text = {"text": f"Hello {word(f'{place}: text')}."}
        await self.post(place, "/v1/speak?model=aura-2-thalia-en", key, json=text)

    async def elevenlabs(self) -> None:
        key, word = {"xi-api-key": KEY}, self.canaries.word
        place = "ElevenLabs recording"
        await self.post(place, "/v1/speech-to-text", key, data=self.form(place, "file", model_id="scribe_v1"))
        place = "ElevenLabs speech"
        text = {"text": f"Hello {word(f'{place}: text')}.", "model_id": "eleven_flash_v2_5"}
        await self.post(place, "/v1/text-to-speech/alloy?output_format=pcm_16000", key, json=text)

    async def assemblyai(self) -> None:
        key, word, place = {"authorization": KEY}, self.canaries.word, "AssemblyAI transcript"
        uploaded = json.loads(await self.post("AssemblyAI upload", "/v2/upload", key, data=self.speech.wav))
        request = {"audio_url": uploaded.get("upload_url", ""), "keyterms_prompt": [word(f"{place}: keyterm")]}
        made = json.loads(await self.post(place, "/v2/transcript", key, json=request))
        ends = time.monotonic() + CALL_S
        while made.get("status") in ("queued", "processing") and time.monotonic() < ends:
            await asyncio.sleep(0.2)
            async with self.http.get(f"{self.url}/v2/transcript/{made['id']}", headers=key) as answer:
                made = await answer.json()
        self.canaries.hear(made.get("text") or "")

    async def google(self) -> None:
        key, place = {"x-goog-api-key": KEY}, "Google recording"
        phrase = self.canaries.word(f"{place}: phrase")
        config = {"languageCode": "en-US", "speechContexts": [{"phrases": [phrase]}]}
        audio = {"content": base64.b64encode(self.speech.wav).decode()}
        await self.post(place, "/v1/speech:recognize", key, json={"config": config, "audio": audio})

    async def run(self) -> None:
        for call in (self.openai, self.deepgram, self.elevenlabs, self.assemblyai, self.google):
            await call()


def _texts(value: Any) -> Iterator[str]:
    """Every text in an answer that may be somebody's words."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key in ("text", "transcript", "content") and isinstance(each, str):
                yield each
            else:
                yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


# -- streams that are open when the server is killed -------------------------------------------------------------------


class Streams:
    """Live streams of all protocols, each with results before the end."""

    def __init__(self, http: aiohttp.ClientSession, server: Server, canaries: Canaries, speech: Speech) -> None:
        self.http, self.server, self.canaries, self.speech = http, server, canaries, speech
        self.began: dict[str, str] = {}

    def lines(self) -> dict[str, Line]:
        word = self.canaries.word

        class Tagged(DeepgramLine):
            def query(self) -> dict[str, str]:
                return {**super().query(), "tag": word("Deepgram live: tag"), "keyterm": word("Deepgram live: keyterm")}

        url, grpc = self.server.url, self.server.grpc_url
        made: dict[str, Line] = {
            "Deepgram live": Tagged(Target(url, KEY), self.http),
            "AssemblyAI live": AssemblyAiLine(Target(url, KEY, "universal-streaming-english"), self.http),
            "ElevenLabs live": ElevenLabsLine(Target(url, KEY, "scribe_v2_realtime"), self.http),
            "Amazon live": AmazonLine(Target(url, KEY, "amazon-transcribe"), self.http),
        }
        return made | ({"Google live": GoogleLine(Target(grpc, KEY, "long"), self.http)} if grpc else {})

    async def listen(self, name: str, line: Line) -> None:
        """Send audio in real time, and hear, until the server is gone."""
        await line.open()
        self.began[name] = "open"

        async def send() -> None:
            while True:
                for at in range(0, len(self.speech.pcm), CHUNK):
                    await line.send(self.speech.pcm[at : at + CHUNK])
                    await asyncio.sleep(0.1)

        sending = asyncio.create_task(send())
        try:
            async for result in line.results():
                if result.text:
                    self.canaries.hear(result.text)
                    self.began[name] = RESULTS
        finally:
            sending.cancel()
            await line.close()

    async def generate(self) -> None:
        """A chat that streams for longer than it is given."""
        name = CHAT
        messages = [{"role": "user", "content": f"Count to a thousand. {self.canaries.word(name)}"}]
        request = {"model": "gpt-4o-mini", "messages": messages, "stream": True, "max_tokens": 4000, "ignore_eos": True}
        headers = {"authorization": f"Bearer {KEY}"}
        text = ""
        async with self.http.post(f"{self.server.url}/v1/chat/completions", json=request, headers=headers) as answer:
            self.began[name] = f"status {answer.status}"
            async for line in answer.content:
                if answer.status == 200 and line.startswith(b"data: {"):
                    for choice in json.loads(line[6:])["choices"]:
                        text += choice["delta"].get("content") or ""
                        self.began[name] = RESULTS
                        if len(text) == 3 * SPAN or len(text) % 100 == 0:
                            self.canaries.hear(text[-3 * SPAN :])

    async def speak(self) -> None:
        """A voice that is given text, word by word."""
        name = VOICE
        path = "/v1/text-to-speech/alloy/stream-input?model_id=eleven_flash_v2_5&output_format=pcm_16000"
        async with self.http.ws_connect(self.server.url + path, headers={"xi-api-key": KEY}) as socket:
            self.began[name] = "open"
            await socket.send_json({"text": " "})

            async def say() -> None:
                while True:
                    await socket.send_json({"text": f"Hello {self.canaries.word(name)}. ", "flush": True})
                    await asyncio.sleep(0.5)

            saying = asyncio.create_task(say())
            try:
                async for message in socket:
                    if message.type is aiohttp.WSMsgType.TEXT and json.loads(message.data).get("audio"):
                        self.began[name] = RESULTS
            finally:
                saying.cancel()

    async def converse(self) -> None:
        """A conversation that hears speech, and has a text to answer."""
        name, word = CONVERSATION, self.canaries.word
        path = "/v1/realtime?model=gpt-realtime"
        headers = {"authorization": f"Bearer {KEY}"}
        async with self.http.ws_connect(self.server.url + path, headers=headers) as socket:
            self.began[name] = "open"
            session = {"type": "realtime", "instructions": word(f"{name}: instructions")}
            content = [{"type": "input_text", "text": word(f"{name}: item")}]
            item = {"type": "message", "role": "user", "content": content}
            for event in (
                {"type": "session.update", "session": session},
                {"type": "conversation.item.create", "item": item},
                {"type": "response.create"},
            ):
                await socket.send_json(event)

            async def send() -> None:
                for at in range(0, len(self.speech.pcm), CHUNK):
                    audio = base64.b64encode(self.speech.pcm[at : at + CHUNK]).decode()
                    await socket.send_json({"type": "input_audio_buffer.append", "audio": audio})
                    await asyncio.sleep(0.1)

            sending = asyncio.create_task(send())
            try:
                async for message in socket:
                    if message.type is aiohttp.WSMsgType.TEXT:
                        event = json.loads(message.data)
                        if event["type"].endswith((".delta", ".done")):
                            self.began[name] = RESULTS
                        for text in _texts(event):
                            self.canaries.hear(text)
            finally:
                sending.cancel()

    async def until_killed(self, kill: Callable[[], Awaitable[None]]) -> None:
        """Open all of them, wait for results, and kill the server."""
        lines = self.lines()
        tasks = [asyncio.create_task(self.listen(name, line)) for name, line in lines.items()]
        others = {CHAT: self.generate, VOICE: self.speak, CONVERSATION: self.converse}
        tasks += [asyncio.create_task(work()) for work in others.values()]
        for _ in range(LIVE_S * 10):
            names = zip((*lines, *others), tasks, strict=True)
            if all(task.done() or self.began.get(name) == RESULTS for name, task in names):
                break
            await asyncio.sleep(0.1)
        await kill()
        _, late = await asyncio.wait(tasks, timeout=10)
        for task in late:
            task.cancel()
        for name, error in zip((*lines, *others), await asyncio.gather(*tasks, return_exceptions=True), strict=True):
            if name not in self.began:
                self.began[name] = f"refused: {error}"


# -- the search --------------------------------------------------------------------------------------------------------


def files_of(work: Path, since_s: float) -> Iterator[Path]:
    """Every file that the server may have written: in its own places, and elsewhere since it was started."""
    for folder, below, names in os.walk(work):
        if Path(folder) == work / "data":
            below[:] = [name for name in below if not (work / "data" / name).is_symlink()]
        yield from (Path(folder) / name for name in names)
    for place in OUTSIDE:
        for folder, below, names in os.walk(place, onerror=None):
            below[:] = [name for name in below if Path(folder) / name != work]
            for name in names:
                path = Path(folder) / name
                with suppress(OSError):
                    found = path.lstat()
                    if path.is_file() and not path.is_symlink() and found.st_mtime >= since_s:
                        yield path


def search(paths: Sequence[Path], canaries: Canaries) -> list[str]:
    """Where which canary is."""
    needles, found = list(canaries.needles()), []
    for path in paths:
        with suppress(OSError):
            if path.stat().st_size > MOST_BYTES:
                raise SystemExit(f"{path} is too large to search")
            content = path.read_bytes()
            found += [f"{path}: {name}" for name, needle in needles if needle in content]
    return found


async def run(arguments: argparse.Namespace, work: Path) -> int:
    canaries, since_s = Canaries(), time.time()
    speech = Speech.read(arguments.speech, canaries.audio)
    server = Server(work, arguments.config, arguments.models, arguments.keep)
    metrics = ""
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CALL_S)) as http:
            calls = Calls(http, server.url, canaries, speech)
            await calls.run()
            streams = Streams(http, server, canaries, speech)

            async def kill() -> None:
                nonlocal metrics
                headers = {"authorization": f"Bearer {KEY}"}
                async with http.get(f"{server.url}/metrics", headers=headers) as answer:
                    metrics = await answer.text()
                print(f"swapped out: {server.swapped_kb()} kB")
                server.kill(arguments.signal)

            await streams.until_killed(kill)
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()
    (work / "metrics").write_text(metrics)
    print("\n".join(calls.lines))
    print("\n".join(f"{name}, open when the server was killed: {state}" for name, state in streams.began.items()))
    paths = sorted(set(files_of(work, since_s)))
    found = search(paths, canaries)
    planted = work / "tmp" / "planted"
    planted.write_bytes(b"..." + base64.b64encode(b"x" + next(iter(canaries.words)).encode() + b"yz") + canaries.audio)
    if len(search([planted], canaries)) < 2:
        print("The search does not find what it should.")
        return 2
    print(f"{len(canaries.words)} words, the audio, and {len(canaries.outputs)} pieces of what the server said were")
    print(f"searched for in {len(paths)} files: {len(found)} found.")
    print("\n".join(found))
    return 1 if found else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("speech", type=Path, help="a WAV file with speech, 16 bits")
    parser.add_argument("--config", type=Path, help="the server's configuration")
    parser.add_argument("--models", type=Path, help="a folder of models that were pulled; without it they are pulled")
    parser.add_argument("--keep", action="store_true", help="have answers and files kept: then they are encrypted")
    parser.add_argument("--signal", type=lambda name: signal.Signals[f"SIG{name}"], default=signal.SIGKILL)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="zero-retention-") as work:
        return asyncio.run(run(arguments, Path(work)))


if __name__ == "__main__":
    sys.exit(main())
