"""What the server believes of a decoder process, which hostile input may have taken over: nothing beyond the limits."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from itertools import count, repeat

import pytest
from event_loop import later, settle

from antiphon import children
from antiphon.audio.channel import Channel, Stuck
from antiphon.audio.frames import HEADER, PID, Kind, Verdict, header
from antiphon.core.errors import BadMedia, EngineError, EngineTimeout, InternalError, TooLarge

FORKER, DECODER = 6, 7


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    channel = Channel(ours, max_audio_ms=10, forker=FORKER)
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
def used(monkeypatch: pytest.MonkeyPatch) -> dict[int, Iterator[float]]:
    """What each process has used of a processor at each further look."""
    used = {FORKER: repeat(0.0), DECODER: repeat(0.0)}
    monkeypatch.setattr(children, "processor_s", lambda pid: next(used[pid]))
    monkeypatch.setattr(children, "at_work", lambda pid: False)
    return used


@pytest.fixture
async def named(ends: tuple[Channel, socket.socket]) -> Channel:
    """A channel whose decoder has said which process it is."""
    channel, theirs = ends
    theirs.sendall(header(Kind.MORE, PID.size) + PID.pack(DECODER))
    await channel.receive()
    return channel


async def due(monkeypatch: pytest.MonkeyPatch, channel: Channel, wall_s: int, cpu_s: int) -> int:
    """Wait for an answer, look after look. Returns how many there were."""

    async def answer() -> None:
        async with channel.awaited(wall_s, cpu_s):
            await channel.receive()

    looks, answering = 0, asyncio.create_task(answer())
    await settle()
    while not answering.done():
        looks += 1
        await later(monkeypatch, children.LOOK_S)
    await answering
    return looks


async def test_a_decoder_that_stands_still_is_not_the_media_s_fault(
    named: Channel, used: dict[int, Iterator[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Stuck):
        await due(monkeypatch, named, 60, 60)


async def test_one_that_uses_what_it_may_is(
    named: Channel, used: dict[int, Iterator[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    used[DECODER] = count(0.0, 0.1)
    with pytest.raises(TooLarge):
        await due(monkeypatch, named, 10, 1)


async def test_one_that_does_not_get_to_is_not(
    named: Channel, used: dict[int, Iterator[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    used[DECODER] = count(0.0, 0.1)
    with pytest.raises(EngineTimeout) as late:
        await due(monkeypatch, named, 10, 10_000)
    assert not isinstance(late.value, Stuck)


async def test_one_that_the_machine_gives_no_time_is_not_stuck(
    named: Channel, used: dict[int, Iterator[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "at_work", lambda pid: pid == DECODER)
    with pytest.raises(EngineTimeout) as late:
        await due(monkeypatch, named, 10, 10)
    assert not isinstance(late.value, Stuck)


async def test_until_a_decoder_is_known_what_forks_it_is_watched(
    ends: tuple[Channel, socket.socket], used: dict[int, Iterator[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, theirs = ends
    monkeypatch.setattr(children, "at_work", lambda pid: pid == FORKER)
    used[FORKER] = repeat(7.0)
    waiting = asyncio.create_task(due(monkeypatch, channel, 60, 0))
    for _ in range(20):
        await settle()
    assert not waiting.done()
    theirs.sendall(header(Kind.MORE, PID.size) + PID.pack(DECODER))
    assert await waiting > children.STILL_LOOKS
    # What the other process had used is not taken for the decoder's.
    used[DECODER] = count(0.0, children.BUSY_S)
    with pytest.raises(TooLarge):
        await due(monkeypatch, channel, 30, 1)


async def test_one_that_answers_in_time(
    ends: tuple[Channel, socket.socket],
    named: Channel,
    used: dict[int, Iterator[float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, theirs = ends
    for _ in range(3):
        theirs.sendall(header(Kind.MORE))
        assert await due(monkeypatch, named, 60, 60) == 0
