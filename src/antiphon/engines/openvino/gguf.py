"""Data read from a model's files beside the pipeline: its context length, from a GGUF file's header or the
configuration beside OpenVINO files, and the positions of a GGUF file's tensors.

The header (GGUF specification, version 2 and later) is a sequence of keys with typed values, little-endian.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

UNKNOWN_CONTEXT_TOKENS = 2048  # if a model does not say

_MAGIC = b"GGUF"
_UINT32, _STRING, _ARRAY, _UINT64 = 4, 8, 9, 10
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_MOST_KEYS = 10_000
_LONGEST_KEY = 65_535
_MOST_TENSORS = 100_000
_TENSOR_COUNT = 8  # its position
_ALIGNMENT = 32


def model_path(path: Path) -> Path:
    """Return what the pipeline loads: a folder of OpenVINO files, or a GGUF file, which may be in a folder."""
    found = sorted(path.glob("*.gguf")) if path.is_dir() else []
    return found[0] if len(found) == 1 else path


def context_tokens(path: Path) -> int:
    """Return the context length of a GGUF file or a folder of OpenVINO files, in tokens. Raises `ValueError` for a file
    that is not GGUF.
    """
    if path.is_dir():
        config = path / "config.json"
        found = json.loads(config.read_text()).get("max_position_embeddings") if config.is_file() else None
        return found if isinstance(found, int) else UNKNOWN_CONTEXT_TOKENS
    with path.open("rb") as file:
        for key, value in _numbers(file, path.name):
            if key.endswith(".context_length") and value is not None:
                return value
    return UNKNOWN_CONTEXT_TOKENS


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor's bytes start in the file, and what they are: `kind` is a number of ggml's (`enum ggml_type`),
    `shape` has the rows first.
    """

    start: int
    kind: int
    shape: tuple[int, ...]


def contents(path: Path) -> tuple[dict[str, int], list[Tensor]]:
    """Return the integers among a GGUF file's keys, and its tensors in order. Raises `ValueError` for another file."""
    with path.open("rb") as file:
        file.seek(_TENSOR_COUNT)
        count = _number(file, 8)
        file.seek(0)
        numbers = {key: value for key, value in _numbers(file, path.name) if value is not None}
        found = []  # of what follows the keys
        for _ in range(min(count, _MOST_TENSORS)):
            file.seek(_number(file, 8), 1)  # its name
            shape = tuple(_number(file, 8) for _ in range(_number(file, 4)))
            kind = _number(file, 4)
            found.append(Tensor(_number(file, 8), kind, shape[::-1]))
        aligned = numbers.get("general.alignment", _ALIGNMENT)
        data = -(-file.tell() // aligned) * aligned
    return numbers, [replace(tensor, start=data + tensor.start) for tensor in found]


def _numbers(file: BinaryIO, name: str) -> Iterator[tuple[str, int | None]]:
    """Yield each key, with its value if that is an integer of 32 or 64 bits. Raises `ValueError`."""
    if file.read(4) != _MAGIC:
        raise ValueError(f"{name} is not a GGUF file")
    _, _, keys = struct.unpack("<IQQ", file.read(20))
    for _ in range(min(keys, _MOST_KEYS)):
        key = file.read(min(_number(file, 8), _LONGEST_KEY)).decode()
        kind = _number(file, 4)
        if kind not in (_STRING, _ARRAY, *_SIZES):
            raise ValueError(f"{name} is not a GGUF file of a supported version")
        if kind in (_UINT32, _UINT64):
            yield key, _number(file, _SIZES[kind])
        else:
            _skip(file, kind)
            yield key, None


def _number(file: BinaryIO, size_bytes: int) -> int:
    return int.from_bytes(file.read(size_bytes), "little")


def _skip(file: BinaryIO, kind: int) -> None:
    if kind == _STRING:
        file.seek(_number(file, 8), 1)
    elif kind == _ARRAY:
        element, count = _number(file, 4), _number(file, 8)
        if element in _SIZES:
            file.seek(_SIZES[element] * count, 1)
        else:
            for _ in range(count):
                _skip(file, element)
    else:
        file.seek(_SIZES[kind], 1)
