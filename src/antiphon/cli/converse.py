"""`antiphon converse`: talk with a server's model by voice, by OpenAI's Realtime protocol.

With a microphone it is a conversation with barge-in; without one, files are sent to the server one after the other,
each when the last was answered. Both sides' words are printed, and the audio can be saved as a WAV file.
"""

import asyncio
import time
import wave
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from antiphon.bench.clips import decode
from antiphon.bench.realtime import BYTES_PER_MS, RATE, Connection, Event, connect
from antiphon.cli.chat import harmless
from antiphon.cli.options import DEFAULT_MODEL, DEFAULT_URL
from antiphon.core.errors import CallerError, EngineError

CHUNK_MS = 20
PATIENCE_S = 30.0  # without a message from the server

app = typer.Typer(add_completion=False)


@app.command()
def converse(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Recordings to send; without them, the microphone is used.")
    ] = None,
    url: Annotated[str, typer.Option(help="The server's origin.")] = DEFAULT_URL,
    api_key: Annotated[str, typer.Option(envvar="ANTIPHON_API_KEY", help="The key to call with.")] = "",
    model: Annotated[str, typer.Option(help="The language model that answers.")] = DEFAULT_MODEL,
    voice: Annotated[str, typer.Option(help="The voice of the answers.")] = "alloy",
    instructions: Annotated[str, typer.Option(help="Instructions for the model (system prompt).")] = "",
    max_tokens: Annotated[int, typer.Option(min=1, max=4096, help="Maximum length of an answer, in tokens.")] = 200,
    silence_ms: Annotated[int, typer.Option(min=100, max=5000, help="Silence that ends a turn.")] = 500,
    save: Annotated[Path | None, typer.Option(help="Write the answers to this WAV file.")] = None,
) -> None:
    """Talk with a language model of a running server."""
    session = {
        "instructions": instructions or "Answer in one or two short sentences.",
        "max_output_tokens": max_tokens,
        "audio": {
            "input": {
                "transcription": {"model": "whisper-1"},
                "turn_detection": {"type": "server_vad", "silence_duration_ms": silence_ms},
            },
            "output": {"voice": voice},
        },
    }
    spoken = [_rate_of_the_wire(decode(path)) for path in files or ()]
    with suppress(KeyboardInterrupt):
        asyncio.run(_converse(url, api_key, model, session, spoken, save))


async def _converse(
    url: str, api_key: str, model: str, session: Mapping[str, object], spoken: Sequence[bytes], save: Path | None
) -> None:
    with _kept(save) as kept:
        async with connect(url, api_key, model, session) as connection:
            if spoken:
                await _with_files(connection, spoken, kept)
            else:
                await _with_microphone(connection, kept)


class Sink(Protocol):
    """The destination of the answers' audio."""

    def write(self, pcm: bytes) -> None: ...


class _Nowhere:
    def write(self, pcm: bytes) -> None:
        pass


class _Wav:
    def __init__(self, file: wave.Wave_write) -> None:
        self._file = file

    def write(self, pcm: bytes) -> None:
        self._file.writeframes(pcm)


@contextmanager
def _kept(save: Path | None) -> Iterator[Sink]:
    if save is None:
        yield _Nowhere()
        return
    with wave.open(str(save), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        yield _Wav(file)


# -- files -------------------------------------------------------------------------------------------------------------


async def _with_files(connection: Connection, spoken: Sequence[bytes], kept: Sink) -> None:
    for pcm in spoken:
        speaking = asyncio.create_task(_say(connection, pcm))
        try:
            await _hear_answer(connection, kept, len(pcm) / BYTES_PER_MS / 1000 + PATIENCE_S)
        except TimeoutError:
            raise EngineError("no answer was received") from None
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)


async def _say(connection: Connection, pcm: bytes) -> None:
    """Send audio in real time, then silence, as from a microphone."""
    begun, at = time.monotonic(), 0
    while True:
        piece = pcm[at : at + CHUNK_MS * BYTES_PER_MS].ljust(CHUNK_MS * BYTES_PER_MS, b"\0")
        at += len(piece)
        await connection.hear(piece)
        await asyncio.sleep(max(0.0, begun + at / BYTES_PER_MS / 1000 - time.monotonic()))


async def _hear_answer(connection: Connection, kept: Sink, patience_s: float) -> None:
    """Receive an answer. Raises `TimeoutError` after `patience_s` without a message."""
    shown = _Shown()
    while True:
        async with asyncio.timeout(patience_s):
            event = await connection.receive()
        if event.type == "response.output_audio.delta":
            kept.write(event.audio)
        shown.show(event)
        if event.type == "response.done" and event.response.get("status") != "cancelled":
            return


