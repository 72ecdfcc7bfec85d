"""What is enforced of a JSON schema, and what is refused."""

import json
import re
import time
from typing import Any

import pytest

from antiphon.core.errors import CallerError
from antiphon.engines.openvino.schema import (
    MAX_ALL_REPEATS,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_LENGTH,
    MAX_PARTS,
    VALUES_A_PART,
    enforceable,
)


def form(schema: Any, strict: bool = True) -> dict[str, Any]:
    return enforceable(json.dumps(schema), strict, "response_format")


def refusal(schema: Any, strict: bool = True) -> str:
    with pytest.raises(CallerError) as refused:
        form(schema, strict)
    assert refused.value.param == "response_format"
    return refused.value.message


def test_annotations_assert_nothing() -> None:
    schema = {"title": "T", "description": "d", "default": 1, "x-own": 2, "type": "integer", "$schema": "s"}
    assert form(schema) == {"type": "integer"}


def test_an_object_with_properties_has_no_others() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": True}
    assert form(schema)["additionalProperties"] is False


def test_an_object_of_anything() -> None:
    assert form({"type": "object"}) == {"type": "object"}
    assert form({"type": "object", "additionalProperties": {"type": "null"}})["additionalProperties"] == {
        "type": "null"
    }
    assert form({"type": "object", "additionalProperties": False}) == {
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }


def test_an_object_without_properties_is_empty_unless_it_may_have_others() -> None:
    closed = {"type": "object", "properties": {}, "additionalProperties": False}
    assert form({"type": "object", "properties": {}}) == closed
    assert form({"type": "object", "properties": {}, "additionalProperties": True}) == {"type": "object"}


@pytest.mark.parametrize(
    ("part", "left"),
    [
        ({"type": ["string", "null"], "format": "uri"}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"type": "text", "not": {}}, {}),
    ],
)
def test_of_several_types_all_are_kept_and_of_unknown_ones_none(part: dict[str, Any], left: dict[str, Any]) -> None:
    assert form({"type": "object", "properties": {"a": part}}, strict=False)["properties"]["a"] == left


def test_a_schema_that_asserts_nothing_is_an_object() -> None:
    assert form({}) == {"type": "object"}


def test_types_may_be_several() -> None:
    assert form({"type": ["string", "null"], "minLength": 1})["anyOf"][1] == {"type": "null"}


def test_what_needs_no_type_is_of_the_type_it_describes() -> None:
    assert form({"properties": {"a": {}}, "required": ["a"]})["type"] == "object"
    assert form({"items": {"type": "null"}})["type"] == "array"


def test_references_lead_to_definitions() -> None:
    schema = {
        "$ref": "#/$defs/Node",
        "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}},
    }
    assert form(schema)["$defs"]["Node"]["properties"] == {"next": {"$ref": "#/$defs/Node"}}


def test_a_union_told_apart_by_a_constant_is_one_of() -> None:
    def kind(name: str) -> dict[str, Any]:
        return {"type": "object", "properties": {"kind": {"const": name}}, "required": ["kind"]}

    schema = {"oneOf": [kind("a"), {"$ref": "#/$defs/B"}], "$defs": {"B": kind("b")}}
    assert len(form(schema)["anyOf"]) == 2
    assert "oneOf" in refusal({"oneOf": [kind("a"), kind("a")]})
    assert "oneOf" in refusal({"oneOf": [{"type": "integer"}, {"type": "number"}]})


def test_only_values_of_the_type_are_chosen_from() -> None:
    assert form({"type": "string", "enum": ["a", 1, None]}) == {"enum": ["a"]}
    assert "enum" in refusal({"type": "string", "enum": [1]})
    assert form({"enum": [True, 1.5]}) == {"enum": [True, 1.5]}


@pytest.mark.parametrize(
    ("schema", "word"),
    [
        ({"not": {"type": "string"}}, "not"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "number", "multipleOf": 3}, "multipleOf"),
        ({"type": "object", "minProperties": 1}, "minProperties"),
        ({"type": "object", "patternProperties": {"a": {}}}, "patternProperties"),
        ({"type": "object", "required": ["a"]}, "required"),
        ({"type": "object", "properties": {'a"': {}}}, "name"),
        ({"type": "string", "format": "made-up"}, "format"),
        ({"type": "string", "pattern": "a.b"}, "pattern"),
        ({"type": "string", "pattern": '[^a]"'}, "pattern"),
        ({"type": "string", "pattern": "a+?"}, "pattern"),
        ({"type": "string", "pattern": "a?+"}, "pattern"),
        ({"type": "string", "pattern": "a{2,3}?"}, "pattern"),
        ({"type": "string", "pattern": "(?=a)a"}, "pattern"),
        ({"type": "string", "pattern": "(a{99}){99}"}, "counts"),
        ({"type": "string", "pattern": "a", "maxLength": 3}, "only one"),
        ({"type": "string", "maxLength": 100_000}, "maxLength"),
        ({"type": "integer", "minimum": 0.5}, "minimum"),
        ({"type": "integer", "pattern": "a"}, "pattern"),
        ({"minimum": 3}, "without a type"),
        ({"anyOf": [{"type": "string"}], "minLength": 3}, "beside"),
        ({"allOf": [{"type": "string"}, {"minLength": 3}]}, "allOf"),
        ({"$ref": "other.json"}, "$ref"),
        ({"const": 2**60}, "constant"),
        ({"type": "array", "items": [{}]}, "items"),
    ],
)
def test_what_cannot_be_enforced_is_refused_where_it_must_be(schema: Any, word: str) -> None:
    assert word in refusal({"type": "object", "properties": {"x": schema}, "$defs": {}})
    loose = form({"type": "object", "properties": {"x": schema}}, strict=False)
    kept = {key: schema[key] for key in ("type",) if key in schema}  # and nothing else of it
    assert loose["properties"] == {"x": kept | ({"items": {}} if kept == {"type": "array"} else {})}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"type": "object", "properties": []},
        {"type": "object", "required": "a"},
        {"type": "array", "minItems": 5, "maxItems": 2},
        {"type": "array", "items": False, "minItems": 1},
        {"type": "array", "minItems": -1},
        {"type": "string", "minLength": 5, "maxLength": 2},
        {"type": "string", "pattern": "("},
        {"type": "integer", "minimum": "a"},
        {"enum": []},
        {"anyOf": []},
        {"$ref": "#/$defs/nowhere"},
        {"$ref": "#"},
        {"anyOf": [{"$ref": "#"}, {"type": "string"}]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}},
        {"$defs": 3},
        {"properties": {"a": 3}},
        [],
        "text",
        3,
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_what_is_no_schema_is_refused(schema: Any, strict: bool) -> None:
    assert refusal(schema, strict).startswith("The schema is not valid")


