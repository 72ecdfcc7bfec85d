"""The grammar of a schema. Of numbers and patterns it is regular, so these are tried with regular expressions."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.openvino.ebnf import grammar


def rules(form: dict[str, Any]) -> dict[str, str]:
    return dict(line.split(" ::= ", 1) for line in grammar(form).splitlines() if line)


def matches(form: dict[str, Any], text: str) -> bool:
    """Whether the root, which must be regular, is all of `text`."""
    expression = rules(form)["root"]
    pieces = re.findall(r'"((?:\\.|[^"\\])*)"|(\[[^\]]*\])|([()|]|[*+?]|\{[\d,]+\})|(\s)', expression)
    assert "".join("".join(piece) for piece in pieces)
    built = "".join(re.escape(re.sub(r"\\(.)", r"\1", literal)) or other or mark for literal, other, mark, _ in pieces)
    return re.fullmatch(built, text) is not None


@given(st.integers(-1200, 1200), st.integers(0, 1300), st.integers(-3000, 3000))
def test_whole_numbers_between_bounds(low: int, more: int, tried: int) -> None:
    form = {"type": "integer", "minimum": low, "maximum": low + more}
    assert matches(form, str(tried)) == (low <= tried <= low + more)
    assert matches(form, str(low))
    assert matches(form, str(low + more))
    assert not matches(form, f"0{abs(tried)}")


@given(st.integers(-300, 300), st.integers(0, 500), st.integers(-900, 900))
def test_numbers_between_bounds(low: int, more: int, tried: int) -> None:
    form = {"type": "number", "minimum": low / 100, "maximum": (low + more) / 100}
    sign, digits = ("-", -tried) if tried < 0 else ("", tried)
    assert matches(form, f"{sign}{digits // 100}.{digits % 100:02}") == (low <= tried <= low + more)


def test_bounds_may_be_excluded() -> None:
    form = {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 6}
    assert [n for n in range(10) if matches(form, str(n))] == [4, 5]
    open_ended = {"type": "number", "exclusiveMinimum": 0}
    assert matches(open_ended, "0.01")
    assert not matches(open_ended, "0.00")
    with pytest.raises(ValueError, match="between"):
        grammar({"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 4})


@pytest.mark.parametrize(
    ("pattern", "right", "wrong"),
    [
        (r"^[A-Z]{3}-\d{2}$", "ABC-12", "ABC-1"),
        (r"(?:a|bc)+\.[\w.-]?", "abca.-", "abca"),
        (r"\{x\}", "{x}", "x"),
    ],
)
def test_patterns(pattern: str, right: str, wrong: str) -> None:
    form = {"type": "string", "pattern": pattern}
    assert matches(form, f'"{right}"')
    assert not matches(form, f'"{wrong}"')


def test_constants_are_as_json_writes_them() -> None:
    form = {"enum": ["a", 'q"\\', 1.5, True, None]}
    for text in ('"a"', r'"q\"\\"', "1.5", "true", "null"):
        assert matches(form, text)
    assert not matches(form, '"b"')


def test_properties_come_in_order_with_commas_between() -> None:
    form = {
        "type": "object",
        "properties": {"a": {"type": "null"}, "b": {"type": "null"}, "c": {"type": "null"}},
        "required": ["b"],
    }
    found = rules(form)

    def texts(expression: str) -> set[str]:
        """All that it stands for, without white space."""
        done: set[str] = set()
        for branch in expression.split(" | "):
            ends = {""}
            for part in branch.split(" "):
                said = (
                    {part[1:-1].replace('\\"', '"')} if part[0] == '"' else {""} if part == "ws" else texts(found[part])
                )
                ends = {end + more for end in ends for more in said}
            done |= ends
        return done

    assert texts(found["root"]) == {
        '{"b":null}',
        '{"a":null,"b":null}',
        '{"b":null,"c":null}',
        '{"a":null,"b":null,"c":null}',
    }


def test_items_are_counted() -> None:
    item = {"type": "null"}
    assert '("," ws r0){1,2}' in rules({"type": "array", "items": item, "minItems": 2, "maxItems": 3})["root"]
    assert rules({"type": "array", "items": item})["root"] == '"[" ws (r0 ("," ws r0){0,} ws)? "]"'
    assert rules({"type": "array", "items": False, "prefixItems": [item]})["root"] == '"[" ws r0 ws "]"'
    assert rules({"type": "array", "items": {}, "maxItems": 0})["root"].replace("  ", " ") == '"[" ws ws "]"'


def test_a_definition_may_lead_to_itself() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/N"}, "top": {"$ref": "#"}}, "required": []}
    found = rules({"$ref": "#/$defs/N", "$defs": {"N": node}})
    assert found["root"] == "d1"
    assert "d1" in "".join(found[name] for name in found if name.startswith("r"))
    used = set(re.findall(r"\b[rd]\d+\b", " ".join(found.values())))
    assert used <= set(found)


def test_equal_parts_are_one_rule() -> None:
    """The compiler takes a second for a text of a bounded length, and as long again for each rule that has one."""
    properties = {name: {"type": "string", "maxLength": 64 - place} for place, name in enumerate("abcdefgh")}
    form = {"type": "object", "properties": properties, "required": [], "additionalProperties": False}
    assert sum('"\\"" | plain' in expression for expression in rules(form).values()) == 64
    properties = {name: {"type": "string", "pattern": "[a-z]{0,9}"} for name in "abcdefgh"}
    assert sum("{0,9}" in expression for expression in rules(form | {"properties": properties}).values()) == 1
