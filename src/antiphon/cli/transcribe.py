"""`antiphon transcribe`: files or a live stream, by Deepgram's protocol, against a running server.

A file is sent unchanged, and the server decodes it. `--live` decodes here and sends 16 kHz linear16 in real time,
whatever the file's format, so that results come as from a microphone. JSON is the server's own answer; of a live
stream, the list of its finals.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import aiohttp
import msgspec
import typer
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from antiphon.bench.clips import decode
from antiphon.core import subtitles
from antiphon.core.audio import BYTES_PER_MS, SAMPLE_RATE
from antiphon.core.errors import AntiphonError, CallerError, EngineError
from antiphon.core.subtitles import Cue

UPLOAD_CHUNK_BYTES = 1 << 18
LIVE_CHUNK_MS = 100
CONNECT_TIMEOUT_S = 10
ANSWER_TIMEOUT_S = 3600

app = typer.Typer(add_completion=False)


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"
    SRT = "srt"
    VTT = "vtt"


@dataclass(frozen=True, slots=True)
class Server:
    """A server; `url` is an origin, `http://host:port`."""

    url: str
    api_key: str
    model: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Token {self.api_key}"}


@dataclass(frozen=True, slots=True)
class Transcription:
    """A finished transcript: its text, its timed pieces, and the server's own answer as JSON."""

    text: str
    cues: tuple[Cue, ...]
    answer: bytes

    def render(self, form: Format) -> str:
        match form:
            case Format.TEXT:
                return self.text + "\n"
            case Format.JSON:
                return msgspec.json.format(self.answer).decode() + "\n"
            case Format.SRT:
                return subtitles.srt(self.cues)
            case Format.VTT:
                return subtitles.vtt(self.cues)


@app.command()
def transcribe(
    files: Annotated[list[Path], typer.Argument(help="Recordings, in any format.", exists=True, dir_okay=False)],
    live: Annotated[bool, typer.Option("--live", help="Stream in real time and show the words as they come.")] = False,
    url: Annotated[str, typer.Option(help="The server's origin.")] = "http://127.0.0.1:8080",
    api_key: Annotated[str, typer.Option(envvar="ANTIPHON_API_KEY", help="The key to call with.")] = "",
    model: Annotated[str, typer.Option(help="The model to ask for.")] = "nova-3",
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.TEXT,
    output_dir: Annotated[
        Path | None, typer.Option(file_okay=False, help="Write one file for each recording here, instead of printing.")
    ] = None,
) -> None:
    """Transcribe recordings with a running server."""
    if len(files) > 1 and output_dir is None and form is not Format.TEXT:
        raise CallerError(f"{form} of several files needs --output-dir")
    if output_dir:
        if twice := [name for name, times in Counter(path.name for path in files).items() if times > 1]:
            raise CallerError(f"--output-dir: several files are named {twice[0]}, and one would replace the other")
        output_dir.mkdir(parents=True, exist_ok=True)
    server = Server("http" + url.removeprefix("http").removeprefix("ws").rstrip("/"), api_key, model)

    def done(path: Path, transcription: Transcription) -> None:
        rendered = transcription.render(form)
        if output_dir:
            (output_dir / f"{path.name}.{'txt' if form is Format.TEXT else form}").write_text(rendered)
        elif not (live and form is Format.TEXT):  # a live text is already printed
            typer.echo(rendered, nl=False)

    if live:
        asyncio.run(_stream_all(server, files, done, printing=form is Format.TEXT and output_dir is None))
    else:
        asyncio.run(_send_all(server, files, done, timed=form in (Format.SRT, Format.VTT)))


# -- files -------------------------------------------------------------------------------------------------------------


class _Alternative(msgspec.Struct):
    transcript: str


class _Channel(msgspec.Struct):
    alternatives: list[_Alternative]


class _Utterance(msgspec.Struct):
    start: float
    end: float
    transcript: str


class _FileResults(msgspec.Struct):
    channels: list[_Channel]
    utterances: list[_Utterance] = msgspec.field(default_factory=list)


class _FileAnswer(msgspec.Struct):
    results: _FileResults


class _Refusal(msgspec.Struct):
    err_msg: str


