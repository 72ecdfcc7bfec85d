"""JSON without what is to be hidden in its texts and numbers: it stays JSON, and its keys stay."""

import json
from collections.abc import Callable, Iterator
from typing import Any

MAX_DEPTH = 64
PATH = " "  # between a key and its value, where the key says what the value is


class Unreadable(Exception):
    """What should be JSON is none, or too deep."""


def parse(text: str) -> Any:
    """Numbers stay as they are written. Raises `Unreadable`."""
    try:
        return json.loads(text, parse_float=_Number, parse_int=_Number)
    except (ValueError, RecursionError):
        raise Unreadable from None


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


def texts_of(value: Any, key: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every text and number, behind the words of its key."""
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
    """As JSON again, each text replaced by what `hide` makes of its key and itself."""
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
    """A key as words: `phoneNumber` and `phone_number` are "phone number"."""
    spaced = "".join(f" {char.lower()}" if char.isupper() else char for char in key)
    return " ".join(spaced.replace("_", " ").replace("-", " ").split())
