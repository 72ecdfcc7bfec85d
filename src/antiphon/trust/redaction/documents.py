"""The redaction of texts and numbers in JSON: the result is JSON with the same keys."""

import json
from collections.abc import Callable, Iterator
from typing import Any

MAX_DEPTH = 64
PATH = " "  # between a key and its value, because the key may name the kind of the value


class Unreadable(Exception):
    """The text is not JSON, or too deep."""


def parse(text: str) -> Any:
    """Parse JSON; numbers keep their spelling. Raises `Unreadable`."""
    try:
        return json.loads(text, parse_float=_Number, parse_int=_Number)
    except (ValueError, RecursionError):
        raise Unreadable from None


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


def texts_of(value: Any, key: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield every text and number with its key. Raises `Unreadable` if the value is too deep."""
    if depth > MAX_DEPTH:
        raise Unreadable
    if isinstance(value, str):
        yield key, str(value)
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from texts_of(each, name, depth + 1)
    elif isinstance(value, list):
        for each in value:
            yield from texts_of(each, key, depth + 1)


def written(value: Any, hide: Callable[[str, str], str]) -> str:
    """Return the value as JSON, with each text replaced by `hide(key, text)`."""
    return json.dumps(_hidden(value, hide, ""), ensure_ascii=False)


def _hidden(value: Any, hide: Callable[[str, str], str], key: str) -> Any:
    if isinstance(value, _Number):
        shown = hide(key, str(value))
        return json.loads(value) if shown == value else shown
    if isinstance(value, str):
        return hide(key, value)
    if isinstance(value, dict):
        return {name: _hidden(each, hide, name) for name, each in value.items()}
    if isinstance(value, list):
        return [_hidden(each, hide, key) for each in value]
    return value


def words_of(key: str) -> str:
    """Return a key as words: `phoneNumber` and `phone_number` become "phone number"."""
    spaced = "".join(f" {char.lower()}" if char.isupper() else char for char in key)
    return " ".join(spaced.replace("_", " ").replace("-", " ").split())
