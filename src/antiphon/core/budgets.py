"""What an organisation, a project, or one of its keys may use: budgets, and limits of rate and of calls at once.

Both are fields of the project's policy, or of the organisation: texts of one budget, or one scope's limits, per line.

    monthly money 50.00 month
    minutes audio_ms 36000000 day soft key=K1
    prepaid-1 money 100 once from=2026-12-01 until=2027-12-01
    key=K1 requests_per_minute=60 tokens_per_minute=90000 live_streams=4 calls=10

Windows are of UTC. `once` is prepaid credit: each such budget is a grant, and those of one measure and scope are spent
together, the one that ends first before the others.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import Any

from antiphon.core.errors import CapacityError

NANO = 1_000_000_000  # parts of a unit of a currency
MAX_BUDGETS = 64  # of a project, or of an organisation
MAX_LIMITS = 256  # scopes of a project with limits
MAX_AMOUNT = 10**18
EVERY = ""  # all keys of a project, or all projects of an organisation
THRESHOLDS = (50, 80, 100)  # percent of a budget, at which an alert is raised

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_KEY = re.compile(r"[!-~]{1,100}")


class Measure(IntEnum):
    """What a budget counts; the value is its place among `Amounts`."""

    MONEY = 0  # in nano-units, by the price book of the project
    TOKENS = 1  # of language and embedding models, in and out
    CHARACTERS = 2  # that were spoken
    AUDIO_MS = 3  # that were heard
    REQUESTS = 4


Amounts = tuple[int, int, int, int, int]  # by `Measure`
NOTHING: Amounts = (0, 0, 0, 0, 0)


class Window(StrEnum):
    """The time after which a budget begins anew."""

    DAY = "day"
    WEEK = "week"  # from Monday
    MONTH = "month"
    ONCE = "once"


@dataclass(frozen=True, slots=True)
class Budget:
    """The most of a measure in a window, for an organisation, a project, or one key. A `hard` one ends what would
    exceed it; others only raise alerts. A grant (`Window.ONCE`) holds from `since` until `until`, if set (Unix ms).

    `project` is set where budgets of several projects are together, and not part of the line.
    """

    name: str
    measure: Measure
    amount: int
    window: Window
    hard: bool = True
    key: str = EVERY
    since_unix_ms: int = 0
    until_unix_ms: int | None = None
    project: str = EVERY

    @property
    def whose(self) -> str:
        """Whose it is, in a word."""
        return "API key" if self.key else "project" if self.project else "organisation"

    def __str__(self) -> str:
        """Return the budget's line."""
        words = [self.name, self.measure.name.lower(), shown(self.measure, self.amount), self.window.value]
        words += [] if self.hard else ["soft"]
        words += [f"key={self.key}"] if self.key else []
        words += [f"from={_time(self.since_unix_ms)}"] if self.since_unix_ms else []
        words += [f"until={_time(self.until_unix_ms)}"] if self.until_unix_ms is not None else []
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of an organisation, a project, or one key; `None` is no limit. `project` is as in `Budget`."""

    key: str = EVERY
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    live_streams: int | None = None
    calls: int | None = None
    project: str = EVERY

    @property
    def whose(self) -> str:
        """Whose they are, in a word."""
        return "API key" if self.key else "project" if self.project else "organisation"

    def __str__(self) -> str:
        """Return the line of the limits."""
        words = [f"key={self.key}"] if self.key else []
        words += [f"{name}={getattr(self, name)}" for name in COUNTS if getattr(self, name) is not None]
        return " ".join(words)


COUNTS = ("requests_per_minute", "tokens_per_minute", "live_streams", "calls")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A limit of rate: how many there may be ("requests" or "tokens" a minute), how many more now, and when all are
    available again.
    """

    name: str
    limit: int
    remaining: int
    reset_ms: int


class RateExceeded(CapacityError):
    """More than the caller's own project or key may have in a minute, or at once. `rates` are its limits of rate."""

    code = "rate_limited"

    def __init__(self, message: str, retry_after_s: int, rates: tuple[RateLimit, ...] = ()) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.rates = rates


def shown(measure: Measure, amount: int) -> str:
    """Return an amount as it is written: money as a decimal of the currency."""
    if measure is not Measure.MONEY:
        return str(amount)
    whole, rest = divmod(abs(amount), NANO)
    cents = f"{rest:09}".rstrip("0").ljust(2, "0")
    return f"{'-' if amount < 0 else ''}{whole}.{cents}"


@lru_cache(4096)
def parse_budgets(text: str) -> tuple[Budget, ...]:
    """Return the budgets of a text, in order. Raises `ValueError`."""
    budgets = tuple(_budget(line.split()) for line in text.splitlines() if line.strip())
    if len(budgets) > MAX_BUDGETS or len({budget.name for budget in budgets}) < len(budgets):
        raise ValueError(f"at most {MAX_BUDGETS} budgets, each with a name of its own")
    return budgets


