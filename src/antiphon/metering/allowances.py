"""What the projects of a running server may still use: budgets, rates, and calls at once.

A call asks for an allowance before it does anything, extends it before it takes more, and settles it when it has ended.
Each is one step of the event loop. The calls of a project without budgets and limits have none.

The budgets' state is in memory only. It is read from the ledger, by project and time, when the server starts and when a
project's budgets change. Until a project's first ones are known, its calls are refused; after a change, the earlier
ones apply until the new ones are known.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence

from antiphon.core.budgets import Measure, RateLimit, parse_budgets
from antiphon.core.call import Call
from antiphon.core.entry import MAX_INTEGER
from antiphon.core.errors import CapacityError, NotFound
from antiphon.core.policy import Policy
from antiphon.core.ports import Clock
from antiphon.core.stores import Usage
from antiphon.core.units import NS_PER_S
from antiphon.core.usage import SessionQuery
from antiphon.metering.budgets import Alert, Funds, State, begins
from antiphon.metering.pricing.book import NoBook, Series
from antiphon.metering.statements import month_of
from antiphon.metering.tally import RETRY_AFTER_S, Charged, Demand, Permit, Tally, amounts_in
from antiphon.metering.tariff import Meters, Tariff, Use

RETRY_NS = RETRY_AFTER_S * NS_PER_S  # between two attempts to read what a project has used

Watcher = Callable[[str, Alert], None]  # of a project's alerts

log = logging.getLogger(__name__)


class Allowance:
    """What one running call may use."""

    __slots__ = ("_allowances", "_followed", "_permit")

    def __init__(self, allowances: "Allowances", followed: "_Followed", permit: Permit) -> None:
        self._allowances = allowances
        self._followed = followed
        self._permit = permit

    @property
    def bounded(self) -> bool:
        """Whether its output needs a bound, as a hard budget counts it."""
        return self._followed.tally.bounds(self._permit.key)

    @property
    def by_entry(self) -> bool:
        """Whether its single entries matter for what it costs."""
        return self._followed.tally.by_entry(self._permit.key)

    def cover(self, meters: Meters) -> None:
        """Reserve what it may be charged in all. Raises `BudgetExceeded`; then nothing changes."""
        self._allowances.cover(self._followed, self._permit, meters)

    def note(self, meters: Meters) -> None:
        """Note what it has used so far, for alerts."""
        self._allowances.note(self._followed, self._permit, meters)

    def rates(self) -> tuple[RateLimit, ...]:
        """Return its limits of rate."""
        return self._followed.tally.rates(self._permit.key, self._allowances.clock.now_ns())

    def leave(self) -> None:
        """Count it no more as a running call: its caller was served."""
        self._followed.tally.leave(self._permit)

    def settle(self, charged: Charged) -> None:
        """End it with what was charged. Takes effect once."""
        self._allowances.settle(self._followed, self._permit, charged)


class _Followed:
    """A project whose policy has budgets or limits. `text` are the budgets that apply now."""

    def __init__(self, project: str) -> None:
        self.project = project
        self.policy = Policy()
        self.text: str | None = None
        self.tally = Tally(project, Tariff(project, None))
        self.reading: asyncio.Task[None] | None = None
        self.read_ns: int | None = None  # when the last reading began
        self.own: set[str] = set()  # sessions that are counted by us, not from the ledger
        self.ended: list[tuple[str, Use, str, Charged]] = []  # of these, while the ledger is read


class Allowances:
    """The allowances of all projects."""

    def __init__(
        self,
        policy: Callable[[str], Policy],
        projects: Callable[[], Collection[str]],
        series_of: Callable[[str], Series],
        ledger: Usage,
        clock: Clock,
        watchers: Sequence[Watcher],
    ) -> None:
        """`projects` returns the ids of all projects, as the same object until they or their policies change;
        `series_of` the price book of a project, or raises `NoBook`; `watchers` are told of alerts.
        """
        self.clock = clock
        self.running: Callable[[str], Iterable[str]] = lambda project: ()  # ids of a project's running sessions
        self._policy = policy
        self._projects = projects
        self._seen: Collection[str] | None = None
        self._series_of = series_of
        self._ledger = ledger
        self._watchers = watchers
        self._followed: dict[str, _Followed] = {}

    async def start(self) -> None:
        """Read what has been used, before the first call."""
        self.refresh()
        await asyncio.gather(*(each.reading for each in self._followed.values() if each.reading is not None))

    async def close(self) -> None:
        reading = [each.reading for each in self._followed.values() if each.reading is not None]
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)

    def refresh(self) -> None:
        """Follow the policies of all projects."""
        projects, seen = self._projects(), self._seen
        self._seen = projects
        for project in {*(() if projects is seen else projects), *self._followed}:
            self._follow(project)

    # -- calls ---------------------------------------------------------------------------------------------------------

    def open(self, call: Call[object], use: Use, demand: Callable[[], Demand]) -> Allowance | None:
        """Admit a call; `None` if nothing applies to it. Raises `BudgetExceeded`, `Unpriced`, `CapacityError`."""
        followed = self._follow(call.principal.project)
        if followed is None:
            return None
        if followed.text is None and any(budget.hard for budget in parse_budgets(followed.policy.budgets)):
            raise CapacityError("The budgets of this project are being read.", retry_after_s=RETRY_AFTER_S)
        clock, tally = self.clock, followed.tally
        try:
            permit = tally.admit(call.id, call.principal.key_id, use, demand(), clock.now_ns(), clock.unix_ms())
        finally:
            self._tell(followed)
        if followed.reading is not None:
            followed.own.add(call.id)
        return Allowance(self, followed, permit)

    def cover(self, followed: _Followed, permit: Permit, meters: Meters) -> None:
        try:
            followed.tally.cover(permit, meters, self.clock.unix_ms())
        finally:
            self._tell(followed)

    def note(self, followed: _Followed, permit: Permit, meters: Meters) -> None:
        followed.tally.note(permit, meters, self.clock.unix_ms())
        self._tell(followed)

    def settle(self, followed: _Followed, permit: Permit, charged: Charged) -> None:
        if followed.tally.settle(permit, charged, self.clock.now_ns()) is None:
            return
        if followed.reading is not None:
            followed.ended.append((permit.id, permit.use, permit.key, charged))
        else:
            followed.own.discard(permit.id)
        self._tell(followed)

    def follows(self, project: str) -> bool:
        """Return whether anything applies to a project."""
        return project in self._followed

    def count(self, call: Call[object], use: Use, charged: Charged) -> None:
        """Count a session that began before anything applied to it."""
        followed = self._followed.get(call.principal.project)
        if followed is None or call.id not in followed.own:
            return
        if followed.reading is not None:
            followed.ended.append((call.id, use, call.principal.key_id, charged))
        elif followed.tally.funds is not None:
            followed.own.discard(call.id)
            key = call.principal.key_id
            amounts = followed.tally.amounts(call.id, key, use, charged)
            followed.tally.funds.spend(key, amounts, charged.closed_unix_ms)
            self._tell(followed)

    # -- questions -----------------------------------------------------------------------------------------------------

    def states(self, project: str) -> tuple[str, list[State]]:
        """Return the currency and the budgets of a project as they stand; none if they are not known yet. Raises
        `NotFound`.
        """
        if project not in self._projects():  # nor does it have the strictest ones, which its calls would meet
            raise NotFound(f"project {project} not found", param="project")
        followed = self._follow(project)
        funds = followed.tally.funds if followed is not None else None
        return (funds.currency, funds.states(self.clock.unix_ms())) if funds is not None else ("", [])

    def rates(self, project: str, key: str) -> tuple[RateLimit, ...]:
        """Return the limits of rate of a key's calls."""
        followed = self._follow(project)
        return followed.tally.rates(key, self.clock.now_ns()) if followed is not None else ()

    # -- policies ------------------------------------------------------------------------------------------------------

    def _follow(self, project: str) -> _Followed | None:
        """Return what applies to a project by its present policy; `None` if nothing does."""
        policy, followed = self._policy(project), self._followed.get(project)
        if followed is None:
            if not (policy.budgets or policy.limits):
                return None
            followed = self._followed[project] = _Followed(project)
        if followed.policy is not policy:
            if followed.policy.limits != policy.limits:
                followed.tally.take_limits(policy.limits)
            followed.policy = policy
        if followed.text != policy.budgets and followed.reading is None:
            self._read_again(followed)
        if not (policy.budgets or policy.limits) and followed.text == "" and not followed.tally.open:
            del self._followed[project]
            return None
        return followed

    def _read_again(self, followed: _Followed) -> None:
        if not followed.policy.budgets:
            followed.tally.take_funds(None, Tariff(followed.project, None))
            followed.text = ""
            followed.own.clear()
            return
        now_ns = self.clock.now_ns()
        if followed.read_ns is not None and now_ns - followed.read_ns < RETRY_NS:
            return
        followed.read_ns = now_ns
        followed.own = {*self.running(followed.project), *(permit.id for permit in followed.tally.open)}
        followed.ended = []
        followed.reading = asyncio.create_task(self._read(followed), name=f"budgets of {followed.project}")

    async def _read(self, followed: _Followed) -> None:
        """Read what the project has used, then apply its budgets."""
        text, now_unix_ms = followed.policy.budgets, self.clock.unix_ms()
        try:
            funds, tariff = await asyncio.to_thread(self._rebuilt, followed.project, text, now_unix_ms, followed.own)
            tally = followed.tally
            tally.take_funds(funds, tariff)
            for id, use, key, charged in followed.ended:
                funds.spend(key, tally.amounts(id, key, use, charged), charged.closed_unix_ms)
            funds.catch_up(self.clock.unix_ms())
            followed.text, followed.read_ns = text, None
            followed.own -= {id for id, _, _, _ in followed.ended}
        except Exception as error:
            log.error("what a project has used cannot be read", exc_info=error, extra={"project": followed.project})
        finally:
            followed.reading = None
            followed.ended = []

    def _rebuilt(self, project: str, text: str, now_unix_ms: int, own: Collection[str]) -> tuple[Funds, Tariff]:
        try:
            series: Series | None = self._series_of(project)
        except NoBook:
            series = None
        return rebuilt(self._ledger, series, project, text, now_unix_ms, own)

    def _tell(self, followed: _Followed) -> None:
        funds = followed.tally.funds
        if funds is not None and funds.alerts:
            alerts = tuple(funds.alerts)
            funds.alerts.clear()
            for alert in alerts:
                for watch in self._watchers:
                    watch(followed.project, alert)


def rebuilt(
    ledger: Usage, series: Series | None, project: str, text: str, now_unix_ms: int, own: Collection[str] = ()
) -> tuple[Funds, Tariff]:
    """Return the budgets and prices of a project as its sessions, without our `own`, left them; blocking. Reads the
    sessions that closed since the first window of a budget began, or since its month did if the prices depend on it.
    """
    budgets = parse_budgets(text)
    money = any(budget.measure is Measure.MONEY for budget in budgets)
    tariff = Tariff(project, series if money else None)
    funds = Funds(budgets, tariff.currency)
    since = begins(budgets, now_unix_ms)
    if tariff.by_month:
        since = month_of(since).since_unix_ms
    query = SessionQuery(
        project=project,
        since_unix_ms=since,
        until_unix_ms=MAX_INTEGER,
        known_unix_ms=MAX_INTEGER,
        head=ledger.head(),
        by_entry=tariff.by_entry,
    )
    for session in ledger.sessions(query):
        if session.session not in own:
            amounts = amounts_in(session, tariff.settle(session) if money else 0)
            funds.spend(session.charges[0].key_id, amounts, min(session.closed_unix_ms, now_unix_ms))
            funds.alerts.clear()
    return funds, tariff
