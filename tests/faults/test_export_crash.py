"""What the receiver has is what the ledger has, however often the server is killed and however many answers are lost.

`ANTIPHON_KILLS` sets how often it is killed, times five.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from aiohttp import web
from export_process import Clock

from antiphon.core.usage import By, UsageQuery
from antiphon.stores.sqlite.exports import SqliteExports
from antiphon.stores.sqlite.usage import SqliteUsage
from receivers import FakeStripe, behind

HERE = Path(__file__).parent
KILLS = int(os.environ.get("ANTIPHON_KILLS", "100")) // 5
LOST = 0.2


class Receiver:
    """Stripe behind a socket, with a fifth of its answers lost."""

    def __init__(self):
        self.fake = FakeStripe(Clock())
        self.fake.add_meter("audio")

    async def __aenter__(self):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", behind(self.fake, LOST))
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *error):
        await self._runner.cleanup()


@pytest.fixture
def process():
    started = subprocess.Popen(
        [sys.executable, HERE / "export_process.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield started
    started.stdin.close()
    started.wait(10)
    started.stdout.close()


async def test_the_receivers_sums_are_the_ledgers_after_every_kill(process, tmp_path):
    (tmp_path / "data").mkdir(mode=0o700)
    chance = random.Random(7)

    def case(**values):
        process.stdin.write(json.dumps({"path": str(tmp_path / "data"), "url": receiver.url} | values) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    async with Receiver() as receiver:
        for _ in range(KILLS):
            kill_after_ms = chance.randrange(50, 400)
            ended = await asyncio.to_thread(case, uses=True, kill_after_ms=kill_after_ms)
            assert ended == -signal.SIGKILL
        assert await asyncio.to_thread(case, uses=False, kill_after_ms=60_000) == 0
    totals = await SqliteUsage(tmp_path / "data" / "ledger.db").totals(UsageQuery(by=(By.PROJECT,)))
    assert receiver.fake.sums == Counter({(f"cus_{t.group[0]}", "audio"): t.amount for t in totals})
    assert sum(receiver.fake.sums.values()) > 0
    exports = SqliteExports(tmp_path / "data" / "exports.db")
    [status] = await exports.status()
    assert status.taken > KILLS
    assert (status.waiting, status.gaps) == (0, 0)
    await exports.close()
    assert all(len(bodies) == 1 for bodies in receiver.fake.bodies.values())
