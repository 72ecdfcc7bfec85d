"""Callers' requests about files and jobs, answered from the tier of their project. Other projects' files and jobs are
not found.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from antiphon.core.errors import CallerError, CapacityError, Conflict, NotFound
from antiphon.core.identity import Principal
from antiphon.core.jobs import (
    Blob,
    FileAct,
    Job,
    JobAct,
    JobOutcome,
    JobOutcomes,
    JobOutput,
    JobQuestion,
    JobState,
    ManyFiles,
    ManyJobs,
    NewFile,
    NewJob,
    OneFile,
    OneJob,
)
from antiphon.core.ports import Clock
from antiphon.core.sealing import PLAIN, Sealer, Unreadable
from antiphon.core.tags import SUBJECT, value_of
from antiphon.core.units import BESIDE_BYTES
from antiphon.core.wire import ShortToken, Step
from antiphon.jobs.tiers import Tier, Tiers
from antiphon.slo.shares import Bound, Shares

KEPT_S = 30 * 86_400  # the default: OpenAI's own for files of batches
LAST_WORDS_MS = 60_000  # for an expired job to record its end, before its input is deleted
PIECE_BYTES = 1 << 20  # of a file, read at once
READERS = Bound(64, per_project=32, per_key=16)  # of large files
MOST_READ = 4  # outputs at once
MOST_WAITING, MOST_WAITING_OF_A_PROJECT = 64, 16  # callers that wait for a job's end
LISTED_BYTES = 8 << 20  # of outputs in one page of a list; the page ends when they exceed it
LOOK_S = 0.2  # between checks of it
RETRY_AFTER_S = 1


class Service:
    """Implements `core.jobs.JobService`. `wake` is called when there is new work."""

    def __init__(
        self,
        tiers: Tiers,
        clock: Clock,
        sealer: Sealer = PLAIN,
        erased: Callable[[str, tuple[str, ...], int], bool] = lambda project, subjects, since_ns: False,
    ) -> None:
        """Create the service; `clock` is that of the stores, and `sealer` makes the pseudonyms of subjects. `erased`
        returns whether a project, or one of its subjects, was erased since a time.
        """
        self._erased = erased
        self._tiers = tiers
        self._clock = clock
        self._sealer = sealer
        self._readers = Shares(READERS)
        self._waiting = Shares(Bound(MOST_WAITING, per_project=MOST_WAITING_OF_A_PROJECT))
        self._shown = asyncio.Semaphore(MOST_READ)  # outputs
        self.wake: Callable[[], None] = _nothing

    async def answer(self, question: JobQuestion, principal: Principal) -> Step | ShortToken:
        project = principal.project
        tier = self._tiers.of(project)
        jobs, keep_s = tier.jobs, tier.keep_s(project)
        match question:
            case NewFile():
                begun_ns = self._clock.now_ns()
                blob = self._blob(question, keep_s, await self._subject(project, question.tags))
                put = await jobs.put_blob(project, blob, question.data)
                if self._erased(project, (blob.subject,), begun_ns):
                    await jobs.delete_blob(project, blob.id)
                    raise _erased_meanwhile()
                return question.tell(put)
            case OneFile():
                return await self._one_file(question, principal, tier)
            case ManyFiles():
                return question.tell(*await jobs.blobs(project, question.purposes, question.page, keep_s))
            case NewJob():
                return question.tell(await self._create(question, principal, tier))
            case OneJob():
                return question.tell(await self._one_job(question, project, tier))
            case JobOutput():
                return await self._output(question, project, tier)
            case JobOutcome():
                return question.tell(*await self._outcome(question, principal, tier))
            case JobOutcomes():
                return question.tell(*await self._outcomes(question, project, tier))
            case ManyJobs():
                return question.tell(*await jobs.jobs(project, question.kind, question.page, keep_s, question.states))

    async def _subject(self, project: str, tags: tuple[str, ...]) -> str:
        """Return the pseudonym of the person whom something is about; empty if the tags name none."""
        subject = value_of(tags, SUBJECT)
        return await asyncio.to_thread(self._sealer.pseudonym, project, subject) if subject else ""

    def _blob(self, new: NewFile, keep_s: int, subject: str) -> Blob:
        now = self._clock.unix_ms()
        ends = now + 1000 * min(keep_s, new.keep_s or KEPT_S)
        return Blob(
            id=new.id, name=new.name, purpose=new.purpose, created_unix_ms=now, ends_unix_ms=ends, subject=subject
        )

    async def _one_file(self, question: OneFile, principal: Principal, tier: Tier) -> Step:
        project = principal.project
        jobs, keep_s = tier.jobs, tier.keep_s(project)
        blob = _capped(await jobs.blob(project, question.id, keep_s), keep_s)
        if blob.purpose not in question.purposes:
            raise NotFound("File not found.")
        if question.act is FileAct.READ:
            return await self._read(question, blob, principal, tier)
        if question.act is FileAct.DELETE:
            await jobs.delete_blob(project, question.id)
        return question.tell(blob, b"")

    async def _read(self, question: OneFile, blob: Blob, principal: Principal, tier: Tier) -> Step:
        """Return a file, or the beginning of a large one, whose rest is read while it is sent. Raises `CapacityError`,
        and what the store does.
        """
        if blob.size_bytes <= PIECE_BYTES:
            return question.tell(blob, await _Content(tier, principal.project, blob).read())
        if not self._readers.fits(principal):
            raise CapacityError("Too many files are being read.", retry_after_s=RETRY_AFTER_S)
        place = self._readers.hold(principal, 1, self._clock.now_ns())
        content = _Content(tier, principal.project, blob, partial(self._readers.let_go, place))
        try:
            step = question.tell(blob, await content.read())
        except BaseException:
            content.release()
            raise
        return Step(sends=step.sends, close=step.close, rest=content)

    async def _create(self, new: NewJob, principal: Principal, tier: Tier) -> Job:
        now, begun_ns, project = self._clock.unix_ms(), self._clock.now_ns(), principal.project
        keep_s = min(tier.keep_s(project), KEPT_S)
        if new.passing_s and not tier.keeps:
            keep_s = min(keep_s, new.passing_s)
        ends = input_ends = now + 1000 * keep_s
        subject = await self._subject(project, new.tags)
        if new.input and not new.data:
            blob = await self._input(new, project, tier)
            input_ends, subject = blob.ends_unix_ms, subject or blob.subject
        job = Job(
            project=project,
            id=new.id,
            kind=new.kind,
            key_id=principal.key_id,
            scopes=principal.scopes,
            request=new.request,
            input=new.input,
            output=new.output,
            errors=new.errors,
            created_unix_ms=now,
            deadline_unix_ms=min(now + 1000 * new.window_s, min(input_ends, ends) - LAST_WORDS_MS),
            ends_unix_ms=ends,
            output_s=new.output_s,
            subject=subject,
            tags=new.tags,
        )
        job = await tier.jobs.create(job, new.most_open, new.data)
        if self._erased(project, (subject,), begun_ns):
            await tier.jobs.delete_job(project, job.id)
            if new.data:
                await tier.jobs.delete_blob(project, new.input)
            raise _erased_meanwhile()
        self.wake()
        return job

    async def _input(self, new: NewJob, project: str, tier: Tier) -> Blob:
        """Return its input. Raises `CallerError` if there is none."""
        try:
            blob = await tier.jobs.blob(project, new.input, tier.keep_s(project))
        except NotFound:
            raise CallerError("No such File object.", param="input") from None
        if blob.purpose != new.input_purpose:
            raise CallerError(f"The file must have the purpose '{new.input_purpose}'.", param="input")
        return blob

    async def _job(self, kind: str, id: str, project: str, tier: Tier) -> Job:
        job = await tier.jobs.job(project, id, tier.keep_s(project))
        if job.kind != kind:
            raise NotFound("Job not found.")
        return job

    async def _outcome(self, question: JobOutcome, principal: Principal, tier: Tier) -> tuple[Job, bytes, bytes]:
        job = await self._job(question.kind, question.id, principal.project, tier)
        if question.wait_ms and not job.over:
            job = await self._over(job, question.wait_ms, principal, tier)
        async with self._shown:
            return await self._written(job, tier)

    async def _outcomes(
        self, question: JobOutcomes, project: str, tier: Tier
    ) -> tuple[list[tuple[Job, bytes, bytes]], bool]:
        jobs, more = await tier.jobs.jobs(project, question.kind, question.page, tier.keep_s(project), ())
        outcomes: list[tuple[Job, bytes, bytes]] = []
        room = LISTED_BYTES
        async with self._shown:
            for job in jobs:
                if room <= 0:
                    return outcomes, True
                outcomes.append(found := await self._written(job, tier))
                room -= len(found[1]) + len(found[2])
        return outcomes, more

    async def _written(self, job: Job, tier: Tier) -> tuple[Job, bytes, bytes]:
        """Return a job with its output and its errors, empty until it is over."""
        written, keep_s = [b"", b""], tier.keep_s(job.project)
        wrote = job.over and job.begun_unix_ms
        for place, id in enumerate((job.output, job.errors)):
            if wrote and id:
                size = (await tier.jobs.blob(job.project, id, keep_s)).size_bytes
                written[place] = await tier.jobs.read_blob(job.project, id, keep_s, 0, size)
        return job, written[0], written[1]

    async def _over(self, job: Job, wait_ms: int, principal: Principal, tier: Tier) -> Job:
        """Wait at most `wait_ms` for the job's end; return its present state. Raises `CapacityError`."""
        if not self._waiting.fits(principal):
            raise CapacityError("Too many callers wait for the end of a job.", retry_after_s=RETRY_AFTER_S)
        place = self._waiting.hold(principal, 1, self._clock.now_ns())
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_ms / 1000):
                    while not job.over:
                        await asyncio.sleep(LOOK_S)
                        job = await self._job(job.kind, job.id, job.project, tier)
        finally:
            self._waiting.let_go(place)
        return job

    async def _one_job(self, question: OneJob, project: str, tier: Tier) -> Job:
        job = await self._job(question.kind, question.id, project, tier)
        if question.act is JobAct.CANCEL:
            job = await tier.jobs.cancel(project, question.id, tier.keep_s(project))
        elif question.act is JobAct.DELETE:
            await tier.jobs.delete_job(project, question.id)
            if job.input and not job.over:
                await tier.jobs.use_up(project, job.input)
        if question.act is not JobAct.SHOW:
            self.wake()
        return job

    async def _output(self, question: JobOutput, project: str, tier: Tier) -> Step | ShortToken:
        async with self._shown:  # polls wait instead of being refused
            job, data = await self._job(question.kind, question.id, project, tier), b""
            if job.state is JobState.DONE and job.output:
                keep_s = tier.keep_s(project)
                blob = await tier.jobs.blob(project, job.output, keep_s)
                data = await tier.jobs.read_blob(project, job.output, keep_s, 0, blob.size_bytes)
            ends = min(job.ends_unix_ms, job.created_unix_ms + 1000 * tier.keep_s(project))
            if job.over and not tier.keeps:
                ends = min(ends, self._clock.unix_ms() + 1000 * question.read_s)
                await tier.jobs.end(project, job.id, ends)
            job = replace(job, ends_unix_ms=ends)
            if len(data) <= BESIDE_BYTES:
                return question.tell(job, data, tier.keeps)
            return await asyncio.to_thread(question.tell, job, data, tier.keeps)  # else it would block the event loop


