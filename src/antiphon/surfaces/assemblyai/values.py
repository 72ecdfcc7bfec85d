"""Values of parameters, as text (in a query) or JSON (in a message). All raise `CallerError` for an invalid value."""

import re
from collections.abc import Mapping

import msgspec

from antiphon.core.errors import CallerError

MAX_TERMS = 1_000
MAX_TERM_CHARS = 128

_WHOLE = re.compile(r"([0-9]{1,9})(?:\.0{1,9})?")
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,18})?(?:[eE]-[0-9]{1,2})?")
_texts: msgspec.json.Decoder[list[str]] = msgspec.json.Decoder(list[str])

Values = Mapping[str, object]


def flag(values: Values, name: str, default: bool = False) -> bool:
    """Return a boolean; SDKs write `True` or `true`."""
    value = values.get(name)
    if value is None:
        return default
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise CallerError(f"`{name}` must be true or false.", param=name)


def whole(values: Values, name: str, low: int, high: int) -> int | None:
    """Return a whole number within these bounds, `None` if absent."""
    value = values.get(name)
    if value is None:
        return None
    match = None if isinstance(value, bool) else _WHOLE.fullmatch(str(value))
    if match is None or not low <= int(match[1]) <= high:
        raise CallerError(f"`{name}` must be a whole number from {low} to {high}.", param=name)
    return int(match[1])


def number(values: Values, name: str, low: float, high: float) -> float | None:
    """Return a number within these bounds, `None` if absent."""
    value = values.get(name)
    if value is None:
        return None
    match = None if isinstance(value, bool) else _NUMBER.fullmatch(str(value))
    if match is None or not low <= float(match[0]) <= high:
        raise CallerError(f"`{name}` must be a number from {low:g} to {high:g}.", param=name)
    return float(match[0])


def text(values: Values, name: str) -> str | None:
    """Return a string, `None` if absent."""
    value = values.get(name)
    if value is None or isinstance(value, str):
        return value
    raise CallerError(f"`{name}` must be a text.", param=name)


def texts(values: Values, name: str) -> list[str]:
    """Return a list of strings, in a query as JSON; empty if absent."""
    value = values.get(name)
    if value is None:
        return []
    try:
        if isinstance(value, str):
            return _texts.decode(value)
        return msgspec.convert(value, list[str])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise CallerError(f"`{name}` must be a JSON list of texts.", param=name) from None


def entries(values: Values, name: str) -> list[str]:
    """Return a list of strings as `texts` does, without empty ones."""
    return [each for each in map(str.strip, texts(values, name)) if each]


def terms(values: Values, name: str) -> tuple[str, ...]:
    """Return words and phrases that may be spoken."""
    found = tuple(dict.fromkeys(entries(values, name)))
    if len(found) > MAX_TERMS or any(len(term) > MAX_TERM_CHARS for term in found):
        message = f"`{name}` can have at most {MAX_TERMS} terms, of at most {MAX_TERM_CHARS} characters."
        raise CallerError(message, param=name)
    return found


def asks(value: object) -> bool:
    """Return whether a value requests something: neither false nor empty."""
    if isinstance(value, str):
        return value.lower() not in ("", "0", "false", "[]", "{}", "null", "none")
    return bool(value)
