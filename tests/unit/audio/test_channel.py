"""What the server believes of a decoder process, which hostile input may have taken over: nothing beyond the limits."""

import socket
from collections.abc import AsyncIterator

import pytest

from antiphon.audio import channel as channels
from antiphon.audio.channel import Channel, Stuck
from antiphon.audio.frames import HEADER, Kind, Verdict, header
from antiphon.core.errors import BadMedia, EngineError, EngineTimeout, InternalError, TooLarge


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    channel = Channel(ours, max_audio_ms=10)
    yield channel, theirs
    channel.close()
    theirs.close()


def _pcm(length: int, channels: int = 1) -> bytes:
    return header(Kind.PCM, length, channels) + bytes(length)


async def test_samples_come_apart_by_channel(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    theirs.sendall(header(Kind.PCM, 8, 2) + b"aabbccdd" + header(Kind.DONE))
    assert await channel.receive() == (Kind.PCM, [b"aabb", b"ccdd"])
    assert await channel.receive() == (Kind.DONE, [])


@pytest.mark.parametrize(
    "answer",
    [
        HEADER.pack(99, 0, 0),
        _pcm(6, 2),
        _pcm(8, 0),
        _pcm(3),
        header(Kind.MORE, 0, 1),
        header(Kind.FAIL),
        header(Kind.FAIL, 1) + b"\x63",
        header(Kind.FAIL, 2) + b"\x01\xff",
        header(Kind.PCM, 0xFFFFFFFF, 1),
    ],
)
async def test_nonsense_is_a_defect(ends: tuple[Channel, socket.socket], answer: bytes) -> None:
    channel, theirs = ends
    theirs.sendall(answer)
    with pytest.raises(InternalError):
        await channel.receive()


async def test_more_samples_than_the_limit_are_not_taken(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    limit = 320 + 64 * 1024
    for _ in range(limit // 3_200):
        theirs.sendall(_pcm(3_200))
        await channel.receive()
    theirs.sendall(_pcm(3_200))
    with pytest.raises(InternalError):
        await channel.receive()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (header(Kind.FAIL, 4) + bytes([Verdict.BAD_MEDIA]) + b"bad", BadMedia),
        (header(Kind.FAIL, 4) + bytes([Verdict.TOO_LARGE]) + b"big", TooLarge),
        (header(Kind.FAIL, 4) + bytes([Verdict.DEFECT]) + b"our", InternalError),
        (header(Kind.DIED, 1) + bytes([24]), TooLarge),  # SIGXCPU
        (header(Kind.DIED, 1) + bytes([11]), BadMedia),  # SIGSEGV
        (header(Kind.DIED, 1) + bytes([9]), EngineError),  # SIGKILL
    ],
)
async def test_failures_by_blame(ends: tuple[Channel, socket.socket], answer: bytes, error: type[Exception]) -> None:
    channel, theirs = ends
    theirs.sendall(answer)
    with pytest.raises(error):
        await channel.receive()


async def test_an_end_in_the_middle(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    theirs.sendall(_pcm(100)[:50])
    theirs.close()
    with pytest.raises(EngineError):
        await channel.receive()


# -- while an answer is due --------------------------------------------------------------------------------------------


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the decoder has used of a processor at each further look, which come in milliseconds."""
    used: list[float] = []
    monkeypatch.setattr(channels, "LOOK_S", 0.002)
    monkeypatch.setattr(channels, "processor_s", lambda pid: used.pop(0) if len(used) > 1 else used[0])
    return used


async def due(channel: Channel, wall_s: float, cpu_s: int) -> None:
    async with channel.awaited(wall_s, cpu_s):  # type: ignore[arg-type]
        await channel.receive()


async def test_a_decoder_that_stands_still_is_not_the_media_s_fault(
    ends: tuple[Channel, socket.socket], used: list[float]
) -> None:
    used += [0.0]
    with pytest.raises(Stuck):
        await due(ends[0], 60, 60)


async def test_one_that_uses_what_it_may_is(ends: tuple[Channel, socket.socket], used: list[float]) -> None:
    used += [0.1 * number for number in range(10_000)]
    with pytest.raises(TooLarge):
        await due(ends[0], 0.1, 1)


async def test_one_that_does_not_get_to_is_not(ends: tuple[Channel, socket.socket], used: list[float]) -> None:
    used += [0.1 * number for number in range(10_000)]
    with pytest.raises(EngineTimeout) as late:
        await due(ends[0], 0.1, 10_000)
    assert not isinstance(late.value, Stuck)


async def test_one_that_answers_in_time(ends: tuple[Channel, socket.socket], used: list[float]) -> None:
    channel, theirs = ends
    used += [0.0]
    for _ in range(3):
        theirs.sendall(header(Kind.MORE))
        await due(channel, 60, 60)
