"""Containers, decoded in processes of their own: the server's side.

Every recording and every live container stream gets a fresh process, forked from one that has the decoder loaded (see
`worker`), with bounds on memory, processor time, waiting time and decoded length, without files or network. Closing
its socket kills it. At most `files_at_once` recordings decode at a time and `files_waiting` wait for their turn; at
most `live_at_once` live streams are open; beyond, `CapacityError`.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

from antiphon.audio.frames import HEADER, READY, SPAWN, Job, Kind, Verdict, header
from antiphon.core.audio import BYTES_PER_MS
from antiphon.core.errors import AntiphonError, BadMedia, CapacityError, EngineError, InternalError, TooLarge

_START_S = 30
_END_S = 5
_SLACK_BYTES = 64 * 1024  # for what is no audio: verdicts and their words
_NEVER_READ = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What one recording, or one live stream, may cost.

    `max_audio_ms` is decoded audio, all output channels together; `max_burst_ms` the same for one live message.
    `memory_bytes` is beyond the decoder's own size and the recording's. `cpu_s` and `wall_s` bound a recording,
    `step_cpu_s` and `step_wall_s` one live message.
    """

    max_input_bytes: int = 512 * 1024 * 1024
    max_audio_ms: int = 4 * 3600 * 1000
    max_burst_ms: int = 600_000
    memory_bytes: int = 256 * 1024 * 1024
    cpu_s: int = 60
    wall_s: int = 120
    step_cpu_s: int = 5
    step_wall_s: int = 10
    files_at_once: int = 2
    files_waiting: int = 64
    live_at_once: int = 256


@dataclass(frozen=True, slots=True)
class Decoded:
    """A recording: int16 samples at 16 kHz of each channel, all of one length, and that length."""

    channels: tuple[bytes, ...]
    duration_ms: int


class Channel:
    """The server's end of one job's socket, in lock-step with its decoder (see `frames`).

    It takes nothing on trust: a decoder that was taken over by its input can give wrong samples, but neither more of
    them than `max_audio_ms` for each `send`, nor anything else.
    """

    def __init__(self, sock: socket.socket, max_audio_ms: int) -> None:
        self._sock, self._loop = sock, asyncio.get_running_loop()
        self._max_bytes = self._left_bytes = max_audio_ms * BYTES_PER_MS

    async def send(self, kind: Kind, payload: bytes = b"") -> None:
        self._left_bytes = self._max_bytes
        try:
            await self._loop.sock_sendall(self._sock, header(kind, len(payload)))
            if payload:
                await self._loop.sock_sendall(self._sock, payload)
        except ConnectionError:
            pass  # it has ended: what it had to say, or that it said nothing, is still to be read

    async def receive(self) -> tuple[Kind, list[memoryview]]:
        """A kind, and for `PCM` each channel's samples. Raises what a failed decoder stands for."""
        number, channels, length = HEADER.unpack(await self._exactly(HEADER.size))
        try:
            kind = Kind(number)
            self._left_bytes -= length
            if self._left_bytes < -_SLACK_BYTES or (kind is Kind.PCM) != bool(channels):
                raise _broken()
            payload = await self._exactly(length)
            if kind is Kind.FAIL:
                raise _failure(Verdict(payload[0]), payload[1:].decode())
            if kind is Kind.DIED:
                raise _death(payload[0])
            return kind, _planes(payload, channels)
        except (ValueError, LookupError):
            raise _broken() from None

    def close(self) -> None:
        self._sock.close()

    async def _exactly(self, length: int) -> bytearray:
        data = bytearray(length)
        view, done = memoryview(data), 0
        while done < length:
            try:
                count = await self._loop.sock_recv_into(self._sock, view[done:])
            except ConnectionError:
                count = 0
            if not count:
                raise EngineError("The decoder process ended without an answer.")
            done += count
        return data


def _planes(payload: bytearray, channels: int) -> list[memoryview]:
    if not channels:
        return []
    view, length = memoryview(payload), len(payload) // channels
    if length * channels != len(payload) or length % 2:
        raise ValueError("channels of unequal length")
    return [view[index * length : (index + 1) * length] for index in range(channels)]


def _broken() -> InternalError:
    return InternalError("A decoder process broke its protocol.")


def _failure(verdict: Verdict, message: str) -> AntiphonError:
    match verdict:
        case Verdict.BAD_MEDIA:
            return BadMedia(message)
        case Verdict.TOO_LARGE:
            return TooLarge(message)
        case Verdict.DEFECT:
            return InternalError(f"The decoder failed: {message}.")


def _death(number: int) -> AntiphonError:
    if number == signal.SIGXCPU:
        return TooLarge("Decoding it takes more processor time than is allowed.")
    if number in _NEVER_READ:
        return BadMedia("It is damaged in a way that the decoder does not survive.")
    return EngineError("The decoder process was killed.")


