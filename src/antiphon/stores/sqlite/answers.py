"""Kept answers of models, in `answers.db`: rows by project and id, each with its end.

A row that is expired, or older than its project's policy now allows, is invisible to readers, and erased by the next
purge: `secure_delete` overwrites it in the file. What an answer says is sealed with its project's key. One thread owns
the only connection; when it is free, it writes everything that waits in one transaction with one sync.
"""

import asyncio
import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import Any, TypeVar

import msgspec

from antiphon.core.errors import InternalError, NotFound
from antiphon.core.ports import Clock
from antiphon.core.sealing import PLAIN, Sealer
from antiphon.core.specs import Message
from antiphon.core.stores import AnswerBounds, StorageFull
from antiphon.core.wire import Keep
from antiphon.storage.files import WatchedFile, private_file
from antiphon.stores.sqlite.connection import MEMORY, connect
from antiphon.stores.sqlite.schema import migrate

FILE_NAME = "answers.db"  # in the data directory
WIPED_AT_ONCE = 64
RETRY_AFTER_S = 60

T = TypeVar("T")

_BYTES = "length({0}.body) + length({0}.conversation)"

MIGRATIONS = (
    (
        """
CREATE TABLE answers (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    expires_unix_ms INTEGER NOT NULL,
    body BLOB NOT NULL,
    conversation BLOB NOT NULL,
    PRIMARY KEY (project, id)
) STRICT""",
        "CREATE INDEX answers_by_end ON answers (expires_unix_ms)",
        "CREATE INDEX answers_by_age ON answers (project, created_unix_ms)",
    ),
    (
        # Before, it was stored unsealed; `seal` is a function of ours.
        "UPDATE answers SET body = seal(project, 'answers.body/' || id, body),"
        " conversation = seal(project, 'answers.conversation/' || id, conversation)",
        # The pseudonyms of the people it is about, each between spaces.
        "ALTER TABLE answers ADD COLUMN subjects TEXT NOT NULL DEFAULT ''",
    ),
    (
        # What the answers of a project take: to add it up for each new one would cost more with each that is kept.
        "CREATE TABLE taken (project TEXT PRIMARY KEY, bytes INTEGER NOT NULL) STRICT",
        f"INSERT INTO taken SELECT project, sum({_BYTES.format('answers')}) FROM answers GROUP BY project",
        f"""
CREATE TRIGGER answer_added AFTER INSERT ON answers BEGIN
    INSERT INTO taken VALUES (new.project, {_BYTES.format("new")})
    ON CONFLICT (project) DO UPDATE SET bytes = bytes + excluded.bytes;
END""",
        f"""
CREATE TRIGGER answer_changed AFTER UPDATE OF body, conversation ON answers BEGIN
    UPDATE taken SET bytes = bytes + {_BYTES.format("new")} - ({_BYTES.format("old")}) WHERE project = new.project;
END""",
        f"""
CREATE TRIGGER answer_removed AFTER DELETE ON answers BEGIN
    UPDATE taken SET bytes = bytes - ({_BYTES.format("old")}) WHERE project = old.project;
    DELETE FROM taken WHERE project = old.project AND bytes <= 0;
END""",
    ),
)
_PUT = """
INSERT INTO answers (project, id, created_unix_ms, expires_unix_ms, subjects, body, conversation)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (project, id)
DO UPDATE SET subjects = excluded.subjects, body = excluded.body, conversation = excluded.conversation"""
_READABLE = "project = ? AND expires_unix_ms > ? AND created_unix_ms > ?"
_GET = f"SELECT * FROM answers WHERE {_READABLE} AND id = ?"
_TAKEN = f"""
SELECT coalesce((SELECT bytes FROM taken WHERE project = :project), 0)
- coalesce((SELECT {_BYTES.format("answers")} FROM answers WHERE project = :project AND id = :id), 0)"""
_FIND = f"SELECT * FROM answers WHERE {_READABLE} AND id > ? AND instr(subjects, ?) ORDER BY id LIMIT 1"
_conversation = msgspec.json.Decoder(tuple[Message, ...])


