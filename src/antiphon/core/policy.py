"""A project's policy: one frozen value, its only parser, and the valid values of each field.

To add a field, add it to `Policy`: it is then parsed, stored and read like the others. A stored policy may have been
written by a later version or by hand: an unknown field grants nothing, and an invalid value is read as the strictest
known one.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from antiphon.core.budgets import canonical_budgets, canonical_limits
from antiphon.core.errors import CallerError
from antiphon.core.place import MAX_CHARS, NOBODY, NOWHERE, PROCESSOR, REGION, RETENTION, Agreement, parse_retention
from antiphon.core.redaction import ALL, Substitution, parse_entities

MAX_KEEP_S = 10 * 366 * 86_400
MAX_WEIGHT = 1000
MAX_LINES = 64
MAX_LINE_CHARS = 200
MAX_MODEL_CHARS = 200
MAX_DISCLOSURE_CHARS = 200
DISCLOSURE = "You are speaking with an AI system, and this voice is synthetic."  # where a policy only demands one
ORGANISATION = r"[a-z0-9][a-z0-9_-]{0,62}"  # an id of one
UNREADABLE = "-"  # stands for the organisation of a project whose own is not readable: its calls are refused
EVERY_WORD = r"\S+"  # the pattern that hides whatever is said, where what must be hidden is not readable
UNREADABLE_WORDS = " unreadable"  # stands for such words: in a list they are without spaces around
NO_CUSTOMER = "none"  # of a project whose usage does not go to Stripe


class Marking(StrEnum):
    """The marking that a project requires of synthetic speech. The first is the minimum."""

    MARKED = "marked"  # in the answer's head and its container's tags, and signed where it can be
    SIGNED = "signed"  # a signed manifest in every answer, so whole ones only, in containers that carry it


class TagPolicy(StrEnum):
    """The form in which the ledger keeps callers' tags and metadata. Its entries can never be deleted."""

    HASHED = "hashed"  # a hash by a key of the project's, which can be destroyed
    NONE = "none"
    PLAIN = "plain"  # as they were sent, for ever


class PromptPolicy(StrEnum):
    """What engines that others operate get of prompts that contain personal data."""

    PLAIN = "plain"  # the prompts as they were sent
    REDACTED = "redacted"  # placeholders in its place, which are in the answer, too
    RESTORED = "restored"  # the same, and in the answer the caller's own text is put back


class ConsentPolicy(StrEnum):
    """The calls that need a tag `consent=...`, which says what the person who is heard agreed to."""

    NONE = "none"
    VOICE = "voice"  # those that hear somebody: transcriptions and conversations


@dataclass(frozen=True, slots=True)
class _Rule:
    """The valid values of a field in words; a parser of a JSON value, which raises `ValueError`; and the replacement
    for an invalid value.
    """

    description: str
    parse: Callable[[Any], str | int]
    strictest: str | int


def _integer(lowest: int, highest: int, strictest: int) -> dict[str, _Rule]:
    def parse(value: object) -> int:
        if type(value) is not int or not lowest <= value <= highest:
            raise ValueError
        return value

    return {"rule": _Rule(f"{lowest} to {highest}", parse, strictest)}


def _word(words: type[StrEnum], strictest: StrEnum) -> dict[str, _Rule]:
    return {"rule": _Rule(f"one of {', '.join(words)}", words, strictest)}