async def _send_all(
    server: Server, files: Sequence[Path], done: Callable[[Path, Transcription], None], *, timed: bool
) -> None:
    """Send one file after the other, with a progress bar for each on standard error."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks = [bars.add_task(path.name, start=False, state="waiting") for path in files]
        async with aiohttp.ClientSession(timeout=timeout) as http:
            for path, task in zip(files, tasks, strict=True):
                transcription = await _send(http, server, path, bars, task, timed=timed)
                bars.update(task, total=1, completed=1, state="done")
                bars.stop_task(task)
                done(path, transcription)


async def _send(
    http: aiohttp.ClientSession, server: Server, path: Path, bars: Progress, task: TaskID, *, timed: bool
) -> Transcription:
    """Return the transcription. Raises `CallerError` or `EngineError` with the file's name."""
    size = _size(path)

    async def upload() -> AsyncIterator[bytes]:
        with path.open("rb") as file:
            while chunk := file.read(UPLOAD_CHUNK_BYTES):
                yield chunk
                bars.advance(task, len(chunk))
        bars.update(task, total=None, state="transcribing")

    bars.start_task(task)
    bars.update(task, total=size, state="sending")
    query = {"model": server.model, "punctuate": "true"} | ({"utterances": "true"} if timed else {})
    headers = server.headers | {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
    try:
        async with http.post(f"{server.url}/v1/listen", params=query, data=upload(), headers=headers) as response:
            body = await response.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _unreachable(server, error) from error
    if response.status != 200:
        raise _refused(path, response.status, _reason(body, response.reason))
    try:
        results = msgspec.json.decode(body, type=_FileAnswer).results
    except msgspec.MsgspecError as error:
        raise EngineError(f"{path.name}: the answer is not Deepgram's: {error}") from error
    texts = [channel.alternatives[0].transcript for channel in results.channels if channel.alternatives]
    cues = tuple((round(u.start * 1000), round(u.end * 1000), u.transcript) for u in results.utterances)
    return Transcription("\n".join(texts), cues, body)


def _size(path: Path) -> int:
    return path.stat().st_size


def _reason(body: bytes, fallback: str | None) -> str:
    try:
        return msgspec.json.decode(body, type=_Refusal).err_msg
    except msgspec.MsgspecError:
        return fallback or "refused"


def _refused(path: Path, status: int, reason: str) -> AntiphonError:
    blame = CallerError if 400 <= status < 500 else EngineError
    return blame(f"{path.name}: {reason} ({status})")


def _unreachable(server: Server, error: Exception) -> EngineError:
    return EngineError(f"no answer from {server.url}: {error or type(error).__name__}")


# -- live --------------------------------------------------------------------------------------------------------------


class _LiveMessage(msgspec.Struct):
    """The needed fields of all live messages; `channel` differs by type, so it is decoded later."""

    type: str
    is_final: bool = False
    start: float = 0.0
    duration: float = 0.0
    description: str = ""
    channel: msgspec.Raw = msgspec.Raw(b"")


async def _stream_all(
    server: Server, files: Sequence[Path], done: Callable[[Path, Transcription], None], *, printing: bool
) -> None:
    """Stream one file after the other in real time. With `printing`, print each final when it comes."""
    console = Console()
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        for path in files:
            pcm = decode(path)
            # Interims are overwritten in place, so only a terminal shows them, and they are erased at the end.
            with Live(console=console, transient=True, auto_refresh=False) as shown:

                def show(text: str, final: bool, shown: Live = shown) -> None:
                    if console.is_terminal:
                        shown.update(Text("" if final else text, style="dim"), refresh=True)
                    if final and printing:
                        console.print(text, markup=False, highlight=False, soft_wrap=True)

                transcription = await _stream(http, server, path, pcm, show)
            done(path, transcription)


async def _stream(
    http: aiohttp.ClientSession, server: Server, path: Path, pcm: bytes, show: Callable[[str, bool], None]
) -> Transcription:
    """Return the transcription. Raises `CallerError` or `EngineError` with the file's name."""
    query = {
        "model": server.model,
        "encoding": "linear16",
        "sample_rate": str(SAMPLE_RATE),
        "channels": "1",
        "interim_results": "true",
        "punctuate": "true",
    }
    try:
        async with http.ws_connect(f"{server.url}/v1/listen", params=query, headers=server.headers) as socket:
            sending = asyncio.create_task(_pace(socket, pcm))
            try:
                return await _listen(path, socket, show)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
    except aiohttp.WSServerHandshakeError as error:
        reason = error.headers.get("dg-error", error.message) if error.headers else error.message
        raise _refused(path, error.status, reason) from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _unreachable(server, error) from error


async def _pace(socket: aiohttp.ClientWebSocketResponse, pcm: bytes) -> None:
    """Send each chunk when its last sample would have been spoken."""
    size, began = LIVE_CHUNK_MS * BYTES_PER_MS, time.monotonic()
    for at in range(0, len(pcm), size):
        due = began + (at / BYTES_PER_MS + LIVE_CHUNK_MS) / 1000
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        await socket.send_bytes(pcm[at : at + size])
    await socket.send_str('{"type":"CloseStream"}')


async def _listen(
    path: Path, socket: aiohttp.ClientWebSocketResponse, show: Callable[[str, bool], None]
) -> Transcription:
    """Collect results until the server closes."""
    finals: list[bytes] = []
    cues: list[Cue] = []
    description = ""
    while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
        try:
            result = msgspec.json.decode(message.data, type=_LiveMessage)
            channel = msgspec.json.decode(result.channel, type=_Channel) if result.type == "Results" else None
        except msgspec.MsgspecError as error:
            raise EngineError(f"{path.name}: a message that is not Deepgram's: {error}") from error
        description = result.description if result.type == "Error" else description
        if channel is None or not channel.alternatives or not channel.alternatives[0].transcript:
            continue
        text = channel.alternatives[0].transcript
        show(text, result.is_final)
        if result.is_final:
            finals.append(message.data.encode())
            start_ms = round(result.start * 1000)
            cues.append((start_ms, start_ms + round(result.duration * 1000), text))
    if socket.close_code != 1000:
        reason = description or (message.extra if isinstance(message.extra, str) else "")
        raise EngineError(f"{path.name}: the stream was closed with {socket.close_code} {reason}".rstrip())
    return Transcription(" ".join(text for _, _, text in cues), tuple(cues), b"[" + b",".join(finals) + b"]")
