"""One transaction of the ledger: what callers who wait together append, note, claim or do, and what each is told."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from antiphon.core.audit import AuditRecord
from antiphon.core.errors import AntiphonError, Conflict
from antiphon.core.stores import IDEMPOTENCY_RETENTION_MS, Claim, answered, standing
from antiphon.stores.sqlite.audit import AuditWriter
from antiphon.stores.sqlite.ledger_schema import COLUMNS, RUNNING_COLUMNS, WRITTEN

_INSERT = f"INSERT INTO entries ({', '.join(WRITTEN)}) VALUES ({', '.join('?' * len(WRITTEN))})"
_FIND = f"SELECT {', '.join(COLUMNS)} FROM entries WHERE project = ? AND session = ? AND sequence = ?"
_CLAIM = "INSERT INTO idempotency (project, key, fingerprint, session, at_unix_ms) VALUES (?, ?, ?, ?, ?)"
_FIND_CLAIM = "SELECT fingerprint, session FROM idempotency WHERE project = ? AND key = ? AND at_unix_ms > ?"
_MOVE_CLAIM = "UPDATE idempotency SET session = ? WHERE project = ? AND key = ?"
_FORGET_CLAIMS = "DELETE FROM idempotency WHERE at_unix_ms <= ?"
_LAST = "SELECT kind, feature FROM entries WHERE project = ? AND session = ? ORDER BY sequence DESC LIMIT 1"
_NOTE = f"""
INSERT INTO running ({", ".join(RUNNING_COLUMNS)}) VALUES ({", ".join("?" * len(RUNNING_COLUMNS))})
ON CONFLICT DO UPDATE SET amount = excluded.amount"""
_FORGET_NOTES = "DELETE FROM running WHERE project = ? AND session = ?"

Result = str | AntiphonError | None  # the session that was charged before, if any, or the error


@dataclass(slots=True, eq=False)
class Work:
    """What one caller waits for. Without rows, `claim` is looked up; `act` is done in the same transaction; without
    anything, it is a barrier.
    """

    rows: tuple[tuple[Any, ...], ...]
    claim: Claim | None
    notes: tuple[tuple[Any, ...], ...]
    done: asyncio.Future[str | None]
    act: Callable[[], object] | None = None


def commit(
    connection: sqlite3.Connection,
    group: list[Work],
    noted: set[tuple[str, str]],
    audit: AuditWriter,
    records: Sequence[AuditRecord],
) -> list[Result]:
    """Commit everything in one transaction. A conflict is its own work's result; any other exception is everybody's
    failure. `noted` are the sessions that have notes, before and after; the `records` go to `audit`.
    """
    results: list[Result] = []
    connection.execute("BEGIN IMMEDIATE")
    audit.begin()
    audit.add(records)
    # Before the entries: an append replaces its session's note, and no note follows it in one group.
    if notes := [note for work in group for note in work.notes]:
        connection.executemany(_NOTE, notes)
        noted.update(note[:2] for note in notes)
    replaced: set[tuple[str, str]] = set()
    for work in group:
        if work.act is not None:
            work.act()
        try:
            results.append(None if work.notes else _write(connection, work, noted, replaced))
        except Conflict as conflict:
            results.append(conflict)
    connection.execute("COMMIT")
    audit.commit()
    noted -= replaced
    return results


def _write(
    connection: sqlite3.Connection, work: Work, noted: set[tuple[str, str]], replaced: set[tuple[str, str]]
) -> str | None:
    """Write one piece of work, after all decisions, so that a conflict leaves nothing behind. Returns the session that
    was charged before for the request of the claim. Adds to `replaced` the sessions whose notes it replaced.
    """
    missing = []
    for row in work.rows:
        found = connection.execute(_FIND, row[:3]).fetchone()
        if found is None:
            missing.append(row)
        elif found != row[: len(COLUMNS)]:  # whichever server wrote it
            raise Conflict("this entry has been written before, with other contents")
    if (claim := work.claim) is not None:
        since = claim.at_unix_ms - IDEMPOTENCY_RETENTION_MS
        known = connection.execute(_FIND_CLAIM, (claim.project, claim.key, since)).fetchone()
        last = connection.execute(_LAST, (claim.project, known[1])).fetchone() if known is not None else None
        replay_of = standing(claim, known, last)
        if not work.rows or claim.replay_of is not None:
            if work.rows and replay_of is not None:
                connection.execute(_MOVE_CLAIM, (claim.session, claim.project, claim.key))
            return replay_of
        if known is None:
            connection.execute(_FORGET_CLAIMS, (since,))
            connection.execute(_CLAIM, (claim.project, claim.key, claim.fingerprint, claim.session, claim.at_unix_ms))
        elif replay_of is not None:
            raise answered(replay_of)
        elif known[1] != claim.session:
            connection.execute(_MOVE_CLAIM, (claim.session, claim.project, claim.key))
    if noted and (over := noted.intersection(row[:2] for row in work.rows)):
        connection.executemany(_FORGET_NOTES, over)
        replaced |= over
    connection.executemany(_INSERT, missing)
    return None


def settle(group: Sequence[Work], results: Sequence[Result]) -> None:
    """Give each caller its result on its own event loop; one wake-up per loop."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[str | None], Result]]] = {}
    for work, result in zip(group, results, strict=True):
        loops.setdefault(work.done.get_loop(), []).append((work.done, result))
    for loop, settled in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nothing waits
            loop.call_soon_threadsafe(_resolve, settled)


def _resolve(settled: Sequence[tuple[asyncio.Future[str | None], Result]]) -> None:
    for done, result in settled:
        if done.done():  # cancelled meanwhile
            continue
        if isinstance(result, AntiphonError):
            done.set_exception(result)
        else:
            done.set_result(result)
