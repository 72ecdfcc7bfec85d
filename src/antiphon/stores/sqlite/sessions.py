"""The charges of sessions, read from the ledger for bills.

A long read would prevent the writer from emptying its log, so there is none: first the sessions are listed, then their
entries are read, some hundreds of sessions at a time. What was written meanwhile is after the query's head.

An entry counts from its own time on, or, if the period of that time was already settled when it was written, from the
end of that period on (`_since`).
"""

from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter
from sqlite3 import Connection

from antiphon.core.entry import CLOSING, EntryKind
from antiphon.core.usage import Charge, ClosedSession, LooseEnds, SessionQuery

SESSIONS_AT_ONCE = 500

Position = Callable[[str], int]  # of a cursor

_CLOSING = ", ".join(f"'{kind}'" for kind in sorted(CLOSING))
_ALIKE = "key_id, surface, model, dimension, channel, feature, kind, corrects_sequence"
_CHARGE = (
    "min(sequence) AS first, max(sequence), count(*), min(at_unix_ms), key_id, surface, model, dimension,"
    " sum(amount), channel, feature, kind, corrects_sequence"
)
_BY_SESSION = "sqlite_autoindex_entries_1"  # of its only UNIQUE; a planner without statistics prefers that of times
_by_session = itemgetter(0)


def sessions(connection: Connection, query: SessionQuery, position: Position) -> Iterator[ClosedSession]:
    since = _since(query, position)
    known = f"position <= {position(query.head)} AND at_unix_ms < :known AND {since} < :known"
    alike = f"{_ALIKE}, sequence" if query.by_entry else _ALIKE
    values: dict[str, str | int] = {
        "project": query.project,
        "known": query.known_unix_ms,
        "since": query.since_unix_ms,
        "until": query.until_unix_ms,
    }
    # The bare column is, by SQLite's rule for a single min(), that of the first closing entry.
    listed = connection.execute(
        f"SELECT session, min({since}) AS closed, kind FROM entries"
        f" WHERE project = :project AND kind IN ({_CLOSING}) AND {_within(query, position, ':until')} AND {known}"
        " GROUP BY session ORDER BY closed, session",
        values,
    ).fetchall()
    by_others: dict[str, list[Charge]] = {}
    for session, *charge in connection.execute(
        f"SELECT corrects_session, {_CHARGE} FROM entries WHERE project = :project AND {known}"
        f" AND kind = '{EntryKind.CORRECTION}' AND corrects_session != session"
        f" GROUP BY corrects_session, session, {alike} ORDER BY session, first",
        values,
    ).fetchall():
        by_others.setdefault(session, []).append(Charge._make(charge))
    for start in range(0, len(listed), SESSIONS_AT_ONCE):
        some = listed[start : start + SESSIONS_AT_ONCE]
        names = {f"s{number}": row[0] for number, row in enumerate(some)}
        rows = connection.execute(
            f"SELECT session, {_CHARGE} FROM entries INDEXED BY {_BY_SESSION} WHERE project = :project AND {known}"
            f" AND session IN ({', '.join(f':{name}' for name in names)}) AND kind NOT IN ({_CLOSING})"
            f" AND (kind != '{EntryKind.CORRECTION}' OR corrects_session = session)"
            f" GROUP BY session, {alike} ORDER BY session, first",
            values | names,
        ).fetchall()
        own = {name: [Charge._make(row[1:]) for row in of] for name, of in groupby(rows, _by_session)}
        for session, closed, kind in some:
            charges = own.get(session, [])
            if session in by_others:
                charges += by_others[session]
            if not charges:
                continue
            before = charges[0].at_unix_ms < query.since_unix_ms
            if not (before and _closed_before(connection, session, since, values)):
                yield ClosedSession(query.project, session, closed, kind == EntryKind.ABANDONED, charges)


def _closed_before(connection: Connection, session: str, since: str, values: dict[str, str | int]) -> bool:
    """Return whether a session had closed before; needed only for those that began before."""
    return bool(
        connection.execute(
            f"SELECT 1 FROM entries WHERE project = :project AND session = :session AND kind IN ({_CLOSING})"
            f" AND {since} < :since",
            values | {"session": session},
        ).fetchone()
    )


def loose_ends(connection: Connection, query: SessionQuery, position: Position) -> LooseEnds:
    since, head = _since(query, position), position(query.head)
    # Few sessions of the period began or closed outside it: only for these their close is looked up.
    rows = connection.execute(
        "SELECT home, charged, (SELECT min({since}) FROM entries INDEXED BY {index} WHERE project = :project"
        " AND session = home AND kind IN ({closing}) AND position <= {head} AND {since} < :until) AS closed FROM ("
        "SELECT coalesce(corrects_session, session) AS home, min(sequence) AS first,"
        " sum(kind = '{usage}') AS charged, sum(kind IN ({closing})) AS closings FROM entries"
        " WHERE project = :project AND {period} AND position <= {head} GROUP BY home) WHERE first > 0 OR closings = 0"
        " ORDER BY home".format(
            since=since,
            index=_BY_SESSION,
            closing=_CLOSING,
            head=head,
            usage=EntryKind.USAGE,
            period=_within(query, position, ":until"),
        ),
        {"project": query.project, "since": query.since_unix_ms, "until": query.until_unix_ms},
    ).fetchall()
    reopened = {home: closed for home, _, closed in rows if closed is not None and closed < query.since_unix_ms}
    return LooseEnds(reopened, sum(1 for _, charged, closed in rows if charged and closed is None))


def _within(query: SessionQuery, position: Position, until: str) -> str:
    """Return the SQL condition that an entry counts from `since` on, and before `until`, in a form that an index can
    serve.
    """
    since = _since(query, position)
    cuts = [position(each.cursor) for each in query.settled if each.until_unix_ms >= query.since_unix_ms]
    late = f"(at_unix_ms >= :since OR position > {min(cuts)})" if cuts else "at_unix_ms >= :since"
    return f"{late} AND at_unix_ms < {until} AND {since} >= :since AND {since} < {until}"


def _since(query: SessionQuery, position: Position) -> str:
    """Return the SQL for the time from which an entry counts."""
    periods = sorted(query.settled, key=lambda period: period.until_unix_ms, reverse=True)
    late = "".join(
        f" WHEN position > {position(period.cursor)} THEN max(at_unix_ms, {period.until_unix_ms})" for period in periods
    )
    return f"CASE{late} ELSE at_unix_ms END" if late else "at_unix_ms"
