"""The routes of the management API for budgets, what is used, reserved and left of them, and for organisations."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query
from pydantic import BaseModel

from antiphon.admin import messages
from antiphon.admin.callers import Check, own_or
from antiphon.admin.managing import Manage, Manager
from antiphon.core.errors import CallerError, NotFound
from antiphon.core.identity import Principal, Scope
from antiphon.core.ports import Clock
from antiphon.metering.allowances import Allowances
from antiphon.metering.budgets import record
from antiphon.trust.control import Control


class BudgetState(BaseModel):
    """A budget in its present window. Amounts are in the measure's unit; money is in billionths of the `currency`. The
    grants of one measure and scope are one, under the name of the first. An organisation's has no `project`.
    """

    name: str
    measure: str
    currency: str
    window: str
    project: str
    key: str
    hard: bool
    amount: int
    used: int
    reserved: int
    left: int
    since_unix_ms: int | None
    until_unix_ms: int | None


class BudgetStates(BaseModel):
    """The budgets of a project, or of an organisation; the other is empty."""

    project: str
    organisation: str = ""
    data: list[BudgetState]


def add_budgets(app: FastAPI, allowances: Allowances, reader: Check) -> None:
    @app.get("/budgets", operation_id="read_budgets", response_model=BudgetStates)
    async def read_budgets(
        caller: Annotated[Principal, Depends(reader)],
        project: Annotated[str | None, Query(description="Otherwise the key's own")] = None,
        organisation: Annotated[
            str | None, Query(description="Instead of a project: the budgets of all its projects together")
        ] = None,
    ) -> Any:
        """Return the budgets of a project as they stand. They are set as a part of its policy."""
        if organisation is not None:
            if project is not None:
                raise CallerError("budgets are of a project or of an organisation", param="organisation")
            if not caller.scopes & {Scope.BILLING, Scope.ADMIN}:
                raise NotFound(f"organisation {organisation} not found", param="organisation")
            owner, states = "", allowances.states_of(organisation)
        else:
            owner = own_or(caller, project, Scope.BILLING, Scope.ADMIN) or caller.project
            states = allowances.states(owner)
        data = [record(state, currency) for currency, state in states]
        return {"project": owner, "organisation": organisation or "", "data": data}


def add_organisations(app: FastAPI, control: Control, clock: Clock, overseer: Check, manager: Manage) -> None:
    @app.get("/organisations", dependencies=[Depends(overseer)], operation_id="list_organisations")
    def list_organisations() -> messages.Organisations:
        """Return the organisations that have projects, budgets or limits."""
        found = control.list_organisations().items()
        return messages.Organisations(data=[messages.organisation_answer(each, projects) for each, projects in found])

    @app.patch("/organisations/{organisation}", operation_id="change_organisation")
    def change_organisation(
        organisation: str, change: messages.OrganisationChange, manages: Annotated[Manager, Depends(manager)]
    ) -> messages.OrganisationAnswer:
        """Set the budgets or the limits of an organisation, which begins to be with them or with its first project. A
        running server applies them within a second.
        """
        changed = manages.control.change_organisation(organisation, clock.unix_ms(), change.budgets, change.limits)
        return messages.organisation_answer(changed, control.list_organisations().get(changed, []))