@dataclass(slots=True)
class _Put:
    project: str
    keep: Keep
    created_unix_ms: int
    expires_unix_ms: int
    error: BaseException | None = None


class SqliteAnswers:
    """Implements `core.stores.Answers` at `path`, which is created if absent. For one event loop."""

    def __init__(self, path: Path, clock: Clock, bounds: AnswerBounds, sealer: Sealer = PLAIN) -> None:
        """Open the file, blocking. `sealer` also seals the answers that an earlier version stored.

        Raises `InternalError` if the database cannot be opened or is of a later version.
        """
        self._clock = clock
        self._project_bytes = bounds.project
        self._sealer = sealer
        self._waiting: deque[_Put] = deque()
        self._thread = ThreadPoolExecutor(1, "answers")
        try:
            if path != MEMORY:
                private_file(path)
            self._connection = connect(path)
            self._connection.execute("PRAGMA secure_delete=ON")
            page_bytes = self._connection.execute("PRAGMA page_size").fetchone()[0]
            self._connection.execute(f"PRAGMA max_page_count={bounds.all // page_bytes}")
            self._connection.create_function("seal", 3, sealer.seal)
            self._transact(lambda transaction: migrate(path, transaction, MIGRATIONS))
            self._file = WatchedFile(path) if path != MEMORY else None
        except (sqlite3.Error, OSError) as error:
            raise InternalError(f"{path} cannot be opened: {error}") from error

    @property
    def trouble(self) -> str | None:
        return self._file.trouble() if self._file is not None else None

    async def put(self, project: str, keep: Keep, keep_s: int) -> None:
        """Store an answer durably. An answer that is stored again keeps its end. Raises `StorageFull`, `InternalError`;
        if cancelled, it may be stored or not.
        """
        now = self._clock.unix_ms()
        put = _Put(project, keep, now, now + keep_s * 1000)
        self._waiting.append(put)
        await self._run(self._write)
        if isinstance(put.error, StorageFull):
            raise put.error
        if put.error is not None:
            raise InternalError("The answer could not be stored.") from put.error

    async def get(self, project: str, id: str, keep_s: int) -> Keep:
        """Return an answer; `keep_s` is the policy's present value. Raises `NotFound`, also for another project's;
        `InternalError`.
        """
        found = await self._run(lambda: self._find(_GET, project, keep_s, id))
        if found is None:
            raise NotFound("Stored answer not found.")
        return found

    async def delete(self, project: str, id: str) -> None:
        """Delete an answer. Raises `InternalError`."""
        query = "DELETE FROM answers WHERE project = ? AND id = ?"
        await self._run(lambda: self._transact(lambda t: t.execute(query, (project, id))))

    async def of_subject(self, project: str, subject: str, keep_s: int, after: str = "") -> Keep | None:
        """Return the next answer about a subject by id, after that one; `None` after the last. Raises
        `InternalError`.
        """
        return await self._run(lambda: self._find(_FIND, project, keep_s, after, f" {subject} "))

    async def erase(self, project: str, subject: str | None = None) -> int:
        """Erase the project's answers, or those about one subject; return how many. Raises `InternalError`."""
        if subject is None:
            return (await self._wipe("project = ?", project)).total()
        return (await self._wipe("project = ? AND instr(subjects, ?)", project, f" {subject} ")).total()

    async def purge(self, keep_s: Callable[[str], int]) -> Counter[str]:
        """Erase answers that are expired, or older than their project's policy now allows, a few at a time so that a
        `put` waits only briefly; return how many, by project. Raises `InternalError`.
        """
        now = self._clock.unix_ms()
        wiped = await self._wipe("expires_unix_ms <= ?", now)
        project = await self._next_project("")
        while project:
            oldest = now - keep_s(project) * 1000
            wiped += await self._wipe("project = ? AND created_unix_ms <= ?", project, oldest)
            project = await self._next_project(project)
        return wiped

    async def _next_project(self, after: str) -> str:
        """Return the next project with answers; empty after the last."""
        query = "SELECT coalesce(min(project), '') FROM answers WHERE project > ?"
        found: tuple[str] = await self._run(lambda: self._transact(lambda t: t.execute(query, (after,)).fetchone()))
        return found[0]

    async def _wipe(self, which: str, *values: str | int) -> Counter[str]:
        some = f"SELECT project, id FROM answers WHERE {which} LIMIT {WIPED_AT_ONCE}"
        query = f"DELETE FROM answers WHERE (project, id) IN ({some}) RETURNING project"
        wiped: Counter[str] = Counter()
        while rows := await self._run(lambda: self._transact(lambda t: t.execute(query, values).fetchall())):
            wiped.update(project for (project,) in rows)
        return wiped

    async def close(self) -> None:
        """Close the store, after everything that was begun."""
        await asyncio.to_thread(self._thread.shutdown)
        self._connection.close()

    async def _run(self, work: Callable[[], T]) -> T:
        """Run `work` in the thread, in its turn even if the caller is cancelled: what waits to be written must not be
        left for a later turn, after an erasure. Raises `InternalError`, and what `work` raises.
        """
        try:
            return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))
        except (sqlite3.Error, RuntimeError) as error:  # the thread accepts no work after its shutdown
            raise InternalError("Stored answers cannot be read or written.") from error

    def _write(self) -> None:
        """Write everything that waits; give each put its result."""
        puts = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not puts:
            return
        try:
            self._transact(lambda transaction: transaction.executemany(_PUT, self._rows(puts)))
        except Exception as error:  # of whatever kind: each of them must learn that it is not stored
            for put in puts:
                put.error = error

    def _rows(self, puts: list[_Put]) -> Iterator[tuple[Any, ...]]:
        """Yield the sealed rows of the answers that can be encoded and sealed, and for which there is room."""
        for put in puts:
            keep = put.keep
            try:
                plain = msgspec.json.encode(keep.conversation)
                body = self._sealer.seal(put.project, f"answers.body/{keep.id}", keep.body)
                conversation = self._sealer.seal(put.project, f"answers.conversation/{keep.id}", plain)
                self._check_room(put.project, keep.id, len(body) + len(conversation))
            except (InternalError, StorageFull, ValueError) as error:
                put.error = error
                continue
            subjects = "".join(f" {subject} " for subject in keep.subjects)
            yield (put.project, keep.id, put.created_unix_ms, put.expires_unix_ms, subjects, body, conversation)

    def _check_room(self, project: str, id: str, size: int) -> None:
        """Raise `StorageFull` if the project has no room for an answer of this size, in place of one with its id."""
        others = self._connection.execute(_TAKEN, {"project": project, "id": id}).fetchone()[0]
        if others + size > self._project_bytes:
            raise StorageFull(
                f"The stored answers of this project would take more than {self._project_bytes} bytes. Delete some.",
                retry_after_s=RETRY_AFTER_S,
            )

    def _find(self, query: str, project: str, keep_s: int, *values: str) -> Keep | None:
        """Return the readable answer that a query finds."""
        now = self._clock.unix_ms()
        parameters = (project, now, now - keep_s * 1000, *values)
        row = self._transact(lambda t: t.execute(query, parameters).fetchone())
        if row is None:
            return None
        id, subjects = row["id"], tuple(row["subjects"].split())
        body = self._sealer.unseal(project, f"answers.body/{id}", row["body"])
        conversation = self._sealer.unseal(project, f"answers.conversation/{id}", row["conversation"])
        return Keep(id, body, _conversation.decode(conversation), subjects)

    def _transact(self, work: Callable[[Connection], T]) -> T:
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            return work(self._connection)
