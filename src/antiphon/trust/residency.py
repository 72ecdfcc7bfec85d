"""Which engines may serve a project: the pure rule of place and processor, and its application to the engines of this
server.

1. A project's policy may require regions (by prefix: `eu` includes `eu-de`, not `europe`), processors, agreements and a
   longest retention. What it does not name, it does not require.
2. An engine for which the configuration does not say something satisfies no requirement about it.
3. The operator needs no agreement with itself. An agreement holds to the end of its last day (UTC).
4. The rule is applied where engines are chosen, so that retries, hedges, fallbacks and batches obey it. A request that
   no engine may serve is refused.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple

from antiphon.core.errors import NoEngineAllowed, PolicyError
from antiphon.core.identity import Principal
from antiphon.core.place import SELF, Agreement, Processing, parse_retention
from antiphon.core.policy import Policy
from antiphon.core.ports import Clock

MS_PER_DAY = 86_400_000

Note = Callable[[Principal, str, PolicyError], None]  # of a caller, a model's version, and why it is refused


class Requirement(NamedTuple):
    """What a project requires of whatever processes its content. Empty, or `None`, requires nothing."""

    regions: tuple[str, ...] = ()
    processors: tuple[str, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    max_retention_s: int | None = None


class Failure(NamedTuple):
    """A requirement that is not met: what is required, as shown to callers, and what there is instead."""

    required: str
    found: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an engine may serve, and why not."""

    engine: str
    processing: Processing
    failures: tuple[Failure, ...]

    @property
    def allowed(self) -> bool:
        return not self.failures


@lru_cache(1024)
def requirement_of(policy: Policy) -> Requirement | None:
    """Return what the policy requires; `None` if it requires nothing."""
    required = Requirement(
        _listed(policy.regions),
        _listed(policy.processors),
        tuple(map(Agreement, _listed(policy.agreements))),
        parse_retention(policy.max_retention),
    )
    return None if required == Requirement() else required


def failures(required: Requirement | None, processing: Processing, today: date) -> tuple[Failure, ...]:
    """Return the requirements that are not met."""
    if required is None:
        return ()
    found = []
    if required.regions and not any(_within(processing.region, region) for region in required.regions):
        found.append(Failure(f"region {_either(required.regions)}", processing.region or "no region"))
    if required.processors and processing.processor not in required.processors:
        found.append(Failure(f"processor {_either(required.processors)}", processing.processor or "no processor"))
    lacks = ((agreement, _lack(processing, agreement, today)) for agreement in required.agreements)
    found += [Failure(f"agreement {agreement}", lack) for agreement, lack in lacks if lack]
    most_s, kept_s = required.max_retention_s, processing.retention_s
    if most_s is not None and (kept_s is None or kept_s > most_s):
        found.append(
            Failure(f"retention of at most {_shown(most_s)}" if most_s else "no retention", shown_retention(kept_s))
        )
    return tuple(found)


def shown_retention(seconds: int | None) -> str:
    """Return a retention in words."""
    if seconds is None:
        return "retention not known"
    return f"retention of {_shown(seconds)}" if seconds else "no retention"


def _shown(seconds: int) -> str:
    """Return a time in hours, or in days if it is whole days."""
    return f"{seconds // 86_400}d" if seconds % 86_400 == 0 else f"{seconds // 3_600}h"


def _within(region: str, required: str) -> bool:
    return region == required or region.startswith(f"{required}-")


def _lack(processing: Processing, agreement: Agreement, today: date) -> str:
    """Return why there is no such agreement today; empty if there is one, or none is needed."""
    if processing.processor == SELF:
        return ""
    if agreement not in processing.agreements:
        return f"no {agreement}"
    until = processing.agreements[agreement]
    return "" if until is None or today <= until else f"{agreement} ended on {until}"


def _either(names: Iterable[str]) -> str:
    return " or ".join(names)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


@dataclass(frozen=True, slots=True)
class Policies:
    """What the configuration says beside a project's policy: the verdicts on the engines of a model under a policy, and
    for how many days audit records keep their contents.
    """

    explain: Callable[[Policy, str], Iterable[Verdict]]
    audit_days: int


