"""What the grammar can enforce of a JSON schema.

A schema is converted to a form that a grammar (`ebnf`) enforces completely: its output then conforms to the schema. The
form may be narrower than the schema (an object with `properties` gets no others), never wider. A part without such a
form is refused if the schema is `strict`; otherwise only its type is enforced, and the rest left to the model.

Everything is bounded, because requests with other new schemas wait while a grammar compiles, and the rest are slower.
"""

import json
import re
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from antiphon.core.errors import CallerError

MAX_BYTES = 64 * 1024
MAX_DEPTH = 32
MAX_REPEATS = 1000  # of an item, or of a character in a pattern
MAX_PARTS = 500  # schemas within a schema, and eight values of an enum count as one: about a second to compile
MAX_ALL_REPEATS = 2000  # of all schemas of a request
MAX_REQUEST_PARTS = 2000  # of all schemas of a request, its tools: five seconds to compile
VALUES_A_PART = 8
MAX_LENGTH = 128  # of a text with a bounded length: seconds to compile, for the longest of a schema
MAX_VARYING = 128  # characters that the patterns of a request leave open, as {0,128} does: seconds to compile
_MAX_EXACT = 2**53

_TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
_DATE = r"[12]\d{3}-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8]))"
_TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
_BYTE = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]\d|\d)"
_LABEL = r"[A-Za-z0-9]{1,20}(-[A-Za-z0-9]{1,20})?"
_FORMATS = {  # as patterns, each possibly narrower than its format
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "duration": r"P(\d{1,5}[YMWD]|T\d{1,5}[HMS])",
    "email": rf"[A-Za-z0-9_+-]{{1,30}}(\.[A-Za-z0-9_+-]{{1,20}})?@({_LABEL}\.)+[A-Za-z]{{2,10}}",
    "hostname": rf"{_LABEL}(\.{_LABEL}){{0,5}}",
    "ipv4": rf"({_BYTE}\.){{3}}{_BYTE}",
    "ipv6": r"([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}",
    "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
}

