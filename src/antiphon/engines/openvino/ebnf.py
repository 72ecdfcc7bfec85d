"""A grammar for the JSON texts that conform to a schema, in the form that `schema` returns.

The grammar compiler's own translation of schemas allows any amount of white space anywhere: a small model at some
temperature then writes line breaks until its tokens end. Here white space is a space, or a line break and an
indentation; numbers have at most `_DIGITS` digits. Properties come in the schema's order.

A grammar is text: one rule per line, `name ::= expression`; the first is `root`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

_DIGITS = 15
_PLACES = 2  # decimal places of a number with bounds, at least
_MOST_PLACES = 6

_BASE = r"""
ws ::= ("" | " " | "\n" " "{0,12})
char ::= [^\"\\\x00-\x1f\x7f] | "\\" ([\"\\/bfnrt] | "u" [0-9a-fA-F]{4})
plain ::= [^\"\\\x00-\x1f\x7f]
string ::= "\"" char* "\""
integer ::= "-"? ("0" | [1-9] [0-9]{0,14})
number ::= "-"? ("0" | [1-9] [0-9]{0,14}) ("." [0-9]{1,12})?
boolean ::= "true" | "false"
null ::= "null"
pair ::= string ":" ws value
object ::= "{" ws (pair ("," ws pair)* ws)? "}"
array ::= "[" ws (value ("," ws value)* ws)? "]"
value ::= object | array | string | number | boolean | null
"""

_ANCHORS = re.compile(r"^\^?(.*?)\$?$", re.DOTALL)
_PIECE = re.compile(r"\\(.)|(\[(?:\\.|[^\]\\])+\])|(\((?:\?:)?)|([)|])|([*+?]|\{\d+(?:,\d*)?\})|(.)", re.DOTALL)
_SHORTHANDS = {"d": "0-9", "w": "A-Za-z0-9_"}


def grammar(form: dict[str, Any]) -> str:
    """Return the grammar of `form`, which `schema.enforceable` returns."""
    return _Rules(form).text()


def one_of(texts: Iterable[str]) -> str:
    """Return a grammar for exactly these texts."""
    return "root ::= " + " | ".join(map(_quoted, texts))


class _Rules:
    def __init__(self, form: dict[str, Any]) -> None:
        self._form = form
        self._lines: list[str] = []
        self._names: dict[str, str] = {}  # of the rules, by their expressions
        self._references = {"#": "root"}

    def text(self) -> str:
        root = f"root ::= {self._expression(self._form)}"
        return "\n".join([root, *self._lines]) + _BASE

    def _rule(self, expression: str) -> str:
        """Add a rule for an expression, unless there is one. Returns the rule's name."""
        if expression not in self._names:
            self._names[expression] = f"r{len(self._lines)}"
            self._lines.append(f"{self._names[expression]} ::= {expression}")
        return self._names[expression]

    def _of(self, node: Any) -> str:
        return self._rule(self._expression(node))

    def _expression(self, node: dict[str, Any]) -> str:
        match node:
            case {"$ref": str(reference)}:
                return self._reference(reference)
            case {"const": value}:
                return _literal(value)
            case {"enum": list(values)}:
                return " | ".join(_literal(value) for value in values)
            case {"anyOf": list(nodes)}:
                return " | ".join(self._of(one) for one in nodes)
            case {"type": "object"}:
                return self._object(node)
            case {"type": "array"}:
                return self._array(node)
            case {"type": "string", "pattern": str(pattern)}:
                return f'"\\"" ({_pattern(pattern)}) "\\""'
            case {"type": "string", "maxLength": int(most)}:
                least = node.get("minLength", 0)
                return f'"\\"" {_repeated("plain", least, least)} {self._ended(most - least)}'
            case {"type": "string", "minLength": int(least)}:
                return f'"\\"" {_repeated("plain", least, None)} "\\""'
            case {"type": "integer" | "number" as name}:
                return _bounded(name, node) or name
            case {"type": str(name)}:
                return name
        return "value"

    def _ended(self, most: int) -> str:
        """Return the rule for at most that many characters and the quote that ends them. Each has the next shorter one
        in it, so that texts of all lengths cost the compiler no more than the longest.
        """
        ended = self._rule('"\\""')
        for _ in range(most):
            ended = self._rule(f'"\\"" | plain {ended}')
        return ended

    def _reference(self, reference: str) -> str:
        if reference not in self._references:
            _, keyword, name = reference.split("/")
            rule = self._references[reference] = f"d{len(self._references)}"
            expression = self._expression(self._form[keyword][name])
            self._lines.append(f"{rule} ::= {expression}")
        return self._references[reference]

    def _object(self, node: dict[str, Any]) -> str:
        if "properties" not in node:
            others = node.get("additionalProperties", {})
            pair = self._rule(f'string ":" ws {self._of(others)}') if others else "pair"
            return f'"{{" ws ({pair} ("," ws {pair})* ws)? "}}"'
        if not node["properties"]:
            return '"{}"'  # with white space, a small model writes that until its tokens end
        first, after = '""', '""'  # what may follow if nothing came yet, and if something did
        for name, value in reversed(node["properties"].items()):
            pair = self._rule(f'{_literal(name)} ":" ws {self._of(value)}')
            begun = f"{pair} {after}"
            if name in node["required"]:
                first, after = self._rule(begun), self._rule(f'"," ws {begun}')
            else:
                first, after = self._rule(f"{begun} | {first}"), self._rule(f'"," ws {begun} | {after}')
        return f'"{{" ws {first} ws "}}"'

    def _array(self, node: dict[str, Any]) -> str:
        first = [self._of(item) for item in node.get("prefixItems", ())]
        least, most = node.get("minItems", 0), node.get("maxItems")
        items = node["items"]
        if items is False or most == len(first):
            return f'"[" ws {_joined(first)} ws "]"'
        item = self._of(items) if items else "value"
        more = f'("," ws {item})'
        if first:
            rest = _repeated(more, max(least - len(first), 0), None if most is None else most - len(first))
            return f'"[" ws {_joined(first)} {rest} ws "]"'
        rest = _repeated(more, max(least - 1, 0), None if most is None else most - 1)
        return f'"[" ws {item} {rest} ws "]"' if least else f'"[" ws ({item} {rest} ws)? "]"'


def _joined(items: Sequence[str]) -> str:
    return ' "," ws '.join(items)


def _repeated(expression: str, least: int, most: int | None) -> str:
    return f"{expression}{{{least},{'' if most is None else most}}}"


# -- text --------------------------------------------------------------------------------------------------------------


def _quoted(text: str) -> str:
    """Return the text as a literal of the grammar."""
    escaped = (
        text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    )
    return f'"{escaped}"'


def _literal(value: Any) -> str:
    """Return the only text of a JSON value."""
    return _quoted(json.dumps(value, ensure_ascii=False))


def _pattern(pattern: str) -> str:
    """Return a regular expression of the kind that `schema` permits, as grammar; nothing in it needs JSON escapes."""
    anchored = _ANCHORS.match(pattern)
    assert anchored is not None
    pieces = ['""']
    for escaped, members, opening, other, count, plain in _PIECE.findall(anchored[1]):
        if count:
            pieces[-1] += count
        elif escaped:
            pieces.append(f"[{_SHORTHANDS[escaped]}]" if escaped in _SHORTHANDS else _quoted(escaped))
        elif members:
            pieces.append(re.sub(r"\\(.)", _member, members))
        else:
            pieces.append("(" if opening else other or _quoted(plain))
    return " ".join(pieces)


def _member(escape: re.Match[str]) -> str:
    """Return an escape within a class of characters."""
    return _SHORTHANDS.get(escape[1], escape[0] if escape[1] == "-" else escape[1])


# -- numbers -----------------------------------------------------------------------------------------------------------


def _bounded(name: str, node: dict[str, Any]) -> str:
    """Return the expression of a number between bounds; empty if there are none."""
    bounds = {key: Decimal(str(node[key])) for key in node if key != "type"}
    if not bounds:
        return ""
    places = 0
    if name == "number":
        decimals = max(-int(bound.normalize().as_tuple().exponent) for bound in bounds.values())
        places = min(max(decimals, _PLACES), _MOST_PLACES)
    unit = Decimal(1).scaleb(places)
    farthest = Decimal(10**_DIGITS - 1)
    least = max(bounds.get("minimum", -farthest) * unit, bounds.get("exclusiveMinimum", -farthest) * unit)
    most = min(bounds.get("maximum", farthest) * unit, bounds.get("exclusiveMaximum", farthest) * unit)
    low, high = int(least.to_integral_value(ROUND_CEILING)), int(most.to_integral_value(ROUND_FLOOR))
    low += "exclusiveMinimum" in bounds and low == bounds["exclusiveMinimum"] * unit
    high -= "exclusiveMaximum" in bounds and high == bounds["exclusiveMaximum"] * unit
    if low > high:
        raise ValueError("no number is between its bounds")
    texts = []
    if high >= 0:
        texts += [_digits(parts, places) for parts in _ranges(max(low, 0), high, places + 1)]
    if low < 0:
        texts += ['"-" ' + _digits(parts, places) for parts in _ranges(max(-high, 1), -low, places + 1)]
    return " | ".join(texts)


Parts = list[tuple[int, int]]  # for each digit of a number, in order, the lowest and the highest that it may be


def _ranges(low: int, high: int, width: int) -> Iterator[Parts]:
    """Yield the numbers from `low` to `high` (0 or more), of at least `width` digits, as runs of freely varying
    digits.
    """
    while low <= high:
        count = max(len(str(low)), width)
        size = 1
        while low % (size * 10) == 0 and low + size * 10 - 1 <= high and len(str(size * 10)) <= count:
            size *= 10
        step = min(9 - low // size % 10, (high - low + 1) // size - 1)
        text = str(low).zfill(count)
        place = count - len(str(size))
        parts = [(int(digit), int(digit)) for digit in text]
        parts[place] = (parts[place][0], parts[place][0] + step)
        for free in range(place + 1, count):
            parts[free] = (0, 9)
        yield parts
        low += size * (step + 1)


def _digits(parts: Parts, places: int) -> str:
    texts = [f"[{low}-{high}]" if low < high else f'"{low}"' for low, high in parts]
    if places:
        texts.insert(len(texts) - places, '"."')
    return " ".join(texts)
