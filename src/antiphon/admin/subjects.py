"""The part of the management API for data subjects: the export and the erasure of what is kept about a person, and of
all that a project has.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Scope

from antiphon.admin.callers import Check
from antiphon.core.audit import Author
from antiphon.core.identity import Principal
from antiphon.core.tags import MAX_CHARS
from antiphon.session.subjects import Line, Subjects

LINES = "application/jsonl"


class Subject(BaseModel):
    """A person, as callers name them in a tag `subject=...`. In a body, so that the name is in no log."""

    model_config = ConfigDict(extra="forbid", strict=True)

    subject: Annotated[str, Field(min_length=1, max_length=MAX_CHARS)]


class Place(BaseModel):
    """The place of a record in the audit log: its number, the log's size afterwards, and the hash of its bytes."""

    number: int
    size: int
    leaf: str


class Erasure(BaseModel):
    """The certificate of an erasure: how many of each were erased, and the record in the audit log. `untagged_files`
    remain and name nobody, as a whole or in each of their lines: something in them may be about the person.
    """

    erased: dict[str, int]
    untagged_files: int
    log: Place
    record: dict[str, Any]


def add_subjects(
    app: FastAPI,
    subjects: Subjects,
    author: Callable[[Principal, Scope], Author],
    administrator: Check,
) -> None:
    @app.post(
        "/projects/{project_id}/subjects/export",
        operation_id="export_subject",
        response_class=Response,
        responses={200: {"content": {LINES: {"schema": {"type": "string"}}}}},
    )
    async def export_subject(
        project_id: str, body: Subject, request: Request, who: Annotated[Principal, Depends(administrator)]
    ) -> Response:
        """Return everything that is kept about a person, one line of JSON each; the last one has the counts."""
        lines = subjects.export(project_id, body.subject, author(who, request.scope))
        first = await anext(lines)  # it may be refused

        async def encoded() -> AsyncIterator[bytes]:
            yield msgspec.json.encode(first) + b"\n"
            async with aclosing(lines):
                async for line in lines:
                    yield msgspec.json.encode(line) + b"\n"

        return StreamingResponse(encoded(), media_type=LINES)

    @app.post("/projects/{project_id}/subjects/erase", operation_id="erase_subject", response_model=Erasure)
    async def erase_subject(
        project_id: str, body: Subject, request: Request, who: Annotated[Principal, Depends(administrator)]
    ) -> Line:
        """Erase everything that is kept about a person. The answer is the certificate, which is in the audit log."""
        return (await subjects.erase(project_id, body.subject, author(who, request.scope))).shown()

    @app.post("/projects/{project_id}/erase", operation_id="erase_project", response_model=Erasure)
    async def erase_project(
        project_id: str, request: Request, who: Annotated[Principal, Depends(administrator)]
    ) -> Line:
        """Destroy the keys of a project's content and tags, and erase the content. The project, its API keys and its
        usage stay.
        """
        return (await subjects.erase_project(project_id, author(who, request.scope))).shown()
