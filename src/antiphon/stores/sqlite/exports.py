"""The outbox of exports, in `exports.db`: batches, stored before they are sent, and the position of each target.

The server's only connection belongs to one thread; commands open the file in other processes to change it. So it has
SQLite's rollback journal (`connection.py`).
"""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from sqlite3 import Connection
from typing import TypeVar

from antiphon.core.errors import Conflict, InternalError
from antiphon.core.exports import GAPS, Batch, BatchState, Cut, ExportStatus, Mark, Refusal, add_to_gap, renew
from antiphon.core.stores import MAX_GAPS
from antiphon.storage.files import WatchedFile, private_file
from antiphon.stores.sqlite.connection import connect
from antiphon.stores.sqlite.exports_schema import ADDED, MIGRATIONS, events_text, from_row, to_row
from antiphon.stores.sqlite.schema import migrate

FILE_NAME = "exports.db"  # in the data directory

T = TypeVar("T")

_ADD = f"""
INSERT INTO batches (target, changed_unix_ms, {", ".join(ADDED)}) VALUES (?, ?, {", ".join("?" * len(ADDED))})"""
_CUTS = "SELECT position, anchor, origin FROM cuts WHERE target = ? ORDER BY number DESC LIMIT ?"
_ADD_CUT = "INSERT INTO cuts (target, position, anchor, origin, at_unix_ms) VALUES (?, ?, ?, ?, ?)"
_IS_WAITING = f"state = '{BatchState.WAITING}'"
_IS_TAKEN = f"state = '{BatchState.TAKEN}'"
_IS_GAP = f"state IN {tuple(map(str, sorted(GAPS)))}"
_HEADS = f"""
SELECT * FROM batches WHERE next_unix_ms <= ?
AND number IN (SELECT min(number) FROM batches WHERE target = ? AND {_IS_WAITING} GROUP BY lane)
ORDER BY number LIMIT ?"""
_SENDING = f"""
UPDATE batches SET attempts = attempts + 1, doubtful_unix_ms = coalesce(doubtful_unix_ms, :now),
    sent_unix_ms = coalesce(sent_unix_ms, :now), changed_unix_ms = :now
WHERE target = :target AND number = :number AND {_IS_WAITING}"""
_MARK = f"""
UPDATE batches SET state = ?, reason = ?, next_unix_ms = ?, doubtful_unix_ms = ?, changed_unix_ms = ?
WHERE target = ? AND number = ? AND {_IS_WAITING}"""
_REFUSE = f"""
UPDATE batches SET state = '{BatchState.REFUSED}', reason = ?, doubtful_unix_ms = NULL, changed_unix_ms = ?
WHERE target = ? AND identifier = ? AND state != '{BatchState.SETTLED}'"""
_REPLAY = f"""
UPDATE batches SET state = '{BatchState.WAITING}', reason = 'replay', attempts = 0, next_unix_ms = 0,
    doubtful_unix_ms = sent_unix_ms
WHERE target = ? AND {_IS_TAKEN} AND last >= ? AND sent_unix_ms >= ?"""
_FIND_GAP = f"""
SELECT * FROM batches
WHERE target = ? AND state = '{BatchState.REFUSED}' AND lane = ? AND reason = ? AND sent_unix_ms IS NULL LIMIT 1"""
_GROW = "UPDATE batches SET events = ?, last = ?, oldest_unix_ms = ? WHERE number = ?"
_COUNTS = "SELECT state, count(*) FROM batches WHERE target = ? GROUP BY state"
_OLDEST = f"SELECT min(oldest_unix_ms) FROM batches WHERE target = ? AND {_IS_WAITING}"
_TARGETS = "SELECT target, position FROM cuts WHERE number IN (SELECT max(number) FROM cuts GROUP BY target)"