class Decoder:
    """Makes decoder processes. `start` and `close` frame its life; `start` need not be called, but takes the first
    call's wait of about 0.2 s away.
    """

    def __init__(self, limits: DecodeLimits | None = None) -> None:
        self.limits = limits or DecodeLimits()
        self._process: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._starting = asyncio.Lock()
        self._files = asyncio.Semaphore(self.limits.files_at_once)
        self._files_waiting = 0
        self.live_open = 0

    @property
    def pid(self) -> int | None:
        """The process that decoders are forked from, while there is one."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Raises `InternalError` when there is no decoder to be had."""
        async with self._starting:
            if self._alive():
                return
            await self._end()
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "antiphon.audio.worker"),
                    stdin=theirs.fileno(),
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                    env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"},
                    cwd="/",
                    start_new_session=True,
                )
            ours.setblocking(False)
            self._control = ours
            try:
                async with asyncio.timeout(_START_S):
                    ready = await asyncio.get_running_loop().sock_recv(ours, 1)
            except TimeoutError:
                ready = b""
            if ready != READY:
                await self._end()
                raise InternalError("The decoder process does not start.")

    async def close(self) -> None:
        """Ends every decoder process, whatever it is doing."""
        async with self._starting:
            await self._end()

    async def decode(self, data: bytes, *, multichannel: bool = False) -> Decoded:
        """A whole recording. Raises `BadMedia`, `TooLarge`, `CapacityError`, `EngineError` or `InternalError`."""
        limits = self.limits
        if len(data) > limits.max_input_bytes:
            raise TooLarge(f"The recording is larger than the {limits.max_input_bytes} bytes that are allowed.")
        if self._files.locked() and self._files_waiting >= limits.files_waiting:
            raise CapacityError("Too many recordings are waiting to be decoded.", retry_after_s=1)
        self._files_waiting += 1
        try:
            await self._files.acquire()
        finally:
            self._files_waiting -= 1
        try:
            job = Job(live=False, split=multichannel, max_audio_ms=limits.max_audio_ms, cpu_s=limits.cpu_s)
            async with bounded(limits.wall_s), self._spawned(job, len(data)) as channel:
                await channel.send(Kind.DATA, data)
                await channel.send(Kind.END)
                return await _collect(channel)
        finally:
            self._files.release()

    async def open_live(self, *, split: bool, opus_channels: int = 0) -> Channel:
        """A decoder for one live stream, to be given back with `close_live`. Raises `CapacityError`."""
        limits = self.limits
        if self.live_open >= limits.live_at_once:
            raise CapacityError("Too many live streams that need decoding are open.", retry_after_s=5)
        self.live_open += 1
        try:
            async with bounded(limits.step_wall_s):
                return await self._spawn(Job(True, split, limits.max_burst_ms, limits.step_cpu_s, opus_channels), 0)
        except BaseException:
            self.live_open -= 1
            raise

    def close_live(self, channel: Channel) -> None:
        channel.close()
        self.live_open -= 1

    # -- processes -----------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _spawned(self, job: Job, input_bytes: int) -> AsyncIterator[Channel]:
        channel = await self._spawn(job, input_bytes)
        try:
            yield channel
        finally:
            channel.close()

    async def _spawn(self, job: Job, input_bytes: int) -> Channel:
        """A decoder process, ready for input; tried again when the process that forks turns out to be gone."""
        # The input is held up to three times over in the decoder while it arrives.
        memory = SPAWN.pack(self.limits.memory_bytes + 3 * input_bytes)
        for _ in range(2):
            await self.start()
            assert self._control is not None
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            channel = Channel(ours, job.max_audio_ms)
            try:
                with theirs:
                    socket.send_fds(self._control, [memory], [theirs.fileno()])
                await channel.send(Kind.JOB, job.encode())
                await channel.receive()  # MORE
            except (OSError, EngineError):
                channel.close()
            except BaseException:
                channel.close()
                raise
            else:
                return channel
        raise InternalError("No decoder process can be started.")

    def _alive(self) -> bool:
        """Nothing comes from the process that forks once it has started, except its end."""
        if self._control is None:
            return False
        try:
            return bool(self._control.recv(1))
        except BlockingIOError:
            return True
        except ConnectionError:
            return False

    async def _end(self) -> None:
        """Hanging up makes the process that forks kill its children and leave."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            try:
                async with asyncio.timeout(_END_S):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
            self._process = None


@contextlib.asynccontextmanager
async def bounded(wall_s: int) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(wall_s):
            yield
    except TimeoutError:
        raise TooLarge(f"Decoding it takes longer than the {wall_s} s that are allowed.") from None


async def _collect(channel: Channel) -> Decoded:
    parts: list[list[memoryview]] = []
    while True:
        kind, pcm = await channel.receive()
        if kind is Kind.DONE and parts:
            break
        if kind is not Kind.PCM or len(pcm) != len(parts or pcm):
            raise _broken()
        parts = parts or [[] for _ in pcm]
        for part, plane in zip(parts, pcm, strict=True):
            part.append(plane)
    whole = tuple(b"".join(part) for part in parts)
    return Decoded(whole, len(whole[0]) // BYTES_PER_MS)
