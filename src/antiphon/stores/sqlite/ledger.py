"""The usage ledger: when `append` returns, the entries are on the disk.

One thread owns the only connection that writes. When it is free, everything that waits goes into one transaction with
one sync (group commit). Only committed entries are acknowledged: after any failure the transaction is rolled back, and
every append refused until the log has been copied into the database and emptied, and a new commit has succeeded. This
discards what a failed sync left in the log: it looks written, and might be missing after a power failure. A refused
append is not in the ledger, unless the process dies before that; its session must deliver nothing, and is then closed
as abandoned by the next server.

A streamed result is noted piece by piece, before each piece leaves, in the same transactions, at the cost of a row that
changes in place; the session's next append replaces the note. If the process dies before that, the next server makes an
entry of it.

Nobody waits for the entry that only says how a session ended: it waits a little for the next transaction, so that a
caller's next request does not wait for two syncs. Records of the audit log wait for the next transaction, too; if none
comes, they get their own. Those whose transaction failed go into the first one that succeeds.
"""

import asyncio
import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from antiphon.core.audit import AuditRecord, ChangeRecord
from antiphon.core.entry import CLOSING, Entry, EntryKind
from antiphon.core.errors import Conflict, LedgerUnavailable
from antiphon.core.stores import (
    MAX_RECORDS,
    RECORDED_WITHIN_S,
    Claim,
    check_idempotency_key,
)
from antiphon.storage.directory import lock_directory
from antiphon.stores.sqlite import ledger_files as files
from antiphon.stores.sqlite.audit import FORGOTTEN_AT_ONCE, AuditWriter
from antiphon.stores.sqlite.ledger_commit import Work, commit, settle
from antiphon.stores.sqlite.ledger_schema import (
    SCHEMA_VERSION,
    WRITTEN,
    to_row,
    to_running_row,
)
from antiphon.stores.sqlite.usage import SqliteUsage

MAX_WAITING_ENTRIES = 16_384
PROBE_INTERVAL_S = RECORDED_WITHIN_S  # between two checks of the files, and between two attempts after a failure
FOLD_AFTER_PAGES = 2_000  # of 4 KiB; bounds the log between two checkpoints
PAGES_PER_COMMIT = 4
NOTES_PER_PAGE = 16
RECORDS_PER_PAGE = 8
RECORDS_AT_ONCE = 2_048  # of the audit log, in one transaction, so that entries do not wait for them
LOOK_S = 0.1  # between two checks of the files, while entries come
CLOSED_WITHIN_S = 0.01  # that a session's end waits for others' entries

# The servers whose open sessions this server settles: itself, and those without ids (of earlier versions), since it
# alone has the directory's lock.
_OURS = "server IN (:server, '')"

# Notes of a dead server's sessions become entries.
_ENTER = f"""
INSERT INTO entries ({", ".join(WRITTEN)})
SELECT project, session,
       coalesce((SELECT max(sequence) + 1 FROM entries e WHERE e.project = r.project AND e.session = r.session), 0)
       + row_number() OVER (PARTITION BY project, session ORDER BY dimension, channel) - 1,
       key_id, at_unix_ms, surface, model, dimension, amount, channel, feature, '{EntryKind.USAGE}', NULL, NULL,
       tags, server
FROM running r WHERE amount > 0 AND {_OURS}"""
_ENTERED = f"DELETE FROM running WHERE {_OURS}"

# Sessions that it left open: each gets a closing entry that says so. The bare columns are, by SQLite's rule for a
# single max(), those of the session's last entry; its time replaces the unknown one of the death. Each server has its
# own mark, as its settled sessions say nothing about another's; the one without an id is of earlier versions.
_ABANDON = f"""
INSERT INTO entries ({", ".join(WRITTEN)})
SELECT project, session, max(sequence) + 1, key_id, at_unix_ms, surface, model, dimension, 0, channel, feature,
       '{EntryKind.ABANDONED}', NULL, NULL, tags, :server
FROM entries
WHERE position > coalesce((SELECT max(position) FROM marks WHERE name IN ('recovered', 'recovered ' || :server)), 0)
GROUP BY project, session
HAVING sum(kind = '{EntryKind.USAGE}' AND {_OURS}) > 0
AND sum(kind IN ({", ".join(f"'{kind}'" for kind in sorted(CLOSING))})) = 0
ORDER BY position"""
_RECOVERED = """
INSERT INTO marks SELECT 'recovered ' || :server, coalesce(max(position), 0) FROM entries WHERE true
ON CONFLICT (name) DO UPDATE SET position = excluded.position WHERE position != excluded.position"""

log = logging.getLogger(__name__)


