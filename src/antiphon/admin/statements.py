"""The routes of the management API for statements: what projects owe.

One statement is made at a time, in its own thread, with pauses: it reads a whole month, and calls must not be late for
it. Few requests can wait.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Query, Response

from antiphon.admin import messages
from antiphon.admin.callers import Check, own_or
from antiphon.core.errors import CapacityError, NotFound, PolicyError
from antiphon.core.identity import Principal, Scope
from antiphon.core.ports import Clock
from antiphon.metering import bills
from antiphon.metering.statements import Billing, Statement, parse_period
from antiphon.trust.control import Control

SESSIONS_AT_ONCE = 20  # between two pauses
PAUSE_S = 0.001
MAX_WAITING = 8


class _Pace:
    """A pace that pauses after some sessions."""

    def __init__(self) -> None:
        self._sessions = 0

    def __call__(self) -> None:
        self._sessions += 1
        if self._sessions % SESSIONS_AT_ONCE == 0:
            time.sleep(PAUSE_S)


def add_statements(
    app: FastAPI, control: Control, billing: Billing, clock: Clock, reader: Check, biller: Check
) -> None:
    paced = replace(billing, pace=_Pace())
    thread = ThreadPoolExecutor(1, thread_name_prefix="statements")
    waiting: set[Future[Statement]] = set()

    async def made(make: Callable[[], Statement]) -> Statement:
        if len(waiting) >= MAX_WAITING:
            raise CapacityError("too many statements are asked for at once", retry_after_s=10)
        making = thread.submit(make)
        waiting.add(making)
        making.add_done_callback(waiting.discard)
        return await asyncio.wrap_future(making)

    @app.get(
        "/statement",
        operation_id="read_statement",
        response_model=messages.StatementAnswer,
        response_model_exclude_none=True,
        responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
    )
    async def read_statement(
        caller: Annotated[Principal, Depends(reader)],
        period: Annotated[str, Query(description="A month in UTC, such as 2026-11")],
        project: Annotated[str | None, Query(description="Otherwise the key's own")] = None,
        margin: Annotated[bool, Query(description="With what the engines cost; for administrators")] = False,
        accept: Annotated[str, Header()] = "",
    ) -> Any:
        """Return what a project owes for a month, by the price books of the configuration."""
        owner = own_or(caller, project, Scope.BILLING, Scope.ADMIN) or caller.project
        if margin and not caller.scopes & {Scope.BILLING, Scope.ADMIN}:
            raise PolicyError("costs are shown to administrators and billing only", param="margin")
        month = parse_period(period)
        await asyncio.to_thread(_check_project, control, owner)
        statement = await made(lambda: paced.statement(owner, month, clock.unix_ms(), margin))
        if "text/csv" in accept:
            return Response(bills.to_csv(statement), media_type="text/csv")
        return Response(bills.to_json(statement), media_type="application/json")

    @app.post(
        "/statements",
        operation_id="issue_statement",
        dependencies=[Depends(biller)],
        response_model=messages.StatementAnswer,
        response_model_exclude_none=True,
        status_code=201,
    )
    async def issue_statement(new: messages.NewStatement) -> Any:
        """Issue the statement of a month that is over. It never changes: later corrections are in the next one."""
        month = parse_period(new.period)
        await asyncio.to_thread(_check_project, control, new.project)
        statement = await made(lambda: paced.issue(new.project, month, clock.unix_ms()))
        return Response(bills.to_json(statement), 201, media_type="application/json")


def _check_project(control: Control, project: str) -> None:
    if all(each.id != project for each in control.list_projects()):
        raise NotFound(f"project {project} not found", param="project")
