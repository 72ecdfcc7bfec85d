"""Query parameters of Deepgram's APIs, and the values that more than one API has.

Each API has a table of all its parameters. One is honoured, or without effect and reported, or refused; never dropped.
What an endpoint refuses passes only when it says "false", and unknown names never. The tables are what
`docs/surfaces/deepgram.md` shows.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from antiphon.core.errors import CallerError, UnsupportedParameter

MAX_TAG_CHARS = 128
MAX_TAGS = 32  # what an entry of the ledger holds
MAX_VALUES = 200

_REPEATABLE = frozenset(
    ("tag", "extra", "language_hint", "detect_language", "replace", "keyterm", "keywords", "search", "redact")
)
_WHOLE = re.compile(r"([0-9]{1,9})(?:\.0{1,9})?")  # SDKs have some of them as floats

Values = Mapping[str, Sequence[str]]


class Use(StrEnum):
    """Which endpoints honour a parameter. One without effect is accepted by all, and reported."""

    BOTH = "both"
    LIVE = "live"
    FILE = "file"
    WITHOUT_EFFECT = "no effect"
    NEITHER = "refused"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row of a table. `how` says what it does, or why it is refused or has no effect."""

    name: str
    use: Use
    how: str


def sorted_by_name(query: Sequence[tuple[str, str]], table: Mapping[str, Parameter], use: Use) -> Values:
    """Every value by its name, with what this endpoint does not honour refused, or left out where it says "false"."""
    values: dict[str, list[str]] = {}
    for name, value in query:
        row = table.get(name)
        if row is None:
            shown = name[:64]
            raise UnsupportedParameter(f"Unknown parameter {shown!r}.", param=shown)
        if row.use not in (Use.BOTH, Use.WITHOUT_EFFECT, use):
            if value.lower() == "false":
                continue
            if row.use is Use.NEITHER:
                raise UnsupportedParameter(f"`{name}` is not supported: {row.how}", param=name)
            only = "live streams" if row.use is Use.LIVE else "files"
            raise UnsupportedParameter(f"`{name}` is for {only} only.", param=name)
        held = values.setdefault(name, [])
        held.append(value)
        if len(held) > (MAX_VALUES if name in _REPEATABLE or row.use is Use.WITHOUT_EFFECT else 1):
            raise CallerError(f"`{name}` was given more than once.", param=name)
    return values


def without_effect(values: Values, table: Mapping[str, Parameter]) -> list[Parameter]:
    """The rows of the parameters that were given, ask for something, and have no effect here."""
    given = (
        table[name] for name, held in values.items() if any(value.lower() not in ("false", "0", "") for value in held)
    )
    return [row for row in given if row.use is Use.WITHOUT_EFFECT]


def one(values: Values, name: str) -> str | None:
    """The value, `None` where it was not given."""
    held = values.get(name)
    return held[0] if held else None


def flag(values: Values, name: str) -> bool:
    """Absent is false. The case is free: older clients write `True`. Raises `CallerError`."""
    value = one(values, name)
    if value is None:
        return False
    if value.lower() not in ("true", "false"):
        raise CallerError(f"`{name}` must be true or false.", param=name)
    return value.lower() == "true"


def whole(values: Values, name: str, low: int, high: int) -> int | None:
    """A whole number within these bounds, `None` where it was not given. Raises `CallerError`."""
    value = one(values, name)
    if value is None:
        return None
    match = _WHOLE.fullmatch(value)
    if match is None or not low <= int(match[1]) <= high:
        raise CallerError(f"`{name}` must be a whole number from {low} to {high}.", param=name)
    return int(match[1])


def require_one_of(values: Values, name: str, *honoured: str) -> None:
    """Raises `UnsupportedParameter` for any other value; not to give one is fine."""
    value = one(values, name)
    if value is not None and value not in honoured:
        raise UnsupportedParameter(f"`{name}` can only be {' or '.join(honoured)}.", param=name)


def model(values: Values, default: str) -> str:
    """The name of the model. Raises `CallerError` for an empty one."""
    named = one(values, "model")
    if named == "":
        raise CallerError("`model` is empty.", param="model")
    return named or default


def tags(values: Values) -> tuple[str, ...]:
    """What the entries of the ledger are to carry. Raises `CallerError`."""
    given = tuple(values.get("tag", ()))
    if any(not 0 < len(tag) <= MAX_TAG_CHARS for tag in given):
        raise CallerError(f"A `tag` must have 1 to {MAX_TAG_CHARS} characters.", param="tag")
    if len(given) > MAX_TAGS:
        raise CallerError(f"At most {MAX_TAGS} `tag` parameters are allowed.", param="tag")
    return given