def _no_labels(project: str, tags: tuple[str, ...]) -> tuple[str, ...]:
    return ()


class SqliteLedger(SqliteUsage):
    """Implements `core.stores.Ledger`: the writer of the ledger at `path`. Created where blocking is allowed; its
    coroutines run on any event loop.
    """

    def __init__(
        self, path: Path, server: str, owner: files.Owner | None = None, labels: files.Labels = _no_labels
    ) -> None:
        """Open or create the ledger, and close the sessions that the server with this id left open when it died. From
        then on it is its `owner`'s. `labels` says what is kept of the tags in a ledger of an earlier version.

        Raises `LedgerUnavailable` if another server has it open or it cannot be written, `InternalError` if it is of a
        later version or another owner's.
        """
        super().__init__(path)
        self._server = server
        self._waiting: list[Work] = []
        self._waiting_entries = 0
        self._pressing = False  # whether anything that waits is more than ends of sessions
        self._wake = threading.Condition()
        self._closing = False
        self._broken = False
        self._trouble = ""
        self._files: files.Files | None = None
        self._looked_s = 0.0
        self._noted: set[tuple[str, str]] = set()  # project and session, of the notes that are there
        self._records: deque[AuditRecord] = deque()
        self._unfolded_pages = 0.0
        with contextlib.ExitStack() as undo:
            self._lock = lock_directory(path.parent)
            undo.callback(os.close, self._lock)
            try:
                if owner is not None:
                    files.check_owner(path, owner)
                self._connection = files.connect_writer(path, labels, owner)
                undo.callback(self._connection.close)
                self._audit = AuditWriter(self._connection)
                owned = [files.own(owner)] if owner is not None else []
                self._prove(_ENTER, _ENTERED, _ABANDON, _RECOVERED, *owned)
                self._files = files.Files(path)
            except (sqlite3.Error, OSError) as error:
                raise LedgerUnavailable(f"the ledger {path} cannot be written: {error}") from error
            undo.pop_all()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    @property
    def healthy(self) -> bool:
        """Whether appends are accepted."""
        return not (self._broken or self._closing)

    @property
    def trouble(self) -> str | None:
        """The reason why appends are refused; `None` if they are accepted."""
        if self._broken:
            return self._trouble
        return "the ledger is closed" if self._closing else None

    async def append(self, new: Sequence[Entry], claim: Claim | None = None) -> None:
        if len({entry.key for entry in new}) != len(new):
            raise Conflict("two entries have one key")
        if new and (claim is None or claim.key):
            closes = all(entry.kind in CLOSING for entry in new)
            await self._submit(tuple([to_row(entry, self._server) for entry in new]), claim, patient=closes)

    async def note(self, owed: Sequence[tuple[Entry, int]]) -> None:
        await self._submit((), None, tuple([to_running_row(entry, amount, self._server) for entry, amount in owed]))

    async def claim(self, project: str, key: str, fingerprint: str, session: str, now_unix_ms: int) -> Claim:
        check_idempotency_key(key)
        replay_of = await self._submit((), Claim(project, key, fingerprint, session, now_unix_ms))
        return Claim(project, key, fingerprint, session, now_unix_ms, replay_of)

    def record(self, record: AuditRecord) -> None:
        """Add a record to the audit log without waking the writer: the next append does, or the time."""
        if len(self._records) >= MAX_RECORDS:
            raise LedgerUnavailable("too much is waiting to be recorded in the audit log", retry_after_s=1)
        self._records.append(record)

    async def drain(self, source: str, changes: Sequence[ChangeRecord]) -> None:
        await self._submit((), None, act=lambda: self._audit.drain(source, changes))

    async def forget_records(self, before_unix_ms: int) -> int:
        counts = [FORGOTTEN_AT_ONCE]
        while counts[-1] == FORGOTTEN_AT_ONCE:
            await self._submit((), None, act=lambda: counts.append(self._audit.forget(before_unix_ms)))
        return sum(counts[1:])

    async def flush(self) -> None:
        await self._submit((), None)
        while self._records:
            await self._submit((), None)

    async def close(self) -> None:
        """Settle what waits, copy the log into the database, and release the ledger for another server."""
        await asyncio.to_thread(self.stop)

    def stop(self) -> None:
        """Close the ledger as `close` does, blocking."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    async def _submit(
        self,
        rows: tuple[tuple[Any, ...], ...],
        claim: Claim | None,
        notes: tuple[tuple[Any, ...], ...] = (),
        act: Callable[[], object] | None = None,
        *,
        patient: bool = False,
    ) -> str | None:
        done: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        with self._wake:
            if not self.healthy:
                raise LedgerUnavailable("usage cannot be recorded at the moment", retry_after_s=1)
            size = max(1, len(rows) + len(notes))
            if self._waiting_entries + size > MAX_WAITING_ENTRIES:
                raise LedgerUnavailable("too much usage is waiting to be recorded", retry_after_s=1)
            work = Work(rows, claim, notes, done, act)
            self._waiting.append(work)
            self._waiting_entries += size
            if not patient:
                self._press()
        if patient:
            done.get_loop().call_later(CLOSED_WITHIN_S, self._press_for, work)
        return await done

    def _press(self) -> None:
        self._pressing = True
        self._wake.notify()

    def _press_for(self, work: Work) -> None:
        with self._wake:
            if work in self._waiting:
                self._press()

    # -- everything below runs in the writer's thread ------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(self._has_work, PROBE_INTERVAL_S)
                group, self._waiting, self._waiting_entries, self._pressing = self._waiting, [], 0, False
            if group or (self._records and not self._broken):
                self._serve(group)
            elif self._closing:
                break
            elif self._broken:
                self._recover()
            else:
                self._look()
        if not self._broken:
            with contextlib.suppress(sqlite3.Error):  # everything is already durable in the log
                self._fold("TRUNCATE")
        self._connection.close()
        os.close(self._lock)

    def _has_work(self) -> bool:
        many = len(self._records) >= RECORDS_AT_ONCE
        return self._closing or ((self._pressing or many) and not self._broken)

    def _serve(self, group: list[Work]) -> None:
        records = [self._records.popleft() for _ in range(min(len(self._records), RECORDS_AT_ONCE))]
        try:
            # Not at each commit: each check would make this thread wait for the interpreter's lock.
            looks = time.monotonic() - self._looked_s >= LOOK_S
            if looks:
                self._check_files()
            results = commit(self._connection, group, self._noted, self._audit, records)
        except Exception as error:
            self._records.extendleft(reversed(records))
            group += self._refuse(error)
            settle(group, [LedgerUnavailable("usage could not be recorded", retry_after_s=1) for _ in group])
            return
        if looks and self._files is not None:
            self._files.settle()
        settle(group, results)
        self._unfolded_pages += PAGES_PER_COMMIT + sum(
            len(work.rows) + len(work.notes) / NOTES_PER_PAGE for work in group
        )
        self._unfolded_pages += len(records) / RECORDS_PER_PAGE
        if self._unfolded_pages >= FOLD_AFTER_PAGES:
            try:
                self._fold("PASSIVE")  # what a reader still needs stays until the next time
            except sqlite3.Error as error:
                self._refuse_all(error)

    def _look(self) -> None:
        """Check that the files still exist, although nothing waits."""
        try:
            self._check_files()
        except sqlite3.Error as error:
            self._refuse_all(error)

    def _recover(self) -> None:
        with contextlib.suppress(Exception):
            self._prove()
            self._audit.load()
            self._broken = False
            log.warning("the ledger stores entries again")

    def _check_files(self) -> None:
        """Raise `sqlite3.OperationalError` if what is written would not be found again."""
        self._looked_s = time.monotonic()
        if self._files is not None and (trouble := self._files.trouble()):
            raise sqlite3.OperationalError(trouble)

    def _refuse(self, error: Exception) -> list[Work]:
        """Refuse every append from now on; return those that wait already."""
        reason = str(error) if isinstance(error, sqlite3.Error) else type(error).__name__
        log.error("the ledger cannot store entries", extra={"reason": reason})
        with self._wake:
            self._broken, self._trouble = True, reason
            waiting, self._waiting, self._waiting_entries = self._waiting, [], 0
        return waiting

    def _refuse_all(self, error: Exception) -> None:
        waiting = self._refuse(error)
        settle(waiting, [LedgerUnavailable("usage cannot be recorded at the moment", retry_after_s=1) for _ in waiting])

    def _prove(self, *statements: str) -> None:
        """Prove that the ledger can be written: empty the log, then commit, with `statements`."""
        self._check_files()
        self._connection.rollback()  # a failed commit may have left its transaction open
        if self._fold("TRUNCATE"):
            raise sqlite3.OperationalError("a reader holds the log")
        self._connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            self._connection.execute(statement, {"server": self._server})
        self._connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")  # so that something is always written
        self._connection.execute("COMMIT")
        if self._files is not None:
            self._files.settle()

    def _fold(self, mode: Literal["PASSIVE", "TRUNCATE"]) -> bool:
        """Checkpoint: copy the log into the database and sync it. Returns whether a reader prevented it in part."""
        try:
            busy, _, _ = self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        finally:
            if self._files is not None:
                self._files.settle()
        self._unfolded_pages = 0.0
        return bool(busy)
