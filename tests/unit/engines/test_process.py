"""A process that is kept running, where the machine does not let it."""

import asyncio
import errno
import os
import signal
import socket

import pytest

from antiphon.core.errors import EngineError
from antiphon.engines import process
from antiphon.engines.process import KeptProcess, Unloadable


class Kept(KeptProcess):
    """A module that is none ends at once, and so does what was to be loaded."""

    worker = "antiphon.engines.nothing"
    name = "thing"

    def heard(self, body):
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
    async with asyncio.timeout(10):
        while kept.starts < 3:
            await moment(0.01)
    assert pauses == [process.FIRST_PAUSE_S]
    await kept.close()
