"""The part of the management API for the audit log: its records, its newest checkpoint, and proofs for checkpoints."""

import json
from base64 import b64encode
from enum import StrEnum
from typing import Annotated

from fastapi import Depends, FastAPI, Query, Response

from antiphon.admin.callers import Check
from antiphon.core import merkle
from antiphon.core.audit import export_line
from antiphon.core.entry import MAX_INTEGER
from antiphon.core.errors import NotFound
from antiphon.core.stores import MAX_READ
from antiphon.trust.notary import Auditing, proof_of
from antiphon.trust.ocsf import event

_LINES = "application/jsonl"


class Format(StrEnum):
    JSONL = "jsonl"
    OCSF = "ocsf"


def add_audit(app: FastAPI, auditing: Auditing, auditor: Check) -> None:
    allowed = [Depends(auditor)]
    trail, notary = auditing.trail, auditing.notary

    @app.get(
        "/audit",
        dependencies=allowed,
        operation_id="read_audit",
        response_class=Response,
        responses={200: {"content": {_LINES: {"schema": {"type": "string"}}}}},
    )
    async def read_audit(
        start: Annotated[int, Query(ge=0, le=MAX_INTEGER, description="The number of the first record")] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_READ)] = MAX_READ,
        project: Annotated[str | None, Query(description="Only this project's")] = None,
        format: Annotated[Format, Query(description="Records as they were hashed, or events of OCSF")] = Format.JSONL,
    ) -> Response:
        """Return records in order, one line of JSON each. The header `antiphon-next` is the number to continue from."""
        found = await trail.logged(start, limit, project=project)
        if format is Format.JSONL:
            lines = b"".join(export_line(each) for each in found)
        else:
            events = (event(each, notary.origin) for each in found)
            lines = "".join(f"{json.dumps(each)}\n" for each in events if each is not None).encode()
        following = found[-1].number + 1 if found else start
        return Response(lines, media_type=_LINES, headers={"antiphon-next": str(following)})

    @app.get(
        "/audit/checkpoint",
        dependencies=allowed,
        operation_id="read_checkpoint",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def read_checkpoint() -> Response:
        """Return the newest signed checkpoint, in C2SP's format tlog-checkpoint."""
        if notary.last is None:
            raise NotFound("no checkpoint has been signed yet")
        return Response(notary.last.note(), media_type="text/plain")

    @app.get("/audit/proof", dependencies=allowed, operation_id="read_proof")
    async def read_proof(
        size: Annotated[int, Query(ge=1, le=MAX_INTEGER, description="Of the log, as a checkpoint says it")],
        number: Annotated[int | None, Query(ge=0, description="A record that is in there")] = None,
        old: Annotated[int | None, Query(ge=1, description="The size that an older checkpoint says")] = None,
    ) -> dict[str, list[str]]:
        """Return hashes of RFC 6962, in base64, which prove that a record is in the log of that size, or that the log
        of that size begins with the `old` one.
        """
        if size > await trail.size() or (number if number is not None else old or size) > size or number == size:
            raise NotFound("the log has no such records", param="size")
        ranges = merkle.consistency(old or size, size) if number is None else merkle.inclusion(number, size)
        return {"proof": [b64encode(each).decode() for each in await proof_of(trail, ranges)]}
