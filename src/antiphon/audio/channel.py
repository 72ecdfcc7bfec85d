"""One decoder process, as the server sees it: what it is sent, what it answers, and what its end means."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator

from antiphon import children
from antiphon.audio.frames import HEADER, PID, Kind, Verdict, header
from antiphon.core.audio import BYTES_PER_MS
from antiphon.core.errors import AntiphonError, BadMedia, EngineError, EngineTimeout, InternalError, TooLarge

_SLACK_BYTES = 64 * 1024  # for what is not audio: verdicts and their messages
_NEVER_READ = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)


class Stuck(EngineTimeout):
    """A decoder was stopped, or waits for something that never comes."""


class Channel:
    """The server's end of one job's socket, in lock-step with its decoder (see `frames`).

    It trusts nothing: a decoder that its input has taken over can return wrong samples, but neither more than
    `max_audio_ms` of them for each `send`, nor anything else. `forker` is the id of the process that forks the decoder;
    it is watched until the decoder has sent its own.
    """

    def __init__(self, sock: socket.socket, max_audio_ms: int, forker: int | None) -> None:
        self._sock, self._loop = sock, asyncio.get_running_loop()
        self._max_bytes = self._left_bytes = max_audio_ms * BYTES_PER_MS
        self._watched, self._named = forker, False
        self._pulse = children.Pulse()

    async def send(self, kind: Kind, payload: bytes = b"") -> None:
        self._left_bytes = self._max_bytes
        try:
            await self._loop.sock_sendall(self._sock, header(kind, len(payload)))
            if payload:
                await self._loop.sock_sendall(self._sock, payload)
        except ConnectionError:
            pass  # it has ended: its last message, or the lack of one, is still to be read

    async def receive(self) -> tuple[Kind, list[memoryview]]:
        """Return a kind, and for `PCM` the samples of each channel. Raises the error that a failed decoder stands
        for.
        """
        number, channels, length = HEADER.unpack(await self._exactly(HEADER.size))
        try:
            kind = Kind(number)
            self._left_bytes -= length
            if self._left_bytes < -_SLACK_BYTES or (kind is Kind.PCM) != bool(channels):
                raise broken()
            payload = await self._exactly(length)
            if kind is Kind.FAIL:
                raise _failure(Verdict(payload[0]), payload[1:].decode())
            if kind is Kind.DIED:
                raise _death(payload[0])
            if kind is Kind.MORE and not self._named and length == PID.size:  # the first, before any input
                (self._watched,), self._named = PID.unpack(payload), True
                self._pulse = children.Pulse()
            return kind, _planes(payload, channels)
        except (ValueError, LookupError):
            raise broken() from None

    @contextlib.asynccontextmanager
    async def awaited(self, wall_s: int, cpu_s: int) -> AsyncIterator[None]:
        """Bound the wait for an answer. Raises `Stuck` for a decoder that is stuck (`children.Pulse`), `TooLarge` after
        `wall_s` if it used at least half of the `cpu_s` that it may, and else `EngineTimeout`, because it got no
        processor.
        """
        loop = self._loop
        ends_s = loop.time() + wall_s
        looked: list[float] = []  # processor time of the decoder at the first look and the last
        self._pulse.reset()
        timer: asyncio.TimerHandle

        def look() -> None:  # the only timer of an answer that comes at once, as most do
            nonlocal timer
            looked[1:] = [self._pulse.look(self._watched)]
            if self._pulse.stuck or loop.time() >= ends_s:
                limit.reschedule(loop.time())
            else:
                timer = loop.call_later(children.LOOK_S, look)

        try:
            async with asyncio.timeout(None) as limit:
                timer = loop.call_later(min(children.LOOK_S, wall_s), look)
                try:
                    yield
                finally:
                    timer.cancel()
        except TimeoutError:
            if self._pulse.stuck:
                raise Stuck("The decoder stood still.") from None
            if cpu_s and looked[-1] - looked[0] >= cpu_s / 2:
                raise TooLarge(f"Decoding takes longer than the limit of {wall_s} s.") from None
            raise EngineTimeout(f"The decoder did not start within {wall_s} s.") from None

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
                raise EngineError("The decoder process ended without a result.")
            done += count
        self._pulse.reset()
        return data


def _planes(payload: bytearray, channels: int) -> list[memoryview]:
    if not channels:
        return []
    view, length = memoryview(payload), len(payload) // channels
    if length * channels != len(payload) or length % 2:
        raise ValueError("channels of unequal length")
    return [view[index * length : (index + 1) * length] for index in range(channels)]


def broken() -> InternalError:
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
        return TooLarge("Decoding exceeds the limit of processor time.")
    if number in _NEVER_READ:
        return BadMedia("The audio is damaged and crashes the decoder.")
    return EngineError("The decoder process was killed.")