@lru_cache(4096)
def parse_limits(text: str) -> tuple[Limits, ...]:
    """Return the limits of a text, in order. Raises `ValueError`."""
    limits = tuple(_limits(line.split()) for line in text.splitlines() if line.strip())
    if len(limits) > MAX_LIMITS or len({each.key for each in limits}) < len(limits):
        raise ValueError(f"at most {MAX_LIMITS} lines of limits, each for a scope of its own")
    return limits


def owned_budgets(text: str, project: str) -> tuple[Budget, ...]:
    """Return the budgets of a text, as those of a project. Raises `ValueError`."""
    return tuple(replace(each, project=project) for each in parse_budgets(text))


def owned_limits(text: str, project: str) -> tuple[Limits, ...]:
    """Return the limits of a text, as those of a project. Raises `ValueError`."""
    return tuple(replace(each, project=project) for each in parse_limits(text))


def text_of(lines: Iterable[Budget | Limits]) -> str:
    return "\n".join(map(str, lines))


def canonical_budgets(value: object) -> str:
    """Return the checked text of budgets in its only form. Raises `ValueError`."""
    return text_of(parse_budgets(_text(value)))


def canonical_limits(value: object) -> str:
    """Return the checked text of limits in its only form. Raises `ValueError`."""
    return text_of(parse_limits(_text(value)))


def canonical_together(budgets: object, limits: object) -> tuple[str, str]:
    """Return the checked texts of an organisation's budgets and limits, which name no keys. Raises `ValueError`."""
    texts = canonical_budgets(budgets), canonical_limits(limits)
    if any(each.key for each in parse_budgets(texts[0])) or any(each.key for each in parse_limits(texts[1])):
        raise ValueError("an organisation's budgets and limits are of all its projects, not of a key")
    return texts


def parse_amount(measure: Measure, text: str) -> int:
    """Return the amount of a text. Raises `ValueError`."""
    try:
        exact = Decimal(text) * (NANO if measure is Measure.MONEY else 1)
    except ArithmeticError:  # no number, or one whose exponent is too large even for a `Decimal`
        raise ValueError(f"{text!r} is no amount") from None
    if not exact.is_finite() or exact != exact.to_integral_value() or not 0 <= exact <= MAX_AMOUNT:
        raise ValueError(f"{text!r} is no amount")
    return int(exact)


def parse_time(text: str) -> int:
    """Return the time of an ISO 8601 text (UTC unless it says otherwise), as Unix ms. Raises `ValueError`."""
    parsed = datetime.fromisoformat(text)
    at = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    return int(at.timestamp()) * 1000 + at.microsecond // 1000


def _text(value: object) -> str:
    if isinstance(value, list) and value and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    if not isinstance(value, str):
        raise ValueError
    return value


def _budget(words: list[str]) -> Budget:
    if len(words) < 4:
        raise ValueError("a budget is a name, a measure, an amount and a window")
    name, measure, amount, window, *rest = words
    options = _pairs([word for word in rest if word != "soft"], ("key", "from", "until"))
    if not _NAME.fullmatch(name):
        raise ValueError("a budget's name has 1 to 63 characters of a-z, 0-9, '-' and '_'")
    kind = Measure.__members__.get(measure.upper())
    if kind is None or measure != measure.lower():
        raise ValueError(f"{measure!r} is none of {', '.join(each.name.lower() for each in Measure)}")
    since, until = parse_time(options["from"]) if "from" in options else 0, options.get("until")
    budget = Budget(
        *(name, kind, parse_amount(kind, amount), Window(window), "soft" not in rest, _key(options)),
        *(since, None if until is None else parse_time(until)),
    )
    if budget.window is not Window.ONCE and {"from", "until"} & options.keys():
        raise ValueError("only what is granted once has a time")
    if since < 0 or (budget.until_unix_ms is not None and budget.until_unix_ms <= since):
        raise ValueError("a grant ends after it begins")
    return budget


def _limits(words: list[str]) -> Limits:
    options = _pairs(words, ("key", *COUNTS))
    counts: dict[str, Any] = {name: int(options[name]) for name in COUNTS if name in options}
    valid = all(map(str.isascii, words)) and all(0 <= count <= MAX_AMOUNT for count in counts.values())
    if not valid or not counts:
        raise ValueError("limits are whole numbers from 0 on")
    return Limits(_key(options), **counts)


def _pairs(words: list[str], names: Iterable[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    options = {name: value for name, equals, value in pairs if equals and name in names}
    if len(options) < len(words):
        raise ValueError(f"{' '.join(words)!r} is not of {', '.join(names)}, each once")
    return options


def _key(options: Mapping[str, str]) -> str:
    key = options.get("key", EVERY)
    if "key" in options and not _KEY.fullmatch(key):
        raise ValueError("a key is named by its id")
    return key


def _time(unix_ms: int) -> str:
    at = datetime.fromtimestamp(unix_ms // 1000, UTC).replace(microsecond=unix_ms % 1000 * 1000)
    return at.isoformat(timespec="milliseconds" if unix_ms % 1000 else "seconds").replace("+00:00", "Z")
