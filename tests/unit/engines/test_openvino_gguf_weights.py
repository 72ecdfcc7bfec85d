"""The 4-bit matrices of a GGUF file, found again in what the pipeline makes of them."""

import struct
from pathlib import Path

import numpy as np
import pytest

from antiphon.engines.openvino.gguf_weights import ExactWeights

RANDOM = np.random.default_rng(5)
HEADS = 4


def written(rows: int, columns: int) -> tuple[bytes, np.ndarray]:
    """A matrix in blocks of 32 with a scale and a minimum each: its bytes, and its values."""
    blocks = rows * columns // 32
    scales, minima = (RANDOM.uniform(low, high, blocks).astype(np.float16) for low, high in ((0.01, 0.1), (-1, 0)))
    integers = RANDOM.integers(0, 16, (blocks, 32)).astype(np.uint8)
    packed = integers[:, :16] | integers[:, 16:] << 4
    data = b"".join(s.tobytes() + m.tobytes() + p.tobytes() for s, m, p in zip(scales, minima, packed, strict=True))
    values = integers * scales.astype(np.float32)[:, None] + minima.astype(np.float32)[:, None]
    return data, values.reshape(rows, columns)


def rounded(values: np.ndarray) -> np.ndarray:
    """As the pipeline has it, with the minimum of each block a multiple of its scale."""
    blocks = values.reshape(-1, 32)
    low, high = blocks.min(axis=1, keepdims=True), blocks.max(axis=1, keepdims=True)
    step = (high - low) / 15
    return (np.rint((blocks - low) / step) * step + np.rint(low / step) * step).reshape(values.shape)


def file_of(path: Path, *matrices: tuple[bytes, np.ndarray]) -> Path:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    head = b"GGUF" + struct.pack("<IQQ", 3, len(matrices), 2)
    head += text("general.name") + struct.pack("<I", 8) + text("a model")
    head += text("llama.attention.head_count") + struct.pack("<II", 4, HEADS)
    start = 0
    for place, (data, values) in enumerate(matrices):
        rows, columns = values.shape
        head += text(f"blk.{place}") + struct.pack("<IQQIQ", 2, columns, rows, 3, start)
        start += len(data)
    path.write_bytes(head + bytes(-len(head) % 32) + b"".join(data for data, _ in matrices))
    return path


def test_what_was_rounded_is_as_the_file_has_it(tmp_path: Path) -> None:
    matrices = [written(64, 128) for _ in range(3)]
    weights = ExactWeights(file_of(tmp_path / "model.gguf", *matrices))
    for _, values in reversed(matrices):
        assert np.abs(rounded(values) - values).max() > 0.004
        np.testing.assert_allclose(weights.exact(rounded(values)), values, atol=1e-6)


def test_rows_that_are_rotated_in_pairs_are_found_in_their_order(tmp_path: Path) -> None:
    matrix, (_, values) = matrices = [written(64, 128) for _ in range(2)]
    weights = ExactWeights(file_of(tmp_path / "model.gguf", *matrices))
    reordered = values.reshape(HEADS, 8, 2, -1).swapaxes(1, 2).reshape(values.shape)
    np.testing.assert_allclose(weights.exact(rounded(reordered)), reordered, atol=1e-6)
    np.testing.assert_allclose(weights.exact(rounded(matrix[1])), matrix[1], atol=1e-6)


def test_a_matrix_of_another_source_stays(tmp_path: Path) -> None:
    weights = ExactWeights(file_of(tmp_path / "model.gguf", written(64, 128)))
    for other in (RANDOM.standard_normal((64, 128)), RANDOM.standard_normal((32, 64))):
        assert weights.exact(other.astype(np.float32)) is not None
        np.testing.assert_array_equal(weights.exact(other), other)


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ValueError, match="not a GGUF"):
        ExactWeights(tmp_path / "model.gguf")
