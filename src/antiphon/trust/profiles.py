"""Profiles: named sets of requirements, as the least that a project's policy has, or as a new project's beginning.

A profile holds only what the server enforces. It helps to comply with a law; it is no certificate of it, and
`antiphon evidence` says what remains to be done by the operator.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any

from antiphon.core.errors import CallerError
from antiphon.core.place import NOBODY, NOWHERE, SELF, Agreement, parse_retention
from antiphon.core.policy import DISCLOSURE, Marking, Policy, TagPolicy


@dataclass(frozen=True, slots=True)
class Profile:
    """A named set of requirements: fields of the policy, and for how many days at least the audit log keeps the content
    of its records.
    """

    name: str
    help: str
    fields: tuple[tuple[str, str | int], ...]
    audit_days: int = 1


STRICT = Profile(
    "strict",
    "Only engines that the operator runs and that retain nothing; no answers are kept, and no tags.",
    (("keep_answers_s", 0), ("max_retention", "none"), ("processors", SELF), ("tags", TagPolicy.NONE)),
)
HIPAA = Profile(
    "hipaa",
    "Processors have signed a business associate agreement; tags are at most hashed; audit records are kept six years.",
    (("agreements", Agreement.BAA), ("tags", TagPolicy.HASHED)),
    audit_days=2192,  # 45 CFR 164.316(b)(2)(i): six years
)
EU = Profile(
    "eu",
    "Engines are in the EU, processors have signed a data processing agreement, speech is marked as synthetic, spoken"
    " conversations begin by saying that they are with an AI, and audit records are kept six months.",
    (
        ("agreements", Agreement.DPA),
        ("disclosure", DISCLOSURE),  # Regulation (EU) 2024/1689, article 50(1)
        ("marking", Marking.MARKED),
        ("regions", "eu"),
        ("tags", TagPolicy.HASHED),
    ),
    audit_days=184,  # Regulation (EU) 2024/1689, articles 19 and 26(6): six months
)
PROFILES = {profile.name: profile for profile in (STRICT, HIPAA, EU)}


def _latter(*words: str) -> Callable[[str, str], str]:
    """Return the function for the stricter of two words, which are in order of strictness."""
    return lambda one, other: max(one, other, key=words.index)


def _union(one: str, other: str) -> str:
    return ",".join(sorted({*one.split(","), *other.split(",")} - {""}))


def _narrower_regions(one: str, other: str) -> str:
    """Return the regions that are within both."""
    if not one or not other:
        return one or other
    both = {
        max(mine, theirs, key=len)
        for mine in one.split(",")
        for theirs in other.split(",")
        if f"{mine}-".startswith(f"{theirs}-") or f"{theirs}-".startswith(f"{mine}-")
    }
    return ",".join(sorted(both)) or NOWHERE


def _common(one: str, other: str) -> str:
    if not one or not other:
        return one or other
    return ",".join(sorted({*one.split(",")} & {*other.split(",")})) or NOBODY


def _shorter(one: str, other: str) -> str:
    return min((each for each in (one, other) if each), key=lambda each: parse_retention(each) or 0, default="")


# The stricter of two values of a field that profiles may set.
_STRICTER: dict[str, Callable[[Any, Any], Any]] = {
    "keep_answers_s": min,
    "marking": _latter(*Marking),
    "disclosure": lambda own, least: own if own.strip() else least,
    "tags": _latter(TagPolicy.PLAIN, TagPolicy.HASHED, TagPolicy.NONE),
    "redact": _union,
    "regions": _narrower_regions,
    "processors": _common,
    "agreements": _union,
    "max_retention": _shorter,
}


@lru_cache(1024)
def strengthened(policy: Policy, profile: Profile) -> Policy:
    """Return the policy with, in each field of the profile, the stricter of both values."""
    stricter = {name: _STRICTER[name](getattr(policy, name), value) for name, value in profile.fields}
    return replace(policy, **stricter)


@dataclass(frozen=True, slots=True)
class Profiles:
    """The configured profiles: what `new` projects begin with, and the least that `projects` have, by their ids."""

    new: Profile | None = None
    projects: Mapping[str, Profile] = field(default_factory=dict)

    def effective(self, project: str, policy: Policy) -> Policy:
        """Return the policy that is in force for a project with this stored one."""
        profile = self.projects.get(project)
        return policy if profile is None else strengthened(policy, profile)

    def check(self, project: str, policy: Policy, changed: Mapping[str, object]) -> None:
        """Raise `CallerError` if a changed field would be less strict than the project's profile."""
        effective = self.effective(project, policy)
        for each in fields(Policy):
            value = getattr(effective, each.name)
            if each.name in changed and value != getattr(policy, each.name):
                name = self.projects[project].name
                raise CallerError(f"the profile '{name}' of project {project} requires '{value}'", param=each.name)
