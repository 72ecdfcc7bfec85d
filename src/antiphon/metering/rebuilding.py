"""What is left of budgets by the ledger alone: for a server that starts, and for the command line without one."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from antiphon.core.budgets import EVERY, Amounts, Budget, Measure
from antiphon.core.entry import MAX_INTEGER
from antiphon.core.stores import Usage
from antiphon.core.usage import SessionQuery
from antiphon.metering.budgets import Funds, begins
from antiphon.metering.pricing.book import NoBook, Series
from antiphon.metering.statements import month_of
from antiphon.metering.tally import amounts_in
from antiphon.metering.tariff import Tariff


def rebuilt(
    ledger: Usage,
    series_of: Callable[[str], Series],
    projects: Iterable[str],
    budgets: Sequence[Budget],
    now_unix_ms: int,
    own: Collection[str] = (),
) -> tuple[Funds, Mapping[str, Tariff]]:
    """Return budgets, and the prices of their projects, as the projects' sessions, without our `own`, left them;
    blocking. Reads the sessions that closed since the first window of a budget began, or since its month did if the
    prices depend on it.
    """
    tariffs = _tariffs(series_of, projects, budgets)
    funds = Funds(budgets, {project: each.currency for project, each in tariffs.items()})
    expenses: Iterable[_Expense] = (
        each for tariff in tariffs.values() for each in _expenses(ledger, tariff, budgets, now_unix_ms, own)
    )
    for at_unix_ms, project, key, amounts in expenses if len(tariffs) == 1 else sorted(expenses):
        funds.spend(key, amounts, at_unix_ms, project)
        funds.alerts.clear()
    return funds, tariffs


_Expense = tuple[int, str, str, Amounts]  # when a session closed, whose it was, and what it came to


def _expenses(
    ledger: Usage, tariff: Tariff, budgets: Sequence[Budget], now_unix_ms: int, own: Collection[str]
) -> Iterator[_Expense]:
    since = begins(budgets, now_unix_ms)
    if tariff.by_month:
        since = month_of(since).since_unix_ms
    query = SessionQuery(
        project=tariff.project,
        since_unix_ms=since,
        until_unix_ms=MAX_INTEGER,
        known_unix_ms=MAX_INTEGER,
        head=ledger.head(),
        by_entry=tariff.by_entry,
    )
    for session in ledger.sessions(query):
        if session.session not in own:
            amounts = amounts_in(session, tariff.settle(session))
            yield min(session.closed_unix_ms, now_unix_ms), tariff.project, session.charges[0].key_id, amounts


def _tariffs(
    series_of: Callable[[str], Series], projects: Iterable[str], budgets: Sequence[Budget]
) -> Mapping[str, Tariff]:
    """Return the prices of each project whose money is counted. Those of several currencies cannot be added."""
    counted = {each.project for each in budgets if each.measure is Measure.MONEY}
    found: dict[str, Series | None] = {}
    for project in sorted(projects):
        found[project] = None
        if project in counted or EVERY in counted:
            with suppress(NoBook):
                found[project] = series_of(project)
    if EVERY in counted and len({each.currency for each in found.values() if each is not None}) > 1:
        reason = "the price books of its organisation have several currencies"
        return {project: Tariff(project, None, reason) for project in found}
    return {project: Tariff(project, series) for project, series in found.items()}
