"""The server's side of a voice's process: each piece of speech is computed when it is asked for.

A closed generator drops its clause in the process. When the process dies, a new one loads the voice, and open clauses
continue: they are computed again, and what was sent of them is skipped. Clauses that the process was working on are
suspects, and get one more try, one at a time. One that was alone when the process crashed by itself gets none: its text
is `UnspeakableText`.
"""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from antiphon.core.errors import CallerError, CapacityError, EngineError, EngineTimeout, UnspeakableText
from antiphon.core.ports import Clause
from antiphon.engines.piper.messages import Drop, Failed, Load, More, Piece, Ready, Speak, report_decoder
from antiphon.engines.process import KeptProcess, Unloadable, frame

MOST_CHARACTERS = 2000  # of a clause
SLOWEST, FASTEST = 0.25, 4.0
LONGEST_PIECE_S = 30.0  # usually a fraction of a second
RESTART_S = 15.0  # from the end of its process until its clauses fail
MOST_CRASHES = 2  # a clause that was computed during so many fails
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS)


@dataclass(frozen=True, slots=True)
class PiperSettings:
    """The settings of a voice. `speaker` is the number of the speaker, if there are several. `workers` pieces are
    computed at once, by `threads` threads each; 0 workers means as many as use every core. Two threads per piece give
    the earliest first sounds. `max_clauses` are open at once, including waiting ones.
    """

    speaker: int = 0
    workers: int = 0
    threads: int = 2
    max_clauses: int = 256

    def __post_init__(self) -> None:
        for setting, least in (("speaker", 0), ("workers", 0), ("threads", 1), ("max_clauses", 1)):
            if getattr(self, setting) < least:
                raise CallerError(f"{setting} must be {least} or more", param=setting)


@dataclass(frozen=True, slots=True)
class PiperStats:
    """The state of a voice. `running` clauses are open; `rss_bytes` is all memory of its process. That was restarted
    `restarts` times, `stuck` of them because it was stuck, and answers now if it is `up`.
    """

    running: int
    rss_bytes: int
    restarts: int
    stuck: int
    up: bool


class _Speech:
    """An open clause. `number` is its id in the process; after a crash it gets another."""

    __slots__ = ("alone", "awaited", "crashes", "number")

    def __init__(self) -> None:
        self.number = -1
        self.awaited: asyncio.Future[Piece] | None = None  # `None` while nothing is requested
        self.crashes = 0  # of the process, while this was computed
        self.alone = False  # the only one computed, in the last crash


class _Lost(Exception):
    """The process has ended, and the rest of a clause is lost."""