class SqliteExports:
    """Implements `core.stores.Exports` at `path`, which is created if absent. For one event loop."""

    def __init__(self, path: Path) -> None:
        """Open the file, blocking. Raises `InternalError` if the database cannot be opened or is of a later version."""
        self._thread = ThreadPoolExecutor(1, "exports")
        try:
            private_file(path)
            self._connection = connect(path)
            self._transact(lambda transaction: migrate(path, transaction, MIGRATIONS))
            self._file = WatchedFile(path)
        except (sqlite3.Error, OSError) as error:
            raise InternalError(f"{path} cannot be opened: {error}") from error

    @property
    def trouble(self) -> str | None:
        return self._file.trouble()

    # -- for what sends ------------------------------------------------------------------------------------------------

    async def cuts(self, target: str, limit: int = 1) -> list[Cut]:
        return await self._run(lambda t: [Cut(*row) for row in t.execute(_CUTS, (target, limit))])

    async def cut(
        self, target: str, before: Cut | None, after: Cut, batches: Sequence[Batch], now_unix_ms: int
    ) -> None:
        def cut(t: Connection) -> None:
            row = t.execute(_CUTS, (target, 1)).fetchone()
            if (None if row is None else Cut(*row)) != before:
                raise Conflict(f"export {target} has moved on meanwhile")
            added = [batch for batch in batches if not _grow(t, target, batch)]
            t.executemany(_ADD, [(target, now_unix_ms, *to_row(batch)) for batch in added])
            t.execute(_ADD_CUT, (target, after.position, after.anchor, after.origin, now_unix_ms))

        await self._run(cut)

    async def waiting(self, target: str, now_unix_ms: int, limit: int) -> list[Batch]:
        return await self._run(lambda t: [from_row(row) for row in t.execute(_HEADS, (now_unix_ms, target, limit))])

    async def write(self, target: str, batch: Batch) -> None:
        query = f"""
UPDATE batches SET body = ?, lane = ?, state = ?, reason = ?
WHERE target = ? AND number = ? AND body = x'' AND {_IS_WAITING}"""
        values = (batch.body, batch.lane, batch.state.value, batch.reason, target, batch.number)
        await self._run(lambda t: t.execute(query, values))

    async def sending(self, target: str, numbers: Sequence[int], now_unix_ms: int) -> None:
        rows = [{"now": now_unix_ms, "target": target, "number": number} for number in numbers]
        await self._run(lambda t: t.executemany(_SENDING, rows))

    async def mark(self, target: str, marks: Sequence[Mark], now_unix_ms: int) -> None:
        rows = [
            (m.state.value, m.reason, m.next_unix_ms, m.doubtful_unix_ms, now_unix_ms, target, m.number) for m in marks
        ]
        await self._run(lambda t: t.executemany(_MARK, rows))

    async def refuse(
        self, target: str, refusals: Sequence[Refusal], others: Sequence[Refusal], now_unix_ms: int
    ) -> None:
        gaps = [
            Batch(
                identifier=each.identifier, lane="", body=b"", events=(), state=BatchState.REFUSED, reason=each.reason
            )
            for each in others
        ]

        def refuse(t: Connection) -> None:
            t.executemany(_REFUSE, [(each.reason, now_unix_ms, target, each.identifier) for each in refusals])
            add = _ADD.replace("INSERT", "INSERT OR IGNORE", 1)
            t.executemany(add, [(target, now_unix_ms, *to_row(gap)) for gap in gaps])

        await self._run(refuse)

    async def purge(self, target: str, before_unix_ms: int, most: int) -> None:
        def purge(t: Connection) -> None:
            beyond = (
                f"SELECT number FROM batches WHERE target = ? AND {_IS_TAKEN} ORDER BY number DESC LIMIT 1 OFFSET ?"
            )
            which = f"target = ? AND {_IS_TAKEN} AND (changed_unix_ms < ? OR number <= ({beyond}))"
            t.execute(f"DELETE FROM batches WHERE {which}", (target, before_unix_ms, target, most))
            latest = "SELECT max(number) FROM cuts WHERE target = ?"
            which = f"target = ? AND at_unix_ms < ? AND number != ({latest})"
            t.execute(f"DELETE FROM cuts WHERE {which}", (target, before_unix_ms, target))

        await self._run(purge)

    # -- for people ----------------------------------------------------------------------------------------------------

    async def status(self) -> list[ExportStatus]:
        def status(t: Connection) -> list[ExportStatus]:
            found = []
            for target, position in t.execute(f"{_TARGETS} ORDER BY target").fetchall():
                counts = dict(t.execute(_COUNTS, (target,)).fetchall())
                oldest = t.execute(_OLDEST, (target,)).fetchone()[0]
                found.append(ExportStatus(target=target, position=position, oldest_waiting_unix_ms=oldest, **counts))
            return found

        return await self._run(status)

    async def gaps(self, target: str, after: int = 0, limit: int = MAX_GAPS) -> list[Batch]:
        query = f"SELECT * FROM batches WHERE target = ? AND {_IS_GAP} AND number > ? ORDER BY number LIMIT ?"
        rows = await self._run(lambda t: t.execute(query, (target, after, limit)).fetchall())
        return [replace(from_row(row), body=b"") for row in rows]

    async def settle(self, target: str, numbers: Collection[int], note: str, now_unix_ms: int) -> int:
        query = f"""
UPDATE batches SET state = '{BatchState.SETTLED}', note = ?, changed_unix_ms = ?
WHERE target = ? AND number = ? AND {_IS_GAP}"""
        rows = [(note, now_unix_ms, target, number) for number in numbers]
        return await self._run(lambda t: t.executemany(query, rows).rowcount)

    async def send_again(self, target: str, numbers: Collection[int]) -> int:
        query = f"SELECT * FROM batches WHERE target = ? AND number = ? AND {_IS_GAP} AND events != '[]'"
        change = """
UPDATE batches SET state = ?, reason = '', identifier = ?, events = ?, body = ?, attempts = 0, next_unix_ms = 0,
    doubtful_unix_ms = NULL, sent_unix_ms = NULL WHERE number = ?"""

        def send(t: Connection) -> int:
            found = [row for number in numbers for row in t.execute(query, (target, number))]
            for batch in (renew(from_row(row)) for row in found):
                values = (batch.state.value, batch.identifier, events_text(batch.events), batch.body, batch.number)
                t.execute(change, values)
            return len(found)

        return await self._run(send)

    async def replay(self, target: str, position: int, since_unix_ms: int) -> tuple[int, int]:
        def replay(t: Connection) -> tuple[int, int]:
            replayed = t.execute(_REPLAY, (target, position, since_unix_ms)).rowcount
            older = f"SELECT count(*) FROM batches WHERE target = ? AND {_IS_TAKEN} AND last >= ?"
            return replayed, t.execute(older, (target, position)).fetchone()[0]

        return await self._run(replay)

    async def close(self) -> None:
        await asyncio.to_thread(self._thread.shutdown)
        self._connection.close()

    async def _run(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in the thread. Raises `InternalError`, and what `work` raises."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work)
        except sqlite3.IntegrityError as error:
            raise Conflict("an identifier of a batch is taken") from error
        except (sqlite3.Error, RuntimeError) as error:  # the thread accepts no work after its shutdown
            raise InternalError("The outbox of exports cannot be read or written.") from error

    def _transact(self, work: Callable[[Connection], T]) -> T:
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            return work(self._connection)


def _grow(t: Connection, target: str, batch: Batch) -> bool:
    """Add the batch to an existing gap; return whether there was one."""
    if batch.state is not BatchState.REFUSED:
        return False
    row = t.execute(_FIND_GAP, (target, batch.lane, batch.reason)).fetchone()
    if row is None:
        return False
    gap = add_to_gap(from_row(row), batch)
    t.execute(_GROW, (events_text(gap.events), gap.events[0].last, gap.oldest_unix_ms, gap.number))
    return True