# What an assertion says is enforced, or refused. Any other keyword is an annotation, and asserts nothing.
_BY_TYPE: dict[str, tuple[str, ...]] = {
    "object": ("properties", "required", "additionalProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("pattern", "format", "minLength", "maxLength"),
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
}
_WHOLE = ("$ref", "const", "enum", "anyOf", "oneOf", "allOf")  # one of them is all that a schema asserts
_NEVER = (
    *("not", "if", "then", "else", "$dynamicRef", "$recursiveRef"),
    *("minProperties", "maxProperties", "patternProperties", "propertyNames", "unevaluatedProperties"),
    *("dependencies", "dependentRequired", "dependentSchemas"),
    *("contains", "minContains", "maxContains", "uniqueItems", "additionalItems", "unevaluatedItems"),
    "multipleOf",
)
_ASSERTIONS = {"type", *_WHOLE, *_NEVER, *(keyword for keywords in _BY_TYPE.values() for keyword in keywords)}

_DEFINITIONS = ("$defs", "definitions")
_REFERENCE = re.compile(r"#(?:/(\$defs|definitions)/([\w.-]+))?")
_PLAIN_NAME = re.compile(r'[^"\\\x00-\x1f\x7f]*')

# A pattern whose matches need no escapes in JSON: no dot, no negated class, no space but ' '.
_COUNT = r"\{(\d{1,4})(,\d{0,4})?\}"
_LITERAL = r"[A-Za-z0-9 _:/@,;=#%&~!'<>-]|\\[dw.+*?()\[\]{}|^$/-]"
# No count is lazy or possessive: the grammar would take the second sign for a count of its own.
_PATTERN = re.compile(
    rf"\^?(?:{_LITERAL}|\[(?:[A-Za-z0-9 _.:/@,;+-]|\\[dw.-])+\]|\(\?:|\((?!\?)|\)|\||(?:[*+?]|{_COUNT})(?![*+?]))*\$?",
    re.ASCII,
)
_COUNTED = re.compile(_COUNT)
_GROUP_COUNTED = re.compile(r"\)\{")


class _Unenforceable(Exception):
    """Says why a part has no form that the grammar enforces."""


class Totals:
    """What the schemas of one request hold so far."""

    def __init__(self) -> None:
        self.parts = self.repeats = 0
        self.varying: dict[str, int] = {}  # by pattern


def enforceable(schema: str, strict: bool, param: str, totals: Totals | None = None) -> dict[str, Any]:
    """Return the schema's form for the grammar. Raises `CallerError` with `param` if it is invalid or not
    enforceable. `totals` is shared by the schemas of one request.
    """
    if len(schema.encode()) > MAX_BYTES:
        raise CallerError(f"The schema is larger than {MAX_BYTES} bytes.", param=param)
    try:
        parsed = json.loads(schema)
        if not isinstance(parsed, dict):
            raise ValueError("it is not an object")
        return _Root(parsed, strict, totals or Totals()).form()
    except _Unenforceable as error:
        raise CallerError(f"The schema cannot be enforced: {error}.", param=param) from None
    except (ValueError, ArithmeticError, RecursionError) as error:
        known = isinstance(error, ValueError) and not isinstance(error, json.JSONDecodeError)
        reason = str(error) if known else "it is no JSON, or its numbers or its depth are too large"
        raise CallerError(f"The schema is not valid: {reason}.", param=param) from None


class _Root:
    """One schema, with its definitions. Its methods raise `ValueError` for an invalid schema."""

    def __init__(self, schema: dict[str, Any], strict: bool, totals: Totals) -> None:
        self._schema = schema
        self._strict = strict
        self._parts = 0
        self._totals = totals
        self._sound: set[str] = set()  # references that do not lead to themselves
        self._whole: Mapping[str, Callable[[dict[str, Any], int], Any]] = {
            "$ref": self._reference,
            "const": lambda node, depth: {"const": _exact(node["const"])},
            "enum": self._enumeration,
            "anyOf": lambda node, depth: {"anyOf": self._each(node["anyOf"], depth)},
            "oneOf": self._one_of,
            "allOf": self._all_of,
        }

    def form(self) -> dict[str, Any]:
        form = self._node(self._schema, 0)
        for keyword in _DEFINITIONS:
            definitions = self._schema.get(keyword, {})
            if not isinstance(definitions, dict):
                raise ValueError(f"{keyword} is not an object")
            if definitions:
                form[keyword] = {name: self._node(definition, 1) for name, definition in definitions.items()}
        return form or {"type": "object"}

    def _node(self, node: Any, depth: int) -> dict[str, Any]:
        if node is True:
            return {}
        if not isinstance(node, dict):
            raise ValueError("a part of it is neither an object nor true")
        if depth > MAX_DEPTH:
            raise ValueError(f"it is deeper than {MAX_DEPTH}")
        try:
            self._spend(parts=1)
            return self._asserted(node, depth)
        except _Unenforceable:
            if self._strict:
                raise
            return {} if self._excess() else _of_types(node)

    def _spend(self, parts: int = 0, repeats: int = 0) -> None:
        """Count parts and repeats. Raises `_Unenforceable` if the whole takes too long to compile."""
        self._parts += parts
        self._totals.parts += parts
        self._totals.repeats += repeats
        if excess := self._excess():
            raise _Unenforceable(excess)

    def _leave_open(self, pattern: str) -> None:
        """Count what a pattern leaves open. Raises `_Unenforceable` if that is too much, with the others'."""
        varying = self._totals.varying | {pattern: _varying(pattern)}
        if sum(varying.values()) > MAX_VARYING:
            raise _Unenforceable(f"the counts of its patterns leave over {MAX_VARYING} characters open")
        self._totals.varying = varying

    def _excess(self) -> str:
        if self._parts > MAX_PARTS:
            return f"it has more than {MAX_PARTS} parts"
        if self._totals.parts > MAX_REQUEST_PARTS:
            return f"with the others it has more than {MAX_REQUEST_PARTS} parts"
        if self._totals.repeats > MAX_ALL_REPEATS:
            return f"its lengths and counts come to over {MAX_ALL_REPEATS}"
        return ""

    def _asserted(self, node: dict[str, Any], depth: int) -> dict[str, Any]:
        asserted = [key for key in node if key in _ASSERTIONS and not (key in _NEVER and node[key] is False)]
        never = [keyword for keyword in asserted if keyword in _NEVER]
        if never:
            raise _Unenforceable(f"{never[0]} is not supported")
        whole = [keyword for keyword in asserted if keyword in _WHOLE]
        if whole:
            beside = [keyword for keyword in asserted if keyword not in (whole[0], "type")]
            if beside or ("type" in asserted and whole[0] not in ("const", "enum")):
                raise _Unenforceable(f"{(beside or ['type'])[0]} beside {whole[0]} is not supported")
            form: dict[str, Any] = self._whole[whole[0]](node, depth)
            return form
        return self._typed(node, asserted, depth)

    def _typed(self, node: dict[str, Any], asserted: list[str], depth: int) -> dict[str, Any]:
        types = _types(node)
        if not types:
            if not asserted:
                return {}
            types = [name for name in ("object", "array") if set(asserted) <= set(_BY_TYPE[name])]
            if not types:
                raise _Unenforceable(f"{asserted[0]} without a type is not supported")
        astray = [k for k in asserted if k != "type" and all(k not in _BY_TYPE.get(name, ()) for name in types)]
        if astray:
            raise _Unenforceable(f"{astray[0]} does not belong to its type")
        forms = [self._of_type(name, node, depth) for name in types]
        return forms[0] if len(forms) == 1 else {"anyOf": forms}

    def _of_type(self, name: str, node: dict[str, Any], depth: int) -> dict[str, Any]:
        form: dict[str, Any] = {"type": name}
        match name:
            case "object":
                return form | self._object(node, depth)
            case "array":
                return form | self._array(node, depth)
            case "string":
                asserted = _string(node)
                self._leave_open(asserted.get("pattern", ""))
                self._spend(repeats=_repeats(asserted))
                return form | asserted
            case "integer" | "number":
                return form | _number(name, node)
        return form

    # -- objects and arrays --------------------------------------------------------------------------------------------

    def _object(self, node: dict[str, Any], depth: int) -> dict[str, Any]:
        properties, required = node.get("properties", {}), node.get("required", [])
        if not isinstance(properties, dict):
            raise ValueError("properties is not an object")
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise ValueError("required is not a list of names")
        if not all(_PLAIN_NAME.fullmatch(name) for name in properties):
            raise _Unenforceable("a property's name has a quote, a backslash or a control character")
        if not set(required) <= set(properties):
            raise _Unenforceable("a property is required and not described")
        if properties:  # no others: one with the same name would duplicate it
            described = {key: self._node(value, depth + 1) for key, value in properties.items()}
            return {"properties": described, "required": required, "additionalProperties": False}
        others = node.get("additionalProperties", "properties" not in node)  # without any, a tool takes no arguments
        if others is False:
            return {"properties": {}, "additionalProperties": False}
        return {} if others is True else {"additionalProperties": self._node(others, depth + 1)}

    def _array(self, node: dict[str, Any], depth: int) -> dict[str, Any]:
        form: dict[str, Any] = {key: _count(node[key], key) for key in ("minItems", "maxItems") if key in node}
        if form.get("minItems", 0) > form.get("maxItems", MAX_REPEATS):
            raise ValueError("minItems is greater than maxItems")
        self._spend(repeats=max(form.get("minItems", 0), form.get("maxItems", 0)))
        first = node.get("prefixItems", [])
        if first:
            form["prefixItems"] = self._each(first, depth)
        items = node.get("items", True)
        if isinstance(items, list):
            raise _Unenforceable("a list of items is not supported; use prefixItems")
        form["items"] = False if items is False else self._node(items, depth + 1)
        if items is False and form.get("minItems", 0) > len(first):
            raise ValueError("minItems is greater than the number of items there can be")
        if form.get("maxItems", len(first)) < len(first):
            raise _Unenforceable("maxItems is less than the number of prefixItems")
        return form

    def _each(self, nodes: Any, depth: int) -> list[dict[str, Any]]:
        if not isinstance(nodes, list) or not nodes:
            raise ValueError("a list of schemas is none, or empty")
        return [self._node(node, depth + 1) for node in nodes]

    # -- what is all that a schema asserts -----------------------------------------------------------------------------

    def _reference(self, node: dict[str, Any], depth: int) -> dict[str, Any]:
        self._follow(node, set())
        return {"$ref": node["$ref"]}

    def _target(self, reference: Any) -> Any:
        found = _REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
        if found is None:
            raise _Unenforceable("a $ref does not lead to one of its own definitions")
        keyword, name = found.groups()
        if keyword is None:
            return self._schema
        definitions = self._schema.get(keyword)
        if not isinstance(definitions, dict) or name not in definitions:
            raise ValueError("a $ref leads nowhere")
        return definitions[name]

    def _follow(self, node: Any, seen: set[str]) -> None:
        """Follow references. Raises `ValueError` for a definition that is only itself."""
        if not isinstance(node, dict):
            return
        if "$ref" in node:
            target = self._target(node["$ref"])
            if node["$ref"] in seen:
                raise ValueError("a $ref leads to itself")
            if node["$ref"] not in self._sound:
                self._follow(target, seen | {node["$ref"]})
                self._sound.add(node["$ref"])
        for keyword in ("anyOf", "oneOf", "allOf"):
            branches = node.get(keyword, [])
            for branch in branches if isinstance(branches, list) else []:
                self._follow(branch, seen)

    def _enumeration(self, node: dict[str, Any], depth: int) -> dict[str, Any]:
        values, types = node["enum"], _types(node)
        if not isinstance(values, list) or not values:
            raise ValueError("enum is not a list of values")
        self._spend(parts=len(values) // VALUES_A_PART)
        fitting = [_exact(value) for value in values if not types or any(_is(value, name) for name in types)]
        if not fitting:
            raise ValueError("no value of enum is of its type")
        return {"enum": fitting}

    def _one_of(self, node: dict[str, Any], depth: int) -> dict[str, Any]:
        """Return the form of `anyOf`, if no value can match two."""
        forms = self._each(node["oneOf"], depth)
        kinds = [self._kind(form) for form in node["oneOf"]]
        if None in kinds or len(set(kinds)) < len(kinds):
            raise _Unenforceable("oneOf is not supported where a value might be of two; use anyOf")
        return {"anyOf": forms}

    def _kind(self, node: Any) -> object:
        """Return something that no value of another kind has: a type, or the value of the first constant property."""
        hops = 0
        while isinstance(node, dict) and "$ref" in node and hops < MAX_DEPTH:
            node, hops = self._target(node["$ref"]), hops + 1
        if not isinstance(node, dict) or not isinstance(node.get("type"), str):
            return None
        if node["type"] != "object":
            return "number" if node["type"] == "integer" else node["type"]
        for name in node.get("required", []):
            value = node.get("properties", {}).get(name, {})
            if isinstance(value, dict) and "const" in value:
                return (name, json.dumps(value["const"]))
        return None

    def _all_of(self, node: dict[str, Any], depth: int) -> dict[str, Any]:
        if isinstance(node["allOf"], list) and len(node["allOf"]) == 1:
            return self._node(node["allOf"][0], depth + 1)
        raise _Unenforceable("allOf of several is not supported")


# -- leaves ------------------------------------------------------------------------------------------------------------


def _types(node: dict[str, Any]) -> list[str]:
    types = node.get("type", [])
    types = [types] if isinstance(types, str) else types
    if not isinstance(types, list) or not all(name in _TYPES for name in types):
        raise ValueError(f"a type is none of {', '.join(_TYPES)}")
    return list(dict.fromkeys(types))


def _of_types(node: dict[str, Any]) -> dict[str, Any]:
    """Return the form of a part that is only of its types; what else it asserts is left to the model."""
    try:
        forms: list[dict[str, Any]] = [
            {"type": name} | ({"items": {}} if name == "array" else {}) for name in _types(node)
        ]
    except ValueError:
        return {}
    return forms[0] if len(forms) == 1 else {"anyOf": forms} if forms else {}


def _is(value: Any, name: str) -> bool:
    match value:
        case bool():
            return name == "boolean"
        case int():
            return name in ("integer", "number")
        case float():
            return name == "number" or (name == "integer" and value.is_integer())
        case str():
            return name == "string"
        case None:
            return name == "null"
    return name == ("object" if isinstance(value, dict) else "array")


def _exact(value: Any, depth: int = 0) -> Any:
    """Return a constant, if all write it in the same way."""
    if isinstance(value, int | float) and not abs(value) <= _MAX_EXACT:  # NaN is not, either
        raise _Unenforceable("a constant is a number too large to be exact")
    if depth > MAX_DEPTH:
        raise ValueError(f"a constant is deeper than {MAX_DEPTH}")
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _exact(part, depth + 1)
    return value


def _count(value: Any, keyword: str, most: int = MAX_REPEATS) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{keyword} is not a count")
    if value > most:
        raise _Unenforceable(f"{keyword} is over {most}")
    return value


def _string(node: dict[str, Any]) -> dict[str, Any]:
    lengths: dict[str, Any] = {
        key: _count(node[key], key, MAX_LENGTH) for key in ("minLength", "maxLength") if key in node
    }
    if sum((bool(lengths), "pattern" in node, "format" in node)) > 1:
        raise _Unenforceable("only one of pattern, format and a length is supported")
    if lengths:
        least, most = lengths.get("minLength", 0), lengths.get("maxLength")
        if most is not None and least > most:
            raise ValueError("minLength is greater than maxLength")
        return lengths
    if "pattern" in node:
        return {"pattern": _pattern(node["pattern"])}
    if "format" in node:
        if node["format"] not in _FORMATS:
            raise _Unenforceable(f"no format but {', '.join(_FORMATS)} is supported")
        return {"pattern": _FORMATS[node["format"]]}
    return {}


def _pattern(pattern: Any) -> str:
    if not isinstance(pattern, str):
        raise ValueError("pattern is not a text")
    try:
        re.compile(pattern)
    except re.error:
        raise ValueError("pattern is no regular expression") from None
    if not _PATTERN.fullmatch(pattern):
        raise _Unenforceable("pattern has something besides plain characters, classes of them, groups and counts")
    if len(pattern) > MAX_REPEATS:
        raise _Unenforceable(f"pattern has more than {MAX_REPEATS} characters")
    if prod(max(count, 1) for count in _counts(pattern)) > MAX_REPEATS:
        raise _Unenforceable(f"the counts of pattern come to over {MAX_REPEATS}")
    return pattern


def _counts(pattern: str) -> list[int]:
    return [max(int(least), int(more[1:] or 0) if more else 0) for least, more in _COUNTED.findall(pattern)]


def _repeats(asserted: dict[str, Any]) -> int:
    """Return how many characters the assertions on a text count."""
    counts = _counts(str(asserted.get("pattern", "")))
    nested = 0 if asserted.get("pattern") in _FORMATS.values() else prod(max(count, 1) for count in counts)
    longest: int = max(asserted.get("minLength", 0), asserted.get("maxLength", 0), sum(counts), nested)
    return longest


def _varying(pattern: str) -> int:
    """Return how many characters a pattern leaves open: each is a state of its own for the compiler. The known formats
    are known to be quick.
    """
    if pattern in _FORMATS.values():
        return 0
    counts = [(int(least), int(more[1:]) if more[1:] else int(least)) for least, more in _COUNTED.findall(pattern)]
    open_ones = sum(most - least for least, most in counts) + pattern.replace("(?:", "(").count("?")
    if open_ones and _GROUP_COUNTED.search(pattern):  # counts within counts
        return max(open_ones, prod(max(most, 1) for _, most in counts))
    return open_ones


def _number(name: str, node: dict[str, Any]) -> dict[str, Any]:
    form = {key: node[key] for key in _BY_TYPE["number"] if key in node}
    for key, value in form.items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError(f"{key} is not a number")
        if not abs(value) <= _MAX_EXACT or (name == "integer" and value != int(value)):
            raise _Unenforceable(f"{key} is not supported for such a number")
    return form
