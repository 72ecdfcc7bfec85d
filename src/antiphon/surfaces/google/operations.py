"""`google.longrunning.Operations` (AIP-151): the methods on operations, of both versions."""

import re
from collections.abc import Sequence

from antiphon.core.errors import AntiphonError, CallerError, NotFound
from antiphon.core.jobs import Job, JobAct, JobOutcome, JobOutcomes, OneJob, Page
from antiphon.core.wire import Opening, Step
from antiphon.surfaces.google import messages, names
from antiphon.surfaces.google.endpoint import LookupMethod
from antiphon.surfaces.google.operation import FIRST_KIND, KIND, operation

PACKAGE = "google.longrunning"
USUALLY_LISTED, MOST_LISTED = 20, 100
LONGEST_WAIT_MS = 60_000

_DONE = re.compile(r"\s*done\s*=\s*(true|false)\s*", re.IGNORECASE)


class Operations(LookupMethod):
    """The common part of the methods."""

    def refuse(self, opening: Opening, error: AntiphonError) -> Step:
        if isinstance(error, NotFound) and error.param != "after":
            error = NotFound("Operation not found.")
        return super().refuse(opening, error)


def _kind(name: str) -> str:
    """Return the kind of job that has such a name. Raises `CallerError`."""
    if names.OPERATION.fullmatch(name):
        return KIND
    if names.FIRST_OPERATION.fullmatch(name):
        return FIRST_KIND
    raise CallerError("`name` must be the name of an operation.", param="name")


class GetOperation(Operations):
    """The method that returns the present state of an operation."""

    request = f"{PACKAGE}.GetOperationRequest"

    def ask(self, opening: Opening, body: bytes) -> JobOutcome:
        name = self.read(opening, body).name
        wait_ms = self._wait_ms(opening, body)
        return JobOutcome(_kind(name), name, wait_ms, lambda *outcome: self.answer(opening, operation(*outcome)))

    def _wait_ms(self, opening: Opening, body: bytes) -> int:
        return 0


class WaitOperation(GetOperation):
    """The method that returns an operation when it is done or after the `timeout`, which is bounded."""

    request = f"{PACKAGE}.WaitOperationRequest"

    def _wait_ms(self, opening: Opening, body: bytes) -> int:
        message = self.read(opening, body)
        if not message.HasField("timeout"):
            return LONGEST_WAIT_MS
        return min(LONGEST_WAIT_MS, max(0, messages.milliseconds(message.timeout)))


class CancelOperation(Operations):
    """The method that cancels an operation. Running work ends soon; the operation then has the error CANCELLED."""

    request = f"{PACKAGE}.CancelOperationRequest"
    act = JobAct.CANCEL

    def ask(self, opening: Opening, body: bytes) -> OneJob:
        name = self.read(opening, body).name
        empty = messages.kind("google.protobuf.Empty")()
        return OneJob(self.act, _kind(name), name, lambda job: self.answer(opening, empty))


class DeleteOperation(CancelOperation):
    """The method that deletes an operation and its result, and cancels it if it is not done."""

    request = f"{PACKAGE}.DeleteOperationRequest"
    act = JobAct.DELETE


class ListOperations(Operations):
    """The method that lists the operations of a project and location, or of v1, the latest first. A page may have fewer
    than requested.
    """

    request = f"{PACKAGE}.ListOperationsRequest"

    def ask(self, opening: Opening, body: bytes) -> JobOutcomes:
        message = self.read(opening, body)
        first = self.first or message.name in ("", "operations")
        prefix = "" if first else f"{names.parent(message.name, 'name')}/operations/"
        wanted = _done(message.filter)
        limit = names.page_size(message.page_size, USUALLY_LISTED, MOST_LISTED)
        page = Page(names.after(message.page_token), limit)

        def tell(found: Sequence[tuple[Job, bytes, bytes]], more: bool) -> Step:
            made = messages.kind(f"{PACKAGE}.ListOperationsResponse")()
            for job, output, errors in found:
                if job.id.startswith(prefix) and wanted in (None, job.over):
                    made.operations.append(operation(job, output, errors))
            if more:
                made.next_page_token = names.page_token(found[-1][0].id)
            return self.answer(opening, made)

        return JobOutcomes(FIRST_KIND if first else KIND, page, tell)

    def refuse(self, opening: Opening, error: AntiphonError) -> Step:
        if isinstance(error, NotFound):
            error = CallerError("`page_token` is not one that was given out.", param="page_token")
        return super().refuse(opening, error)


def _done(filter: str) -> bool | None:
    """Return true to list only operations that are done, false for only the others, `None` for all. Raises
    `CallerError`.
    """
    if not filter:
        return None
    match = _DONE.fullmatch(filter)
    if match is None:
        raise CallerError("`filter` may be `done = true` or `done = false`.", param="filter")
    return match[1].lower() == "true"


METHODS: tuple[type[Operations], ...] = (GetOperation, WaitOperation, CancelOperation, DeleteOperation, ListOperations)
