"""Callers' requests about files and jobs, answered from the shelf of their project. Other projects' files and jobs are
not found.
"""

from collections.abc import Callable
from dataclasses import replace

from antiphon.core.errors import CallerError, CapacityError, NotFound
from antiphon.core.identity import Principal
from antiphon.core.jobs import (
    Blob,
    FileAct,
    Job,
    JobAct,
    JobQuestion,
    ManyFiles,
    ManyJobs,
    NewFile,
    NewJob,
    OneFile,
    OneJob,
)
from antiphon.core.ports import Clock
from antiphon.core.wire import Step
from antiphon.jobs.shelves import Shelf, Shelves

MAX_OPEN = 32  # open jobs of a project
KEPT_S = 30 * 86_400  # the default: OpenAI's own for files of batches
LAST_WORDS_MS = 60_000  # for an expired job to record its end, before its input is deleted
MOST_READ = 4  # whole files at once
RETRY_AFTER_S = 1


class Desk:
    """Implements `core.jobs.JobDesk`. `wake` is called when there is new work."""

    def __init__(self, shelves: Shelves, clock: Clock) -> None:
        """Create the desk; `clock` is that of the stores."""
        self._shelves = shelves
        self._clock = clock
        self._reading = 0
        self.wake: Callable[[], None] = _nothing

    async def answer(self, question: JobQuestion, principal: Principal) -> Step:
        project = principal.project
        shelf = self._shelves.of(project)
        jobs, keep_s = shelf.jobs, shelf.keep_s(project)
        match question:
            case NewFile():
                return question.tell(await jobs.put_blob(project, self._blob(question, keep_s), question.data))
            case OneFile():
                return await self._one_file(question, project, shelf)
            case ManyFiles():
                return question.tell(*await jobs.blobs(project, question.purpose, question.page, keep_s))
            case NewJob():
                return question.tell(await self._create(question, principal, shelf))
            case OneJob():
                return question.tell(await self._one_job(question, project, shelf))
            case ManyJobs():
                return question.tell(*await jobs.jobs(project, question.kind, question.page, keep_s))

    def _blob(self, new: NewFile, keep_s: int) -> Blob:
        now = self._clock.unix_ms()
        ends = now + 1000 * min(keep_s, new.keep_s or KEPT_S)
        return Blob(id=new.id, name=new.name, purpose=new.purpose, created_unix_ms=now, ends_unix_ms=ends)

    async def _one_file(self, asked: OneFile, project: str, shelf: Shelf) -> Step:
        jobs, keep_s = shelf.jobs, shelf.keep_s(project)
        blob, data = _capped(await jobs.blob(project, asked.id, keep_s), keep_s), b""
        if asked.act is FileAct.READ:
            if self._reading >= MOST_READ:
                raise CapacityError("Too many files are being read.", retry_after_s=RETRY_AFTER_S)
            self._reading += 1
            try:
                data = await jobs.read_blob(project, asked.id, keep_s, 0, blob.size_bytes)
            finally:
                self._reading -= 1
        elif asked.act is FileAct.DELETE:
            await jobs.delete_blob(project, asked.id)
        return asked.tell(blob, data)

    async def _create(self, new: NewJob, principal: Principal, shelf: Shelf) -> Job:
        now, project = self._clock.unix_ms(), principal.project
        keep_s = shelf.keep_s(project)
        try:
            given = await shelf.jobs.blob(project, new.input, keep_s)
        except NotFound:
            raise CallerError("No such File object.", param="input") from None
        if given.purpose != new.input_purpose:
            raise CallerError(f"The file must have the purpose '{new.input_purpose}'.", param="input")
        ends = now + 1000 * min(keep_s, KEPT_S)
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
            deadline_unix_ms=min(now + 1000 * new.window_s, min(given.ends_unix_ms, ends) - LAST_WORDS_MS),
            ends_unix_ms=ends,
            output_s=new.output_s,
        )
        await shelf.jobs.create(job, MAX_OPEN)
        self.wake()
        return job

    async def _one_job(self, asked: OneJob, project: str, shelf: Shelf) -> Job:
        jobs, keep_s = shelf.jobs, shelf.keep_s(project)
        job = await jobs.job(project, asked.id, keep_s)
        if job.kind != asked.kind:
            raise NotFound("Job not found.")
        if asked.act is JobAct.CANCEL:
            job = await jobs.cancel(project, asked.id, keep_s)
            self.wake()
        elif asked.act is JobAct.DELETE:
            await jobs.delete_job(project, asked.id)
        return job


def _capped(blob: Blob, keep_s: int) -> Blob:
    """Return the blob with its end under the present policy."""
    return replace(blob, ends_unix_ms=min(blob.ends_unix_ms, blob.created_unix_ms + 1000 * keep_s))


def _nothing() -> None:
    """Do nothing: there is no worker."""
