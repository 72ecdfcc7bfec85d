"""Jobs and the blobs that they read and write, in `jobs.db`, or in memory for projects that keep nothing.

A blob is rows of pieces in order; an output gets one more with each item's outcome, in the same transaction, so that
each item is in it exactly once. Callers' content is sealed with their project's key, piece by piece; deleted data is
overwritten in the file. One thread owns the only connection.
"""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from sqlite3 import Connection, Row
from typing import Any, TypeVar

from antiphon.core.errors import CapacityError, InternalError, NotFound
from antiphon.core.jobs import NEXT, OVER, Blob, ItemOutcome, Job, JobState, Page
from antiphon.core.ports import Clock
from antiphon.core.sealing import PLAIN, Sealer
from antiphon.core.stores import LEASE_MS, RECORD_BYTES, LeaseLost, StorageFull
from antiphon.storage.files import WatchedFile, private_file
from antiphon.stores.sqlite import job_lines
from antiphon.stores.sqlite.connection import MEMORY, connect
from antiphon.stores.sqlite.jobs_schema import BLOB, JOB, MIGRATIONS, Rows, readable
from antiphon.stores.sqlite.resources import SqliteResources
from antiphon.stores.sqlite.schema import migrate

FILE_NAME = "jobs.db"  # in the data directory
PIECE_BYTES = 1 << 20
RETRY_AFTER_S = 60
WIPED_AT_ONCE = 16

T = TypeVar("T")

_IS_OVER = f"state IN {tuple(map(str, sorted(OVER)))}"
_IS_OPEN = f"state IN {tuple(map(str, sorted(frozenset(JobState) - OVER)))}"  # `NOT` would find no index
_PUT_BLOB = f"INSERT INTO blobs (project, whole, {', '.join(BLOB)}) VALUES (?, ?, {', '.join('?' * len(BLOB))})"
_PUT_JOB = f"INSERT INTO jobs ({', '.join(JOB)}) VALUES ({', '.join('?' * len(JOB))})"
_DELETE_OWN = "DELETE FROM blobs WHERE project = ? AND id = ? AND purpose = ''"
_CLAIM = f"""
SELECT * FROM jobs WHERE {_IS_OPEN} AND lease_unix_ms <= ? AND project NOT IN (SELECT value FROM json_each(?))
AND kind IN (SELECT value FROM json_each(?)) ORDER BY created_unix_ms, id LIMIT 1"""
_GIVE_UP = f"UPDATE jobs SET state = '{JobState.FAILED}', over_unix_ms = ? WHERE project = ? AND id = ?"
# A job's outputs, by its project and id, which are given once for each output.
_WRITTEN = " UNION ".join(f"SELECT {each} FROM jobs WHERE project = ? AND id = ?" for each in ("output", "errors"))
_OF_SUBJECT = "project = ? AND subject = ?"
_TAKEN = "SELECT coalesce((SELECT bytes FROM taken WHERE project = ?), 0)"  # by a project, or by all as ''
_PROJECTS = "SELECT project FROM taken WHERE project != ''"  # that have something


