"""What was acknowledged is in the ledger, once, whatever kills the process or fails under it.

`ANTIPHON_KILLS` sets how often the first test kills.
"""

import asyncio
import contextlib
import errno
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from antiphon.core.entry import Entry
from antiphon.core.errors import LedgerUnavailable
from antiphon.core.usage import Dimension, Quantity
from antiphon.stores.sqlite.ledger import SqliteLedger

HERE = Path(__file__).parent
KILLS = int(os.environ.get("ANTIPHON_KILLS", "20"))
KILL, TEAR, FAIL_ONCE, FAIL_FROM, POWER = range(5)  # as in shim.c
SMALL = {"callers": 2, "sessions": 1, "results": 2, "fold_after_pages": 1}


class Process:
    """A `ledger_process.py`, which forks a child per case."""

    def __init__(self, shim=None):
        environment = os.environ | ({"LD_PRELOAD": str(shim)} if shim else {})
        self.process = subprocess.Popen(
            [sys.executable, HERE / "ledger_process.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def run(self, path, **case):
        """How the child ended, and the keys that it was promised and refused; `calls` if it lived to count them."""
        self.process.stdin.write(json.dumps({"path": str(path)} | case) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        said = [line.split() for line in answer["said"]]
        keys = {
            what: [
                (session, int(sequence)) for word, session, sequence in (s for s in said if len(s) == 3) if word == what
            ]
            for what in ("ack", "refused")
        }
        calls = next((int(words[1]) for words in said if words[0] == "calls"), None)
        return answer["status"], keys["ack"], keys["refused"], calls

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def plain():
    process = Process()
    yield process
    process.close()


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler for the library that makes system calls fail")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, HERE / "shim.c", "-ldl"], check=True)
    process = Process(library)
    yield process
    process.close()


@pytest.fixture
def workspace():
    """A folder in memory if there is one: the shim knows what was synced, and the disk would only be slower."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Path(folder)


def read(path):
    """Every entry as (session, sequence, kind), and the sessions with an idempotency key.

    From a copy, so that the ledger itself finds what the process left. The copy must be sound.
    """
    copy = path.parent / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for file in path.parent.glob("ledger.db*"):
        if not file.name.endswith("-shm"):
            shutil.copy(file, copy)
    connection = sqlite3.connect(copy / path.name)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if connection.execute("PRAGMA user_version").fetchone() == (0,):
            return [], set()  # killed before the schema was committed
        entries = connection.execute("SELECT session, sequence, kind FROM entries ORDER BY position").fetchall()
        claims = {row[0] for row in connection.execute("SELECT session FROM idempotency")}
    finally:
        connection.close()
    return entries, claims


def check(path, acknowledged):
    """The invariants, after any end of the process. Returns the keys of what is written and was not acknowledged."""
    entries, claims = read(path)
    keys = [(session, sequence) for session, sequence, _ in entries]
    assert len(set(keys)) == len(keys), "an entry is there twice"
    missing = set(acknowledged) - set(keys)
    assert not missing, f"acknowledged and missing: {missing}"
    written = [(session, sequence) for session, sequence, kind in entries if kind != "abandoned"]
    unacknowledged = set(written) - set(acknowledged)
    assert len({session for session, _ in unacknowledged}) == len(unacknowledged), (
        "two undelivered results in a session"
    )
    assert claims == {session for session, _ in written}, "a crash came between an entry and its idempotency key"
    return unacknowledged


async def reopen(path, unacknowledged):
    """The store opens clean, and says of every session what became of it."""
    await SqliteLedger(path, "a").close()
    entries, _ = read(path)
    closings = [session for session, _, kind in entries if kind in ("completed", "abandoned")]
    assert sorted(closings) == sorted({session for session, _, _ in entries})
    abandoned = {session for session, _, kind in entries if kind == "abandoned"}
    for key in unacknowledged:
        if (*key, "usage") in entries:
            assert key[0] in abandoned


async def test_kills_at_random_moments(plain, tmp_path):
    chance = random.Random(20)
    path = tmp_path / "ledger.db"
    acknowledged = []
    for kills in range(1, KILLS + 1):
        status, acks, refused, _ = plain.run(
            path,
            callers=8,
            sessions=1_000_000,
            results=3,
            fold_after_pages=chance.choice([1, 50, 500]),
            kill_after_ms=chance.uniform(1, 60),
        )
        assert (status, refused) == (-signal.SIGKILL, [])
        acknowledged += acks
        unacknowledged = check(path, acknowledged)
        assert len(unacknowledged) <= 8 * kills
    assert len(acknowledged) > KILLS  # or the kills came too early to show anything
    await reopen(path, unacknowledged)


def calls_of(faulty, workspace, **case):
    """How many changing system calls it takes, from an empty folder to a closed ledger."""
    status, acks, _, calls = faulty.run(workspace / "counted" / "ledger.db", fault=[0, KILL, 0, 0], **case)
    assert status == 0
    assert len(acks) == case["callers"] * case["sessions"] * (case["results"] + 1)
    return calls


@pytest.mark.parametrize(("mode", "seed"), [(KILL, 0), (TEAR, 0), (POWER, 0), (POWER, 1)])
async def test_the_end_at_every_write_and_sync(faulty, workspace, mode, seed):
    (workspace / "counted").mkdir()
    calls = calls_of(faulty, workspace, **SMALL)
    assert calls > 50
    acknowledged_somewhere = 0
    for nth in range(1, calls + 1):
        path = workspace / str(nth) / "ledger.db"
        path.parent.mkdir()
        status, acks, _, _ = faulty.run(path, fault=[nth, mode, 0, seed], **SMALL)
        assert status in (-signal.SIGKILL, 0)  # how groups form, and with it the number of calls, varies a little
        await reopen(path, check(path, acks))
        acknowledged_somewhere += bool(acks)
    assert acknowledged_somewhere > calls // 4


def test_the_power_failure_would_show_a_missing_sync(faulty, workspace):
    lost = 0
    for nth in range(10, 100, 3):
        path = workspace / str(nth) / "ledger.db"
        path.parent.mkdir()
        _, acks, _, _ = faulty.run(path, fault=[nth, POWER, 0, 0], synchronous="OFF", **SMALL)
        try:
            check(path, acks)
        except (AssertionError, sqlite3.DatabaseError):
            lost += 1
    assert lost > 0


@pytest.mark.parametrize(
    ("mode", "error"), [(FAIL_ONCE, errno.ENOSPC), (FAIL_FROM, errno.ENOSPC), (FAIL_ONCE, errno.EIO)]
)
async def test_an_error_at_every_write_and_sync(faulty, workspace, mode, error):
    (workspace / "counted").mkdir()
    refusals = 0
    for nth in range(1, calls_of(faulty, workspace, **SMALL) + 1):
        path = workspace / str(nth) / "ledger.db"
        path.parent.mkdir()
        status, acks, refused, _ = faulty.run(path, fault=[nth, mode, error, 0], **SMALL)
        assert status == 0
        assert check(path, acks) == set(), "refused, and in the ledger"
        await reopen(path, set())
        refusals += bool(refused)
    assert refusals > 5


def entry(sequence):
    return Entry(
        project="default",
        key_id="k1",
        session="00000000-0000-0000-0000-000000000001",
        sequence=sequence,
        at_unix_ms=1,
        surface="deepgram",
        model="m",
        quantity=Quantity(Dimension.STT_AUDIO_MS, 100),
    )


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    yield folder
    subprocess.run(["umount", folder], check=True)


async def test_a_full_disk_stops_billable_work_until_there_is_room(small_disk):
    ledger = SqliteLedger(small_disk / "ledger.db", "a")
    (small_disk / "filler").write_bytes(bytes(600_000))
    acknowledged = 0
    while ledger.healthy:
        with contextlib.suppress(LedgerUnavailable):
            await ledger.append([entry(acknowledged)])
            acknowledged += 1
    assert acknowledged > 10
    with pytest.raises(LedgerUnavailable):
        await ledger.append([entry(acknowledged)])
    (small_disk / "filler").unlink()
    async with asyncio.timeout(10):
        while True:
            try:
                await ledger.append([entry(acknowledged)])
                break
            except LedgerUnavailable:
                await asyncio.sleep(0.01)
    await ledger.close()
    entries, _ = read(small_disk / "ledger.db")
    assert [sequence for _, sequence, _ in entries] == list(range(acknowledged + 1))
