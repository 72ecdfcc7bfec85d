"""The lines of batches' files that are about a person, in files that are not tagged as that person's: found, read, and
erased with their answers.

Erased lines are overwritten in place, so that all others keep their numbers. The answers go first: only the line says
whose they are, and an erasure that fails can be repeated.
"""

import asyncio
from codecs import BOM_UTF8
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from uuid import uuid4

from antiphon.core.jobs import Blob, ItemOutcome, Job, JobKind, JobState, LineSubject, Page, SubjectKind
from antiphon.core.stores import Jobs

CHUNK_BYTES = 1 << 20  # of a file, read or overwritten at once
MOST_LINES = 10_000  # about the person, in memory
MOST_FILES, MOST_JOBS = 10_000, 1000  # of a project, listed at once
MOST_LINE_BYTES = 128 << 20  # in memory; no longer line is looked at
Stop = Callable[[Job, frozenset[int]], None]


def _stop_nothing(job: Job, numbers: frozenset[int]) -> None: ...


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file: its number, its first byte, its size, and whom it is about."""

    number: int
    start: int
    size: int
    about: LineSubject


@dataclass(slots=True)
class Found:
    """Some lines of one input file, by the kind with this name."""

    kind: str
    file: Blob
    places: list[Place] = field(default_factory=list)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(place.about.name for place in self.places if place.about.name)


class Lines:
    """The lines about `subject` in a project's files in one store, apart from the files with its `pseudonym`."""

    def __init__(
        self,
        store: Jobs,
        kinds: Mapping[str, JobKind],
        project: str,
        keep_s: int,
        subject: str,
        pseudonym: str,
    ) -> None:
        self.untagged = 0  # files that name nobody, nor does each of their lines; once all are found
        self._unread: set[str] = set()  # files with lines that cannot be read
        self._store = store
        self._kinds = {name: kind for name, kind in kinds.items() if isinstance(kind, SubjectKind)}
        self._project = project
        self._keep_s = keep_s
        self._subject = subject
        self._pseudonym = pseudonym

    async def found(self) -> AsyncGenerator[Found, None]:
        """Yield the lines about the person, file by file, at most `MOST_LINES` at once."""
        files = await self._files()
        named: set[str] = set()  # files whose lines all name somebody, and the outputs of their jobs
        for kind_name, kind in self._kinds.items():
            for file in files:
                if file.purpose != kind.input_purpose or file.subject == self._pseudonym:
                    continue
                found, whole = Found(kind_name, file), True
                async for places in self._read(kind, file.id):
                    for place in places:
                        whole = whole and place is not None and (place.about.erased or bool(place.about.subject))
                        if place is None or place.about.subject != self._subject:
                            continue
                        found.places.append(place)
                        if len(found.places) >= MOST_LINES:
                            yield found
                            found = Found(kind_name, file)
                if found.places:
                    yield found
                if whole:
                    named.add(file.id)
            for job in await self._jobs(kind_name):
                if job.input in named:
                    named.update((job.output, job.errors))
        named -= self._unread
        self.untagged = sum(not file.subject and file.id not in named for file in files)

    async def answers(self, found: Found) -> AsyncGenerator[tuple[str, Place], None]:
        """Yield the answers to lines, of all jobs that read their file, with the file that has them."""
        for job in await self._jobs(found.kind, found.file.id):
            for id in filter(None, (job.output, job.errors)):
                async for place in self._answers(found, id):
                    yield id, place

    async def content(self, file: str, place: Place) -> bytes:
        return await self._store.read_written(self._project, file, place.start, place.size)

    async def erase(self, found: Found, stop: Stop = _stop_nothing) -> int:
        """Erase lines and their answers, durable on return; return how many. Jobs that have not answered them never
        will: what is just being answered is stopped.
        """
        over: set[str] = set()
        erased = await self._erase_answers(found, over, stop)
        await self._blank(found.file.id, found.places)
        erased += await self._erase_answers(found, over, stop)  # of jobs that have begun meanwhile
        return erased + len(found.places)

    async def _erase_answers(self, found: Found, over: set[str], stop: Stop) -> int:
        """Erase the answers of all jobs but those in `over`, and add to it those that write no more."""
        count, kind = 0, self._kinds[found.kind]
        for job in await self._jobs(found.kind, found.file.id):
            if job.id in over:
                continue
            if job.over:
                over.add(job.id)
            else:
                outcomes = (
                    ItemOutcome(place.number, False, kind.unanswered(b"{}", str(uuid4()), JobState.FAILED))
                    for place in found.places
                )
                await self._store.settle(job, list(outcomes))
                stop(job, frozenset(place.number for place in found.places))
            for id in filter(None, (job.output, job.errors)):
                places = [place async for place in self._answers(found, id)]
                await self._blank(id, places)
                count += len(places)
        return count

    async def _answers(self, found: Found, id: str) -> AsyncGenerator[Place, None]:
        names = found.names
        async for places in self._read(self._kinds[found.kind], id):
            for place in places:
                if place is None:
                    self._unread.add(id)
                elif place.about.name in names:
                    yield place

    async def _read(self, kind: SubjectKind, id: str) -> AsyncGenerator[list[Place | None], None]:
        """Yield the lines of a file that are not empty, a chunk of it at once; `None` for one that cannot be read."""
        at, number, rest = 0, 0, bytearray()  # `rest` ends at `at`
        more = True
        while more:
            chunk = await self._store.read_written(self._project, id, at, CHUNK_BYTES)
            more = bool(chunk)
            at += len(chunk)
            if more and b"\n" not in chunk:
                if len(rest) <= MOST_LINE_BYTES:
                    rest += chunk
                    continue
                rest = bytearray()
                yield [None]
                continue
            whole = bytes(rest) + chunk
            start = at - len(whole)
            lines = whole.split(b"\n")
            rest = bytearray(lines.pop() if more else b"")
            yield await asyncio.to_thread(_places, kind, lines, number, start)
            number += len(lines)

    async def _blank(self, id: str, places: Iterable[Place]) -> None:
        """Overwrite lines, a few pieces of the file at once, so that other operations wait only briefly."""
        spans: list[tuple[int, int]] = []
        for place in places:
            if spans and place.start - spans[0][0] >= CHUNK_BYTES:
                await self._store.blank(self._project, id, spans)
                spans = []
            spans.append((place.start, place.size))
        if spans:
            await self._store.blank(self._project, id, spans)

    async def _files(self) -> list[Blob]:
        """Return the project's files, all before any is read: one that is deleted meanwhile stops nothing."""
        files: list[Blob] = []
        page, more = Page(limit=MOST_FILES), True
        while more:
            some, more = await self._store.blobs(self._project, (), page, self._keep_s)
            files += some
            page, more = (replace(page, after=some[-1].id), more) if some else (page, False)
        return files

    async def _jobs(self, kind: str, input: str = "") -> list[Job]:
        """Return the jobs of a kind, of all inputs or this one, that are not about the person as a whole."""
        jobs: list[Job] = []
        page, more = Page(limit=MOST_JOBS), True
        while more:
            some, more = await self._store.jobs(self._project, kind, page, self._keep_s)
            jobs += (job for job in some if input in ("", job.input) and job.subject != self._pseudonym)
            page, more = (replace(page, after=some[-1].id), more) if some else (page, False)
        return jobs


def _places(kind: SubjectKind, lines: list[bytes], number: int, start: int) -> list[Place | None]:
    """Return the places of successive lines, of which the first has that number and start."""
    places: list[Place | None] = []
    for each, line in enumerate(lines, number):
        mark = len(BOM_UTF8) if not start and line.startswith(BOM_UTF8) else 0
        data = line[mark:]
        if data.strip():
            about = kind.about(data)
            places.append(Place(each, start + mark, len(data), about) if about is not None else None)
        start += len(line) + 1
    return places
