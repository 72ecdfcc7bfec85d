"""The part of the management API that is about exports."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field

from antiphon.core.entry import MAX_INTEGER
from antiphon.core.stores import MAX_GAPS
from antiphon.metering.export.desk import MAX_NOTE, ExportDesk

Position = Annotated[int, Field(ge=0, le=MAX_INTEGER)]


class Export(BaseModel):
    """A target. `position` is how far along the ledger it is, `behind` how many entries follow that, at most 1000."""

    target: str
    configured: bool
    position: int
    behind: int
    waiting: int
    oldest_waiting_unix_ms: int | None
    taken: int
    refused: int
    unknown: int
    gaps: int
    settled: int


class ExportList(BaseModel):
    data: list[Export]


class Gap(BaseModel):
    """An event that is not exported, in the batch `number`; a report of events that a receiver does not name has only
    its reason.
    """

    number: int
    state: str
    reason: str
    attempts: int
    identifier: str
    project: str | None = None
    meter: str | None = None
    at_unix_ms: int | None = None
    quantity: int | None = None
    first: int | None = None
    last: int | None = None
    labels: dict[str, str] | None = None


class GapList(BaseModel):
    data: list[Gap]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SettleGaps(_Request):
    """Those of these numbers, or all."""

    numbers: Annotated[list[Position], Field(max_length=MAX_GAPS)] | None = None
    note: Annotated[str, Field(max_length=MAX_NOTE)] = ""


class SendAgain(_Request):
    """Those of these numbers, or all."""

    numbers: Annotated[list[Position], Field(max_length=MAX_GAPS)] | None = None


class Replay(_Request):
    position: Position


class Done(BaseModel):
    batches: int


class Replayed(BaseModel):
    """How many batches are sent again, and how many are not, because the receiver may not know them any more."""

    batches: int
    too_old: int


def add_exports(app: FastAPI, desk: ExportDesk, administrator: Any) -> None:
    allowed = [Depends(administrator)]

    @app.get("/exports", dependencies=allowed, operation_id="list_exports")
    async def list_exports() -> ExportList:
        return ExportList.model_validate({"data": await desk.status()})

    @app.get("/exports/{target}/gaps", dependencies=allowed, operation_id="list_gaps")
    async def list_gaps(
        target: str, after: Annotated[int, Query(ge=0, le=MAX_INTEGER, description="The last number before")] = 0
    ) -> GapList:
        """What is not exported, until it is settled."""
        return GapList.model_validate({"data": await desk.gaps(target, after)})

    @app.post("/exports/{target}/gaps/settle", dependencies=allowed, operation_id="settle_gaps")
    async def settle_gaps(target: str, wanted: SettleGaps) -> Done:
        """Says that a person has dealt with gaps."""
        return Done(batches=await desk.settle(target, wanted.numbers, wanted.note))

    @app.post("/exports/{target}/gaps/send_again", dependencies=allowed, operation_id="send_gaps_again")
    async def send_again(target: str, wanted: SendAgain) -> Done:
        """Has gaps sent again, after what kept them back was set right."""
        return Done(batches=await desk.send_again(target, wanted.numbers))

    @app.post("/exports/{target}/replay", dependencies=allowed, operation_id="replay_export")
    async def replay(target: str, wanted: Replay) -> Replayed:
        """Has what was taken from a position of the ledger on sent again, as it was: nothing is counted twice."""
        batches, too_old = await desk.replay(target, wanted.position)
        return Replayed(batches=batches, too_old=too_old)
