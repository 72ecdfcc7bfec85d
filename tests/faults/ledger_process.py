"""Callers of a ledger, in a process that may be killed or whose disk may fail, for `test_ledger_crash.py`.

Each line of standard input is a case in JSON: a child is forked (nothing is imported anew, so that a thousand are
quick) and says on a pipe, a line each, what it was promised; the answer is a line with that and the child's end.
"""

import asyncio
import ctypes
import json
import os
import select
import signal
import sys
import time
import uuid
from pathlib import Path

from antiphon.core.entry import Entry, EntryKind
from antiphon.core.errors import LedgerUnavailable
from antiphon.core.usage import Dimension, Quantity
from antiphon.stores.sqlite import ledger as ledger_module
from antiphon.stores.sqlite import ledger_files
from antiphon.stores.sqlite.ledger import SqliteLedger

LIMIT_S = 20.0  # for one child, should it hang


class Callers:
    """What runs in the child. Says `ack` after an append returned, `refused` after it raised."""

    def __init__(self, case, pipe):
        self.case = case
        self.pipe = pipe
        self.fault = case.get("fault")
        self.shim = ctypes.CDLL(None) if self.fault else None

    def say(self, *words):
        os.write(self.pipe, (" ".join(map(str, words)) + "\n").encode())

    async def run(self):
        ledger_module.FOLD_AFTER_PAGES = self.case["fold_after_pages"]
        ledger_module.PROBE_INTERVAL_S = 0.001
        if "synchronous" in self.case:
            self.weaken(self.case["synchronous"])
        if self.fault:
            self.shim.fault_arm(b"ledger.db", *self.fault)
        ledger = self.open()
        await asyncio.gather(*(self.call(ledger) for _ in range(self.case["callers"])))
        await ledger.close()
        if self.fault:
            self.say("calls", self.shim.fault_count())

    def open(self):
        try:
            return SqliteLedger(Path(self.case["path"]), "a")
        except LedgerUnavailable:
            if not self.fault:
                raise
            self.say("unopened")
            self.mend()
            return SqliteLedger(Path(self.case["path"]), "a")

    async def call(self, ledger):
        for _ in range(self.case["sessions"]):
            session = str(uuid.uuid4())
            try:
                claim = await ledger.claim("default", session, "body", session, 1)
                for sequence in range(self.case["results"]):
                    await self.append(ledger, entry(session, sequence), claim)
                await self.append(ledger, entry(session, self.case["results"], EntryKind.COMPLETED), claim)
            except LedgerUnavailable:
                await self.recover(ledger)

    async def append(self, ledger, new, claim):
        try:
            await ledger.append([new], claim)
        except LedgerUnavailable:
            self.say("refused", new.session, new.sequence)
            raise
        self.say("ack", new.session, new.sequence)

    async def recover(self, ledger):
        for _ in range(3):  # while the disk is full, nothing is taken, and nobody is told otherwise
            if ledger.healthy:
                break
            await asyncio.sleep(0.002)
        self.mend()
        async with asyncio.timeout(5):
            while True:
                try:
                    return await ledger.flush()
                except LedgerUnavailable:
                    await asyncio.sleep(0.001)

    def mend(self):
        if self.fault[1] == 3:
            self.shim.fault_arm(b"ledger.db", 0, 0, 0, 0)

    def weaken(self, synchronous):
        connect = ledger_files.connect_writer

        def connect_weakly(path, labels, owner):
            connection = connect(path, labels, owner)
            connection.execute(f"PRAGMA synchronous={synchronous}")
            return connection

        ledger_files.connect_writer = connect_weakly


def entry(session, sequence, kind=EntryKind.USAGE):
    return Entry(
        project="default",
        key_id="k1",
        session=session,
        sequence=sequence,
        at_unix_ms=1_767_225_600_000,
        surface="deepgram",
        model="m",
        quantity=Quantity(Dimension.STT_AUDIO_MS, 100 if kind is EntryKind.USAGE else 0),
        kind=kind,
    )


def child(case, pipe):
    try:
        asyncio.run(Callers(case, pipe).run())
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def listen(pipe, pid, kill_after_ms):
    """Everything the child says, killing it when its time has come."""
    said = b""
    deadline = time.monotonic() + (LIMIT_S if kill_after_ms is None else kill_after_ms / 1000)
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            os.kill(pid, signal.SIGKILL)
            left = LIMIT_S
            deadline += LIMIT_S
        if select.select([pipe], [], [], left)[0]:
            piece = os.read(pipe, 1 << 16)
            if not piece:
                return said.decode().splitlines()
            said += piece


def main():
    for line in sys.stdin:
        case = json.loads(line)
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(ours)
            child(case, theirs)
        os.close(theirs)
        said = listen(ours, pid, case.get("kill_after_ms"))
        os.close(ours)
        status = os.waitpid(pid, 0)[1]
        print(json.dumps({"status": os.waitstatus_to_exitcode(status), "said": said}), flush=True)


if __name__ == "__main__":
    main()
