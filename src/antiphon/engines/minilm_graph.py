"""MiniLM's graph, a BERT encoder, built from its weights: ragged batches of token ids in, unit vectors out.

Rules:

- Exact: the published float weights, no quantisation, the exact GELU.
- Linear layers see the tokens packed, without padding; only attention sees them as (rows, widest), and attends to as
  many keys as each row has.
- The mean over a row's tokens, normalised, equals their normalised sum; and that is a matrix product, so that it needs
  no padding either.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

Array = NDArray[Any]
Weights = Mapping[str, Array]

LAYERS = 6
HEADS = 12
WIDTH = 384
HEAD_SIZE = WIDTH // HEADS
EPSILON = 1e-12

_MS = "com.microsoft"
_FLOAT, _INT64 = 1, 7


class _Graph:
    """Collects nodes and constants; `node` returns the name of what it produces."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, value: Array) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, *inputs: str, domain: str = "", out: str = "", **attributes: Any) -> str:
        from onnx import helper

        name = out or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], domain=domain, **attributes))
        return name

    def weight(self, name: str) -> str:
        return self.constant(self._weights[name])

    def norm(self, x: str, name: str) -> str:
        gain, bias = (self.weight(f"{name}.LayerNorm.{part}") for part in ("weight", "bias"))
        return self.node("LayerNormalization", x, gain, bias, axis=-1, epsilon=EPSILON)

    def linear(self, x: str, *names: str) -> str:
        """Add one or more layers of the same input, side by side."""
        matrix = np.concatenate([self._weights[f"{name}.weight"].T for name in names], axis=1)
        bias = np.concatenate([self._weights[f"{name}.bias"] for name in names])
        return self.node("Gemm", x, self.constant(matrix), self.constant(bias))

    def attend(self, qkv: str) -> str:
        """Add attention: (tokens, 3 * WIDTH) -> (tokens, WIDTH)."""
        from onnx import helper

        names = [f"{part}{len(self.nodes)}" for part in "qkv"]
        padded = self.node("Gather", qkv, "sources")
        by_head = self.node("Reshape", padded, self.constant(np.array([0, 0, 3 * HEADS, HEAD_SIZE])))
        by_head = self.node("Transpose", by_head, perm=(0, 2, 1, 3))
        self.nodes.append(helper.make_node("Split", [by_head], names, axis=1, num_outputs=3))
        attention = self.node("Attention", *names, "", "", "", "lengths", scale=HEAD_SIZE**-0.5)
        attention = self.node("Transpose", attention, perm=(0, 2, 1, 3))
        attention = self.node("Reshape", attention, self.constant(np.array([0, 0, WIDTH])))
        return self.node("GatherND", attention, "cells")


def encoder(weights: Weights) -> bytes:
    """Build the graph for one batch of B rows, N tokens in all, at most S in a row.

    Inputs, int64: `tokens` (N,); `positions` (N,), each token's place in its row; `cells` (N, 2), its place in (B, S);
    `sources` (B, S), the token in each cell, any for an empty one; `lengths` (B,). Input, float: `members` (B, N), 1 at
    each of a row's tokens, else 0.

    Output: `vectors` float (B, WIDTH), of length 1. Raises `KeyError` if a weight is missing.
    """
    from onnx import helper

    g = _Graph(weights)
    positions = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    words = g.node("Gather", g.weight("embeddings.word_embeddings.weight"), "tokens")
    x = g.node("Add", words, g.node("Gather", g.constant(positions), "positions"))
    x = g.norm(x, "embeddings")
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}"
        attention = g.attend(g.linear(x, *(f"{layer}.attention.self.{part}" for part in ("query", "key", "value"))))
        change = g.linear(attention, f"{layer}.attention.output.dense")
        x = g.norm(g.node("Add", x, change), f"{layer}.attention.output")
        wide = g.node("Gelu", g.linear(x, f"{layer}.intermediate.dense"), domain=_MS)
        x = g.norm(g.node("Add", x, g.linear(wide, f"{layer}.output.dense")), f"{layer}.output")
    total = g.node("MatMul", "members", x)
    g.node("LpNormalization", total, out="vectors", axis=-1, p=2)

    def value(name: str, kind: int, *shape: str | int) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    inputs = [
        value("tokens", _INT64, "tokens"),
        value("positions", _INT64, "tokens"),
        value("cells", _INT64, "tokens", 2),
        value("sources", _INT64, "rows", "widest"),
        value("lengths", _INT64, "rows"),
        value("members", _FLOAT, "rows", "tokens"),
    ]
    graph = helper.make_graph(g.nodes, "minilm", inputs, [value("vectors", _FLOAT, "rows", WIDTH)], g.constants)
    opsets = [helper.make_opsetid("", 24), helper.make_opsetid(_MS, 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=11).SerializeToString())
