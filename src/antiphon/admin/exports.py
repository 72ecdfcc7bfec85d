"""The part of the management API for exports."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field

from antiphon.core.entry import MAX_INTEGER
from antiphon.core.stores import MAX_GAPS
from antiphon.metering.export.control import MAX_NOTE, ExportControl

Position = Annotated[int, Field(ge=0, le=MAX_INTEGER)]


class Export(BaseModel):
    """A target. `position` in the ledger up to which it is exported; `behind`: later entries, at most 1000."""

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
    """An event that is not exported, in the batch `number`; if the receiver's report names no events, only its
    reason.
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
    """The gaps of these numbers, or all."""

    numbers: Annotated[list[Position], Field(max_length=MAX_GAPS)] | None = None
    note: Annotated[str, Field(max_length=MAX_NOTE)] = ""


class SendAgain(_Request):
    """The gaps of these numbers, or all."""

    numbers: Annotated[list[Position], Field(max_length=MAX_GAPS)] | None = None


class Replay(_Request):
    position: Position


class Done(BaseModel):
    batches: int


class Replayed(BaseModel):
    """The number of batches that are sent again, and of those that are too old for the receiver to know them."""

    batches: int
    too_old: int


def add_exports(app: FastAPI, control: ExportControl, biller: Any) -> None:
    allowed = [Depends(biller)]

    @app.get("/exports", dependencies=allowed, operation_id="list_exports")
    async def list_exports() -> ExportList:
        return ExportList.model_validate({"data": await control.status()})

    @app.get("/exports/{target}/gaps", dependencies=allowed, operation_id="list_gaps")
    async def list_gaps(
        target: str, after: Annotated[int, Query(ge=0, le=MAX_INTEGER, description="The last number before")] = 0
    ) -> GapList:
        """List what is not exported and not settled."""
        return GapList.model_validate({"data": await control.gaps(target, after)})

    @app.post("/exports/{target}/gaps/settle", dependencies=allowed, operation_id="settle_gaps")
    async def settle_gaps(target: str, wanted: SettleGaps) -> Done:
        """Mark gaps as settled by a person."""
        return Done(batches=await control.settle(target, wanted.numbers, wanted.note))

    @app.post("/exports/{target}/gaps/send_again", dependencies=allowed, operation_id="send_gaps_again")
    async def send_again(target: str, wanted: SendAgain) -> Done:
        """Send gaps again, after their cause is removed."""
        return Done(batches=await control.send_again(target, wanted.numbers))

    @app.post("/exports/{target}/replay", dependencies=allowed, operation_id="replay_export")
    async def replay(target: str, wanted: Replay) -> Replayed:
        """Send the batches from a position of the ledger again, unchanged: nothing is counted twice."""
        batches, too_old = await control.replay(target, wanted.position)
        return Replayed(batches=batches, too_old=too_old)
