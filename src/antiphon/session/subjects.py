"""Everything that is kept about a person, or of a project: its export and its erasure, on the disk and in memory.

A caller names the person in a tag `subject=...`; only a pseudonym of that name is stored. Each line of a batch's file
may name a person of its own (`subject_lines.py`). The usage ledger knows no people, and keeps its quantities. Exports
and erasures are in the audit log before their caller gets the result; the certificate of an erasure is the place of its
record there.
"""

import asyncio
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import msgspec

from antiphon.core.audit import Action, AuditRecord, Author, canonical
from antiphon.core.errors import CallerError, InternalError, NotFound
from antiphon.core.jobs import Blob, Job, JobKind, Page
from antiphon.core.merkle import leaf_hash
from antiphon.core.stores import Jobs, ServerStores
from antiphon.core.tags import MAX_CHARS
from antiphon.core.wire import Keep
from antiphon.session.keeping import Keeper
from antiphon.session.subject_lines import Lines, Place
from antiphon.trust.audit import Auditor

PIECE_BYTES = 1 << 20  # of a file, in one line of an export
PAGE = 100  # jobs, or files, that are read at once
PASSING_S = 86_400  # for which files and jobs are in memory: OpenAI's window for a batch, the longest one

Line = dict[str, Any]
R = TypeVar("R", Job, Blob)


class Work(Protocol):
    """The jobs that run at the moment of an erasure."""

    def drop(self, project: str, pseudonym: str) -> int:
        """Stop the jobs that are about a person, or all of the project, whose records are gone, and send no notice of
        them any more. Return how many notices were not delivered yet.
        """

    def drop_lines(self, job: Job, numbers: frozenset[int]) -> None:
        """Stop these lines of a job."""


class NoWork:
    """Nothing runs: there is no server."""

    def drop(self, project: str, pseudonym: str) -> int:
        return 0

    def drop_lines(self, job: Job, numbers: frozenset[int]) -> None: ...


NOTHING_RUNS = NoWork()


@dataclass(frozen=True, slots=True)
class Certificate:
    """The proof of an erasure: its record, the record's number in the audit log, and the log's size afterwards. Of its
    counts, `under_way` are the calls that were open about the person when it began: they go on, and nothing of them is
    kept; `notices` are webhooks' that were not delivered yet, and are not sent.
    `untagged_files` are the project's files that remain and name nobody, as a whole or in each of their lines:
    something in them may be about the person.
    """

    record: AuditRecord
    number: int
    size: int
    untagged_files: int = 0

    def shown(self) -> Line:
        """Return it as JSON. The hash of the record's bytes is the leaf that proofs of inclusion are about."""
        body = canonical(self.record)
        log = {"number": self.number, "size": self.size, "leaf": leaf_hash(body).hex()}
        counts = {"erased": dict(self.record.counts), "untagged_files": self.untagged_files}
        return counts | {"log": log, "record": msgspec.json.decode(body)}


