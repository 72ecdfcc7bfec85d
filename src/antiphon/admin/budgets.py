"""The route of the management API for budgets: what is used, reserved and left."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query
from pydantic import BaseModel

from antiphon.admin.callers import Check, own_or
from antiphon.core.identity import Principal, Scope
from antiphon.metering.allowances import Allowances
from antiphon.metering.budgets import record


class BudgetState(BaseModel):
    """A budget in its present window. Amounts are in the measure's unit; money is in billionths of the `currency`. The
    grants of one measure and scope are one, under the name of the first.
    """

    name: str
    measure: str
    currency: str
    window: str
    key: str
    hard: bool
    amount: int
    used: int
    reserved: int
    left: int
    since_unix_ms: int | None
    until_unix_ms: int | None


class BudgetStates(BaseModel):
    project: str
    data: list[BudgetState]


def add_budgets(app: FastAPI, allowances: Allowances, reader: Check) -> None:
    @app.get("/budgets", operation_id="read_budgets", response_model=BudgetStates)
    async def read_budgets(
        caller: Annotated[Principal, Depends(reader)],
        project: Annotated[str | None, Query(description="Otherwise the key's own")] = None,
    ) -> Any:
        """Return the budgets of a project as they stand. They are set as a part of its policy."""
        owner = own_or(caller, project, Scope.BILLING, Scope.ADMIN) or caller.project
        currency, states = allowances.states(owner)
        return {"project": owner, "data": [record(state, currency) for state in states]}
