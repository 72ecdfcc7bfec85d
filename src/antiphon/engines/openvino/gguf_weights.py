"""A GGUF file's 4-bit matrices, exactly as in the file.

Its blocks of 32 weights have a scale and a minimum (ggml's Q4_1). The pipeline converts them to 4 bits with an integer
zero point, that is, with the minimum rounded to a multiple of the scale. This adds an error of a quarter of a step on
average, as large as that of the file's own rounding, and SmolLM2-135M answers a greeting with the same greeting without
end. If a model is rewritten anyway, it is rewritten from the file's own values.

Which matrix of the file belongs to one of the pipeline's is found by comparing values.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from antiphon.engines.openvino.gguf import Tensor, contents

Matrix = NDArray[np.float32]

_Q4_1 = 3
_BLOCK = 32
_BLOCK_BYTES = 20  # a scale and a minimum of 16 bits each, and 32 weights of 4
_NEAR = 0.25  # of a matrix's norm; conversions of the same values are within 0.1, any other beyond 1


class ExactWeights:
    """The 4-bit matrices of one GGUF file, each returned once."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises `ValueError` if it is not GGUF."""
        numbers, tensors = contents(path)
        self._bytes = np.memmap(path, np.uint8, "r")
        self._left = [tensor for tensor in tensors if tensor.kind == _Q4_1 and len(tensor.shape) == 2]
        endings = (".attention.head_count", ".attention.head_count_kv")
        self._heads = sorted({value for key, value in numbers.items() if key.endswith(endings)})

    def exact(self, matrix: Matrix) -> Matrix:
        """Return the file's matrix that this one was made from; if there is none, this one."""
        for tensor in self._left:
            if tensor.shape != matrix.shape:
                continue
            for heads in (0, *self._heads):
                if self._is_near(tensor, heads, matrix):
                    self._left.remove(tensor)
                    return _ordered(self._rows(tensor, len(matrix)), heads)
        return matrix

    def _is_near(self, tensor: Tensor, heads: int, matrix: Matrix) -> bool:
        """Return whether the tensor holds the matrix. `heads` is 0 if its rows are in the file's own order."""
        rows = len(matrix) // max(heads, 1)
        if heads and (rows % 2 or len(matrix) % heads):
            return False
        part = matrix[:rows] if heads else matrix[:_BLOCK]
        difference = _ordered(self._rows(tensor, len(part)), min(heads, 1)) - part
        return bool(np.linalg.norm(difference) < _NEAR * np.linalg.norm(part))

    def _rows(self, tensor: Tensor, count: int) -> Matrix:
        """Return the first `count` rows."""
        columns = tensor.shape[1]
        size = count * columns // _BLOCK * _BLOCK_BYTES
        blocks = self._bytes[tensor.start : tensor.start + size].reshape(-1, _BLOCK_BYTES)
        scales, minima = blocks[:, :4].copy().view(np.float16).astype(np.float32).T
        halves = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
        return np.asarray(halves * scales[:, None] + minima[:, None], np.float32).reshape(count, columns)


def _ordered(matrix: Matrix, heads: int) -> Matrix:
    """Return rows in the pipeline's order: Llama files have each rotated pair side by side, the pipeline half a head
    apart.
    """
    if not heads:
        return matrix
    return matrix.reshape(heads, len(matrix) // heads // 2, 2, -1).swapaxes(1, 2).reshape(matrix.shape)
