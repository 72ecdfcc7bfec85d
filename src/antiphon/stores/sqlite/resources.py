"""Resources of projects, in `jobs.db`, their bodies sealed with the project's key."""

from collections.abc import Awaitable, Callable
from sqlite3 import Connection, Row
from typing import Any, Protocol, TypeVar

from antiphon.core.errors import CapacityError, NotFound, TooLarge
from antiphon.core.ports import Clock
from antiphon.core.resources import Change, Resource
from antiphon.core.sealing import Sealer
from antiphon.core.stores import MAX_RESOURCE_BYTES, MAX_RESOURCES

T = TypeVar("T")

_KEY = "project = ? AND kind = ? AND name = ?"
_GET = f"SELECT * FROM resources WHERE {_KEY} AND (ends_unix_ms = 0 OR ends_unix_ms > ?)"
_LIST = """
SELECT * FROM resources WHERE project = ? AND kind = ? AND name > ? AND substr(name, 1, ?) = ?
AND (NOT deleted OR ?) AND (ends_unix_ms = 0 OR ends_unix_ms > ?) ORDER BY name LIMIT ?"""
_COUNT = "SELECT count(*) FROM resources WHERE project = ? AND (ends_unix_ms = 0 OR ends_unix_ms > ?)"
_PUT = """
INSERT INTO resources (project, kind, name, body, deleted, ends_unix_ms) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (project, kind, name)
DO UPDATE SET body = excluded.body, deleted = excluded.deleted, ends_unix_ms = excluded.ends_unix_ms"""


class Run(Protocol):
    """A function that runs work in a transaction of its own."""

    def __call__(self, work: Callable[[Connection], T]) -> Awaitable[T]: ...


class SqliteResources:
    """Implements `core.stores.Resources` in the jobs' database, on the thread of its connection."""

    def __init__(self, run: Run, clock: Clock, sealer: Sealer) -> None:
        self._run = run
        self._clock = clock
        self._sealer = sealer

    async def get(self, project: str, kind: str, name: str) -> Resource:
        found = await self._run(lambda t: self._get(t, project, kind, name))
        if found is None:
            raise NotFound(f"{name!r} not found.", param="name")
        return found

    async def listed(
        self, project: str, kind: str, prefix: str, after: str, limit: int, deleted: bool
    ) -> tuple[list[Resource], bool]:
        now = self._clock.unix_ms()
        values = (project, kind, after, len(prefix), prefix, deleted, now, limit + 1)
        rows = await self._run(lambda t: t.execute(_LIST, values).fetchall())
        return [self._resource(row) for row in rows[:limit]], len(rows) > limit

    async def change(self, project: str, kind: str, name: str, change: Change, preview: bool) -> Resource | None:
        def work(t: Connection) -> Resource | None:
            before = self._get(t, project, kind, name)
            after = change(before, self._clock.unix_ms())
            if after is None or after == before or preview:
                return after
            if len(after.body) > MAX_RESOURCE_BYTES:
                raise TooLarge(f"This would be larger than {MAX_RESOURCE_BYTES} bytes.")
            t.execute(f"DELETE FROM resources WHERE {_KEY} AND ends_unix_ms > 0", (project, kind, name))
            if before is None:
                self._check_room(t, project)
            body = self._sealer.seal(project, _place(kind, name), after.body)
            row: tuple[Any, ...] = (project, kind, name, body, after.deleted, after.ends_unix_ms)
            t.execute(_PUT, row)
            return after

        return await self._run(work)

    async def purge(self) -> None:
        """Erase what is expired."""
        now = self._clock.unix_ms()
        query = "DELETE FROM resources WHERE ends_unix_ms > 0 AND ends_unix_ms <= ?"
        await self._run(lambda t: t.execute(query, (now,)))

    async def erase(self, project: str) -> int:
        """Erase the project's resources; return how many."""
        query = "DELETE FROM resources WHERE project = ?"
        return await self._run(lambda t: t.execute(query, (project,)).rowcount)

    def _get(self, t: Connection, project: str, kind: str, name: str) -> Resource | None:
        row = t.execute(_GET, (project, kind, name, self._clock.unix_ms())).fetchone()
        return None if row is None else self._resource(row)

    def _check_room(self, t: Connection, project: str) -> None:
        if t.execute(_COUNT, (project, self._clock.unix_ms())).fetchone()[0] >= MAX_RESOURCES:
            raise CapacityError(f"A project can have at most {MAX_RESOURCES} of these, deleted ones included.")

    def _resource(self, row: Row) -> Resource:
        body = self._sealer.unseal(row["project"], _place(row["kind"], row["name"]), row["body"])
        return Resource(row["name"], body, bool(row["deleted"]), row["ends_unix_ms"])


def _place(kind: str, name: str) -> str:
    return f"resources.body/{kind}/{name}"