class Subjects:
    """The exports and erasures of one server."""

    def __init__(
        self,
        stores: ServerStores,
        keeper: Keeper,
        keep_s: Callable[[str], int],
        auditor: Auditor,
        kinds: Mapping[str, JobKind],
        work: Work = NOTHING_RUNS,
        open_about: Callable[[str, str], int] = lambda project, subject: 0,
    ) -> None:
        """Create it; `keep_s` is each project's policy, `kinds` are the kinds of jobs by name. If a server runs, `work`
        is what it does, and `open_about` returns how many calls are open about a person, by name, or of a whole
        project.
        """
        self._work = work
        self._open_about = open_about
        self._kinds = kinds
        self._stores = stores
        self._keeper = keeper
        self._auditor = auditor
        self._places: tuple[tuple[Jobs, Callable[[str], int]], ...] = (
            (stores.jobs, keep_s),
            (stores.passing, lambda project: PASSING_S),
        )

    async def export(self, project: str, subject: str, by: Author) -> AsyncGenerator[Line, None]:
        """Yield everything about a person, as lines of JSON; the last one is the counts, so that a whole export can be
        recognised. Raises `NotFound` without that project, `CallerError`, `InternalError`, `LedgerUnavailable`.
        """
        pseudonym = await self._pseudonym(project, subject)
        await self._auditor.settle(by.did(Action.SUBJECT_EXPORT, project, pseudonym))
        yield {"kind": "export", "project": project, "subject": subject, "at_unix_ms": by.at_unix_ms}
        found = Counter[str](answers=0, remembered=0, jobs=0, files=0, lines=0)
        untagged = 0
        async for keep in self._keeper.of_subject(project, pseudonym):
            found["answers"] += 1
            yield _answer(keep, "disk")
        for keep in self._keeper.recents.of_subject(project, pseudonym):
            found["remembered"] += 1
            yield _answer(keep, "memory")
        for store, keep_s in self._places:
            async for job in _all(store.jobs_about, project, pseudonym, keep_s(project)):
                found["jobs"] += 1
                yield _job(job)
            async for blob in _all(store.blobs_about, project, pseudonym, keep_s(project)):
                found["files"] += 1
                async for line in _file(store, project, blob, keep_s(project)):
                    yield line
            lines = Lines(store, self._kinds, project, keep_s(project), subject, pseudonym)
            async for some in lines.found():
                for place in some.places:
                    found["lines"] += 1
                    yield _line(some.file.id, place, await lines.content(some.file.id, place))
                async for file, place in lines.answers(some):
                    found["lines"] += 1
                    yield _line(file, place, await lines.content(file, place))
            untagged += lines.untagged
        yield {"kind": "end", "counts": dict(found), "untagged_files": untagged}

    async def erase(self, project: str, subject: str, by: Author) -> Certificate:
        """Erase everything about a person. Raises as `export` does; if it fails, it can be repeated."""
        pseudonym = await self._pseudonym(project, subject)
        counts, untagged = await self._erase(project, pseudonym, subject), 0
        counts["lines"] = 0
        for store, keep_s in self._places:
            lines = Lines(store, self._kinds, project, keep_s(project), subject, pseudonym)
            async for some in lines.found():
                counts["lines"] += await lines.erase(some, self._work.drop_lines)
            untagged += lines.untagged
        certificate = await self._certify(by.did(Action.SUBJECT_ERASE, project, pseudonym), counts)
        return replace(certificate, untagged_files=untagged)

    async def erase_project(self, project: str, by: Author) -> Certificate:
        """Destroy the keys of a project's content and tags, then erase the content. Raises as `export` does."""
        await asyncio.to_thread(self._stores.directory.destroy_keys, project, by)
        counts = await self._erase(project, "", "")
        counts["resources"] = await self._stores.resources.erase(project)
        return await self._certify(by.did(Action.PROJECT_ERASE, project, project), counts)

    async def _erase(self, project: str, pseudonym: str, subject: str) -> Counter[str]:
        counts = Counter[str](under_way=self._open_about(project, subject))
        counts["answers"], counts["remembered"] = await self._keeper.erase(project, pseudonym)
        for store, _ in self._places:
            erased = await store.erase(project, pseudonym or None)
            counts["jobs"] += erased["jobs"]
            counts["files"] += erased["blobs"]
        counts["notices"] = self._work.drop(project, pseudonym)
        return counts

    async def _certify(self, record: AuditRecord, counts: Counter[str]) -> Certificate:
        """Record an erasure, and find its place in the log."""
        record = record._replace(counts=tuple(sorted(counts.items())))
        trail, leaf = self._stores.trail, leaf_hash(canonical(record))
        start = await trail.size()
        await self._auditor.settle(record)
        size = await trail.size()
        while page := await trail.logged(start):
            for each in page:
                if each.leaf == leaf:
                    return Certificate(record, each.number, size)
            start = page[-1].number + 1
        raise InternalError("It was erased, but its record was not found in the audit log.")

    async def _pseudonym(self, project: str, subject: str) -> str:
        if not 0 < len(subject) <= MAX_CHARS:
            raise CallerError(f"a subject has 1 to {MAX_CHARS} characters", param="subject")
        if project not in (await asyncio.to_thread(self._stores.directory.view)).projects:
            raise NotFound(f"project {project} not found", param="project")
        return await asyncio.to_thread(self._stores.sealer.pseudonym, project, subject)


async def _all(
    listed: Callable[[str, str, Page, int], Awaitable[tuple[list[R], bool]]], project: str, subject: str, keep_s: int
) -> AsyncGenerator[R, None]:
    """Yield everything that is listed about a subject, page by page."""
    page, more = Page(limit=PAGE, newest_first=False), True
    while more:
        found, more = await listed(project, subject, page, keep_s)
        for each in found:
            yield each
        if found:
            page = replace(page, after=found[-1].id)
        more = more and bool(found)


def _answer(keep: Keep, where: str) -> Line:
    conversation = msgspec.to_builtins(keep.conversation)
    line: Line = {"kind": "answer", "id": keep.id, "where": where, "conversation": conversation}
    return line | _content("response", keep.body)


def _job(job: Job) -> Line:
    names = ("id", "kind", "state", "created_unix_ms", "begun_unix_ms", "over_unix_ms", "input", "output", "errors")
    line: Line = {"kind": "job", "job": {name: getattr(job, name) for name in names}, "tags": list(job.tags)}
    for name in ("request", "result"):
        line |= _content(name, getattr(job, name))
    return line


def _line(file: str, place: Place, data: bytes) -> Line:
    return {"kind": "line", "file": file, "number": place.number} | _content("line", data)


async def _file(store: Jobs, project: str, blob: Blob, keep_s: int) -> AsyncGenerator[Line, None]:
    named = {"id": blob.id, "name": blob.name, "purpose": blob.purpose, "created_unix_ms": blob.created_unix_ms}
    yield {"kind": "file", **named, "size_bytes": blob.size_bytes}
    for start in range(0, blob.size_bytes, PIECE_BYTES):
        data = await store.read_blob(project, blob.id, keep_s, start, PIECE_BYTES)
        yield {"kind": "file_data", "id": blob.id, "start": start, "base64": b64encode(data).decode()}


def _content(name: str, data: bytes) -> Line:
    """Return content under a name: as JSON if it is JSON, else in base64."""
    try:
        return {name: msgspec.json.decode(data) if data else None}
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {f"{name}_base64": b64encode(data).decode()}
