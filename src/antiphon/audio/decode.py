"""Decoding of containers in processes of their own: the server's side.

Every recording and every live container stream gets a new process, forked from one that has the decoder loaded (see
`worker`), with bounds on memory, processor time, waiting time and decoded length, and without files or network. Closing
its socket kills it; waiting for a stuck one fails (`Channel.awaited`). The process that forks is asked for signs of
life, and replaced if it gives none.

At most `files_at_once` recordings decode at a time, `files_waiting` wait, `live_at_once` live streams are open, and all
decoded recordings together take `held_bytes` of memory; beyond that, `CapacityError`.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

from antiphon import children
from antiphon.audio.budget import Budget, Hold
from antiphon.audio.channel import Channel, Stuck, broken
from antiphon.audio.frames import Job, Kind
from antiphon.confined.forks import READY, SPAWN
from antiphon.core.audio import BYTES_PER_MS
from antiphon.core.errors import CapacityError, EngineError, EngineTimeout, InternalError, TooLarge
from antiphon.supervision import supervisor

_START_S = 30
_END_S = 5
_TRIES = 3  # to fork a decoder: the forking process may be gone, or stuck until it is replaced

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Bounds of one recording or one live stream.

    `max_audio_ms` is decoded audio of all output channels together; `max_burst_ms`, the same of one live message.
    `memory_bytes` excludes the decoder itself and the recording. `cpu_s` and `wall_s` bound a recording, `step_cpu_s`
    and `step_wall_s` one live message. `held_bytes` is for all recordings together.
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
    held_bytes: int = 1 << 30


@dataclass(frozen=True, slots=True)
class Decoded:
    """A recording: int16 samples at 16 kHz of each channel, all equally long, and their length."""

    channels: tuple[bytes | bytearray, ...]
    duration_ms: int


@dataclass(frozen=True, slots=True)
class DecoderStats:
    """`running` counts recordings that are being decoded, and live streams; the others describe the forking process:
    see `observe.observer.EngineStats`. `stuck` includes decoders.
    """

    running: int
    rss_bytes: int
    restarts: int
    stuck: int
    up: bool


class Decoder:
    """Starts decoder processes. `close` must be called at the end; `start` saves the first call 0.2 s."""

    def __init__(self, limits: DecodeLimits | None = None) -> None:
        self.limits = limits or DecodeLimits()
        self.budget = Budget(self.limits.held_bytes)
        self._process: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._pulse = children.Pulse()
        self._starts = self._stuck = 0
        self._starting = asyncio.Lock()
        self._files = asyncio.Semaphore(self.limits.files_at_once)
        self._files_waiting = self._files_open = 0
        self.live_open = 0

    @property
    def pid(self) -> int | None:
        """The process that decoders are forked from, if there is one."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the forking process. Raises `InternalError` if that fails, `OSError` if there is no room for it."""
        async with self._starting:
            if self._alive():
                return
            await self._end()
            ours, theirs = socket.socketpair()
            nothing = asyncio.subprocess.DEVNULL
            try:
                with theirs:
                    self._process = await asyncio.create_subprocess_exec(
                        *children.command("antiphon.audio.worker"),
                        stdin=theirs.fileno(),
                        stdout=nothing,
                        stderr=nothing,
                        **children.apart(),
                    )
            except OSError:
                ours.close()
                raise
            ours.setblocking(False)
            try:
                async with asyncio.timeout(_START_S):
                    ready = await asyncio.get_running_loop().sock_recv(ours, 1)
            except TimeoutError:
                ready = b""
            if ready != READY:
                ours.close()
                await self._end()
                raise InternalError("The decoder process could not be started.")
            self._control = ours
            self._starts += 1
            if self._watcher is None:
                self._watcher = supervisor.start("keep the decoder running", self._watch)

    async def close(self) -> None:
        """End every decoder process, also busy ones."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None
        async with self._starting:
            await self._end()

    def stats(self) -> DecoderStats:
        up = self._process is not None and self._control is not None
        running = self._files_open + self.live_open
        rss_bytes = children.resident_bytes(self.pid)
        return DecoderStats(running, rss_bytes, max(0, self._starts - 1), self._stuck, up)

    async def decode(self, data: bytes, *, multichannel: bool = False, hold: Hold | None = None) -> Decoded:
        """Decode a whole recording. `hold` takes its memory from the budget; without it, that counts only while
        decoding. Raises `BadMedia`, `TooLarge`, `CapacityError`, `EngineError` or `InternalError`.
        """
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
        self._files_open += 1
        own = self.budget.hold()
        try:
            job = Job(live=False, split=multichannel, max_audio_ms=limits.max_audio_ms, cpu_s=limits.cpu_s)
            channel = await self._spawn(job, len(data), limits.wall_s)
            with contextlib.closing(channel):
                async with self.awaited(channel, limits.wall_s, limits.cpu_s):
                    await channel.send(Kind.DATA, data)
                    await channel.send(Kind.END)
                    return await _collect(channel, hold or own)
        finally:
            own.give_back()
            self._files_open -= 1
            self._files.release()

    async def open_live(self, *, split: bool, opus_channels: int = 0) -> Channel:
        """Open a decoder for one live stream; `close_live` must follow. Raises `CapacityError`."""
        limits = self.limits
        if self.live_open >= limits.live_at_once:
            raise CapacityError("Too many live streams that need a decoder are open.", retry_after_s=5)
        self.live_open += 1
        try:
            job = Job(True, split, limits.max_burst_ms, limits.step_cpu_s, opus_channels)
            return await self._spawn(job, 0, limits.step_wall_s)
        except BaseException:
            self.live_open -= 1
            raise

    def close_live(self, channel: Channel) -> None:
        channel.close()
        self.live_open -= 1

    # -- processes -----------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def awaited(self, channel: Channel, wall_s: int, cpu_s: int) -> AsyncIterator[None]:
        """Wait as `Channel.awaited`, and count stuck decoders."""
        try:
            async with channel.awaited(wall_s, cpu_s):
                yield
        except Stuck:
            self._stuck += 1
            log.error("a decoder is stuck")
            raise

    async def _spawn(self, job: Job, input_bytes: int, wall_s: int) -> Channel:
        """Return a decoder process that is ready for input, within `wall_s`. Retries if the forking process is gone or
        stuck.
        """
        # The decoder holds the input up to three times while it arrives.
        memory = SPAWN.pack(self.limits.memory_bytes + 3 * input_bytes)
        for _ in range(_TRIES):
            try:
                await self.start()
                assert self._control is not None
                ours, theirs = socket.socketpair()
            except OSError as error:  # no descriptor is left, or no process; later there may be
                raise CapacityError("No decoder process can be started at the moment.", retry_after_s=1) from error
            ours.setblocking(False)
            channel = Channel(ours, job.max_audio_ms, self.pid)
            try:
                with theirs:
                    socket.send_fds(self._control, [memory], [theirs.fileno()])
                async with channel.awaited(wall_s, 0):
                    await channel.send(Kind.JOB, job.encode())
                    await channel.receive()  # MORE
            except (OSError, EngineError) as error:
                channel.close()
                if isinstance(error, EngineTimeout) and not isinstance(error, Stuck):
                    raise
            except BaseException:
                channel.close()
                raise
            else:
                return channel
        raise InternalError("No decoder process could be started.")

    async def _watch(self) -> None:
        """Replace the forking process when it has ended or is stuck, for ever."""
        while True:
            await asyncio.sleep(children.LOOK_S)
            answered = not self._pulse.silent
            self._pulse.look(self.pid)
            if self._alive() and not self._pulse.stuck:
                if answered:
                    self._ask()
                continue
            if self._pulse.stuck:
                log.error("the decoder's process is stuck")
                self._stuck += 1
                self._kill()
            try:
                await self.start()
            except Exception:
                log.exception("the decoder's process cannot be started")

    def _ask(self) -> None:
        """Ask for a sign of life."""
        if self._control is not None:
            with contextlib.suppress(OSError):
                self._control.send(SPAWN.pack(0))

    def _alive(self) -> bool:
        """Return whether the forking process is alive. After its start it sends only signs of life and its end."""
        if self._control is None:
            return False
        try:
            data = self._control.recv(64)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        self._pulse.reset()
        return bool(data)

    def _kill(self) -> None:
        """Kill the forking process and all that it forked."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._control is not None:
            self._control.close()
            self._control = None

    async def _end(self) -> None:
        """End the forking process: closing its socket makes it kill its children and exit."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            try:
                async with asyncio.timeout(_END_S):
                    await self._process.wait()
            except TimeoutError:
                self._kill()
                await self._process.wait()
            self._process = None
            self._pulse = children.Pulse()


async def _collect(channel: Channel, hold: Hold) -> Decoded:
    parts: list[bytearray] = []
    while True:
        kind, pcm = await channel.receive()
        if kind is Kind.DONE and parts:
            break
        if kind is not Kind.PCM or len(pcm) != len(parts or pcm):
            raise broken()
        hold.take(sum(map(len, pcm)))
        parts = parts or [bytearray() for _ in pcm]
        for part, plane in zip(parts, pcm, strict=True):
            part += plane
    return Decoded(tuple(parts), len(parts[0]) // BYTES_PER_MS)
