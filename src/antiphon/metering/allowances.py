"""What the projects of a running server may still use: budgets, rates, and calls at once.

A call asks for an allowance before it does anything, extends it before it takes more, and settles it when it has ended.
Each is one step of the event loop. The calls of a project without budgets and limits have none.

The projects of an organisation that has budgets or limits are one group, with one tally; any other project is a group
of its own. A group's state is in memory only. It is read from the ledger, by project and time, when the server starts
and when its budgets or its projects change. Until the first ones are known, of a group or of a project that joins it,
calls that a hard budget counts are refused; after another change, the earlier ones apply until the new ones are known.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from antiphon.core.budgets import EVERY, RateLimit
from antiphon.core.call import Call
from antiphon.core.errors import CapacityError, NotFound, PolicyError
from antiphon.core.identity import NO_ORGANISATION, Organisation
from antiphon.core.policy import Policy
from antiphon.core.ports import Clock
from antiphon.core.stores import Usage
from antiphon.core.units import NS_PER_S
from antiphon.metering.budgets import Alert, Funds, State
from antiphon.metering.groups import Applied, Ended, Group, Place
from antiphon.metering.pricing.book import Series
from antiphon.metering.rebuilding import rebuilt
from antiphon.metering.tally import RETRY_AFTER_S, Charged, Demand, Permit
from antiphon.metering.tariff import ONE, Entries, Meters, Tariff, Use

RETRY_NS = RETRY_AFTER_S * NS_PER_S  # between two attempts to read what a project has used

Watcher = Callable[[str, Alert], None]  # of alerts, with the id of the project, or of the organisation

log = logging.getLogger(__name__)


class Allowance:
    """What one running call may use."""

    __slots__ = ("_allowances", "_covered", "_entries", "_group", "_permit")

    def __init__(self, allowances: "Allowances", group: "Group", permit: Permit, demand: Demand) -> None:
        self._allowances = allowances
        self._group = group
        self._permit = permit
        self._covered, self._entries = demand.meters, demand.entries

    @property
    def bounded(self) -> bool:
        """Whether its output needs a bound, as a hard budget counts it."""
        return self._group.tally.bounds(self._permit.project, self._permit.key)

    @property
    def by_entry(self) -> bool:
        """Whether its single entries matter for what it costs."""
        return self._group.tally.by_entry(self._permit.project, self._permit.key)

    def cover(self, meters: Meters, entries: Entries = ONE) -> None:
        """Reserve what it may be charged in all. Raises `BudgetExceeded`, `Unpriced`; then nothing changes."""
        self._allowances.cover(self._group, self._permit, meters, entries)
        self._covered, self._entries = meters, entries

    def charge(self, meters: Meters, entries: Entries = ONE) -> None:
        """Make sure that this, which is charged next in all, is reserved. Raises as `cover` does."""
        covered = self._covered
        for meter, amount in meters.items():
            if amount > covered.get(meter, 0):
                break
        else:
            if entries is ONE or all(number <= self._entries.get(meter, 1) for meter, number in entries.items()):
                return
        self.cover(meters, entries)

    def within(self, meters: Meters, entries: Entries = ONE) -> Meters:
        """Return the part of what is charged at the end, in all, that the budgets have room for."""
        try:
            self.charge(meters, entries)
        except PolicyError:
            most = {meter: self._entries.get(meter, 1) for meter in meters}
            return {
                meter: min(amount, self._covered.get(meter, 0))
                for meter, amount in meters.items()
                if entries.get(meter, 1) <= most[meter]
            }
        return meters

    def note(self, meters: Meters) -> None:
        """Note what it has used so far, for alerts."""
        self._allowances.note(self._group, self._permit, meters)

    def rates(self) -> tuple[RateLimit, ...]:
        """Return its limits of rate."""
        permit = self._permit
        return self._group.tally.rates(permit.project, permit.key, self._allowances.clock.now_ns())

    def leave(self) -> None:
        """Count it no more as a running call: its caller was served."""
        self._group.tally.leave(self._permit)

    def settle(self, charged: Charged) -> None:
        """End it with what was charged. Takes effect once."""
        self._allowances.settle(self._group, self._permit, charged)


class Allowances:
    """The allowances of all projects."""

    def __init__(
        self,
        policy: Callable[[str], Policy],
        projects: Callable[[], Collection[str]],
        organisation: Callable[[str], Organisation],
        series_of: Callable[[str], Series],
        ledger: Usage,
        clock: Clock,
        watchers: Sequence[Watcher],
    ) -> None:
        """`projects` returns the ids of all projects, `organisation` an organisation by its id: as the same object
        until they or their policies change. `series_of` returns the price book of a project, or raises `NoBook`;
        `watchers` are told of alerts.
        """
        self.clock = clock
        self.running: Callable[[str], Iterable[str]] = lambda project: ()  # ids of a project's running sessions
        self._policy = policy
        self._projects = projects
        self._organisation = organisation
        self._seen: Collection[str] | None = None
        self._series_of = series_of
        self._ledger = ledger
        self._watchers = watchers
        self._places: dict[str, Place] = {}
        self._groups: dict[tuple[str, str], Group] = {}

    async def start(self) -> None:
        """Read what has been used, before the first call."""
        self.refresh()
        await asyncio.gather(*(each.reading for each in self._groups.values() if each.reading is not None))

    async def close(self) -> None:
        reading = [each.reading for each in self._groups.values() if each.reading is not None]
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)

    def refresh(self) -> None:
        """Follow the policies of all projects."""
        projects, seen = self._projects(), self._seen
        self._seen = projects
        for project in {*(() if projects is seen else projects), *self._places}:
            self._find(project)
        for group in tuple(self._groups.values()):
            self._keep_up(group)

    # -- calls ---------------------------------------------------------------------------------------------------------

    def open(self, call: Call[object], use: Use, demand: Callable[[], Demand]) -> Allowance | None:
        """Admit a call; `None` if nothing applies to it. Raises `BudgetExceeded`, `Unpriced`, `CapacityError`."""
        principal = call.principal
        group = self._follow(principal.project)
        if group is None:
            return None
        known = group.applied is not None and principal.project in group.applied.projects
        if not known and any(each.hard and each.project in (EVERY, principal.project) for each in group.wanted.budgets):
            raise CapacityError("The budgets of this project are being read.", retry_after_s=RETRY_AFTER_S)
        clock, need = self.clock, demand()
        try:
            permit = group.tally.admit(
                call.id, principal.project, principal.key_id, use, need, clock.now_ns(), clock.unix_ms()
            )
        finally:
            self._tell(group)
        if group.reading is not None:
            group.own.add(call.id)
        return Allowance(self, group, permit, need)

    def cover(self, group: Group, permit: Permit, meters: Meters, entries: Entries) -> None:
        try:
            group.tally.cover(permit, meters, self.clock.unix_ms(), entries)
        finally:
            self._tell(group)

    def note(self, group: Group, permit: Permit, meters: Meters) -> None:
        group.tally.note(permit, meters, self.clock.unix_ms())
        self._tell(group)

    def settle(self, group: Group, permit: Permit, charged: Charged) -> None:
        if group.tally.settle(permit, charged, self.clock.now_ns()) is None:
            return
        ended = Ended(permit.id, permit.project, permit.key, permit.use, charged)
        if group.reading is not None:
            group.ended.append(ended)
        else:
            group.own.discard(permit.id)
        self._tell(group)
        place = self._places.get(permit.project)
        if place is not None and place.group is not group:
            self._count(place.group, ended)

    def follows(self, project: str) -> bool:
        """Return whether anything applies to a project."""
        place = self._places.get(project)
        return place is not None and place.group is not None

    def count(self, call: Call[object], use: Use, charged: Charged) -> None:
        """Count a session that began before anything applied to it."""
        principal = call.principal
        place = self._places.get(principal.project)
        if place is not None:
            self._count(place.group, Ended(call.id, principal.project, principal.key_id, use, charged))

    def _count(self, group: Group | None, ended: Ended) -> None:
        if group is None or ended.id not in group.own:
            return
        if group.reading is not None:
            group.ended.append(ended)
        elif group.tally.funds is not None:
            group.own.discard(ended.id)
            group.spend(ended)
            self._tell(group)

    # -- questions -----------------------------------------------------------------------------------------------------

    def states(self, project: str) -> list[tuple[str, State]]:
        """Return the budgets of a project as they stand, each with its currency; none if they are not known yet. Raises
        `NotFound`.
        """
        if project not in self._projects():  # nor does it have the strictest ones, which its calls would meet
            raise NotFound(f"project {project} not found", param="project")
        return self._states(self._follow(project), project)

    def states_of(self, organisation: str) -> list[tuple[str, State]]:
        """Return the budgets of an organisation as they stand, as `states` does. Raises `NotFound`."""
        if not self._organisation(organisation).id:
            raise NotFound(f"organisation {organisation} not found", param="organisation")
        return self._states(self._groups.get((organisation, "")), EVERY)

    def _states(self, group: Group | None, project: str) -> list[tuple[str, State]]:
        funds = group.tally.funds if group is not None else None
        if funds is None:
            return []
        states = funds.states(self.clock.unix_ms())
        return [(funds.currency(each.budget), each) for each in states if each.budget.project == project]

    def rates(self, project: str, key: str) -> tuple[RateLimit, ...]:
        """Return the limits of rate of a key's calls."""
        group = self._follow(project)
        return group.tally.rates(project, key, self.clock.now_ns()) if group is not None else ()

    # -- policies ------------------------------------------------------------------------------------------------------

    def _follow(self, project: str) -> Group | None:
        """Return the group of a project by its present policy; `None` if nothing applies to it."""
        group = self._find(project)
        if group is not None and (group.changed or group.applied is not group.wanted):
            self._keep_up(group)
        return group

    def _find(self, project: str) -> Group | None:
        policy, place = self._policy(project), self._places.get(project)
        organisation = self._organisation(policy.organisation) if policy.organisation else NO_ORGANISATION
        if place is not None:
            if place.policy is policy and place.organisation is organisation:
                return place.group
            if place.stays(policy, organisation):
                place.policy, place.organisation = policy, organisation
                return place.group
        return self._move(project, place, policy, organisation)

    def _move(self, project: str, place: Place | None, policy: Policy, organisation: Organisation) -> Group | None:
        """Put a project into the group that is its own now."""
        id: tuple[str, str] | None = None
        if organisation.budgets or organisation.limits:
            id = organisation.id, ""
        elif policy.budgets or policy.limits:
            id = "", project
        before = place.group if place is not None else None
        if before is not None and id is None and before.id == ("", project) and before.tally.open:
            id = before.id  # until its calls have ended
        if before is not None and before.id != id:
            del before.places[project]
            before.changed = True
            if not before.places:
                del self._groups[before.id]
        group = self._groups.setdefault(id, Group(id)) if id is not None else None
        self._places[project] = place = Place(policy, organisation, group)
        if group is not None:
            group.places[project] = place
            group.changed = True
        return group

    def _keep_up(self, group: Group) -> None:
        """Read what a group has used, if something else applies to it than before."""
        if group.changed:
            group.follow_policies()
        if group.applied is group.wanted or group.reading is not None:
            return
        if not group.wanted.budgets:
            group.tally.take_funds(None, {})
            group.applied = group.wanted
            group.own.clear()
            return
        now_ns = self.clock.now_ns()
        if group.read_ns is not None and now_ns - group.read_ns < RETRY_NS:
            return
        group.read_ns = now_ns
        running = (id for project in group.places for id in self.running(project))
        group.own = {*running, *(permit.id for permit in group.tally.open)}
        group.ended = []
        reading = self._read(group, group.wanted)  # of these projects alone, whose running sessions are our own
        group.reading = asyncio.create_task(reading, name=f"budgets of {group.name}")

    async def _read(self, group: Group, wanted: Applied) -> None:
        """Read what the projects have used, then apply their budgets."""
        now_unix_ms = self.clock.unix_ms()
        try:
            funds, tariffs = await asyncio.to_thread(self._rebuilt, wanted, now_unix_ms, group.own)
            group.tally.take_funds(funds, tariffs)
            for ended in group.ended:
                group.spend(ended)
            funds.catch_up(self.clock.unix_ms())
            group.applied, group.read_ns = wanted, None
            group.own -= {ended.id for ended in group.ended}
        except Exception as error:
            log.error("what a project has used cannot be read", exc_info=error, extra={"project": group.name})
        finally:
            group.reading = None
            group.ended = []

    def _rebuilt(self, wanted: Applied, now_unix_ms: int, own: Collection[str]) -> tuple[Funds, Mapping[str, Tariff]]:
        return rebuilt(self._ledger, self._series_of, wanted.projects, wanted.budgets, now_unix_ms, own)

    def _tell(self, group: Group) -> None:
        funds = group.tally.funds
        if funds is not None and funds.alerts:
            alerts = tuple(funds.alerts)
            funds.alerts.clear()
            for alert in alerts:
                for watch in self._watchers:
                    watch(alert.budget.project or group.name, alert._replace(currency=funds.currency(alert.budget)))
