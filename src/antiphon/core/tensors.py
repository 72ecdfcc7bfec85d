"""Tensors of the Open Inference Protocol: named, typed, shaped, with contiguous bytes.

The bytes are row-major and little-endian. An element of `BYTES` is its length in four bytes, then its bytes; a `BOOL`
is one byte. Tensors are passed on unchanged, except when a protocol writes them as JSON.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from math import prod
from typing import Any

BYTES = "BYTES"
BF16 = "BF16"  # the upper half of an FP32; it has no struct code
_CODES = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
_SIZES = {"BOOL": 1, "UINT8": 1, "INT8": 1, "UINT16": 2, "INT16": 2, "FP16": 2, BF16: 2, "FP64": 8} | {
    name: int(name[-2:]) // 8 for name in ("UINT32", "INT32", "FP32", "UINT64", "INT64")
}
_LENGTH_BYTES = 4
MOST_TEXTS = 100_000  # elements of one tensor: checking them blocks the event loop
PIECE = 16_384  # elements that are converted at once: other threads wait for that

Parameter = bool | int | float | str
Parameters = tuple[tuple[str, Parameter], ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor; `data` is as described in the module. `parameters` are between the caller and the model."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes = field(repr=False)
    parameters: Parameters = ()


@dataclass(frozen=True, slots=True)
class TensorForm:
    """An input or output of a model; a dimension of -1 may have any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelForm:
    """A model's description of itself. `versions` may be requested by name."""

    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorForm, ...]
    outputs: tuple[TensorForm, ...]


def check(tensor: Tensor) -> None:
    """Raise `ValueError` for an unknown datatype, or data that does not fill the shape exactly."""
    if any(size < 0 for size in tensor.shape):
        raise ValueError("a dimension is negative")
    count = prod(tensor.shape)
    if tensor.datatype == BYTES:
        if count > MOST_TEXTS:
            raise ValueError(f"a tensor has at most {MOST_TEXTS} elements of {BYTES}")
        held = len(_split(tensor.data, count))
        if held != count:
            raise ValueError(f"its elements do not fill its shape, which has {count}")
        return
    size = _SIZES.get(tensor.datatype)
    if size is None:
        raise ValueError(f"the datatype is none of {', '.join([*_SIZES, BYTES])}")
    if len(tensor.data) != count * size:
        raise ValueError(f"{len(tensor.data)} bytes do not fill its shape, which takes {count * size}")


def from_json(datatype: str, data: Sequence[Any]) -> bytes:
    """Convert JSON elements, flat or evenly nested, to bytes. Raises `ValueError` as `from_elements` does."""
    elements: Sequence[Any] = data
    while any(isinstance(element, list) for element in elements):
        if not all(isinstance(element, list) for element in elements):
            raise ValueError("its data is nested unevenly")
        elements = list(chain.from_iterable(elements))
    if datatype == BYTES:
        if not all(isinstance(element, str) for element in elements):
            raise ValueError("an element is no text")
        elements = [element.encode() for element in elements]
    return from_elements(datatype, elements)


def from_elements(datatype: str, elements: Sequence[Any]) -> bytes:
    """Convert elements (of `BYTES`: bytes) to contiguous bytes. Raises `ValueError` for one that does not fit the
    datatype, and for BF16, which has no element form.
    """
    if datatype == BYTES:
        if len(elements) > MOST_TEXTS:
            raise ValueError(f"a tensor has at most {MOST_TEXTS} elements of {BYTES}")
        return b"".join(len(element).to_bytes(_LENGTH_BYTES, "little") + element for element in elements)
    code = _CODES.get(datatype)
    if code is None:
        raise ValueError(f"the datatype of elements is one of {', '.join([*_CODES, BYTES])}")
    kinds = (bool,) if code == "?" else (int, float) if code in "efd" else (int,)
    if not all(type(element) in kinds for element in elements):
        raise ValueError(f"an element is no {datatype}")
    pieces = (elements[at : at + PIECE] for at in range(0, len(elements), PIECE))
    try:
        return b"".join(struct.pack(f"<{len(piece)}{code}", *piece) for piece in pieces)
    except (struct.error, OverflowError):
        raise ValueError(f"an element does not fit into {datatype}") from None


def to_json(tensor: Tensor) -> Sequence[Any]:
    """Return the elements, flat, of a tensor that passed `check`. Raises `ValueError` for bytes that are not text."""
    if tensor.datatype == BYTES:
        return [element.decode() for element in _split(tensor.data, prod(tensor.shape))]
    if tensor.datatype == BF16:
        wide = bytearray(2 * len(tensor.data))
        wide[2::4], wide[3::4] = tensor.data[::2], tensor.data[1::2]
        return struct.unpack(f"<{len(wide) // 4}f", wide)
    return struct.unpack(f"<{prod(tensor.shape)}{_CODES[tensor.datatype]}", tensor.data)


def json_pieces(tensor: Tensor) -> Iterator[Sequence[Any]]:
    """Yield the elements that `to_json` returns, some at a time. Raises as it does."""
    if tensor.datatype == BYTES:
        yield to_json(tensor)
        return
    size = PIECE * _SIZES[tensor.datatype]
    for at in range(0, len(tensor.data), size):
        data = tensor.data[at : at + size]
        yield to_json(replace(tensor, shape=(len(data) // _SIZES[tensor.datatype],), data=data))


def _split(data: bytes, count: int) -> list[bytes]:
    """Return the elements of a `BYTES` tensor, at most `count` + 1. Raises `ValueError` for data that ends in the
    middle of one.
    """
    elements: list[bytes] = []
    at = 0
    while at < len(data) and len(elements) <= count:
        end = at + _LENGTH_BYTES
        length = int.from_bytes(data[at:end], "little")
        if end + length > len(data):
            raise ValueError("its data ends in the middle of an element")
        elements.append(data[end : end + length])
        at = end + length
    return elements