class _Content:
    """The content of a file, piece by piece. Implements `core.wire.Rest`."""

    def __init__(self, tier: Tier, project: str, blob: Blob, released: Callable[[], None] = lambda: None) -> None:
        self._tier = tier
        self._project = project
        self._blob = blob
        self._released: Callable[[], None] | None = released
        self._at = 0

    @property
    def left_bytes(self) -> int:
        return self._blob.size_bytes - self._at

    async def read(self) -> bytes:
        keep_s = self._tier.keep_s(self._project)
        size = min(PIECE_BYTES, self.left_bytes)
        piece = await self._tier.jobs.read_blob(self._project, self._blob.id, keep_s, self._at, size)
        if len(piece) != size:
            raise Unreadable("A part of the file is missing.")
        self._at += size
        return piece

    def release(self) -> None:
        if self._released is not None:
            self._released()
            self._released = None


def _capped(blob: Blob, keep_s: int) -> Blob:
    """Return the blob with its end under the present policy."""
    return replace(blob, ends_unix_ms=min(blob.ends_unix_ms, blob.created_unix_ms + 1000 * keep_s))


def _erased_meanwhile() -> Conflict:
    return Conflict("What is stored about this person or project was erased at this moment: it was not stored.")


def _nothing() -> None:
    """Do nothing: there is no worker."""
