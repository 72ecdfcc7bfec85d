"""A fake of the store of jobs."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from antiphon.core import stores
from antiphon.core.errors import CapacityError, NotFound
from antiphon.core.jobs import NEXT, Blob, ItemOutcome, Job, JobState, Page
from antiphon.core.ports import Clock
from antiphon.core.stores import LEASE_MS, RECORD_BYTES, LeaseLost, StorageFull

Record = TypeVar("Record", Blob, Job)


class FakeJobs:
    """An in-memory fake of `core.stores.Jobs` with the same rules."""

    trouble: str | None = None

    def __init__(self, clock: Clock, project_bytes: int = 1 << 30, all_bytes: int = 1 << 30) -> None:
        self._clock = clock
        self._bounds = project_bytes, all_bytes
        self._blobs: dict[tuple[str, str], Blob] = {}
        self._data: dict[tuple[str, str], bytes] = {}
        self._open: set[tuple[str, str]] = set()  # blobs that are still being written
        self._jobs: dict[tuple[str, str], Job] = {}
        self._leases: dict[tuple[str, str], tuple[str, int]] = {}
        self._items: dict[tuple[str, str], set[int]] = {}

    # -- blobs ---------------------------------------------------------------------------------------------------------

    async def put_blob(self, project: str, blob: Blob, data: bytes) -> Blob:
        if (project, blob.id) not in self._blobs:
            self._check_room(project, RECORD_BYTES + len(data))
            self._blobs[project, blob.id] = replace(blob, size_bytes=len(data))
            self._data[project, blob.id] = data
        return self._blobs[project, blob.id]

    async def blob(self, project: str, id: str, keep_s: int) -> Blob:
        blob = self._blobs.get((project, id))
        if blob is None or (project, id) in self._open or not self._readable(blob, keep_s):
            raise NotFound("File not found.")
        return blob

    async def read_blob(self, project: str, id: str, keep_s: int, start: int, size: int) -> bytes:
        await self.blob(project, id, keep_s)
        return self._data[project, id][start : start + size]

    async def blobs(self, project: str, purposes: Collection[str], page: Page, keep_s: int) -> tuple[list[Blob], bool]:
        found = [blob for key, blob in self._blobs.items() if key[0] == project and key not in self._open]
        owned = (blob for blob in found if blob.purpose)  # by callers
        return self._page([blob for blob in owned if not purposes or blob.purpose in purposes], page, keep_s)

    async def delete_blob(self, project: str, id: str) -> None:
        self._blobs.pop((project, id), None)
        self._data.pop((project, id), None)

    async def use_up(self, project: str, id: str) -> None:
        if not any((job.project, job.input) == (project, id) and not job.over for job in self._jobs.values()):
            await self.delete_blob(project, id)

    def _check_room(self, project: str, more: int) -> None:
        for whose, most in (((project,), self._bounds[0]), ({each for each, _ in self._blobs}, self._bounds[1])):
            taken = sum(RECORD_BYTES + blob.size_bytes for key, blob in self._blobs.items() if key[0] in whose)
            taken += sum(RECORD_BYTES + len(job.request) for key, job in self._jobs.items() if key[0] in whose)
            if taken + more > most:
                raise StorageFull("There is no room for more files.", retry_after_s=1)

    # -- jobs, for callers ---------------------------------------------------------------------------------------------

    async def create(self, job: Job, most_open: int, data: bytes = b"") -> Job:
        if (job.project, job.id) in self._jobs:
            return self._jobs[job.project, job.id]
        its = (job.project, job.kind)
        if sum(not each.over and (each.project, each.kind) == its for each in self._jobs.values()) >= most_open:
            raise CapacityError(f"A project can have at most {most_open} jobs that are not over.", retry_after_s=1)
        own_bytes = RECORD_BYTES + len(data) if data else 0
        self._check_room(job.project, RECORD_BYTES + len(job.request) + own_bytes)
        self._jobs[job.project, job.id] = job
        if data:
            await self.put_blob(job.project, job.own_input, data)
        return job

    async def job(self, project: str, id: str, keep_s: int) -> Job:
        job = self._jobs.get((project, id))
        if job is None or not self._readable(job, keep_s):
            raise NotFound("Job not found.")
        return job

    async def jobs(
        self, project: str, kind: str, page: Page, keep_s: int, states: Collection[JobState] = ()
    ) -> tuple[list[Job], bool]:
        found = [job for job in self._jobs.values() if (job.project, job.kind) == (project, kind)]
        return self._page([job for job in found if not states or job.state in states], page, keep_s)

    async def end(self, project: str, id: str, ends_unix_ms: int) -> None:
        job = self._jobs.get((project, id))
        if job is None:
            return
        self._set(job, ends_unix_ms=min(job.ends_unix_ms, ends_unix_ms))
        for written in (job.output, job.errors):
            if blob := self._blobs.get((project, written)):
                self._blobs[project, written] = replace(blob, ends_unix_ms=min(blob.ends_unix_ms, ends_unix_ms))

    async def cancel(self, project: str, id: str, keep_s: int) -> Job:
        job, now = await self.job(project, id, keep_s), self._clock.unix_ms()
        if job.over or job.cancel_unix_ms:
            return job
        if job.state is JobState.QUEUED:
            await self._delete_own(project, job.input)
            return self._set(job, cancel_unix_ms=now, over_unix_ms=now, state=JobState.CANCELLED)
        return self._set(job, cancel_unix_ms=now)

    async def delete_job(self, project: str, id: str) -> None:
        job = self._jobs.pop((project, id), None)
        for written in (job.output, job.errors) if job else ():
            await self.delete_blob(project, written)

    async def _delete_own(self, project: str, blob: str) -> None:
        if (project, blob) in self._blobs and not self._blobs[project, blob].purpose:
            await self.delete_blob(project, blob)

    # -- jobs, for workers ---------------------------------------------------------------------------------------------

    async def claim(self, owner: str, besides: Collection[str], kinds: Collection[str]) -> Job | None:
        now = self._clock.unix_ms()
        for key, job in sorted(self._jobs.items(), key=lambda item: (item[1].created_unix_ms, item[1].id)):
            wanted = not job.over and job.kind in kinds and key[0] not in besides
            if wanted and self._leases.get(key, ("", 0))[1] <= now:
                self._leases[key] = owner, now + LEASE_MS
                return self._set(job, state=JobState.RUNNING, attempt=job.attempt + 1)
        return None

    async def beat(self, job: Job, owner: str) -> Job:
        key = job.project, job.id
        if key not in self._jobs or self._jobs[key].over or self._leases.get(key, ("", 0))[0] != owner:
            raise LeaseLost("The job is not this worker's any more.")
        self._leases[key] = owner, self._clock.unix_ms() + LEASE_MS
        return self._jobs[key]

    async def begin(self, job: Job, owner: str, total: int, result: bytes, outputs: tuple[Blob, Blob]) -> Job:
        job = await self.beat(job, owner)
        if job.begun_unix_ms:
            return job
        for blob in outputs:
            await self.put_blob(job.project, blob, b"")
            self._open.add((job.project, blob.id))
        return self._set(job, total=total, result=result, begun_unix_ms=self._clock.unix_ms())

    async def record(self, job: Job, owner: str, outcomes: Sequence[ItemOutcome]) -> Job:
        return self._record(await self.beat(job, owner), outcomes)

    def _record(self, job: Job, outcomes: Sequence[ItemOutcome]) -> Job:
        known = self._items.get((job.project, job.id), set())
        fresh = [one for one in outcomes if one.number not in known]
        self._items[job.project, job.id] = known | {one.number for one in fresh}
        for one in fresh:
            key = job.project, job.output if one.good else job.errors
            self._data[key] += one.line
            self._blobs[key] = replace(self._blobs[key], size_bytes=len(self._data[key]))
        return self._set(
            job,
            done=job.done + sum(one.good for one in fresh),
            failed=job.failed + sum(not one.good for one in fresh),
            input_tokens=job.input_tokens + sum(one.usage.input for one in fresh),
            cached_tokens=job.cached_tokens + sum(one.usage.cached for one in fresh),
            output_tokens=job.output_tokens + sum(one.usage.output for one in fresh),
            reasoning_tokens=job.reasoning_tokens + sum(one.usage.reasoning for one in fresh),
        )

    async def check_room(self, project: str) -> None:
        self._check_room(project, 1)

    async def recorded(self, job: Job) -> set[int]:
        return set(self._items.get((job.project, job.id), ()))

    async def settled(self, job: Job, number: int) -> bool:
        return number in self._items.get((job.project, job.id), ())

    async def finish(
        self, job: Job, owner: str, state: JobState, result: bytes | None, outputs_end_unix_ms: int
    ) -> Job:
        job, now = await self.beat(job, owner), self._clock.unix_ms()
        assert state in NEXT[job.state]
        written = []
        for id in (job.output, job.errors):
            key = job.project, id
            if self._data.get(key):
                ended = replace(self._blobs[key], created_unix_ms=now, ends_unix_ms=outputs_end_unix_ms)
                self._blobs[key] = ended
                written.append(id)
            else:
                await self.delete_blob(*key)
                written.append("")
            self._open.discard(key)
        await self._delete_own(job.project, job.input)
        final_result = job.result if result is None else result
        return self._set(job, state=state, over_unix_ms=now, output=written[0], errors=written[1], result=final_result)

    async def let_go(self, owner: str) -> None:
        for key, (whose, _) in self._leases.items():
            if whose == owner:
                self._leases[key] = whose, 0

    # -- the end of keeping --------------------------------------------------------------------------------------------

    async def read_written(self, project: str, id: str, start: int, size: int) -> bytes:
        return self._data.get((project, id), b"")[start : start + size]

    async def blank(self, project: str, id: str, spans: Sequence[tuple[int, int]]) -> None:
        data = bytearray(self._data.get((project, id), b""))
        if data:
            for start, size in spans:
                data[start : start + size] = b"{}".ljust(size)
            self._data[project, id] = bytes(data)

    async def settle(self, job: Job, outcomes: Sequence[ItemOutcome]) -> None:
        now = self._jobs.get((job.project, job.id))
        if now is not None and now.begun_unix_ms and not now.over:
            self._record(now, outcomes)

    async def purge(self, keep_s: Callable[[str], int]) -> Counter[str]:
        wiped = Counter[str]()
        for key, job in list(self._jobs.items()):
            if not self._readable(job, keep_s(key[0])):
                del self._jobs[key]
                wiped[key[0]] += 1
        for key, blob in list(self._blobs.items()):
            if not self._readable(blob, keep_s(key[0])):
                await self.delete_blob(*key)
                wiped[key[0]] += 1
        return wiped

    async def jobs_about(self, project: str, subject: str, page: Page, keep_s: int) -> tuple[list[Job], bool]:
        jobs = [job for (whose, _), job in self._jobs.items() if (whose, job.subject) == (project, subject)]
        return self._page(jobs, page, keep_s)

    async def blobs_about(self, project: str, subject: str, page: Page, keep_s: int) -> tuple[list[Blob], bool]:
        whole = ((key, blob) for key, blob in self._blobs.items() if key[0] == project and key not in self._open)
        return self._page([blob for _, blob in whole if blob.subject == subject], page, keep_s)

    async def erase(self, project: str, subject: str | None = None) -> Counter[str]:
        def wanted(key: tuple[str, str], record: Blob | Job) -> bool:
            return key[0] == project and subject in (None, record.subject)

        jobs = [key for key, job in self._jobs.items() if wanted(key, job)]
        blobs = [key for key, blob in self._blobs.items() if wanted(key, blob)]
        for key in jobs:
            del self._jobs[key]
        for key in blobs:
            await self.delete_blob(*key)
        return Counter(jobs=len(jobs), blobs=len(blobs))

    async def close(self) -> None:
        pass

    def _readable(self, record: Blob | Job, keep_s: int) -> bool:
        now = self._clock.unix_ms()
        return record.ends_unix_ms > now and record.created_unix_ms > now - keep_s * 1000

    def _page(self, found: list[Record], page: Page, keep_s: int) -> tuple[list[Record], bool]:
        ordered = sorted(found, key=lambda one: (one.created_unix_ms, one.id), reverse=page.newest_first)
        if page.after:
            places = [place for place, one in enumerate(ordered) if one.id == page.after]
            if not places:
                raise NotFound("Nothing in this list has the id 'after'.", param="after")
            ordered = ordered[places[0] + 1 :]
        until = page.until_unix_ms or float("inf")
        made = [one for one in ordered if page.since_unix_ms <= one.created_unix_ms < until]
        readable = [one for one in made if self._readable(one, keep_s)]
        return readable[: page.limit], len(readable) > page.limit

    def _set(self, job: Job, **values: Any) -> Job:
        changed = self._jobs[job.project, job.id] = replace(job, **values)
        return changed


if TYPE_CHECKING:  # makes mypy check that the fake implements its port
    _JOBS: type[stores.Jobs] = FakeJobs
