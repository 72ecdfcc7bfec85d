"""What is kept of models' answers, in `answers.db`: rows by project and id, each with its end.

What is past its end, or older than its project's policy now allows, is there for no reader, and wiped by the next
purge: `secure_delete` overwrites it in the file. One thread owns the one connection; whatever waits to be written when
it gets free goes into one transaction and shares its syncs.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    func,
    select,
    tuple_,
)
from sqlalchemy import delete as delete_from
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from antiphon.core.errors import InternalError, NotFound
from antiphon.core.ports import Clock
from antiphon.core.specs import Message
from antiphon.core.wire import Keep
from antiphon.trust.control import BUSY_TIMEOUT_S, open_engine

FILE_NAME = "answers.db"  # in the data directory
SCHEMA_VERSION = 1
MAX_BYTES = 16 << 30  # of the file
WIPED_AT_ONCE = 64

T = TypeVar("T")

metadata = MetaData()
answers = Table(
    "answers",
    metadata,
    Column("project", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("created_unix_ms", Integer, nullable=False),
    Column("expires_unix_ms", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("conversation", LargeBinary, nullable=False),
    PrimaryKeyConstraint("project", "id"),
    sqlite_strict=True,
)
Index("answers_by_end", answers.c.expires_unix_ms)
Index("answers_by_age", answers.c.project, answers.c.created_unix_ms)

_INSERT = insert(answers)
_PUT = _INSERT.on_conflict_do_update(
    index_elements=["project", "id"],
    set_={"body": _INSERT.excluded.body, "conversation": _INSERT.excluded.conversation},
)
_conversation = msgspec.json.Decoder(tuple[Message, ...])


@dataclass(slots=True)
class _Put:
    row: dict[str, Any]
    error: BaseException | None = None


class KeptAnswers:
    """The answers at `path`, which is created if it is not there. For one event loop."""

    def __init__(self, path: Path, clock: Clock, max_bytes: int = MAX_BYTES) -> None:
        """Blocking. A file of `max_bytes` takes no more answers.

        Raises `InternalError` if the database cannot be opened or is of another version.
        """
        self._clock = clock
        self._waiting: deque[_Put] = deque()
        self._thread = ThreadPoolExecutor(1, "answers")
        self._engine = open_engine(path, BUSY_TIMEOUT_S, StaticPool)
        try:
            with self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA secure_delete=ON")
                page_bytes = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
                connection.exec_driver_sql(f"PRAGMA max_page_count={max_bytes // page_bytes}")
            version = self._transact(_prepare)
        except DBAPIError as error:
            raise InternalError(f"{path} cannot be opened: {error.orig}") from error
        if version != SCHEMA_VERSION:
            raise InternalError(
                f"{path} has schema version {version}, and this version of antiphon knows {SCHEMA_VERSION}"
            )

    async def put(self, project: str, keep: Keep, keep_s: int) -> None:
        """Durable on return. What is kept again keeps the end it had. Raises `InternalError`; if cancelled, it may be
        kept or not.
        """
        now = self._clock.unix_ms()
        put = _Put(
            {
                "project": project,
                "id": keep.id,
                "created_unix_ms": now,
                "expires_unix_ms": now + keep_s * 1000,
                "body": keep.body,
                "conversation": msgspec.json.encode(keep.conversation),
            }
        )
        self._waiting.append(put)
        await self._run(self._write)
        if put.error is not None:
            raise InternalError("The answer could not be kept.") from put.error

    async def get(self, project: str, id: str, keep_s: int) -> Keep:
        """`keep_s` is what the policy says now. Raises `NotFound`, also for another project's; `InternalError`."""
        now = self._clock.unix_ms()
        query = select(answers.c.body, answers.c.conversation).where(
            answers.c.project == project,
            answers.c.id == id,
            answers.c.expires_unix_ms > now,
            answers.c.created_unix_ms > now - keep_s * 1000,
        )
        row = await self._run(lambda: self._transact(lambda t: t.execute(query).first()))
        if row is None:
            raise NotFound("No such answer is kept.")
        return Keep(id, row.body, _conversation.decode(row.conversation))

    async def delete(self, project: str, id: str) -> None:
        """Raises `InternalError`."""
        query = delete_from(answers).where(answers.c.project == project, answers.c.id == id)
        await self._run(lambda: self._transact(lambda t: t.execute(query)))

    async def purge(self, keep_s: Callable[[str], int]) -> None:
        """Wipes what is past its end, or older than its project's policy now allows, a little at a time, so that who
        wants an answer kept does not wait for it. Raises `InternalError`.
        """
        now = self._clock.unix_ms()
        await self._wipe(answers.c.expires_unix_ms <= now)
        project = await self._next_project("")
        while project:
            oldest = now - keep_s(project) * 1000
            await self._wipe((answers.c.project == project) & (answers.c.created_unix_ms <= oldest))
            project = await self._next_project(project)

    async def _next_project(self, after: str) -> str:
        """One that has answers; empty after the last."""
        query = select(func.min(answers.c.project)).where(answers.c.project > after)
        return await self._run(lambda: self._transact(lambda t: t.execute(query).scalar_one())) or ""

    async def _wipe(self, which: ColumnElement[bool]) -> None:
        some = select(answers.c.project, answers.c.id).where(which).limit(WIPED_AT_ONCE)
        query = delete_from(answers).where(tuple_(answers.c.project, answers.c.id).in_(some))
        while await self._run(lambda: self._transact(lambda t: t.execute(query).rowcount)):
            pass

    async def close(self) -> None:
        """What was begun is finished first."""
        await asyncio.to_thread(self._thread.shutdown)
        self._engine.dispose()

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except DBAPIError as error:
            raise InternalError("The kept answers cannot be read or written.") from error.orig

    def _write(self) -> None:
        """Everything that waits; each put is told how it went."""
        puts = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not puts:
            return
        try:
            self._transact(lambda transaction: transaction.execute(_PUT, [put.row for put in puts]))
        except DBAPIError as error:
            for put in puts:
                put.error = error.orig  # without the row, which is in the other's text

    def _transact(self, work: Callable[[Connection], T]) -> T:
        with self._engine.begin() as transaction:
            transaction.exec_driver_sql("BEGIN IMMEDIATE")
            return work(transaction)


def _prepare(transaction: Connection) -> int:
    """Creates the schema if there is none; its version."""
    version: int = transaction.exec_driver_sql("PRAGMA user_version").scalar_one()
    if version == 0:
        metadata.create_all(transaction)
        transaction.exec_driver_sql(f"PRAGMA user_version={SCHEMA_VERSION}")
        return SCHEMA_VERSION
    return version
