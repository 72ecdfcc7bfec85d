"""The server's side of a voice's process: each piece of speech is asked for, and computed when it is asked for.

A generator that is closed drops its clause inside the process. What runs when the process dies fails with
`EngineError`, and a new process loads the voice.
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from antiphon.core.errors import CallerError, CapacityError, EngineError
from antiphon.core.ports import Clause
from antiphon.engines.piper.messages import Drop, Failed, Load, More, Piece, Ready, Speak, report_decoder
from antiphon.engines.process import KeptProcess, Unloadable, frame

MOST_CHARACTERS = 2000  # of a clause
SLOWEST, FASTEST = 0.25, 4.0


@dataclass(frozen=True, slots=True)
class PiperSettings:
    """`speaker` is the number of a voice's speaker, where it has several. `workers` pieces are computed at once, by
    `threads` threads each; 0 workers are as many as use every core. Two threads a piece bring first sounds soonest.
    `max_clauses` are open at once, waiting ones included.
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
    """`running` clauses are begun and not ended; `rss_bytes` is all memory of the voice's process."""

    running: int
    rss_bytes: int
    restarts: int


class PiperVoice(KeptProcess):
    """One voice. Use `start`. At most `workers` pieces are computed at once, in the order in which they are asked for.

    `language` is a BCP 47 tag.
    """

    worker = "antiphon.engines.piper.worker"
    name = "voice"

    def __init__(self, path: Path, settings: PiperSettings) -> None:
        self.workers = settings.workers or max(1, (os.cpu_count() or 1) // settings.threads)
        super().__init__(Load(str(path), settings.speaker, self.workers, settings.threads))
        self.sample_rate = 0
        self.language = ""
        self._max_clauses = settings.max_clauses
        self._awaited: dict[int, asyncio.Future[Piece] | None] = {}  # by clause; `None` while nothing is asked for
        self._next = 0

    @classmethod
    async def start(cls, path: Path, settings: PiperSettings = PiperSettings()) -> "PiperVoice":
        """`path` is a folder with one voice (NAME.onnx and NAME.onnx.json), or the .onnx. Raises `EngineError` if it
        cannot be loaded.
        """
        return await cls(path, settings)._begin()

    # -- asking --------------------------------------------------------------------------------------------------------

    async def synthesise(self, clause: Clause) -> AsyncGenerator[bytes, None]:
        """See `core.ports.Synthesiser`. The same clause always sounds the same. Raises `CallerError` for one that is
        too long or too fast, `CapacityError` where too many are open.
        """
        if len(clause.text) > MOST_CHARACTERS:
            raise CallerError(f"A clause has at most {MOST_CHARACTERS} characters.")
        if not SLOWEST <= clause.speed <= FASTEST:
            raise CallerError(f"The speed is between {SLOWEST} and {FASTEST}.", param="speed")
        transport = self._open()
        if len(self._awaited) >= self._max_clauses:
            raise CapacityError("The voice has as many clauses as it can take.", retry_after_s=1)
        number, self._next = self._next, self._next + 1
        text = clause.text.encode("utf-8", "replace").decode()  # a lone surrogate cannot travel
        ask: msgspec.Struct = Speak(number, text, clause.speed)
        ended = False
        self._awaited[number] = None
        try:
            while not ended:
                if transport is not self._transport:
                    raise EngineError("The voice's process has ended; it is started again.", retry_after_s=5)
                awaited = self._awaited[number] = asyncio.get_running_loop().create_future()
                transport.write(frame(ask))
                piece = await awaited
                self._awaited[number] = None
                ended = piece.last
                ask = More(number)
                if piece.pcm:
                    yield piece.pcm
        finally:
            del self._awaited[number]
            if not ended and transport is self._transport:
                transport.write(frame(Drop(number)))

    def stats(self) -> PiperStats:
        return PiperStats(running=len(self._awaited), rss_bytes=self._rss_bytes(), restarts=self._restarts)

    # -- hearing -------------------------------------------------------------------------------------------------------

    def heard(self, body: bytes) -> msgspec.Struct | None:
        report = report_decoder.decode(body)
        if isinstance(report, Ready | Unloadable):
            return report
        awaited = self._awaited.get(report.number)
        if awaited is not None and not awaited.done():
            if isinstance(report, Failed):
                awaited.set_exception(EngineError("The voice could not speak this."))
            else:
                awaited.set_result(report)
        return None

    def ready(self, loaded: Ready) -> None:
        self.sample_rate, self.language = loaded.sample_rate, loaded.language

    def forsaken(self, failure: EngineError) -> None:
        for awaited in self._awaited.values():
            if awaited is not None and not awaited.done():
                awaited.set_exception(failure)
