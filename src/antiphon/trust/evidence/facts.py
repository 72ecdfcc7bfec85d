"""What evidence is made of: facts of one period, read from the audit log in one pass, from the projects and keys, and
from the configuration. Bounded by the numbers of keys and of `MAX_SOURCES`; records themselves go to files.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from antiphon.core.audit import Action, AuditRecord, LoggedRecord, Outcome, parse
from antiphon.core.errors import CallerError
from antiphon.core.identity import Key, Scope
from antiphon.core.place import SELF, Agreement, Processing
from antiphon.core.policy import Policy
from antiphon.core.stores import DirectoryView, Trail
from antiphon.trust.ocsf import UNKNOWN_CALLERS
from antiphon.trust.profiles import Profiles

MAX_SOURCES = 10_000  # of refusals; those of further ones are counted together
OLD_KEY_DAYS = 365
MS_PER_DAY = 86_400_000

# The file for the records of each action; admissions and other calls are only counted.
CHANGES, ERASURES, READS, EVENTS = "changes", "erasures", "reads", "events"
FILES: dict[Action, str] = {
    **dict.fromkeys(
        (
            *(
                Action.PROJECT_CREATE,
                Action.POLICY_CHANGE,
                Action.KEY_CREATE,
                Action.KEY_CHANGE,
                Action.KEY_ROTATE,
                Action.KEY_REVOKE,
            ),
            *(Action.CONTENT_KEY_RETIRE, Action.MASTER_KEY_CHANGE, Action.PRICES_CHANGE, Action.BUDGET_CHANGE),
        ),
        CHANGES,
    ),
    **dict.fromkeys(
        (
            *(Action.TAGS_FORGET, Action.ANSWER_DELETE, Action.ANSWERS_EXPIRE, Action.FILE_DELETE, Action.FILES_EXPIRE),
            *(Action.JOB_DELETE, Action.SUBJECT_ERASE, Action.PROJECT_ERASE, Action.CONTENT_KEYS_DESTROY),
            Action.AUDIT_EXPIRE,
        ),
        ERASURES,
    ),
    **dict.fromkeys(
        (
            *(Action.ANSWER_READ, Action.FILE_READ, Action.STATEMENT_READ, Action.USAGE_EXPORT),
            *(Action.SUBJECT_EXPORT, Action.AUDIT_EXPORT),
        ),
        READS,
    ),
}
_CALLS = (Action.ACCESS, Action.MANAGE)


@dataclass(frozen=True, slots=True)
class Period:
    """A period of whole days in UTC, from `since` to before `until`, in Unix milliseconds."""

    name: str
    since_ms: int
    until_ms: int


def parse_period(text: str) -> Period:
    """Return a year, a quarter or a month: 2026, 2026-Q4, 2026-11. Raises `CallerError`."""
    match = re.fullmatch(r"(20\d\d)(?:-(?:Q([1-4])|(0[1-9]|1[0-2])))?", text)
    if match is None:
        raise CallerError(f"{text[:32]!r} is not a period such as 2026, 2026-Q4 or 2026-11", param="period")
    year, quarter, month = int(match[1]), match[2], match[3]
    first = 3 * int(quarter) - 2 if quarter else int(month or 1)
    months = 3 if quarter else 1 if month else 12
    last = first + months
    return Period(text, _unix_ms(year, first), _unix_ms(year + (last > 12), (last - 1) % 12 + 1))


def _unix_ms(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1000


@dataclass(slots=True)
class Use:
    """The use of a key in the period: its calls, and the time of the last one."""

    calls: int = 0
    last_unix_ms: int = 0


@dataclass(slots=True)
class Refusals:
    """Refusals for one reason, of one key or address."""

    times: int = 0
    first_unix_ms: int = 0
    last_unix_ms: int = 0


@dataclass(slots=True)
class Log:
    """What the records of the period show. `first` and `last` are the numbers of its records; `dropped` counts those
    whose contents were dropped at the end of their time.
    """

    records: int = 0
    dropped: int = 0
    first: LoggedRecord | None = None
    last: LoggedRecord | None = None
    actions: Counter[Action] = field(default_factory=Counter)
    uses: dict[str, Use] = field(default_factory=dict)
    sign_ins: dict[tuple[str, str], Refusals] = field(default_factory=dict)  # by address and reason
    refusals: dict[tuple[str, str], Refusals] = field(default_factory=dict)  # of known callers, by key and reason

    def add(self, logged: LoggedRecord, record: AuditRecord) -> str | None:
        """Count a record; return the name of the file that it belongs to, `None` for a call."""
        self.actions[record.action] += 1
        if record.outcome is Outcome.REFUSED:
            unknown = record.reason in UNKNOWN_CALLERS
            self._refused(
                self.sign_ins if unknown else self.refusals, record, record.address if unknown else record.actor
            )
        elif record.action in _CALLS:
            use = self.uses.setdefault(record.actor, Use())
            use.calls += 1
            use.last_unix_ms = max(use.last_unix_ms, record.at_unix_ms)
        return None if record.action in _CALLS else FILES.get(record.action, EVENTS)

    def _refused(self, counted: dict[tuple[str, str], Refusals], record: AuditRecord, source: str) -> None:
        key = (source or "(unknown)", record.reason)
        if key not in counted and len(counted) >= MAX_SOURCES:
            key = ("(others)", record.reason)
        found = counted.setdefault(key, Refusals(first_unix_ms=record.at_unix_ms))
        found.times += dict(record.counts).get("times", 1)
        found.last_unix_ms = record.at_unix_ms


async def read_log(trail: Trail, period: Period, write: Callable[[str, LoggedRecord], None]) -> Log:
    """Read the records of the period; `write` gets those that belong to a file, with its name. Raises
    `InternalError`.
    """
    log, start = Log(), 0
    while page := await trail.logged(start, since_unix_ms=period.since_ms):
        start = page[-1].number + 1
        for logged in page:
            if logged.body is None:  # its time is not known any more
                log.dropped += 1
                continue
            record = parse(logged.body)
            if not period.since_ms <= record.at_unix_ms < period.until_ms:
                continue
            log.records += 1
            log.first, log.last = log.first or logged, logged
            if file := log.add(logged, record):
                write(file, logged)
    return log


@dataclass(frozen=True, slots=True)
class Processor:
    """Who processes something for the operator: the `setting` that names it, and what it gets."""

    setting: str
    gets: str
    processing: Processing
    content: bool

    def has(self, agreement: Agreement, at_ms: int) -> bool:
        """Return whether the agreement holds at that time, or none is needed."""
        if self.processing.processor == SELF:
            return True
        ends = self.processing.agreements
        if agreement not in ends:
            return False
        until = ends[agreement]
        return until is None or datetime.fromtimestamp(at_ms / 1000, UTC).date() <= until


@dataclass(frozen=True, slots=True)
class Integrity:
    """Whether the audit log is whole: how many records were verified, and up to which one a checkpoint is signed.
    `trouble` says what is wrong, if anything is.
    """

    records: int
    signed: int
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that evidence is made of. `settings` are the parts of the configuration that controls depend on."""

    period: Period
    made_unix_ms: int
    version: str
    server: str
    origin: str
    view: DirectoryView
    profiles: Profiles
    processors: Sequence[Processor]
    configuration: Mapping[str, Any]
    log: Log
    integrity: Integrity

    @property
    def at_ms(self) -> int:
        """The last moment of the period, or the present if it is not over."""
        return min(self.period.until_ms - 1, self.made_unix_ms)

    def setting(self, *path: str) -> Any:
        found: Any = self.configuration
        for name in path:
            found = found[name]
        return found

    def policy(self, project: str) -> Policy:
        """Return the policy that is in force for a project."""
        return self.profiles.effective(project, self.view.projects[project].policy)

    @property
    def keys(self) -> list[Key]:
        """The keys that existed in the period."""
        every = (key for key, _ in self.view.keys.values())
        return [
            key
            for key in every
            if key.created_unix_ms < self.period.until_ms
            and min(key.revoked_unix_ms or self.at_ms, key.expires_unix_ms or self.at_ms) >= self.period.since_ms
        ]

    def remarks(self, key: Key) -> list[str]:
        """Return what a reviewer of access should look at."""
        if not key.holds(self.at_ms):
            return []
        remarks = []
        if key.id not in self.log.uses:
            remarks.append("not used in this period")
        if key.expires_unix_ms is None:
            remarks.append("has no end")
        if self.at_ms - key.created_unix_ms > OLD_KEY_DAYS * MS_PER_DAY:
            remarks.append(f"older than {OLD_KEY_DAYS} days")
        if Scope.ADMIN in key.scopes:
            remarks.append("may manage the server")
        return remarks
