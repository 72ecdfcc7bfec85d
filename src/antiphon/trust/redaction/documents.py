"""The redaction of JSON: of all texts and numbers in it, and of the names of its values, because they may be content
(`"ana@example.org": 3`). The result is JSON with as many values in the same order.

In a JSON schema, names and words of the schema stay as they are.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

MAX_DEPTH = 64

# Names in a JSON schema whose values are words of the schema.
_WORDS = frozenset(
    {
        *("$id", "$ref", "$schema", "contentEncoding", "exclusiveMaximum", "exclusiveMinimum", "format", "maxItems"),
        *("maxLength", "maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum", "multipleOf"),
        *("pattern", "required", "strict", "type", "uniqueItems"),
    }
)
_OF_PROPERTIES = frozenset(("$defs", "definitions", "dependentSchemas", "patternProperties", "properties"))
_CONTENT = frozenset(("const", "default", "enum", "example", "examples"))  # whose values are no schema


class Unreadable(Exception):
    """The text is not JSON, or too deep."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A text to search, and the words before it that are searched with it. `names` a value of a document, if it is no
    value itself.
    """

    text: str
    lead: str = ""
    names: bool = False

    @property
    def judged(self) -> str:
        return f"{self.lead} {self.text}" if self.lead else self.text


Show = Callable[[Piece], str]


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


class _Object(list[tuple[str, Any]]):
    """The names and values of an object. A name may occur twice: what reads it later may take either value."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value is: under which name, how deep, and whether in a schema or in a schema's list of properties."""

    name: str = ""
    depth: int = 0
    schema: bool = False
    properties: bool = False

    def under(self, name: str) -> "_Place":
        within = replace(self, name=name, depth=self.depth + 1, properties=False)
        if not self.schema or self.properties:
            return within
        return replace(within, schema=name not in _CONTENT, properties=name in _OF_PROPERTIES)


def rewritten(document: str, show: Show, *, schema: bool = False) -> str:
    """Return the document with each of its pieces as it is to be shown; as it was written if none changes. Raises
    `Unreadable`.
    """
    changed = False

    def seen(piece: Piece) -> str:
        nonlocal changed
        shown = show(piece)
        changed |= shown != piece.text
        return shown

    written = "".join(_written(_parse(document), seen, _Place(schema=schema)))
    return written if changed else document


def _parse(text: str) -> Any:
    try:
        return json.loads(
            text, parse_float=_Number, parse_int=_Number, parse_constant=_Number, object_pairs_hook=_Object
        )
    except (ValueError, RecursionError):
        raise Unreadable from None


def _written(value: Any, show: Show, place: _Place) -> Iterator[str]:
    if place.depth > MAX_DEPTH:
        raise Unreadable
    if isinstance(value, _Object):
        yield "{"
        for at, (name, each) in enumerate(value):
            yield ", " if at else ""
            yield f"{_text(name if place.schema else show(Piece(name, words_of(place.name), names=True)))}: "
            yield from _written(each, show, place.under(name))
        yield "}"
    elif isinstance(value, list):
        yield "["
        for at, each in enumerate(value):
            yield ", " if at else ""
            yield from _written(each, show, replace(place, depth=place.depth + 1))
        yield "]"
    elif isinstance(value, str):
        text = str(value)
        shown = text if place.schema and place.name in _WORDS else show(Piece(text, words_of(place.name)))
        yield text if isinstance(value, _Number) and shown == text else _text(shown)
    else:
        yield json.dumps(value)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def words_of(name: str) -> str:
    """Return a name as words: `phoneNumber` and `phone_number` become "phone number"."""
    spaced = "".join(f" {char.lower()}" if char.isupper() else char for char in name)
    return " ".join(spaced.replace("_", " ").replace("-", " ").split())