class Residency:
    """The engines of this server, and the projects that they may serve."""

    def __init__(self, engines: Mapping[str, Processing], policy: Callable[[str], Policy], clock: Clock) -> None:
        """`policy` returns a project's present policy; `clock` says which agreements have ended."""
        self._engines = engines
        self._policy = policy
        self._clock = clock
        self._day = -1
        self._known: dict[Requirement, frozenset[str]] = {}

    def permitted(self, project: str) -> Collection[str] | None:
        """Return the names of the engines that may serve the project; `None` for all. Every call of a model asks."""
        policy = self._policy(project)
        if not (policy.regions or policy.processors or policy.agreements or policy.max_retention):
            return None  # as for most, and at once
        required = requirement_of(policy)
        assert required is not None
        day = self._clock.unix_ms() // MS_PER_DAY
        if day != self._day:
            self._day, self._known = day, {}
        found = self._known.get(required)
        if found is None:
            today = self._today()
            found = frozenset(name for name, each in self._engines.items() if not failures(required, each, today))
            self._known[required] = found
        return found

    def region(self, project: str, engine: str) -> str:
        """Return where an engine that serves the project is; empty if the policy does not require a region."""
        known = self._engines.get(engine)
        return known.region if known is not None and self._policy(project).regions else ""

    def verdicts(self, policy: Policy, engines: Iterable[str]) -> tuple[Verdict, ...]:
        """Return, for each engine, whether it may serve a project with this policy, and why not."""
        required, today = requirement_of(policy), self._today()
        nothing = Processing()
        found = ((name, self._engines.get(name, nothing)) for name in engines)
        return tuple(Verdict(name, each, failures(required, each, today)) for name, each in found)

    def permit(self, principal: Principal, note: Note) -> "Permit":
        """Return what a caller may use now; `note` records refusals."""
        models = _listed(self._policy(principal.project).models)
        return Permit(self, principal, self.permitted(principal.project), models, note)

    def refuse(self, model: str, project: str, engines: Iterable[str]) -> NoEngineAllowed:
        """Return the refusal of a call that none of these engines may serve. It names requirements, not engines."""
        found = self.verdicts(self._policy(project), engines)
        unmet = dict.fromkeys(failure.required for verdict in found for failure in verdict.failures)
        requirements = "; ".join(unmet) or "an engine"
        return NoEngineAllowed(
            f"No engine of model {model[:64]!r} satisfies what this project's policy requires: {requirements}.",
            param="model",
        )

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock.unix_ms() // 1000, UTC).date()


class Permit:
    """What one caller may use: the engines and `models` that its project's policy allows, and the models that its key
    names.
    """

    __slots__ = ("_engines", "_models", "_note", "_principal", "_residency")

    def __init__(
        self,
        residency: Residency,
        principal: Principal,
        engines: Collection[str] | None,
        models: tuple[str, ...],
        note: Note,
    ) -> None:
        self._residency = residency
        self._principal = principal
        self._engines = engines
        self._models = models
        self._note = note

    @property
    def unlimited(self) -> bool:
        """Whether everything may be used."""
        return self._engines is None and not self._models and not self._principal.models

    def serves(self, engines: Iterable[str]) -> bool:
        """Return whether one of these engines may serve the caller."""
        return self._engines is None or any(engine in self._engines for engine in engines)

    def allows(self, name: str, version: str, engines: Iterable[str]) -> bool:
        """Return whether a model may be used under this name: one that the patterns of project and key include, by its
        name or that of its version, and of whose engines one may serve.
        """
        return self._named(name, version) and self.serves(engines)

    def check(self, name: str, version: str, engines: Iterable[str]) -> None:
        """Raise `PolicyError` if the model may not be used."""
        if not self._named(name, version):
            raise PolicyError(f"This project or API key may not use the model {name[:64]!r}.", param="model")
        if not self.serves(engines):
            error = self._residency.refuse(name, self._principal.project, engines)
            self._note(self._principal, version, error)
            raise error

    def _named(self, name: str, version: str) -> bool:
        names = (name, version)
        lists = (patterns for patterns in (self._models, self._principal.models) if patterns)
        return all(any(fnmatchcase(each, one) for one in patterns for each in names) for patterns in lists)
