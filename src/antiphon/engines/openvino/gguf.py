"""How long a text a model was made for: from a GGUF file's header, or from the configuration beside OpenVINO files.

The header (GGUF specification, version 2 and later) is a run of keys with typed values, little-endian.
"""

import json
import struct
from pathlib import Path
from typing import BinaryIO

UNKNOWN_CONTEXT_TOKENS = 2048  # where a model does not say

_MAGIC = b"GGUF"
_UINT32, _STRING, _ARRAY, _UINT64 = 4, 8, 9, 10
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_MOST_KEYS = 10_000
_LONGEST_KEY = 65_535


def model_path(path: Path) -> Path:
    """What the pipeline loads: a folder of OpenVINO files, or a GGUF file, which a folder may hold."""
    found = sorted(path.glob("*.gguf")) if path.is_dir() else []
    return found[0] if len(found) == 1 else path


def context_tokens(path: Path) -> int:
    """Of a GGUF file or a folder of OpenVINO files. Raises `ValueError` for a file that is not GGUF."""
    if path.is_dir():
        config = path / "config.json"
        found = json.loads(config.read_text()).get("max_position_embeddings") if config.is_file() else None
        return found if isinstance(found, int) else UNKNOWN_CONTEXT_TOKENS
    with path.open("rb") as file:
        if file.read(4) != _MAGIC:
            raise ValueError(f"{path.name} is not a GGUF file")
        _, _, keys = struct.unpack("<IQQ", file.read(20))
        for _ in range(min(keys, _MOST_KEYS)):
            key = file.read(min(_number(file, 8), _LONGEST_KEY)).decode()
            kind = _number(file, 4)
            if kind not in (_STRING, _ARRAY, *_SIZES):
                raise ValueError(f"{path.name} is not a GGUF file of a version that is known")
            if key.endswith(".context_length") and kind in (_UINT32, _UINT64):
                return _number(file, _SIZES[kind])
            _skip(file, kind)
    return UNKNOWN_CONTEXT_TOKENS


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
