"""The usage ledger: when `append` returns, the entries are on the disk.

One thread owns the one connection that writes. Whatever waits when it gets free goes into one transaction and shares
one sync (group commit). Nothing is acknowledged that was not committed: after any failure the transaction is rolled
back, and every append refused until the log has been folded into the database and emptied, and a new commit has
succeeded. What a failed sync left in the log is thereby thrown away: it looks written, and might not be there after a
power failure. An append that was refused is not in the ledger, unless the process dies before that; its session must
deliver nothing, and is then closed as abandoned by the next server.
"""

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from antiphon.core.errors import AntiphonError, CallerError, Conflict, LedgerUnavailable
from antiphon.core.usage import Dimension
from antiphon.metering import database, usage
from antiphon.metering.entry import CLOSING, Entry, Kind
from antiphon.metering.tables import COLUMNS, SCHEMA_VERSION, to_row

MAX_WAITING_ENTRIES = 16_384
PROBE_INTERVAL_S = 0.5
FOLD_AFTER_PAGES = 2_000  # of 4 KiB; bounds the log between two checkpoints
PAGES_PER_COMMIT = 4
IDEMPOTENCY_RETENTION_MS = 24 * 3_600_000
MAX_KEY_LENGTH = 255

_INSERT = f"INSERT INTO entries ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
_FIND = f"SELECT {', '.join(COLUMNS)} FROM entries WHERE project = ? AND session = ? AND sequence = ?"
_CLAIM = "INSERT INTO idempotency (project, key, fingerprint, session, at_unix_ms) VALUES (?, ?, ?, ?, ?)"
_FIND_CLAIM = "SELECT fingerprint, session FROM idempotency WHERE project = ? AND key = ? AND at_unix_ms > ?"
_FORGET_CLAIMS = "DELETE FROM idempotency WHERE at_unix_ms <= ?"

# Sessions that a dead server left open: each gets the closing entry that says so. The bare columns are, by SQLite's
# rule for a lone max(), those of the session's last entry; its time stands in for that of the death.
_ABANDON = f"""
INSERT INTO entries ({", ".join(COLUMNS)})
SELECT project, session, max(sequence) + 1, key_id, at_unix_ms, surface, model, dimension, 0, channel, feature,
       '{Kind.ABANDONED}', NULL, NULL, tags
FROM entries WHERE position > coalesce((SELECT position FROM marks WHERE name = 'recovered'), 0)
GROUP BY project, session
HAVING sum(kind = '{Kind.USAGE}') > 0 AND sum(kind IN ({", ".join(f"'{kind}'" for kind in sorted(CLOSING))})) = 0
ORDER BY position"""
_RECOVERED = """
INSERT INTO marks SELECT 'recovered', coalesce(max(position), 0) FROM entries WHERE true
ON CONFLICT (name) DO UPDATE SET position = excluded.position WHERE position != excluded.position"""


@dataclass(frozen=True, slots=True)
class Claim:
    """That `session` answers the request with this idempotency key. `replay_of` is the session that was charged for it
    before; then nothing more is charged, and appends with this claim write nothing.
    """

    project: str
    key: str
    fingerprint: str
    session: str
    at_unix_ms: int
    replay_of: str | None = None


_Result = str | AntiphonError | None  # the owner of the claim, if there was one, or what went wrong


@dataclass(frozen=True, slots=True)
class _Work:
    """What one caller waits for. Without rows, `claim` is looked up; without either, it is a barrier."""

    rows: tuple[tuple[Any, ...], ...]
    claim: Claim | None
    done: asyncio.Future[str | None]