def _kinds() -> dict[str, _Rule]:
    def parse(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError
        return ",".join(sorted(parse_entities(name.strip() for name in value.split(",") if name.strip())))

    return {"rule": _Rule(f"'all', or any of {', '.join(sorted(ALL))}", parse, ",".join(sorted(ALL)))}


def _lines(kind: str, check: Callable[[str], object], strictest: str) -> dict[str, _Rule]:
    """Return the rule for a list of texts, one per line."""

    def parse(value: object) -> str:
        if value == strictest:
            return strictest
        lines = value.splitlines() if isinstance(value, str) else value
        if not isinstance(lines, list) or len(lines) > MAX_LINES or value == []:
            raise ValueError
        for line in lines:
            if not isinstance(line, str) or len(line) > MAX_LINE_CHARS or len(line.splitlines()) > 1:
                raise ValueError
            check(line)
        return "\n".join(line.strip() for line in lines if line.strip())

    return {"rule": _Rule(f"at most {MAX_LINES} {kind}, of at most {MAX_LINE_CHARS} characters each", parse, strictest)}


def _listed(description: str, pattern: str, strictest: str, longest: int = MAX_CHARS) -> dict[str, _Rule]:
    """Return the rule for names that are separated by commas."""

    def parse(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError
        names = sorted({name.strip() for name in value.split(",") if name.strip()})
        if len(names) > MAX_LINES or not all(len(n) <= longest and re.fullmatch(pattern, n) for n in names):
            raise ValueError
        return ",".join(names)

    return {"rule": _Rule(description, parse, strictest)}


def _retention() -> dict[str, _Rule]:
    def parse(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError
        parse_retention(value)
        return value

    return {"rule": _Rule(f"{RETENTION}; empty for any", parse, "none")}


def _compile(pattern: str) -> None:
    """Check a pattern. Raises `ValueError` if it is invalid."""
    try:
        re.compile(pattern)
    except (re.error, OverflowError):  # the latter for a number of repetitions that is too large
        raise ValueError from None


def _text(description: str, pattern: str, strictest: str) -> dict[str, _Rule]:
    def parse(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError
        return value

    return {"rule": _Rule(description, parse, strictest)}


# What cannot be read allows nothing.
_ORGANISATION = _text(
    "an organisation's id (1 to 63 characters of a-z, 0-9, '-' and '_'), or empty", rf"{ORGANISATION}|", UNREADABLE
)
_BUDGETS = {"rule": _Rule("budgets, one a line", canonical_budgets, "unreadable requests 0 day")}
_LIMITS = {"rule": _Rule("limits, one scope a line", canonical_limits, "calls=0")}
_CUSTOMER = _text(
    f"a customer's id at Stripe (cus_...), '{NO_CUSTOMER}', or empty", rf"cus_[A-Za-z0-9]{{1,60}}|{NO_CUSTOMER}|", ""
)
_DISCLOSURE = _text(
    f"a sentence of at most {MAX_DISCLOSURE_CHARS} printable characters, or empty",
    rf"[^\x00-\x1f\x7f]{{0,{MAX_DISCLOSURE_CHARS}}}",
    DISCLOSURE,
)
_MODELS = _listed(
    "names of models or patterns such as 'gpt-*', with commas between", r"[^\s,]+", "-", longest=MAX_MODEL_CHARS
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The policy of a project. `keep_answers_s` is how long models' answers are kept, at most; 0 keeps none. `weight`
    is the project's share when projects compete. `redact` are the kinds of personal data to hide in every answer,
    separated by commas, `redact_as` is their replacement; `redact_words` and `redact_patterns` are further texts and
    regular expressions to hide, one per line. `prompts` says whether engines that others operate get prompts without
    all that, or without personal data of any kind if answers may have it. `consent` says which calls need a tag of
    consent. `disclosure` is the sentence with which a spoken conversation begins; empty for none. `stripe_customer` is
    the customer at Stripe to whom the usage is exported: empty if not yet known, `NO_CUSTOMER` for none. `organisation`
    is the one that it belongs to, whose budgets and limits count it, too; empty for none. `budgets` and `limits` are
    those of the project and its keys, one per line, as `core.budgets` reads them. `models` are the models that it may
    use, by names or patterns; empty allows all.

    The last four are required of every engine that serves the project (`trust.residency`): it is in one of the
    `regions` or a part of one, it is run by one of the `processors`, its processor has signed all `agreements`, and
    retains content for at most `max_retention`. Empty requires nothing; names are separated by commas.
    """

    keep_answers_s: int = field(default=0, metadata=_integer(0, MAX_KEEP_S, strictest=0))
    marking: Marking = field(default=Marking.MARKED, metadata=_word(Marking, Marking.SIGNED))
    weight: int = field(default=1, metadata=_integer(1, MAX_WEIGHT, strictest=1))
    tags: TagPolicy = field(default=TagPolicy.HASHED, metadata=_word(TagPolicy, TagPolicy.NONE))
    redact: str = field(default="", metadata=_kinds())
    redact_as: Substitution = field(default=Substitution.ENTITY_NAME, metadata=_word(Substitution, Substitution.HASH))
    redact_words: str = field(default="", metadata=_lines("words or phrases", str, UNREADABLE_WORDS))
    redact_patterns: str = field(default="", metadata=_lines("regular expressions", _compile, EVERY_WORD))
    prompts: PromptPolicy = field(default=PromptPolicy.PLAIN, metadata=_word(PromptPolicy, PromptPolicy.REDACTED))
    consent: ConsentPolicy = field(default=ConsentPolicy.NONE, metadata=_word(ConsentPolicy, ConsentPolicy.VOICE))
    disclosure: str = field(default="", metadata=_DISCLOSURE)
    stripe_customer: str = field(default="", metadata=_CUSTOMER)
    organisation: str = field(default="", metadata=_ORGANISATION)
    budgets: str = field(default="", metadata=_BUDGETS)
    limits: str = field(default="", metadata=_LIMITS)
    models: str = field(default="", metadata=_MODELS)
    regions: str = field(
        default="", metadata=_listed("regions such as 'eu' or 'us-east', with commas between", REGION, NOWHERE)
    )
    processors: str = field(
        default="", metadata=_listed("'self' or names of processors, with commas between", PROCESSOR, NOBODY)
    )
    agreements: str = field(
        default="", metadata=_listed(f"any of {', '.join(Agreement)}", "|".join(Agreement), ",".join(Agreement))
    )
    max_retention: str = field(default="", metadata=_retention())

    def values(self) -> dict[str, str | int]:
        """Return every field as it is stored and shown, in JSON's types."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


_RULES: dict[str, _Rule] = {each.name: each.metadata["rule"] for each in fields(Policy)}
_STRICTEST: dict[str, Any] = {name: rule.strictest for name, rule in _RULES.items()}
STRICTEST = Policy(**_STRICTEST)  # of an unknown project


def parse_policy(values: Mapping[str, object]) -> dict[str, str | int]:
    """Return the given fields, checked. Raises `CallerError`, which names the field."""
    parsed = {}
    for name, value in values.items():
        if name not in _RULES:
            raise CallerError(f"a policy has no field {name}", param=name)
        try:
            parsed[name] = _RULES[name].parse(value)
        except ValueError:
            raise CallerError(f"{name} is {_RULES[name].description}", param=name) from None
    return parsed


def read_policy(stored: object) -> tuple[Policy, tuple[str, ...]]:
    """Return a stored policy, and its names that are unknown or whose values are invalid. Never fails."""
    if not isinstance(stored, dict):
        return STRICTEST, ("policy",)
    odd = [str(name) for name in stored if name not in _RULES]
    values: dict[str, Any] = {}
    for name, rule in _RULES.items():
        if name in stored:
            try:
                values[name] = rule.parse(stored[name])
            except (ValueError, TypeError):
                values[name] = rule.strictest
                odd.append(name)
    return Policy(**values), tuple(odd)
