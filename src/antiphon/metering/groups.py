"""The groups of projects that share one tally: the projects of an organisation, or a project alone."""

import asyncio
from typing import NamedTuple

from antiphon.core.budgets import EVERY, Budget, owned_budgets, owned_limits
from antiphon.core.identity import NO_ORGANISATION, Organisation
from antiphon.core.policy import Policy
from antiphon.metering.tally import Charged, Tally
from antiphon.metering.tariff import Use


class Ended(NamedTuple):
    """A session that ended while the ledger was read."""

    id: str
    project: str
    key: str
    use: Use
    charged: Charged


class Applied(NamedTuple):
    """The budgets of a group, and its projects, whose usage counts in them."""

    budgets: tuple[Budget, ...]
    projects: frozenset[str]


class Group:
    """The projects to which one tally applies. `wanted` is what their policies say now, `applied` is what the tally
    counts: `None` until it is known for the first time what they have used.
    """

    def __init__(self, id: tuple[str, str]) -> None:
        self.id = id  # of the organisation, and of a project that is alone; one is empty
        self.places: dict[str, Place] = {}
        self.changed = True  # whether `wanted` is out of date
        self.wanted = Applied((), frozenset())
        self.applied: Applied | None = None
        self.tally = Tally()
        self.reading: asyncio.Task[None] | None = None
        self.read_ns: int | None = None  # when the last reading began
        self.own: set[str] = set()  # sessions that are counted by us, not from the ledger
        self.ended: list[Ended] = []  # of these, while the ledger is read

    @property
    def name(self) -> str:
        return self.id[0] or self.id[1]

    def spend(self, ended: Ended) -> None:
        """Count a session that has ended."""
        if self.tally.funds is not None:
            id, project, key, use, charged = ended
            amounts = self.tally.amounts(id, project, key, use, charged)
            self.tally.funds.spend(key, amounts, charged.closed_unix_ms, project)

    def follow_policies(self) -> None:
        """Set `wanted` by the present policies of its projects, and apply their limits."""
        self.changed = False
        places = self.places.values()
        organisation = next((each.organisation for each in places), NO_ORGANISATION) if self.id[0] else NO_ORGANISATION
        budgets = owned_budgets(organisation.budgets, EVERY)
        limits = owned_limits(organisation.limits, EVERY)
        for project, place in self.places.items():
            budgets += owned_budgets(place.policy.budgets, project)
            limits += owned_limits(place.policy.limits, project)
        self.tally.take_limits(limits)
        wanted = Applied(budgets, frozenset(self.places) if budgets else frozenset())
        if wanted != self.wanted:
            self.wanted = wanted


class Place:
    """A project as it was when its group was found; no group if nothing applies to it."""

    __slots__ = ("group", "organisation", "policy")

    def __init__(self, policy: Policy, organisation: Organisation, group: Group | None) -> None:
        self.policy = policy
        self.organisation = organisation
        self.group = group

    def stays(self, policy: Policy, organisation: Organisation) -> bool:
        """Return whether the same applies by another version of the policy."""
        return (
            self.policy.budgets == policy.budgets
            and self.policy.limits == policy.limits
            and self.organisation == organisation
        )
