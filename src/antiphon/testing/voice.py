"""An engine that hums, and one that says when words are said."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING

from antiphon.core import ports
from antiphon.core.audio import BYTES_PER_MS
from antiphon.core.errors import EngineError
from antiphon.core.ports import Clause
from antiphon.testing.clock import FakeClock


class FakeSynthesiser:
    """A voice whose every letter is a tone of 10 ms, louder for later letters of the alphabet, in pieces of one word.

    `clauses` has those that were begun. A step takes `step_ms` of the clock, and waits for `gate`; the next step raises
    `error`, if set.
    """

    sample_rate = 16_000

    def __init__(self, clock: FakeClock) -> None:
        self.clauses: list[Clause] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.step_ms = 0
        self.error: EngineError | None = None
        self.dropped = 0
        self._clock = clock

    async def synthesise(self, clause: Clause) -> AsyncGenerator[bytes, None]:
        self.clauses.append(clause)
        words = clause.text.split()
        for number, word in enumerate(words):
            await self.gate.wait()
            self._clock.advance_ms(self.step_ms)
            if self.error is not None:
                raise self.error
            try:
                yield b"".join(_tone(letter, clause.speed) for letter in word)
            except GeneratorExit:
                self.dropped += len(words) - number - 1
                raise

    async def check(self) -> None:
        if self.error is not None:
            raise self.error

    async def close(self) -> None:
        pass


def _tone(letter: str, speed: float) -> bytes:
    level = 1000 + 100 * (ord(letter) % 32)
    samples = round(FakeSynthesiser.sample_rate * 0.01 / speed)
    return b"".join((level if n % 2 else -level).to_bytes(2, "little", signed=True) for n in range(samples))


class FakeAligner:
    """An aligner that gives every word an equal part of the audio."""

    def align(self, pcm: bytes, words: Sequence[str]) -> list[tuple[int, int]]:
        length_ms = len(pcm) // BYTES_PER_MS
        return [(length_ms * n // len(words), length_ms * (n + 1) // len(words)) for n in range(len(words))]


if TYPE_CHECKING:  # makes mypy check that the fake implements its port
    _SYNTHESISER: type[ports.Synthesiser] = FakeSynthesiser
    _ALIGNER: type[ports.Aligner] = FakeAligner