class PiperVoice(KeptProcess):
    """One voice. Use `start`. At most `workers` pieces are computed at once, in the order of requests. `language` is a
    BCP 47 tag.
    """

    worker = "antiphon.engines.piper.worker"
    name = "voice"

    def __init__(self, path: Path, settings: PiperSettings) -> None:
        self.workers = settings.workers or max(1, (os.cpu_count() or 1) // settings.threads)
        super().__init__(Load(str(path.absolute()), settings.speaker, self.workers, settings.threads))
        self.sample_rate = 0
        self.language = ""
        self._max_clauses = settings.max_clauses
        self._speeches: dict[int, _Speech] = {}  # the open ones by number; the last to ask is last
        self._open_count = 0
        self._next = 0
        self._up = asyncio.Event()
        self._back_by_s = 0.0  # the loop's time until which clauses wait for a restart
        self._lost_by: EngineError | None = None
        self._crashed = False  # the last process that ended, by itself
        self._suspects = asyncio.Lock()
        self._closed = False

    @classmethod
    async def start(cls, path: Path, settings: PiperSettings = PiperSettings()) -> "PiperVoice":
        """Load a voice. `path` is a folder with one (NAME.onnx and NAME.onnx.json), or the .onnx. Raises `EngineError`
        if it cannot be loaded.
        """
        return await cls(path, settings)._begin()

    # -- asking --------------------------------------------------------------------------------------------------------

    async def synthesise(self, clause: Clause) -> AsyncGenerator[bytes, None]:
        """Speak a clause: see `core.ports.Synthesiser`. The same clause always sounds the same. Raises `CallerError` if
        it is too long or too fast, `UnspeakableText`, and `CapacityError` if too many are open.
        """
        if len(clause.text) > MOST_CHARACTERS:
            raise CallerError(f"A clause has at most {MOST_CHARACTERS} characters.")
        if not SLOWEST <= clause.speed <= FASTEST:
            raise CallerError(f"The speed must be between {SLOWEST} and {FASTEST}.", param="speed")
        if self._open_count >= self._max_clauses:
            raise CapacityError("The voice has reached its maximum number of clauses.", retry_after_s=1)
        text = clause.text.encode("utf-8", "replace").decode()  # a lone surrogate cannot be encoded
        speech, position = _Speech(), 0  # in the bytes of the clause that were passed on
        self._open_count += 1
        try:
            while True:
                transport = await self._process_for(speech)
                try:
                    made, ended = 0, False
                    ask: msgspec.Struct = Speak(speech.number, text, clause.speed)
                    while not ended:
                        piece = await self._piece(speech, transport, ask)
                        ended, ask = piece.last, More(speech.number)
                        fresh = piece.pcm[max(0, position - made) :]
                        made += len(piece.pcm)
                        if fresh:
                            position = made
                            yield fresh
                    return
                except _Lost:
                    pass
                finally:
                    self._leave(speech, None if ended else transport)
        finally:
            self._open_count -= 1

    async def _process_for(self, speech: _Speech) -> asyncio.Transport:
        """Return the process, with a new number for the clause. Waits for one that is being restarted. Raises the error
        of a clause without more tries.
        """
        loop = asyncio.get_running_loop()
        if not self._up.is_set() and not self._closed and loop.time() < self._back_by_s:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._back_by_s):
                    await self._up.wait()
        if speech.crashes and self._has_no_tries(speech):
            if isinstance(self._lost_by, EngineTimeout):
                raise self._lost_by
            raise UnspeakableText("This text crashes the voice.")
        transport = self._open()
        speech.number, self._next = self._next, self._next + 1
        self._speeches[speech.number] = speech
        return transport

    def _has_no_tries(self, speech: _Speech) -> bool:
        by_itself = self._crashed or isinstance(self._lost_by, EngineTimeout)
        return speech.crashes >= MOST_CRASHES or (speech.alone and by_itself)

    async def _piece(self, speech: _Speech, transport: asyncio.Transport, ask: msgspec.Struct) -> Piece:
        """Return the next piece. Raises `_Lost`, and `UnspeakableText` or `EngineError` if the process could not speak
        it.
        """
        async with self._suspects if speech.crashes else nullcontext():
            if transport is not self._transport:
                raise _Lost
            self._speeches[speech.number] = self._speeches.pop(speech.number)  # the last to ask
            speech.awaited = asyncio.get_running_loop().create_future()
            transport.write(frame(ask))
            try:
                async with self._owed(LONGEST_PIECE_S):
                    return await speech.awaited
            finally:
                speech.awaited = None

    def _leave(self, speech: _Speech, dropped: asyncio.Transport | None) -> None:
        del self._speeches[speech.number]
        if dropped is not None and dropped is self._transport:
            dropped.write(frame(Drop(speech.number)))

    def stats(self) -> PiperStats:
        return PiperStats(self._open_count, self._rss_bytes(), self._restarts, self._stuck, self.up)

    # -- hearing -------------------------------------------------------------------------------------------------------

    def handle(self, body: bytes) -> msgspec.Struct | None:
        report = report_decoder.decode(body)
        if isinstance(report, Ready | Unloadable):
            return report
        speech = self._speeches.get(report.number)
        awaited = None if speech is None else speech.awaited
        if awaited is not None and not awaited.done():
            if not isinstance(report, Failed):
                awaited.set_result(report)
            elif report.unspeakable:
                awaited.set_exception(UnspeakableText("The voice cannot speak this text."))
            else:
                awaited.set_exception(EngineError("The voice failed to speak this text."))
        return None

    def ready(self, loaded: Ready) -> None:
        self.sample_rate, self.language = loaded.sample_rate, loaded.language
        self._up.set()

    def forsaken(self, failure: EngineError) -> None:
        if self._up.is_set():
            self._up.clear()
            self._lost_by = failure
            self._back_by_s = asyncio.get_running_loop().time() + RESTART_S
        waiting = [speech for speech in self._speeches.values() if speech.awaited and not speech.awaited.done()]
        at_work = waiting[: self.workers]  # it computes in the order of requests
        for speech in self._speeches.values():
            suspected = speech in at_work
            speech.crashes += suspected
            speech.alone = suspected and len(at_work) == 1
        for speech in waiting:
            if speech.awaited is not None:
                speech.awaited.set_exception(_Lost)

    async def _reap(self) -> None:
        await super()._reap()
        self._crashed = self._process is not None and -(self._process.returncode or 0) in _CRASHES

    async def close(self) -> None:
        self._closed = True
        self._up.set()  # nobody waits for it any more
        await super().close()
