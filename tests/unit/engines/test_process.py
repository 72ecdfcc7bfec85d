"""A process that is kept running, where the machine does not let it."""

import asyncio
import errno
import os
import signal
import socket
import threading

import msgspec
import pytest
from far_end import FarEnd, ready

from antiphon import children
from antiphon.core.errors import EngineError, EngineTimeout
from antiphon.engines import process
from antiphon.engines.process import BEAT, KeptProcess, Unloadable, beating


class Loaded(msgspec.Struct, tag=True, array_like=True, frozen=True):
    pass


decoder = msgspec.msgpack.Decoder(Loaded | Unloadable)


class Kept(KeptProcess):
    """A module that is none ends at once, and so does what was to be loaded."""

    worker = "antiphon.engines.nothing"
    name = "thing"

    def handle(self, body):
        pass

    def ready(self, loaded):
        pass

    def forsaken(self, failure):
        pass


def no_descriptor():
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


async def test_what_cannot_be_started_is_an_error_of_the_engine(monkeypatch):
    with pytest.raises(EngineError, match="ended while it loaded"):
        await Kept(Unloadable("x"))._begin()
    monkeypatch.setattr(socket, "socketpair", no_descriptor)
    with pytest.raises(EngineError, match="cannot be started"):
        await Kept(Unloadable("x"))._begin()


async def test_where_no_descriptor_is_left_it_is_started_later(monkeypatch):
    pauses, moment = [], asyncio.sleep

    class Starting(Kept):
        starts = 0

        async def _load(self):
            self.starts += 1
            if self.starts == 2:
                monkeypatch.setattr(socket, "socketpair", no_descriptor)
                await self._spawn()
            self._process = await asyncio.create_subprocess_exec("sleep", "60")

    async def sleep(seconds):
        pauses.append(seconds)

    kept = await Starting(Unloadable("x"))._begin()
    monkeypatch.setattr(process.asyncio, "sleep", sleep)
    os.kill(kept._process.pid, signal.SIGKILL)
    kept._gone.set()
    async with asyncio.timeout(60):
        while kept.starts < 3:
            await moment(0.01)
    assert pauses == [process.FIRST_PAUSE_S]
    await kept.close()


class Far(FarEnd):
    decoder = decoder

    async def asked_to_live(self):
        async with asyncio.timeout(60):
            assert await self._exactly(len(BEAT)) == BEAT


class Watched(Kept):
    """Its processes are the test's."""

    def __init__(self):
        super().__init__(Loaded())
        self.ends = asyncio.Queue()
        self.failures = []

    async def _spawn(self):
        return Far.spawned(self.ends)

    def handle(self, body):
        return decoder.decode(body)

    def forsaken(self, failure):
        self.failures.append(failure)


@pytest.fixture
async def kept(monkeypatch):
    """One that is loaded, and its far end. It is looked at every few milliseconds."""
    monkeypatch.setattr(children, "LOOK_S", 0.005)
    kept = Watched()
    begun = asyncio.create_task(kept._begin())
    far = await loaded(kept)
    await begun
    yield kept, far
    await kept.close()


async def loaded(kept):
    far = await kept.ends.get()
    assert await far.told() == Loaded()
    await far.say(Loaded())
    return far


async def test_one_that_gives_signs_of_life_is_left_alone(kept):
    kept, far = kept
    for _ in range(3 * children.STILL_LOOKS):
        await far.asked_to_live()
        await far._loop.sock_sendall(far._socket, BEAT)
    assert (kept.up, kept.failures, kept._stuck) == (True, [], 0)


async def test_one_that_gives_none_is_given_up_and_replaced(kept):
    kept, far = kept
    await far.asked_to_live()
    another = await loaded(kept)
    await ready(kept)
    (failure,) = kept.failures
    assert isinstance(failure, EngineTimeout)
    assert "was stuck" in failure.message
    assert failure.retry_after_s == 1
    assert (kept._stuck, kept._restarts) == (1, 1)
    await another.asked_to_live()  # only once while it does not answer
    assert await far._loop.sock_recv(far._socket, 1) == b""


async def test_one_that_stands_still_while_it_loads_is_given_up(kept):
    kept, far = kept
    far.die()
    stopped = await kept.ends.get()
    await stopped.told()
    stuck = kept._loaded
    with pytest.raises(EngineTimeout, match="was stuck while it loaded"):
        await stuck


async def test_one_that_loads_for_long_says_so(kept):
    kept, far = kept
    far.die()
    slow = await kept.ends.get()
    await slow.told()
    for _ in range(4 * children.STILL_LOOKS):
        await slow._loop.sock_sendall(slow._socket, BEAT)
        await asyncio.sleep(children.LOOK_S / 2)
    await slow.say(Loaded())
    await ready(kept)
    assert kept._stuck == 0


async def test_what_is_owed_too_long_is_a_process_that_is_stuck(kept):
    kept, _ = kept
    with pytest.raises(EngineTimeout, match="did not answer"):
        async with kept._owed(0.001):
            await asyncio.Event().wait()
    await loaded(kept)
    await ready(kept)
    assert kept._stuck == 1


async def test_the_time_to_come_again_is_what_is_left_of_a_load(kept):
    kept, far = kept
    kept._load_s = 20.0
    far.die()
    await kept.ends.get()
    (failure,) = kept.failures
    assert (type(failure), failure.retry_after_s) == (EngineError, 20)
    with pytest.raises(EngineError) as away:
        await kept.check()
    assert away.value.retry_after_s == 20
    kept._ready_s -= 17.5
    with pytest.raises(EngineError) as away:
        await kept.check()
    assert away.value.retry_after_s == 3
    kept._ready_s -= 17.5
    with pytest.raises(EngineError) as away:
        await kept.check()
    assert away.value.retry_after_s == 1


def test_a_process_that_loads_gives_signs_of_life(monkeypatch):
    monkeypatch.setattr(children, "LOOK_S", 0.001)
    signs = []
    thrice = threading.Event()

    def send(sign):
        signs.append(sign)
        if len(signs) == 3:
            thrice.set()
            raise BrokenPipeError  # the server is gone

    with beating(send):
        assert thrice.wait(10)
    assert signs == [BEAT] * 3