class SqliteJobs:
    """Implements `core.stores.Jobs` at `path`, which is created if absent, or in `MEMORY`. For one event loop."""

    def __init__(self, path: Path, clock: Clock, project_bytes: int, all_bytes: int, sealer: Sealer = PLAIN) -> None:
        """Open the file, blocking. `sealer` also seals what an earlier version stored. Raises `InternalError` if the
        database cannot be opened or is of a later version.
        """
        self._clock = clock
        self._rows = Rows(sealer)
        self._project_bytes = project_bytes
        self._all_bytes = all_bytes
        self._thread = ThreadPoolExecutor(1, "jobs")
        self.resources = SqliteResources(self._run, clock, sealer)
        try:
            if path != MEMORY:
                private_file(path)
            self._connection = connect(path)
            self._connection.execute("PRAGMA secure_delete=ON")
            self._connection.create_function("seal", 3, sealer.seal)
            self._connection.create_function("seal_text", 3, self._rows.seal_text)
            self._transact(lambda transaction: migrate(path, transaction, MIGRATIONS))
            self._file = WatchedFile(path) if path != MEMORY else None
        except (sqlite3.Error, OSError) as error:
            raise InternalError(f"{path} cannot be opened: {error}") from error

    @property
    def trouble(self) -> str | None:
        return self._file.trouble() if self._file is not None else None

    # -- blobs ---------------------------------------------------------------------------------------------------------

    async def put_blob(self, project: str, blob: Blob, data: bytes) -> Blob:
        def put(t: Connection) -> Blob:
            known = t.execute("SELECT * FROM blobs WHERE project = ? AND id = ?", (project, blob.id)).fetchone()
            if known is not None:
                return self._rows.to_blob(known)
            self._add_blob(t, project, blob, whole=True)
            self._check_room(t, project, len(data))
            self._append(t, project, blob.id, data)
            return replace(blob, size_bytes=len(data))

        return await self._run(put)

    async def blob(self, project: str, id: str, keep_s: int) -> Blob:
        return await self._run(lambda t: self._blob(t, project, id, keep_s))

    async def read_blob(self, project: str, id: str, keep_s: int, start: int, size: int) -> bytes:
        def read(t: Connection) -> bytes:
            self._blob(t, project, id, keep_s)
            return job_lines.read(t, self._rows, project, id, start, size)

        return await self._run(read)

    async def blobs(self, project: str, purposes: Collection[str], page: Page, keep_s: int) -> tuple[list[Blob], bool]:
        where, values = _one_of("purpose", purposes)
        rows, more = await self._list("blobs", project, f"whole AND purpose <> '' AND {where}", values, page, keep_s)
        return readable(rows, self._rows.to_blob), more

    async def delete_blob(self, project: str, id: str) -> None:
        await self._run(lambda t: t.execute("DELETE FROM blobs WHERE project = ? AND id = ?", (project, id)))

    async def use_up(self, project: str, id: str) -> None:
        read = f"SELECT 1 FROM jobs WHERE project = ? AND input = ? AND NOT {_IS_OVER}"
        query = f"DELETE FROM blobs WHERE project = ? AND id = ? AND NOT EXISTS ({read})"
        await self._run(lambda t: t.execute(query, (project, id, project, id)))

    def _blob(self, t: Connection, project: str, id: str, keep_s: int) -> Blob:
        now = self._clock.unix_ms()
        query = """
SELECT * FROM blobs WHERE project = ? AND id = ? AND whole AND ends_unix_ms > ? AND created_unix_ms > ?"""
        row = t.execute(query, (project, id, now, now - keep_s * 1000)).fetchone()
        if row is None:
            raise NotFound("File not found.")
        return self._rows.to_blob(row)

    def _add_blob(self, t: Connection, project: str, blob: Blob, whole: bool) -> None:
        self._check_room(t, project, RECORD_BYTES)
        empty = replace(blob, size_bytes=0)
        t.execute(_PUT_BLOB, (project, whole, *(self._rows.blob_column(project, empty, name) for name in BLOB)))

    def _append(self, t: Connection, project: str, id: str, data: bytes) -> None:
        query = "SELECT size_bytes FROM blobs WHERE project = ? AND id = ?"
        row = t.execute(query, (project, id)).fetchone()
        if row is None:
            raise LeaseLost("What was to be written is gone.")
        size = row["size_bytes"]
        for at in range(0, len(data), PIECE_BYTES):
            piece = self._rows.seal_piece(project, id, size + at, data[at : at + PIECE_BYTES])
            t.execute("INSERT INTO pieces VALUES (?, ?, ?, ?)", (project, id, size + at, piece))
        t.execute("UPDATE blobs SET size_bytes = ? WHERE project = ? AND id = ?", (size + len(data), project, id))

    def _check_room(self, t: Connection, project: str, more: int) -> None:
        """Raise `StorageFull` if there is no room for `more` bytes."""
        for whose, most, what in (
            (project, self._project_bytes, "This project's files and jobs"),
            ("", self._all_bytes, "All files and jobs"),
        ):
            if t.execute(_TAKEN, (whose,)).fetchone()[0] + more > most:
                raise StorageFull(
                    f"{what} would take more than {most} bytes. Delete files.", retry_after_s=RETRY_AFTER_S
                )

    # -- jobs, for callers ---------------------------------------------------------------------------------------------

    async def create(self, job: Job, most_open: int, data: bytes = b"") -> Job:
        def create(t: Connection) -> Job:
            key = (job.project, job.id)
            known = t.execute("SELECT * FROM jobs WHERE project = ? AND id = ?", key).fetchone()
            if known is not None:
                return self._rows.to_job(known)
            query = f"SELECT count(*) FROM jobs WHERE project = ? AND kind = ? AND NOT {_IS_OVER}"
            if t.execute(query, (job.project, job.kind)).fetchone()[0] >= most_open:
                message = f"A project can have at most {most_open} jobs that are not over."
                raise CapacityError(message, retry_after_s=RETRY_AFTER_S)
            self._check_room(t, job.project, RECORD_BYTES + len(job.request))
            t.execute(_PUT_JOB, [self._rows.column(job, name, getattr(job, name)) for name in JOB])
            if data:
                self._add_blob(t, job.project, job.own_input, whole=True)
                self._check_room(t, job.project, len(data))
                self._append(t, job.project, job.input, data)
            return job

        return await self._run(create)

    async def job(self, project: str, id: str, keep_s: int) -> Job:
        return await self._run(lambda t: self._job(t, project, id, keep_s))

    async def jobs(
        self, project: str, kind: str, page: Page, keep_s: int, states: Collection[JobState] = ()
    ) -> tuple[list[Job], bool]:
        where, values = _one_of("state", states)
        rows, more = await self._list("jobs", project, f"kind = ? AND {where}", (kind, *values), page, keep_s)
        return readable(rows, self._rows.to_job), more

    async def end(self, project: str, id: str, ends_unix_ms: int) -> None:
        def end(t: Connection) -> None:
            shorter, key = "SET ends_unix_ms = min(ends_unix_ms, ?) WHERE project = ?", (ends_unix_ms, project)
            t.execute(f"UPDATE jobs {shorter} AND id = ?", (*key, id))
            t.execute(f"UPDATE blobs {shorter} AND id IN ({_WRITTEN})", (*key, project, id, project, id))

        await self._run(end)

    async def cancel(self, project: str, id: str, keep_s: int) -> Job:
        def cancel(t: Connection) -> Job:
            job, now = self._job(t, project, id, keep_s), self._clock.unix_ms()
            if job.over or job.cancel_unix_ms:
                return job
            queued = job.state is JobState.QUEUED
            state = JobState.CANCELLED if queued else job.state
            if queued:
                t.execute(_DELETE_OWN, (project, job.input))
            return self._set(t, job, cancel_unix_ms=now, over_unix_ms=now if queued else 0, state=state)

        return await self._run(cancel)

    async def delete_job(self, project: str, id: str) -> None:
        def delete(t: Connection) -> None:
            t.execute(
                f"DELETE FROM blobs WHERE project = ? AND id IN ({_WRITTEN})", (project, project, id, project, id)
            )
            t.execute("DELETE FROM jobs WHERE project = ? AND id = ?", (project, id))

        await self._run(delete)

    def _job(self, t: Connection, project: str, id: str, keep_s: int) -> Job:
        now = self._clock.unix_ms()
        query = "SELECT * FROM jobs WHERE project = ? AND id = ? AND ends_unix_ms > ? AND created_unix_ms > ?"
        row = t.execute(query, (project, id, now, now - keep_s * 1000)).fetchone()
        if row is None:
            raise NotFound("Job not found.")
        return self._rows.to_job(row)

    # -- jobs, for workers ---------------------------------------------------------------------------------------------

    async def claim(self, owner: str, besides: Collection[str], kinds: Collection[str]) -> Job | None:
        def claim(t: Connection) -> Job | None:
            now = self._clock.unix_ms()
            while row := t.execute(_CLAIM, (now, json.dumps(list(besides)), json.dumps(list(kinds)))).fetchone():
                key = row["project"], row["id"]
                if not (found := readable([row], self._rows.to_job)):
                    t.execute(_GIVE_UP, (now, *key))
                    continue
                t.execute(
                    "UPDATE jobs SET owner = ?, lease_unix_ms = ? WHERE project = ? AND id = ?",
                    (owner, now + LEASE_MS, *key),
                )
                job = found[0]
                return self._set(t, job, state=JobState.RUNNING, attempt=job.attempt + 1)
            return None

        return await self._run(claim)

    async def beat(self, job: Job, owner: str) -> Job:
        return await self._run(lambda t: self._owned(t, job, owner))

    async def begin(self, job: Job, owner: str, total: int, result: bytes, outputs: tuple[Blob, Blob]) -> Job:
        def begin(t: Connection) -> Job:
            now = self._owned(t, job, owner)
            if now.begun_unix_ms:
                return now
            for blob in outputs:
                self._add_blob(t, job.project, blob, whole=False)
            return self._set(t, now, total=total, result=result, begun_unix_ms=self._clock.unix_ms())

        return await self._run(begin)

    async def record(self, job: Job, owner: str, outcomes: Sequence[ItemOutcome]) -> Job:
        return await self._run(lambda t: self._record(t, self._owned(t, job, owner), outcomes))

    async def check_room(self, project: str) -> None:
        await self._run(lambda t: self._check_room(t, project, 1))

    async def recorded(self, job: Job) -> set[int]:
        query = "SELECT number FROM items WHERE project = ? AND job = ?"
        return await self._run(lambda t: {number for (number,) in t.execute(query, (job.project, job.id))})

    async def finish(
        self, job: Job, owner: str, state: JobState, result: bytes | None, outputs_end_unix_ms: int
    ) -> Job:
        def finish(t: Connection) -> Job:
            now, at = self._owned(t, job, owner), self._clock.unix_ms()
            assert state in NEXT[now.state]
            written = []
            for blob in (job.output, job.errors):
                key = (job.project, blob)
                t.execute("DELETE FROM blobs WHERE project = ? AND id = ? AND size_bytes = 0", key)
                seal = "UPDATE blobs SET whole = 1, created_unix_ms = ?, ends_unix_ms = ? WHERE project = ? AND id = ?"
                written.append(blob if t.execute(seal, (at, outputs_end_unix_ms, *key)).rowcount else "")
            t.execute("DELETE FROM items WHERE project = ? AND job = ?", (job.project, job.id))
            t.execute(_DELETE_OWN, (job.project, job.input))
            output, errors = written
            final_result = now.result if result is None else result
            return self._set(t, now, state=state, over_unix_ms=at, output=output, errors=errors, result=final_result)

        return await self._run(finish)

    async def settled(self, job: Job, number: int) -> bool:
        query = "SELECT 1 FROM items WHERE project = ? AND job = ? AND number = ?"
        return await self._run(lambda t: t.execute(query, (job.project, job.id, number)).fetchone() is not None)

    def _record(self, t: Connection, now: Job, outcomes: Sequence[ItemOutcome]) -> Job:
        known = "INSERT OR IGNORE INTO items VALUES (?, ?, ?)"
        fresh = [one for one in outcomes if t.execute(known, (now.project, now.id, one.number)).rowcount]
        for good, blob in ((True, now.output), (False, now.errors)):
            lines = b"".join(one.line for one in fresh if one.good is good)
            if lines:
                self._append(t, now.project, blob, lines)
        return self._set(
            t,
            now,
            done=now.done + sum(one.good for one in fresh),
            failed=now.failed + sum(not one.good for one in fresh),
            input_tokens=now.input_tokens + sum(one.usage.input for one in fresh),
            cached_tokens=now.cached_tokens + sum(one.usage.cached for one in fresh),
            output_tokens=now.output_tokens + sum(one.usage.output for one in fresh),
            reasoning_tokens=now.reasoning_tokens + sum(one.usage.reasoning for one in fresh),
        )

    async def let_go(self, owner: str) -> None:
        await self._run(lambda t: t.execute("UPDATE jobs SET lease_unix_ms = 0 WHERE owner = ?", (owner,)))

    def _owned(self, t: Connection, job: Job, owner: str) -> Job:
        """Extend a job's lease and return the job. Raises `LeaseLost`."""
        query = f"UPDATE jobs SET lease_unix_ms = ? WHERE project = ? AND id = ? AND owner = ? AND NOT {_IS_OVER}"
        key = (job.project, job.id)
        if not t.execute(query, (self._clock.unix_ms() + LEASE_MS, *key, owner)).rowcount:
            raise LeaseLost("The job is not this worker's any more.")
        return self._rows.to_job(t.execute("SELECT * FROM jobs WHERE project = ? AND id = ?", key).fetchone())

    def _set(self, t: Connection, job: Job, **values: Any) -> Job:
        named = ", ".join(f"{name} = ?" for name in values)
        columns = (self._rows.column(job, name, value) for name, value in values.items())
        t.execute(f"UPDATE jobs SET {named} WHERE project = ? AND id = ?", (*columns, job.project, job.id))
        return replace(job, **values)

    # -- the end of keeping --------------------------------------------------------------------------------------------

    async def purge(self, keep_s: Callable[[str], int]) -> Counter[str]:
        """Erase what is expired, or older than its project's policy now allows, a little at a time, so that other
        operations wait only briefly; return how many, by project.
        """
        await self.resources.purge()
        now, wiped = self._clock.unix_ms(), Counter[str]()
        for table in ("jobs", "blobs"):
            wiped += await self._wipe(table, "ends_unix_ms <= ?", now)
            for (project,) in await self._run(partial(_all, _PROJECTS)):
                oldest = now - keep_s(project) * 1000
                wiped += await self._wipe(table, "project = ? AND created_unix_ms <= ?", project, oldest)
        return wiped

    async def _wipe(self, table: str, which: str, *values: str | int) -> Counter[str]:
        some = f"SELECT project, id FROM {table} WHERE {which} LIMIT {WIPED_AT_ONCE}"
        query = f"DELETE FROM {table} WHERE (project, id) IN ({some}) RETURNING project"
        wiped = Counter[str]()
        while rows := await self._run(lambda t: t.execute(query, values).fetchall()):
            wiped.update(project for (project,) in rows)
        return wiped

    async def jobs_about(self, project: str, subject: str, page: Page, keep_s: int) -> tuple[list[Job], bool]:
        rows, more = await self._list("jobs", project, "subject = ?", (subject,), page, keep_s)
        return readable(rows, self._rows.to_job), more

    async def blobs_about(self, project: str, subject: str, page: Page, keep_s: int) -> tuple[list[Blob], bool]:
        rows, more = await self._list("blobs", project, "whole AND subject = ?", (subject,), page, keep_s)
        return readable(rows, self._rows.to_blob), more

    async def erase(self, project: str, subject: str | None = None) -> Counter[str]:
        which, values = ("project = ?", (project,)) if subject is None else (_OF_SUBJECT, (project, subject))
        erased = Counter[str]()
        for table in ("jobs", "blobs"):
            erased[table] = (await self._wipe(table, which, *values)).total()
        return erased

    async def read_written(self, project: str, id: str, start: int, size: int) -> bytes:
        return await self._run(lambda t: job_lines.read(t, self._rows, project, id, start, size))

    async def blank(self, project: str, id: str, spans: Sequence[tuple[int, int]]) -> None:
        await self._run(lambda t: job_lines.blank(t, self._rows, project, id, spans))

    async def settle(self, job: Job, outcomes: Sequence[ItemOutcome]) -> None:
        def settle(t: Connection) -> None:
            row = t.execute("SELECT * FROM jobs WHERE project = ? AND id = ?", (job.project, job.id)).fetchone()
            now = self._rows.to_job(row) if row is not None else None
            if now is not None and now.begun_unix_ms and not now.over:
                self._record(t, now, outcomes)

        await self._run(settle)

    async def close(self) -> None:
        await asyncio.to_thread(self._thread.shutdown)
        self._connection.close()

    # -- the same for all ----------------------------------------------------------------------------------------------

    async def _list(
        self, table: str, project: str, where: str, values: tuple[str, ...], page: Page, keep_s: int
    ) -> tuple[list[Row], bool]:
        """Return a page of one table's rows, by age, and whether more follow."""

        def read(t: Connection) -> list[Row]:
            now = self._clock.unix_ms()
            readable = f"project = ? AND ends_unix_ms > ? AND created_unix_ms > ? AND {where}"
            parameters: tuple[Any, ...] = (project, now, now - keep_s * 1000, *values)
            if page.since_unix_ms:
                readable, parameters = f"{readable} AND created_unix_ms >= ?", (*parameters, page.since_unix_ms)
            if page.until_unix_ms:
                readable, parameters = f"{readable} AND created_unix_ms < ?", (*parameters, page.until_unix_ms)
            order, beyond = ("DESC", "<") if page.newest_first else ("ASC", ">")
            query = f"SELECT * FROM {table} WHERE {readable}"
            if page.after:
                place = f"SELECT created_unix_ms, id FROM {table} WHERE project = ? AND id = ?"
                last = t.execute(place, (project, page.after)).fetchone()
                if last is None:
                    raise NotFound("Nothing in this list has the id 'after'.", param="after")
                query, parameters = f"{query} AND (created_unix_ms, id) {beyond} (?, ?)", (*parameters, *last)
            query = f"{query} ORDER BY created_unix_ms {order}, id {order} LIMIT ?"
            return t.execute(query, (*parameters, page.limit + 1)).fetchall()

        rows = await self._run(read)
        return rows[: page.limit], len(rows) > page.limit

    async def _run(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in the thread. Raises `InternalError`, and what `work` raises."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work)
        except (sqlite3.Error, RuntimeError) as error:  # the thread accepts no work after its shutdown
            raise InternalError("Files and jobs cannot be read or written.") from error

    def _transact(self, work: Callable[[Connection], T]) -> T:
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            return work(self._connection)


def _one_of(column: str, wanted: Collection[str]) -> tuple[str, tuple[str, ...]]:
    """Return a condition and its values; without `wanted`, one that matches everything."""
    return f"{column} IN ({', '.join('?' * len(wanted))})" if wanted else "TRUE", tuple(map(str, wanted))


def _all(query: str, t: Connection) -> list[Row]:
    return t.execute(query).fetchall()
