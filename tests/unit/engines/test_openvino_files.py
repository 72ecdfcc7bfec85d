"""What is read from a model's files: its context, its vocabulary; and the model of the prefix cache."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from antiphon.core.errors import CallerError
from antiphon.engines.openvino.gguf import UNKNOWN_CONTEXT_TOKENS, context_tokens, model_path
from antiphon.engines.openvino.messages import BLOCK_TOKENS, OpenVinoSettings
from antiphon.engines.openvino.prefixes import Prefixes
from antiphon.engines.openvino.vocabulary import vocabulary


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(*keys: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys)) + b"".join(keys)


NAME = text("general.name") + struct.pack("<I", 8) + text("a model")
TOKENS = text("tokenizer.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("bc")
SCORES = text("tokenizer.scores") + struct.pack("<IIQ", 9, 6, 2) + struct.pack("<ff", 1, 2)
CONTEXT = text("llama.context_length") + struct.pack("<II", 4, 8192)


def test_the_context_stands_among_other_keys(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf(NAME, TOKENS, SCORES, CONTEXT))
    assert context_tokens(path) == 8192
    path.write_bytes(gguf(NAME, TOKENS))
    assert context_tokens(path) == UNKNOWN_CONTEXT_TOKENS


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ValueError, match="not a GGUF"):
        context_tokens(path)
    path.write_bytes(gguf(text("key") + struct.pack("<I", 77)))
    with pytest.raises(ValueError, match="not a GGUF"):
        context_tokens(path)


def test_a_folder_says_it_in_its_configuration(tmp_path: Path) -> None:
    assert context_tokens(tmp_path) == UNKNOWN_CONTEXT_TOKENS
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 4096}')
    assert context_tokens(tmp_path) == 4096


def test_a_folder_may_hold_the_one_file(tmp_path: Path) -> None:
    assert model_path(tmp_path) == tmp_path
    (tmp_path / "a.gguf").touch()
    assert model_path(tmp_path) == tmp_path / "a.gguf"
    assert model_path(tmp_path / "a.gguf") == tmp_path / "a.gguf"


# -- the vocabulary ----------------------------------------------------------------------------------------------------


class _Ids:
    def __init__(self, ids: Sequence[int]) -> None:
        self.data = [self]
        self.ids = list(ids)
        self.input_ids = self

    def tolist(self) -> list[int]:
        return self.ids


class Tokenizer:
    """One token for each byte, written as its kind writes it, and a special one."""

    def __init__(self, written: Sequence[bytes], strange: bool = False) -> None:
        self._vocabulary = {token: number for number, token in enumerate(written)} | {b"<end>": 256}
        self._strange = strange

    def get_vocab(self) -> dict[bytes, int]:
        return self._vocabulary

    def encode(self, sample: str) -> _Ids:
        return _Ids(sample.encode())

    def decode(self, ids: list[int] | list[list[int]], skip_special_tokens: bool) -> str | list[str]:
        if ids and isinstance(ids[0], list):
            return ["" if row == [256] else "x" for row in ids]  # type: ignore[comparison-overlap]
        shown = bytes(ids).decode()  # type: ignore[arg-type]
        return shown.upper() if self._strange else shown


BYTES = [bytes([n]) for n in range(256)]
PIECES = ["\u2581".encode() if n == 32 else b"<0x%02X>" % n for n in range(256)]


@pytest.mark.parametrize("written", [BYTES, PIECES])
def test_tokens_are_bytes_however_they_are_written(written: list[bytes]) -> None:
    table = vocabulary(Tokenizer(written))
    assert table[:256] == BYTES
    assert table[256] == b""  # a special token is no text


def test_a_vocabulary_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        vocabulary(Tokenizer(BYTES, strange=True))


# -- the prefix cache --------------------------------------------------------------------------------------------------


def test_whole_blocks_of_a_text_are_found_again() -> None:
    prefixes = Prefixes(100)
    first = list(range(3 * BLOCK_TOKENS + 5))
    assert prefixes.cached(first) == 0
    prefixes.remember(first)
    assert prefixes.cached(first) == 3 * BLOCK_TOKENS
    assert prefixes.cached([*first[: 2 * BLOCK_TOKENS], 9, *first[2 * BLOCK_TOKENS :]]) == 2 * BLOCK_TOKENS
    assert prefixes.cached([9, *first]) == 0


def test_the_last_token_is_always_computed() -> None:
    prefixes = Prefixes(100)
    tokens = list(range(2 * BLOCK_TOKENS))
    prefixes.remember(tokens)
    assert prefixes.cached(tokens) == 2 * BLOCK_TOKENS - 1
    assert prefixes.cached([]) == 0


def test_what_was_used_least_recently_is_forgotten() -> None:
    prefixes = Prefixes(2)
    one, two, three = ([n] * (BLOCK_TOKENS + 1) for n in (1, 2, 3))
    prefixes.remember(one)
    prefixes.remember(two)
    prefixes.remember(one)
    prefixes.remember(three)
    assert [prefixes.cached(tokens) for tokens in (one, two, three)] == [BLOCK_TOKENS, 0, BLOCK_TOKENS]


def test_without_a_cache_nothing_is_found() -> None:
    prefixes = Prefixes(0)
    prefixes.remember([1] * 100)
    assert prefixes.cached([1] * 100) == 0


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"weights": "int4"}, "weights"),
        ({"kv_cache_gb": 0}, "kv_cache_gb"),
        ({"kv_cache_precision": "u2"}, "kv_cache_precision"),
        ({"eviction_tokens": 100, "prefix_caching": False}, "eviction_tokens"),
        ({"eviction_tokens": 256}, "prefix_caching"),
        ({"max_sequences": 600}, "max_sequences"),
        ({"threads": -1}, "threads"),
    ],
)
def test_settings_that_the_pipeline_would_break_on_are_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(CallerError) as refused:
        OpenVinoSettings(**fields)
    assert refused.value.param == param
