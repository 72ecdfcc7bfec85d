"""One job from its claim to its end: its input is checked, its items are run, and its outputs are closed. A job without
lines has one item, its request; if that is refused, the job has failed.

Meanwhile it renews its lease, and checks whether it was cancelled. A cancelled or expired job stops at once: answers
until then stay, and each other item gets a line that says why it has none.
"""

import asyncio
from codecs import BOM_UTF8
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from antiphon.core.errors import AntiphonError, CallerError, InternalError, NotFound, TooLarge
from antiphon.core.jobs import Blob, InputCheck, ItemOutcome, Job, JobKind, JobState, LineKind, NoticeKind
from antiphon.core.stores import LEASE_MS, LeaseLost, StorageFull
from antiphon.jobs.items import Item, Services, session_of
from antiphon.jobs.service import KEPT_S
from antiphon.jobs.tiers import Tier

BEAT_S = LEASE_MS / 3000
CHUNK_BYTES = 1 << 20  # of the input in memory
MAX_ATTEMPTS = 20  # planned restarts count, too
MOST_AT_ONCE = 500  # lines per write

Lines = list[tuple[int, bytes]]


class Run:
    """One job on one server, the `owner`."""

    def __init__(self, services: Services, tier: Tier, job: Job, kind: JobKind, owner: str, at_once: int) -> None:
        self.job = job
        self.outcomes: list[bool] = []
        self._services = services
        self._tier = tier
        self._jobs = tier.jobs
        self._kind = kind
        self._reads = kind if isinstance(kind, LineKind) else None  # lines; else it is one call
        self._refused: bytes | None = None  # the answer to the one call
        self._answer: bytes | None = None  # the same, if it succeeded
        self._owner = owner
        self._room = asyncio.Semaphore(at_once)
        self._items: dict[asyncio.Task[None], Item] = {}
        self._why: JobState | None = None  # set if it ends before all items are answered
        self._error: BaseException | None = None
        self._looking = asyncio.Event()
        self._dropped = False

    def look(self) -> None:
        """Check soon whether it was cancelled."""
        self._looking.set()

    def drop(self) -> None:
        """Stop at once, and report nothing: its record was erased."""
        self._dropped = True
        self._end(JobState.FAILED, LeaseLost("It was erased."))

    def drop_lines(self, numbers: frozenset[int]) -> None:
        """Stop these lines, whose outcomes are recorded."""
        for item in self._items.values():
            if item.number in numbers:
                item.stop()

    async def go(self) -> None:
        """Run the job to its end. Raises `LeaseLost`, and `AntiphonError` if it must be started again."""
        beating = asyncio.create_task(self._beat(), name=f"beat {self.job.id}")
        try:
            await self._process()
        finally:
            beating.cancel()
            for task in self._items:
                task.cancel()
            await asyncio.gather(beating, *self._items, return_exceptions=True)

    # -- its end -------------------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        job = self.job  # it may have been cancelled before its last worker died
        while True:  # also while the last calls end
            if job.cancel_unix_ms:
                self._end(JobState.CANCELLED)
            elif self._services.clock.unix_ms() >= job.deadline_unix_ms:
                self._end(JobState.EXPIRED)
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._looking.wait()
            self._looking.clear()
            try:
                job = await self._jobs.beat(self.job, self._owner)
            except LeaseLost as error:
                self._end(JobState.FAILED, error)
                return
            except InternalError:
                continue  # retried before the lease ends

    def _end(self, why: JobState, error: BaseException | None = None) -> None:
        """Start no more items, and stop those that wait or run. The first reason counts."""
        if self._why is None:
            self._why, self._error = why, error
            for task, item in self._items.items():
                item.stop()
                if not item.called:
                    task.cancel()

    async def _finish(self, state: JobState, result: bytes | None = None) -> None:
        ends = self.job.ends_unix_ms
        if self._reads is not None and self._kind.output_purpose:  # then its outputs have an end of their own
            keep_s = min(self._tier.keep_s(self.job.project), self.job.output_s or KEPT_S)
            ends = self._services.clock.unix_ms() + 1000 * keep_s
        self.job = await self._jobs.finish(self.job, self._owner, state, result, ends)
        if self._reads is None and self.job.input:
            await self._jobs.use_up(self.job.project, self.job.input)
        if isinstance(self._kind, NoticeKind):
            notice = self._kind.notice(self.job, await self._output())
            if notice is not None and not self._dropped:
                self._services.webhooks.tell(self.job.project, self.job.key_id, notice, self.job.subject)

    async def _output(self) -> bytes:
        """Return the output of a call that succeeded; empty for any other job. If an earlier worker has recorded it, it
        is read.
        """
        if self._reads is not None or self.job.state is not JobState.DONE:
            return b""
        if self._answer is None:
            with suppress(AntiphonError):  # the caller can still ask for it
                self._answer = await self._file(self.job.output)
        return self._answer or b""

    # -- from the first line to the last -------------------------------------------------------------------------------

    async def _process(self) -> None:
        if self.job.attempt > MAX_ATTEMPTS:
            gave_up = InternalError("The server failed while it ran this, several times.")
            await self._finish(JobState.FAILED, self._kind.failure(gave_up))
            return
        try:
            if not self.job.begun_unix_ms:
                checked = await self._check()
                if self._error is not None:
                    raise self._error
                if self._why is not None:  # perhaps before all lines were checked: what is wrong cannot be answered
                    await self._finish(self._why)
                    return
                if not checked.sound:
                    await self._finish(JobState.FAILED, checked.result)
                    return
                self.job = await self._jobs.begin(self.job, self._owner, checked.total, checked.result, self._outputs())
            known = await self._jobs.recorded(self.job)
            await self._run_items(known)
            if self._error is not None:
                raise self._error
            if self._refused is not None:
                await self._finish(JobState.FAILED, self._refused)
                return
            if self._reads is None and (known or True in self.outcomes):  # however late
                await self._finish(JobState.DONE)
                return
            if self._why is not None and self._reads is not None:
                await self._leave_unanswered(self._why, self._reads)
            await self._finish(self._why or JobState.DONE)
        except (CallerError, StorageFull) as error:  # a retry would fail again
            await self._finish(JobState.FAILED, self._kind.failure(error))

    def _outputs(self) -> tuple[Blob, Blob]:
        job = self.job

        def blob(id: str, what: str) -> Blob:
            return Blob(
                id=id,
                name=f"{job.id}_{what}.jsonl",
                purpose=self._kind.output_purpose,
                created_unix_ms=job.created_unix_ms,
                ends_unix_ms=job.ends_unix_ms,
                subject=job.subject,
            )

        return blob(job.output, "output"), blob(job.errors, "error")

    async def _check(self) -> InputCheck:
        if self._reads is None:
            return InputCheck(1, True, b"")
        checker = self._reads.checker(self.job.request)

        def read(lines: Lines) -> None:
            for number, line in lines:
                checker.read(number, line)

        async with aclosing(self._lines()) as chunks:
            async for lines in chunks:
                if self._why is not None:
                    break
                await asyncio.to_thread(read, lines)  # else it would block the event loop
        return checker.finish()

    async def _run_items(self, known: set[int]) -> None:
        """Run the items of all lines to their end. What keeps lines from being read ends the job, like any failure: the
        items that run may be charged already, and are still recorded.
        """
        try:
            await self._begin_items(known)
        except Exception as error:
            self._end(JobState.FAILED, error)
        while self._items:
            await asyncio.wait(tuple(self._items))

    async def _begin_items(self, known: set[int]) -> None:
        async with aclosing(self._lines()) as chunks:
            async for lines in chunks:
                for number, line in lines:
                    if number in known:
                        continue
                    await self._room.acquire()
                    if self._why is not None:
                        return
                    stored = self._file, self._settled, self._check_room
                    item = Item(self._services, self.job, self._kind, number, line, *stored)
                    task = asyncio.create_task(self._run_item(item), name=f"item {number} of {self.job.id}")
                    self._items[task] = item
                    task.add_done_callback(self._left)

    async def _run_item(self, item: Item) -> None:
        try:
            await item.run(self._record)
        except Exception as error:
            self._end(JobState.FAILED, error)

    def _left(self, task: asyncio.Task[None]) -> None:
        del self._items[task]
        self._room.release()

    async def _record(self, outcome: ItemOutcome) -> None:
        if self._reads is None and not outcome.good:
            self._refused = outcome.line
        else:
            await self._jobs.record(self.job, self._owner, [outcome])
            self._answer = outcome.line
        self.outcomes.append(outcome.good)

    async def _settled(self, number: int) -> bool:
        return await self._jobs.settled(self.job, number)

    async def _check_room(self) -> None:
        await self._jobs.check_room(self.job.project)

    async def _file(self, id: str) -> bytes:
        """Return a blob's content. Raises `NotFound`."""
        project, keep_s = self.job.project, self._tier.keep_s(self.job.project)
        try:
            blob = await self._jobs.blob(project, id, keep_s)
            return await self._jobs.read_blob(project, id, keep_s, 0, blob.size_bytes)
        except NotFound:
            raise NotFound("The uploaded file is gone.") from None

    async def _leave_unanswered(self, why: JobState, kind: LineKind) -> None:
        known = await self._jobs.recorded(self.job)
        unanswered: list[ItemOutcome] = []
        with suppress(NotFound):  # without its input its items are unknown
            async for lines in self._lines():
                for number, line in lines:
                    if number not in known:
                        error_line = kind.unanswered(line, session_of(self.job, number), why)
                        unanswered.append(ItemOutcome(number, False, error_line))
                for at in range(0, len(unanswered), MOST_AT_ONCE):
                    await self._jobs.record(self.job, self._owner, unanswered[at : at + MOST_AT_ONCE])
                self.outcomes += [False] * len(unanswered)
                unanswered.clear()

    async def _lines(self) -> AsyncGenerator[Lines, None]:
        """Return the non-empty lines of its input, with their numbers. Raises `NotFound`, `TooLarge`."""
        job = self.job
        if self._reads is None:
            yield [(0, job.request)]
            return
        most = self._reads.max_line_bytes
        start, number, rest = 0, 0, b""
        while True:
            keep_s = self._tier.keep_s(job.project)
            try:
                chunk = await self._jobs.read_blob(job.project, job.input, keep_s, start, CHUNK_BYTES)
            except NotFound:
                raise NotFound("The input file is gone.") from None
            if not start:
                rest = chunk.removeprefix(BOM_UTF8)
            else:
                rest += chunk
            start += len(chunk)
            *whole, rest = rest.split(b"\n") if chunk else (rest, b"")
            if any(len(line) > most for line in (*whole, rest)):
                raise TooLarge(f"A line of the input file is longer than {most} bytes.")
            yield [(number + place, line) for place, line in enumerate(whole) if line.strip()]
            number += len(whole)
            if not chunk:
                return
