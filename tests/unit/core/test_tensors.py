"""Tensors as bytes and as JSON."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.tensors import MOST_TEXTS, Tensor, check, from_elements, from_json, to_json

INTEGERS = {f"{sign}INT{bits}": (sign, bits) for sign in ("", "U") for bits in (8, 16, 32, 64)}


def ends(datatype):
    sign, bits = INTEGERS[datatype]
    return (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def whole(datatype, elements):
    return Tensor("t", datatype, (len(elements),), from_json(datatype, elements))


@pytest.mark.parametrize("datatype", INTEGERS)
def test_integers_come_back_up_to_their_ends_and_no_further(datatype):
    low, high = ends(datatype)
    tensor = whole(datatype, [low, 0, high])
    check(tensor)
    assert list(to_json(tensor)) == [low, 0, high]
    for wrong in (low - 1, high + 1, 1.0, True, "1", None):
        with pytest.raises(ValueError, match="an element"):
            from_json(datatype, [wrong])


@pytest.mark.parametrize(
    ("datatype", "size", "large"), [("FP16", 2, 65504.0), ("FP32", 4, 2.0**100), ("FP64", 8, 1e300)]
)
def test_floats(datatype, size, large):
    tensor = whole(datatype, [0.5, -1, large])
    check(tensor)
    assert list(to_json(tensor)) == [0.5, -1, large]
    assert len(tensor.data) == 3 * size
    for wrong in (True, "1", None, 10**400):
        with pytest.raises(ValueError, match="an element"):
            from_json(datatype, [wrong])


def test_a_float_too_large_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        from_json("FP16", [1e6])


def test_bfloat16_is_the_upper_half_of_a_float():
    tensor = Tensor("t", "BF16", (3,), b"\x80\x3f\x00\xc0\x80\x7f")
    check(tensor)
    assert list(to_json(tensor)) == [1.0, -2.0, math.inf]
    with pytest.raises(ValueError, match="datatype"):
        from_json("BF16", [1.0])


def test_booleans():
    tensor = whole("BOOL", [True, False])
    assert tensor.data == b"\1\0"
    assert list(to_json(tensor)) == [True, False]
    with pytest.raises(ValueError, match="an element"):
        from_json("BOOL", [1])


def test_texts():
    tensor = whole("BYTES", ["é", ""])
    assert tensor.data == b"\2\0\0\0\xc3\xa9\0\0\0\0"
    check(tensor)
    assert to_json(tensor) == ["é", ""]
    with pytest.raises(ValueError, match="no text"):
        from_json("BYTES", [1])
    with pytest.raises(ValueError, match="utf-8"):
        to_json(Tensor("t", "BYTES", (1,), from_elements("BYTES", [b"\xff"])))


def test_nesting_is_even_or_refused():
    assert from_json("UINT8", [[[1], [2]], [[3], [4]]]) == b"\1\2\3\4"
    with pytest.raises(ValueError, match="unevenly"):
        from_json("UINT8", [[1], 2])


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "why"),
    [
        ("INT8", (2,), b"\0", "take"),
        ("INT8", (0,), b"\0", "take"),
        ("INT8", (-1, -1), b"\0", "negative"),
        ("INT9", (1,), b"\0", "datatype"),
        ("BYTES", (2,), b"\0\0\0\0", "do not fill"),
        ("BYTES", (1,), b"\5\0\0\0ab", "middle"),
        ("BYTES", (1,), b"\5\0", "middle"),
    ],
)
def test_what_does_not_fill_its_shape_is_refused(datatype, shape, data, why):
    with pytest.raises(ValueError, match=why):
        check(Tensor("t", datatype, shape, data))


def test_texts_are_bounded_before_they_are_looked_at():
    data = bytes(4) * (MOST_TEXTS + 1)
    check(Tensor("t", "BYTES", (MOST_TEXTS,), data[4:]))
    for count, why in ((MOST_TEXTS, "do not fill"), (MOST_TEXTS + 1, "at most"), (1, "do not fill")):
        with pytest.raises(ValueError, match=why):
            check(Tensor("t", "BYTES", (count,), data))
    with pytest.raises(ValueError, match="at most"):
        from_json("BYTES", [""] * (MOST_TEXTS + 1))


def test_data_is_not_shown():
    assert "secret" not in repr(whole("BYTES", ["secret"]))


def test_a_scalar_and_nothing_have_shapes_too():
    check(Tensor("t", "INT8", (), b"\1"))
    check(Tensor("t", "INT8", (3, 0), b""))


@given(st.binary(max_size=40), st.integers(0, 4))
def test_any_bytes_are_elements_or_refused(data, count):
    tensor = Tensor("t", "BYTES", (count,), data)
    try:
        check(tensor)
    except ValueError:
        return
    try:
        texts = to_json(tensor)
    except ValueError:
        return
    assert from_json("BYTES", texts) == data