class Ledger:
    """The writer of the ledger at `path`. Made where blocking is allowed; its coroutines run on any event loop."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the ledger, and closes the sessions that a server which died left open.

        Raises `LedgerUnavailable` if another server has it open or it cannot be written, `InternalError` if it is of
        another version.
        """
        self._path = path
        self._waiting: list[_Work] = []
        self._waiting_entries = 0
        self._wake = threading.Condition()
        self._closing = False
        self._broken = False
        self._unfolded_pages = 0
        with contextlib.ExitStack() as undo:
            self._lock = database.lock(path)
            undo.callback(os.close, self._lock)
            try:
                self._connection = database.connect_writer(path)
                undo.callback(self._connection.close)
                self._prove(_ABANDON, _RECOVERED)
            except sqlite3.Error as error:
                raise LedgerUnavailable(f"the ledger {path} cannot be written: {error}") from error
            undo.pop_all()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    @property
    def healthy(self) -> bool:
        """Whether appends are taken."""
        return not (self._broken or self._closing)

    async def append(self, new: Sequence[Entry], claim: Claim | None = None) -> None:
        """Returns when the entries are durable, all of them, in order.

        With a `claim`, the first append records it in the same transaction. If another session turns out to hold the
        key, the request has been charged for already, and nothing is written. Raises `Conflict` if an entry's key is
        taken by a different entry, or the idempotency key by a different request; `LedgerUnavailable` if it is not
        known that the entries are durable. A cancelled append may be written or not.
        """
        if len({entry.key for entry in new}) != len(new):
            raise Conflict("two entries have one key")
        if new and (claim is None or claim.replay_of is None):
            await self._submit(tuple(map(to_row, new)), claim)

    async def claim(self, project: str, key: str, fingerprint: str, session: str, now_unix_ms: int) -> Claim:
        """Looks an idempotency key up at the start of a request; the append with the claim is what records it.

        Raises `Conflict` if the key came with another fingerprint in the last `IDEMPOTENCY_RETENTION_MS`, `CallerError`
        if it is not 1 to `MAX_KEY_LENGTH` printable characters.
        """
        if not 0 < len(key) <= MAX_KEY_LENGTH or not key.isprintable():
            raise CallerError(
                f"an idempotency key has 1 to {MAX_KEY_LENGTH} printable characters", param="Idempotency-Key"
            )
        wanted = Claim(project, key, fingerprint, session, now_unix_ms)
        owner = await self._submit((), wanted)
        replay_of = None if owner == session else owner
        return Claim(project, key, fingerprint, session, now_unix_ms, replay_of)

    async def charged(self, project: str, dimension: Dimension, since_unix_ms: int) -> int:
        """What a project was charged for of one dimension since then. Raises `InternalError` if it cannot be read."""
        return await asyncio.to_thread(usage.charged, self._path, project, dimension, since_unix_ms)

    async def flush(self) -> None:
        """Returns when every append that was called before has been settled."""
        await self._submit((), None)

    async def close(self) -> None:
        """Settles what waits, folds the log into the database, and lets another server have the ledger."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)

    async def _submit(self, rows: tuple[tuple[Any, ...], ...], claim: Claim | None) -> str | None:
        done: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        with self._wake:
            if not self.healthy:
                raise LedgerUnavailable("usage cannot be recorded now", retry_after_s=1)
            size = max(1, len(rows))
            if self._waiting_entries + size > MAX_WAITING_ENTRIES:
                raise LedgerUnavailable("too much usage waits to be recorded", retry_after_s=1)
            self._waiting.append(_Work(rows, claim, done))
            self._waiting_entries += size
            self._wake.notify()
        return await done

    # -- everything below runs in the writer's thread ------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._wake:
                if self._broken:
                    self._wake.wait_for(lambda: self._closing, PROBE_INTERVAL_S)
                else:
                    self._wake.wait_for(lambda: self._closing or self._waiting)
                group, self._waiting, self._waiting_entries = self._waiting, [], 0
            if group:
                self._serve(group)
            elif self._closing:
                break
            elif self._broken:
                with contextlib.suppress(Exception):
                    self._prove()
                    self._broken = False
        with contextlib.suppress(sqlite3.Error):  # everything is durable in the log already
            self._fold("TRUNCATE")
        self._connection.close()
        os.close(self._lock)

    def _serve(self, group: list[_Work]) -> None:
        try:
            results = _commit(self._connection, group)
        except Exception:
            group += self._refuse()
            _settle(group, [LedgerUnavailable("usage could not be recorded", retry_after_s=1) for _ in group])
            return
        _settle(group, results)
        self._unfolded_pages += PAGES_PER_COMMIT + sum(len(work.rows) for work in group)
        if self._unfolded_pages >= FOLD_AFTER_PAGES:
            try:
                self._fold("PASSIVE")  # what a reader still needs is left for the next time
            except sqlite3.Error:
                waiting = self._refuse()
                _settle(waiting, [LedgerUnavailable("usage cannot be recorded now", retry_after_s=1) for _ in waiting])

    def _refuse(self) -> list[_Work]:
        """From now on every append is refused; returns those that wait already."""
        with self._wake:
            self._broken = True
            waiting, self._waiting, self._waiting_entries = self._waiting, [], 0
        return waiting

    def _prove(self, *statements: str) -> None:
        """Shows that the ledger can be written: empties the log, then commits, and `statements` with it."""
        self._connection.rollback()  # a commit that failed may have left its transaction open
        if self._fold("TRUNCATE"):
            raise sqlite3.OperationalError("a reader holds the log")
        self._connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            self._connection.execute(statement)
        self._connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")  # so that there is always something to write
        self._connection.execute("COMMIT")

    def _fold(self, mode: Literal["PASSIVE", "TRUNCATE"]) -> bool:
        """Checkpoints: copies the log into the database and syncs it. Returns whether a reader was in the way."""
        busy, _, _ = self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        self._unfolded_pages = 0
        return bool(busy)


def _commit(connection: sqlite3.Connection, group: list[_Work]) -> list[_Result]:
    """One transaction for all. A conflict is its own work's result; any other exception is everybody's failure."""
    results: list[_Result] = []
    connection.execute("BEGIN IMMEDIATE")
    for work in group:
        try:
            results.append(_write(connection, work))
        except Conflict as conflict:
            results.append(conflict)
    connection.execute("COMMIT")
    return results


def _write(connection: sqlite3.Connection, work: _Work) -> str | None:
    """Decides before it writes, so that a conflict leaves nothing behind. Returns the owner of the claim."""
    missing = []
    for row in work.rows:
        found = connection.execute(_FIND, row[:3]).fetchone()
        if found is None:
            missing.append(row)
        elif found != row:
            raise Conflict("this entry has been written before, with other contents")
    if (claim := work.claim) is not None:
        since = claim.at_unix_ms - IDEMPOTENCY_RETENTION_MS
        known = connection.execute(_FIND_CLAIM, (claim.project, claim.key, since)).fetchone()
        if known is not None and known[0] != claim.fingerprint:
            raise Conflict("this idempotency key was used for another request")
        if known is not None and known[1] != claim.session:
            return str(known[1])
        if known is None and work.rows:
            connection.execute(_FORGET_CLAIMS, (since,))
            connection.execute(_CLAIM, (claim.project, claim.key, claim.fingerprint, claim.session, claim.at_unix_ms))
    connection.executemany(_INSERT, missing)
    return claim.session if claim is not None else None


def _settle(group: Sequence[_Work], results: Sequence[_Result]) -> None:
    """Tells each caller on its own event loop; one wake-up per loop."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[str | None], _Result]]] = {}
    for work, result in zip(group, results, strict=True):
        loops.setdefault(work.done.get_loop(), []).append((work.done, result))
    for loop, settled in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, settled)


def _resolve(settled: Sequence[tuple[asyncio.Future[str | None], _Result]]) -> None:
    for done, result in settled:
        if done.done():  # cancelled meanwhile
            continue
        if isinstance(result, AntiphonError):
            done.set_exception(result)
        else:
            done.set_result(result)
