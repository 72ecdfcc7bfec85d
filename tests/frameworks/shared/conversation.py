"""Holds a spoken conversation with a framework's agent in memory: a line on which the caller's turns are said in real
time, and who says the next one when.
"""

import asyncio
import time
import wave
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

RATE_HZ = 16_000
PIECE_S = 0.02
PIECE_BYTES = round(RATE_HZ * PIECE_S) * 2
CUTS, BARGE_AFTER_S = 2, 1.0
ANSWER_S, REPLY_S = 30.0, 60.0
PAUSE_S = 1.0

SYSTEM = "You are a friendly speaker. Answer in plain English sentences."
REPLY_TOKENS = 40


@dataclass(frozen=True, slots=True)
class Call:
    """What is said to the agent: `turns` are 16 kHz mono WAV files in `folder`, where the replies are kept too."""

    turns: Sequence[Path]
    folder: Path

    @classmethod
    def of(cls, folder: str) -> "Call":
        return cls(sorted(Path(folder).glob("turn-*.wav")), Path(folder))


@dataclass
class Microphone:
    """Sound in real time, 20 ms of it at a time: silence, but for the turn that is being said."""

    _waiting: bytearray = field(default_factory=bytearray)
    _open: bool = True

    async def pieces(self) -> AsyncIterator[bytes]:
        due = time.monotonic()
        while self._open:
            piece = bytes(self._waiting[:PIECE_BYTES])
            del self._waiting[:PIECE_BYTES]
            yield piece.ljust(PIECE_BYTES, b"\0")
            due += PIECE_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def say(self, turn: Path) -> None:
        """Returns when all of it has been said."""
        with wave.open(str(turn)) as file:
            assert file.getframerate() == RATE_HZ
            self._waiting += file.readframes(file.getnframes())
        await until(lambda: not self._waiting, REPLY_S, "the turn was said")

    def close(self) -> None:
        self._open = False


class Agent(Protocol):
    """What is seen of the other side."""

    begun: int  # replies that were begun to be spoken
    cut: int  # of these, how many the caller broke into
    speaking: bool


async def until(holds: Callable[[], bool], limit_s: float, what: str) -> None:
    deadline = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {limit_s} s: {what}")
        await asyncio.sleep(PIECE_S)


async def hold(call: Call, microphone: Microphone, agent: Agent) -> None:
    """Says all turns: each after the reply before has ended, or into it until two replies have been cut. Not into two
    replies in succession, and not into the first. A model may be brief, and a reply end before it can be cut.
    """
    barged = True
    for number, turn in enumerate(call.turns):
        await microphone.say(turn)
        begun = agent.begun
        await until(
            lambda begun=begun: agent.speaking or agent.begun > begun, ANSWER_S, f"a reply to turn {number} began"
        )
        if agent.cut < CUTS and not barged:
            barged = True
            await asyncio.sleep(BARGE_AFTER_S)
            if agent.speaking:
                continue
        barged = False
        await until(lambda: not agent.speaking, REPLY_S, f"the reply to turn {number} ended")
        await asyncio.sleep(PAUSE_S)


def keep(call: Call, number: int, pcm: bytes, rate_hz: int) -> str:
    """Writes a reply's sound, mono int16. Returns its path."""
    path = call.folder / f"reply-{number:02d}.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(pcm)
    return str(path)
