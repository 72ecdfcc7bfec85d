"""A server's usage and its export, in a process that is killed, for `test_export_crash.py`. Lines of standard input are
cases, as those of `ledger_process.py`.
"""

import asyncio
import itertools
import json
import os
import random
import sys
import time
import uuid
from pathlib import Path

from ledger_process import listen

from antiphon.core.entry import Entry, EntryKind
from antiphon.core.usage import Dimension, Quantity
from antiphon.metering.export.meters import Meter, Metering
from antiphon.metering.export.outbox import Outbox, Start, Target
from antiphon.metering.export.sender import Sender
from antiphon.metering.export.stripe import Stripe
from antiphon.stores.sqlite.exports import SqliteExports
from antiphon.stores.sqlite.ledger import SqliteLedger

PROJECTS = ("acme", "other")
METERING = Metering((Meter(name="audio", dimension=Dimension.STT_AUDIO_MS),))
SETTLE_S = 60.0


class Clock:
    """Ten times as fast as the real one, so that pauses are short."""

    def now_ns(self):
        return time.monotonic_ns() * 10

    def unix_ms(self):
        return 1_767_225_600_000 + time.monotonic_ns() * 10 // 1_000_000


async def use(ledger, clock):
    """Sessions, one after the other."""
    for number in itertools.count():
        session = str(uuid.uuid4())
        await ledger.append([entry(session, 0, random.randrange(1, 1000), clock, PROJECTS[number % 2])])
        await asyncio.sleep(0.005)


def entry(session, sequence, amount, clock, project):
    return Entry(
        project=project,
        key_id="k1",
        session=session,
        sequence=sequence,
        at_unix_ms=clock.unix_ms(),
        surface="deepgram",
        model="m",
        quantity=Quantity(Dimension.STT_AUDIO_MS, amount),
        kind=EntryKind.USAGE,
    )


async def run(case):
    clock, path = Clock(), Path(case["path"])
    ledger, exports, sender = SqliteLedger(path / "ledger.db", "a"), SqliteExports(path / "exports.db"), Sender()
    receiver = Stripe("sk_test_1", lambda project: f"cus_{project}", url=case["url"])
    target = Target("out", receiver, METERING, 100, Start.BEGINNING)
    outbox = Outbox(target, exports, ledger, sender.post, clock, sleep=lambda s: asyncio.sleep(s / 10))
    if case["uses"]:
        await asyncio.gather(use(ledger, clock), outbox.run())
    ends = time.monotonic() + SETTLE_S
    while outbox.status is None or outbox.status.waiting:
        assert time.monotonic() < ends
        await outbox.step()
        await asyncio.sleep(0.02)
    await sender.close()
    await exports.close()
    await ledger.close()


def main():
    for line in sys.stdin:
        case = json.loads(line)
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(ours)
            try:
                asyncio.run(run(case))
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        os.close(theirs)
        listen(ours, pid, case.get("kill_after_ms"))
        os.close(ours)
        status = os.waitpid(pid, 0)[1]
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


if __name__ == "__main__":
    main()
