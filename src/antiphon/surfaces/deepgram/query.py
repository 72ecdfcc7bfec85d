"""Query parameters of Deepgram's APIs, and the values that several APIs share.

Each API has a table of all its parameters. Each is honoured, or without effect and reported, or refused; never ignored.
A refused parameter is accepted only with the value "false"; unknown names are always refused.
`docs/surfaces/deepgram.md` shows the tables.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from antiphon.core.errors import CallerError, UnsupportedParameter

MAX_TAG_CHARS = 128
MAX_TAGS = 32  # of an entry of the ledger
MAX_VALUES = 200

_REPEATABLE = frozenset(
    ("tag", "extra", "language_hint", "detect_language", "replace", "keyterm", "keywords", "search", "redact")
)
_WHOLE = re.compile(r"([0-9]{1,9})(?:\.0{1,9})?")  # SDKs send some of them as floats

Values = Mapping[str, Sequence[str]]


class Use(StrEnum):
    """The endpoints that honour a parameter. One without effect is accepted by all, and reported."""

    BOTH = "both"
    LIVE = "live"
    FILE = "file"
    WITHOUT_EFFECT = "no effect"
    NEITHER = "refused"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row of a table. `how` says its effect, or why it is refused or without effect."""

    name: str
    use: Use
    how: str


def sorted_by_name(query: Sequence[tuple[str, str]], table: Mapping[str, Parameter], use: Use) -> Values:
    """Return values by name. Raises `UnsupportedParameter` for a refused parameter, unless it is "false"."""
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
        most = MAX_VALUES if name in _REPEATABLE or row.use is Use.WITHOUT_EFFECT else 1
        if len(held) > most:
            often = "more than once" if most == 1 else f"more than {most} times"
            raise CallerError(f"`{name}` was given {often}.", param=name)
    return values


def without_effect(values: Values, table: Mapping[str, Parameter]) -> list[Parameter]:
    """Return the rows of given parameters that request something and have no effect here."""
    rows = (
        table[name] for name, held in values.items() if any(value.lower() not in ("false", "0", "") for value in held)
    )
    return [row for row in rows if row.use is Use.WITHOUT_EFFECT]


def one(values: Values, name: str) -> str | None:
    """Return the value, `None` if absent."""
    held = values.get(name)
    return held[0] if held else None


def flag(values: Values, name: str) -> bool:
    """Return a boolean, false if absent, in any case: older clients send `True`. Raises `CallerError`."""
    value = one(values, name)
    if value is None:
        return False
    if value.lower() not in ("true", "false"):
        raise CallerError(f"`{name}` must be true or false.", param=name)
    return value.lower() == "true"


def whole(values: Values, name: str, low: int, high: int) -> int | None:
    """Return a whole number within these bounds, `None` if absent. Raises `CallerError`."""
    value = one(values, name)
    if value is None:
        return None
    match = _WHOLE.fullmatch(value)
    if match is None or not low <= int(match[1]) <= high:
        raise CallerError(f"`{name}` must be a whole number from {low} to {high}.", param=name)
    return int(match[1])


def require_one_of(values: Values, name: str, *honoured: str) -> None:
    """Raise `UnsupportedParameter` for a value that is neither absent nor one of these."""
    value = one(values, name)
    if value is not None and value not in honoured:
        raise UnsupportedParameter(f"`{name}` can only be {' or '.join(honoured)}.", param=name)


def model(values: Values, default: str) -> str:
    """Return the model's name. Raises `CallerError` if it is empty."""
    named = one(values, "model")
    if named == "":
        raise CallerError("`model` is empty.", param="model")
    return named or default


def tags(values: Values) -> tuple[str, ...]:
    """Return the tags for the ledger's entries. Raises `CallerError`."""
    tags = tuple(values.get("tag", ()))
    if any(not 0 < len(tag) <= MAX_TAG_CHARS for tag in tags):
        raise CallerError(f"A `tag` must have 1 to {MAX_TAG_CHARS} characters.", param="tag")
    if len(tags) > MAX_TAGS:
        raise CallerError(f"At most {MAX_TAGS} `tag` parameters are allowed.", param="tag")
    return tags