def test_schemas_are_bounded() -> None:
    assert "bytes" in refusal({"description": "x" * MAX_BYTES})
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(50):
        deep = {"type": "array", "items": deep}
    assert "deeper" in refusal(deep)
    with pytest.raises(CallerError):
        enforceable("[" * 30_000, True, "response_format")


def test_a_type_counts_once_however_often_it_is_written() -> None:
    assert form({"type": ["string"] * 5000, "maxLength": 3}) == {"type": "string", "maxLength": 3}


def test_no_schema_takes_long() -> None:
    begun = time.process_time()
    assert "pattern" in refusal({"type": "string", "pattern": "(?:a)" * 18 + "."})
    both = {f"a{n}": {"anyOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(18)}
    assert form({"$ref": "#/$defs/a0", "$defs": both | {"a18": {"type": "string"}}})
    assert time.process_time() - begun < 0.15


def test_a_format_is_a_pattern() -> None:
    dates = re.compile(form({"type": "string", "format": "date"})["pattern"])
    assert dates.fullmatch("2024-02-28")
    assert not dates.fullmatch("2023-02-30")
    assert not dates.fullmatch("2023-13-01")


def test_the_whole_of_a_schema_is_bounded_not_only_each_part() -> None:
    def of(count: int, part: Any) -> Any:
        return {"type": "object", "properties": {f"p{n}": part for n in range(count)}}

    assert form(of(MAX_PARTS - 1, {"type": "string"}))
    assert "parts" in refusal(of(MAX_PARTS, {"type": "string"}))
    assert "parts" in refusal({"enum": list(range(VALUES_A_PART * MAX_PARTS))})
    most = MAX_ALL_REPEATS // MAX_LENGTH
    assert form(of(most, {"type": "string", "maxLength": MAX_LENGTH}))
    assert "counts" in refusal(of(most + 1, {"type": "string", "maxLength": MAX_LENGTH}))
    assert "counts" in refusal(of(3, {"type": "string", "pattern": "(a{30}){30}"}))
    left = form(of(most + 1, {"type": "string", "maxLength": MAX_LENGTH}), strict=False)
    assert left["properties"][f"p{most}"] == {}


@pytest.mark.parametrize("text", ["1e999", "-1e999", "NaN", "1" + "0" * 5000, "18446744073709551616"])
@pytest.mark.parametrize("keyword", ["const", "maximum"])
def test_numbers_beyond_what_is_exact_are_refused_whatever_they_are(keyword: str, text: str) -> None:
    with pytest.raises(CallerError):
        enforceable('{"type": "number", "' + keyword + '": ' + text + "}", True, "response_format")


def test_depth_is_bounded_in_constants_too() -> None:
    deep: Any = []
    for _ in range(MAX_DEPTH + 2):
        deep = [deep]
    assert "deeper" in refusal({"const": deep})


@pytest.mark.parametrize(
    ("patterns", "enforced"),
    [
        (["[a-z]{0,128}"], True),
        (["[a-z]{0,129}"], False),
        (["[a-z]{900}"], True),
        (["[a-z]{1,20}@[a-z]{1,20}"], True),
        (["(?:[a-z]{0,12} ){0,12}"], False),
        (["[a-z]?" * 128], True),
        (["[a-z]?" * 129], False),
        (["a" * 1001], False),
        (["[a-z]{0,80}", "[a-z]{0,80}"], True),  # one rule for both
        (["[a-z]{0,80}", "[a-y]{0,80}"], False),
    ],
)
def test_what_patterns_leave_open_is_bounded_because_all_wait_while_it_is_compiled(
    patterns: list[str], enforced: bool
) -> None:
    texts = {f"p{place}": {"type": "string", "pattern": pattern} for place, pattern in enumerate(patterns)}
    parts = {"type": "object", "properties": texts, "required": [*texts], "additionalProperties": False}
    if enforced:
        assert form(parts)
    else:
        assert refusal(parts)
        left = form(parts, strict=False)["properties"].values()
        assert list(left)[-1] == {"type": "string"}