class _Shown:
    """A printer of both sides' words, a line each."""

    def __init__(self) -> None:
        self._open = False

    def show(self, event: Event) -> None:
        match event.type:
            case "conversation.item.input_audio_transcription.completed":
                self._end()
                print(f"you: {harmless(event.transcript)}")
            case "response.output_audio_transcript.delta" | "response.output_text.delta":
                print(("" if self._open else "model: ") + harmless(event.delta), end="", flush=True)
                self._open = True
            case "response.done":
                self._end()
                if failed := (event.response.get("status_details") or {}).get("error"):
                    self._error(failed)
            case "error":
                self._end()
                self._error(event.error)

    def _error(self, error: Mapping[str, Any]) -> None:
        print(f"error: {harmless(str(error.get('message')))}")

    def _end(self) -> None:
        if self._open:
            print()
        self._open = False


# -- a microphone ------------------------------------------------------------------------------------------------------


async def _with_microphone(connection: Connection, kept: Sink) -> None:
    """Talk until Ctrl-C. On barge-in, tell the server how much of the answer was heard."""
    devices = _devices()
    speaker = _Speaker()
    shown = _Shown()
    async with asyncio.TaskGroup() as group:
        with devices.RawOutputStream(RATE, dtype="int16", channels=1, callback=speaker.play):
            group.create_task(_listen(connection, devices))
            print("Speak; Ctrl-C ends the conversation.")
            while True:
                event = await connection.receive()
                if event.type == "response.output_audio.delta":
                    kept.write(event.audio)
                    speaker.add(event.item_id, event.audio)
                elif event.type == "input_audio_buffer.speech_started" and speaker.speaks:
                    item, audio_ms = speaker.stop()
                    await connection.send(
                        "conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=audio_ms
                    )
                shown.show(event)


async def _listen(connection: Connection, devices: Any) -> None:
    async for pcm in _microphone(devices):
        await connection.hear(pcm)


async def _microphone(devices: Any) -> AsyncGenerator[bytes, None]:
    loop, chunks = asyncio.get_running_loop(), asyncio.Queue[bytes]()

    def take(pcm: Any, frames: int, at: Any, status: Any) -> None:
        loop.call_soon_threadsafe(chunks.put_nowait, bytes(pcm))

    blocks = {"blocksize": RATE * CHUNK_MS // 1000, "dtype": "int16", "channels": 1}
    with devices.RawInputStream(RATE, callback=take, **blocks):
        while True:
            yield await chunks.get()


class _Speaker:
    """A player of one answer at a time that knows its position."""

    def __init__(self) -> None:
        self._item = ""
        self._waiting = bytearray()
        self._played = 0

    @property
    def speaks(self) -> bool:
        return bool(self._waiting)

    def add(self, item: str, pcm: bytes) -> None:
        if item != self._item:
            self._item, self._played = item, 0
        self._waiting += pcm

    def stop(self) -> tuple[str, int]:
        """Stop; return the item that was played, and how many milliseconds of it were heard."""
        self._waiting.clear()
        return self._item, self._played // BYTES_PER_MS

    def play(self, into: Any, frames: int, at: Any, status: Any) -> None:
        size = min(len(into), len(self._waiting))
        into[:size] = bytes(self._waiting[:size])
        into[size:] = bytes(len(into) - size)
        del self._waiting[:size]
        self._played += size


def _devices() -> Any:
    """Return the machine's sound devices. Raises `CallerError` if there is no microphone."""
    try:
        import sounddevice

        sounddevice.check_input_settings(samplerate=RATE, channels=1, dtype="int16")
    except ImportError:
        raise CallerError("a microphone needs `pip install 'antiphon[microphone]'`; or pass audio files") from None
    except Exception as error:  # PortAudio is missing, or has an error of its own
        raise CallerError(f"no microphone found ({error}); pass audio files instead") from None
    return sounddevice


def _rate_of_the_wire(pcm: bytes) -> bytes:
    """Convert 16 kHz to 24 kHz."""
    import av

    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    frame = av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // 2)
    frame.sample_rate = 16_000
    frame.planes[0].update(pcm)
    return b"".join(bytes(part.planes[0])[: part.samples * 2] for f in (frame, None) for part in resampler.resample(f))
