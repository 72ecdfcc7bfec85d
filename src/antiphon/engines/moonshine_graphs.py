"""Moonshine's graphs, rebuilt from its weights for ragged batches on a CPU.

Three graphs: `encoder` turns one utterance into frames, `memory` turns the frames of a padded batch into every decoder
layer's keys and values, `decoder` takes one or many tokens of every row and returns the likeliest next one after each.

Rules:

- A row never depends on its neighbours. The encoder runs one row at a time, so it may scale activations by tensor, as
  the published graph does; everything batched scales them by row.
- Weights are exactly the published ones (`moonshine_weights`), except for the second convolution, which becomes int8.
- The decoder's own keys and values are in buffers longer than needed. A row's length says how much of them counts, so
  rejecting a draft only changes a number and copies nothing.
- Logits stay inside: the outputs are the best token and its log-probability.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from antiphon.engines.moonshine_weights import Array, Linear, Weights, join, quantise, shift, take

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

LAYERS = 6
HEADS = 8
HEAD_SIZE = 36
WIDTH = HEADS * HEAD_SIZE
ROTARY = 32  # of a head's channels, this many carry the position
MOST_POSITIONS = 2048
HOP_SAMPLES = 384  # one encoder frame
FOLLOWING_LAYER, FOLLOWING_HEAD = 1, 3  # of all heads, the one whose attention follows the audio best
BLOCK = 256  # tokens are chosen block by block
EDGE_SAMPLES = 512  # what the convolutions need beyond whole hops

_MS = "com.microsoft"
_FLOAT, _INT16, _INT64 = 1, 5, 7


class _Graph:
    """Collects nodes and constants; methods return the names of their outputs."""

    def __init__(self, *, signed: bool) -> None:
        self._signed = signed
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}
        self._row_scale = self.constant(np.float32(1 / 127))
        self._row_zero = self.constant(np.uint8(128))

    def constant(self, value: Any) -> str:
        from onnx import numpy_helper

        name = f"c{len(self._constants)}"
        self._constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def node(self, kind: str, *inputs: str, domain: str = "", outputs: tuple[str, ...] = (), **attributes: Any) -> str:
        from onnx import helper

        names = outputs or (f"n{len(self._nodes)}",)
        self._nodes.append(helper.make_node(kind, inputs, names, domain=domain, **attributes))
        return names[0]

    def fork(self, kind: str, *inputs: str, count: int, domain: str = "", **attributes: Any) -> tuple[str, ...]:
        names = tuple(f"n{len(self._nodes)}_{i}" for i in range(count))
        self.node(kind, *inputs, domain=domain, outputs=names, **attributes)
        return names

    def reshape(self, x: str, *shape: int) -> str:
        return self.node("Reshape", x, self.constant(np.array(shape, np.int64)))

    def cut(self, x: str, start: int, end: int | None, axis: int = 0, step: int = 1) -> str:
        ends = np.iinfo(np.int64).max if end is None else end
        return self.node("Slice", x, *(self.constant(np.array([at], np.int64)) for at in (start, ends, axis, step)))

    def layer_norm(self, x: str, gain: Array) -> str:
        return self.node("LayerNormalization", x, self.constant(gain), axis=-1, epsilon=1e-5)

    def add_norm(self, x: str, change: str, gain: Array) -> tuple[str, str]:
        """Add a sum; returns it normalised, and itself. (The fused node is several times slower.)"""
        total = self.node("Add", x, change)
        return self.layer_norm(total, gain), total

    def by_tensor(self, x: str) -> tuple[str, str, str]:
        q, scale, zero = self.fork("DynamicQuantizeLinear", x, count=3)
        return q, scale, zero

    def product(self, x: tuple[str, str, str], layer: Linear, *, biased: bool = True) -> str:
        layer = shift(layer, signed=self._signed)
        same = bool((layer.scale == layer.scale[0]).all() and (layer.zero == layer.zero[0]).all())
        scale, zero = (self.constant(part[0] if same else part) for part in (layer.scale, layer.zero))
        bias = [self.constant(layer.bias)] if biased and layer.bias is not None else []
        q, by, around = x
        weights = self.constant(layer.q)
        return self.node("MatMulIntegerToFloat", q, weights, by, scale, around, zero, *bias, domain=_MS)

    def by_row(self, x: str, *, silent: bool = False) -> tuple[tuple[str, str, str], str]:
        """Quantise x to uint8 around 128, with one scale per row; also returns that scale. Set `silent` if a row may be
        all zeros.
        """
        peak = self.node("ReduceMax", self.node("Abs", x), self.constant(np.array([-1], np.int64)), keepdims=1)
        if silent:
            peak = self.node("Max", peak, self.constant(np.float32(1e-12)))
        q = self.node("QuantizeLinear", self.node("Div", x, peak), self._row_scale, self._row_zero)
        return (q, self._row_scale, self._row_zero), peak

    def row_product(self, x: tuple[tuple[str, str, str], str], layer: Linear) -> str:
        y = self.node("Mul", self.product(x[0], layer, biased=False), x[1])
        return y if layer.bias is None else self.node("Add", y, self.constant(layer.bias))

    def turn(self, x: str, positions: str, rotations: tuple[str, str], *, heads: int = HEADS) -> str:
        """Rotate each head of x (rows, tokens, heads * HEAD_SIZE) by its token's position."""
        return self.node(
            "RotaryEmbedding",
            *(x, positions, *rotations),
            domain=_MS,
            interleaved=1,
            num_heads=heads,
            rotary_embedding_dim=ROTARY,
        )

    def attend(self, q: str, k: str, v: str, *mask: str) -> str:
        """Add self-attention, all (rows, tokens, WIDTH). A boolean mask, if any, is (rows, 1, tokens, keys)."""
        return self.node("Attention", q, k, v, *mask, q_num_heads=HEADS, kv_num_heads=HEADS, scale=HEAD_SIZE**-0.5)

    def listen(self, q: str, k: str, v: str, lengths: str) -> str:
        """Add attention of q (rows, tokens, WIDTH) to keys and values from `by_head`, as many of them as each row
        has.
        """
        attention = self.node("Attention", self.by_head(q), k, v, "", "", "", lengths, scale=HEAD_SIZE**-0.5)
        return self.reshape(self.node("Transpose", attention, perm=(0, 2, 1, 3)), 0, 0, WIDTH)

    def by_head(self, x: str, *outputs: str) -> str:
        """Split heads: (rows, tokens, WIDTH) -> (rows, HEADS, tokens, HEAD_SIZE)."""
        return self.node("Transpose", self.reshape(x, 0, 0, HEADS, HEAD_SIZE), perm=(0, 2, 1, 3), outputs=outputs)

    def rotations(self, frequencies: Array) -> tuple[str, str]:
        angles = np.arange(MOST_POSITIONS)[:, None] * frequencies.reshape(1, -1).astype(np.float64)
        return self.constant(np.cos(angles).astype(np.float32)), self.constant(np.sin(angles).astype(np.float32))

    def model(self, inputs: dict[str, tuple[int, list[Any]]], outputs: dict[str, int]) -> bytes:
        from onnx import helper

        graph = helper.make_graph(
            self._nodes,
            "moonshine",
            [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
            [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
            list(self._constants.values()),
        )
        opsets = [helper.make_opsetid("", 24), helper.make_opsetid(_MS, 1)]
        return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=11).SerializeToString())


def encoder(weights: Weights, *, signed: bool) -> bytes:
    """Build the encoder: `pcm` int16 (HOP_SAMPLES * frames + EDGE_SAMPLES,) -> `frames` float (1, frames, WIDTH)."""
    g = _Graph(signed=signed)
    x = _stem(g, weights)
    rotations = g.rotations(weights.tensor("onnx::Expand_202"))
    start = g.constant(np.array([0], np.int64))
    y = g.layer_norm(x, weights.tensor("layers.0.input_layernorm.weight"))
    for i in range(LAYERS):
        layer = f"/layers.{i}"
        qx = g.by_tensor(y)
        q, k, v = (
            g.product(qx, weights.linear(f"{layer}/self_attn/{part}_proj/MatMul_output_0")) for part in ("q", "k", "v")
        )
        a = g.attend(g.turn(q, start, rotations), g.turn(k, start, rotations), v)
        o = g.product(g.by_tensor(a), weights.linear(f"{layer}/self_attn/o_proj/MatMul_output_0"))
        y, x = g.add_norm(x, o, weights.tensor(f"layers.{i}.post_attention_layernorm.weight"))
        f = g.product(g.by_tensor(y), weights.linear(f"{layer}/mlp/fc1/Add_output_0"))
        f = g.node("Gelu", f, domain=_MS)
        f = g.product(g.by_tensor(f), weights.linear(f"{layer}/mlp/fc2/Add_output_0"))
        gain = f"layers.{i + 1}.input_layernorm.weight" if i + 1 < LAYERS else "layer_norm.weight"
        y, x = g.add_norm(x, f, weights.tensor(gain))
    g.node("Identity", y, outputs=("frames",))
    return g.model({"pcm": (_INT16, ["samples"])}, {"frames": _FLOAT})


def _stem(g: _Graph, weights: Weights) -> str:
    """Add the three convolutions as matrix products over overlapping windows, and the group norm between them.

    With strides and kernels (64, 127), (3, 7) and (2, 3), every window is a few whole strides and a rest, so slices
    side by side are the windows. The group norm has one group: a mean and a deviation of everything, which commute with
    the second convolution, so that it reads the tanh values directly.
    """
    pcm = g.reshape(g.node("Cast", "pcm", to=_FLOAT), -1, 64)
    first = np.zeros((128, WIDTH), np.float32)
    first[:127] = weights.tensor("conv1.weight_add_tensor")[:, 0].T / 32768
    windows = g.node("Concat", g.cut(pcm, 0, -1), g.cut(pcm, 1, None), axis=1)
    x = g.node("Tanh", g.node("MatMul", windows, g.constant(first)))
    mean = g.node("ReduceMean", x, keepdims=0)
    square = g.node("ReduceMean", g.node("Mul", x, x), keepdims=0)
    variance = g.node("Sub", square, g.node("Mul", mean, mean))
    deviation = g.node("Sqrt", g.node("Add", variance, g.constant(np.float32(1e-5))))

    gain, offset = weights.tensor("onnx::Mul_2080")[:, 0], weights.tensor("onnx::Add_2081")[:, 0]
    kernel = weights.tensor("conv2.weight_add_tensor").transpose(2, 1, 0)  # (7, in, out)
    constant = np.einsum("kio,i->o", kernel, offset) + weights.tensor("conv2.bias")
    means = np.einsum("kio,i->o", kernel, gain)
    # Gains first, and not into the kernel: they show which channels matter, and int8 preserves large values.
    x = g.node("Mul", x, g.constant(gain))
    windows = g.node(
        "Concat",
        g.reshape(g.cut(x, 0, -4), -1, 3 * WIDTH),
        g.reshape(g.cut(x, 3, -1), -1, 3 * WIDTH),
        g.cut(x, 6, None, step=3),
        axis=1,
    )
    # By row: quiet sounds beside loud ones would be lost with one scale for all.
    y = g.row_product(g.by_row(windows, silent=True), quantise(kernel.reshape(-1, kernel.shape[2])))
    centre = g.node("Sub", y, g.node("Mul", mean, g.constant(means)))
    x = g.node("Gelu", g.node("Add", g.node("Div", centre, deviation), g.constant(constant)), domain=_MS)

    # Some of these channels are a hundred times larger than the others, which int8 would lose.
    kernel = weights.tensor("conv3.weight_add_tensor").transpose(2, 1, 0)
    third = g.constant(kernel.reshape(-1, kernel.shape[2]))
    windows = g.node("Concat", g.reshape(g.cut(x, 0, -1), -1, 4 * WIDTH), g.cut(x, 2, None, step=2), axis=1)
    y = g.node("Add", g.node("MatMul", windows, third), g.constant(weights.tensor("conv3.bias")))
    return g.reshape(g.node("Gelu", y, domain=_MS), 1, -1, WIDTH)


def memory(weights: Weights, *, signed: bool) -> bytes:
    """Build the memory: `frames` float (B, T, WIDTH) -> `k0`, `v0`, ... float (B, HEADS, T, HEAD_SIZE) of each decoder
    layer.

    Every pass of the decoder reads all of it, which is faster if each head's keys are contiguous.
    """
    g = _Graph(signed=signed)
    x = g.by_row("frames", silent=True)
    outputs = {}
    for i in range(LAYERS):
        for part in ("k", "v"):
            y = g.row_product(x, weights.linear(f"/model/decoder/layers.{i}/encoder_attn/{part}_proj/MatMul_output_0"))
            g.by_head(y, f"{part}{i}")
            outputs[f"{part}{i}"] = _FLOAT
    return g.model({"frames": (_FLOAT, ["rows", "frames", WIDTH])}, outputs)


def decoder(weights: Weights, kept: Array, *, signed: bool) -> bytes:
    """Build the decoder: one pass over N new tokens of B rows, at most S in a row. Only `kept` tokens, whole blocks of
    them, are chosen. Linear layers see the tokens packed, without padding; attention sees them as (B, S).

    Inputs, int64: `tokens` (N,); `cells` (N, 2), where each token is in (B, S); `positions` (B, S); `sources` (B, S),
    the token in each cell, any for an empty one; `past` (B,), how many tokens came before; `lengths` (B,), the frames
    of each row; `wanted` (M,), the tokens after which to choose the next.

    Inputs, float: `k*`, `v*` of `memory`; `pk*`, `pv*` (B, L, WIDTH), buffers of the rows' own keys and values, to be
    bound as the outputs `nk*`, `nv*` too; beyond a row's length they are never read.

    Outputs: `best` int64 (M,), `logprob` float (M,), and `query` float (N, HEAD_SIZE), of the head that follows the
    audio.
    """
    g = _Graph(signed=signed)
    table = weights.tensor("model.decoder.embed_tokens.weight_merged_0_quantized")
    zero, scale = (
        g.constant(weights.tensor(f"model.decoder.embed_tokens.weight_merged_0_{part}").astype(np.float32))
        for part in ("zero_point", "scale")
    )
    x = g.node("Cast", g.node("Gather", g.constant(table), "tokens"), to=_FLOAT)
    x = g.node("Mul", g.node("Sub", x, zero), scale)
    rotations = g.rotations(weights.tensor("onnx::Expand_219"))
    mask = _causal(g)
    inputs: dict[str, tuple[int, list[Any]]] = {
        "tokens": (_INT64, ["new"]),
        "positions": (_INT64, ["rows", "widest"]),
        "cells": (_INT64, ["new", 2]),
        "sources": (_INT64, ["rows", "widest"]),
        "past": (_INT64, ["rows"]),
        "lengths": (_INT64, ["rows"]),
        "wanted": (_INT64, ["wanted"]),
    }
    outputs = {"best": _INT64, "logprob": _FLOAT, "query": _FLOAT}

    def packed(x: str) -> str:
        return g.node("GatherND", x, "cells")

    y = g.layer_norm(x, weights.tensor("model.decoder.layers.0.input_layernorm.weight_merged_0"))
    for i in range(LAYERS):
        layer = f"/model/decoder/layers.{i}"
        gain = f"model.decoder.layers.{i}.%s_layernorm.weight_merged_0"
        own = {part: weights.linear(f"{layer}/self_attn/{part}_proj/MatMul_output_0") for part in "qkvo"}
        cross = {part: weights.linear(f"{layer}/encoder_attn/{part}_proj/MatMul_output_0") for part in "qo"}
        qkv = g.node("Gather", g.row_product(g.by_row(y), join([own["q"], own["k"], own["v"]])), "sources")
        qk, v = g.fork("Split", qkv, g.constant(np.array([2 * WIDTH, WIDTH])), count=2, axis=-1)
        q, k = g.fork("Split", g.turn(qk, "positions", rotations, heads=2 * HEADS), count=2, axis=-1, num_outputs=2)
        for part, new in (("k", k), ("v", v)):
            g.node("TensorScatter", f"p{part}{i}", new, "past", outputs=(f"n{part}{i}",), axis=1)
            inputs[f"{part}{i}"] = (_FLOAT, ["rows", HEADS, "frames", HEAD_SIZE])
            inputs[f"p{part}{i}"] = (_FLOAT, ["rows", "room", WIDTH])
            outputs[f"n{part}{i}"] = _FLOAT
        change = g.row_product(g.by_row(packed(g.attend(q, f"nk{i}", f"nv{i}", mask))), own["o"])
        y, x = g.add_norm(x, change, weights.tensor(gain % "post_attention"))
        q = g.row_product(g.by_row(y), cross["q"])
        if i == FOLLOWING_LAYER:
            at = FOLLOWING_HEAD * HEAD_SIZE
            g.node("Identity", g.cut(q, at, at + HEAD_SIZE, axis=1), outputs=("query",))
        q = g.node("Gather", q, "sources")
        change = g.row_product(g.by_row(packed(g.listen(q, f"k{i}", f"v{i}", "lengths"))), cross["o"])
        y, x = g.add_norm(x, change, weights.tensor(gain % "final"))
        f = g.row_product(g.by_row(y), weights.linear(f"{layer}/mlp/fc1/Add_output_0"))
        value, gate = g.fork("Split", f, count=2, axis=-1, num_outputs=2)
        f = g.node("Mul", g.node("QuickGelu", gate, domain=_MS, alpha=1.0), value)
        f = g.row_product(g.by_row(f), weights.linear(f"{layer}/mlp/fc2/Add_output_0"))
        if i + 1 < LAYERS:
            y, x = g.add_norm(x, f, weights.tensor(f"model.decoder.layers.{i + 1}.input_layernorm.weight_merged_0"))
        else:
            _choose(g, weights, kept, g.node("Add", x, f))
    return g.model(inputs, outputs)


def _causal(g: _Graph) -> str:
    """Return the mask (B, 1, S, L): whether a cell's token may attend to a buffer's position."""

    def upto(tensor: str, axis: int) -> str:
        size = g.node("Shape", tensor, start=axis, end=axis + 1)
        return g.node("Range", zero, g.node("Squeeze", size), g.constant(np.int64(1)))

    zero = g.constant(np.int64(0))
    latest = g.node("Add", g.reshape("past", -1, 1, 1, 1), g.reshape(upto("sources", 1), -1, 1))
    return g.node("LessOrEqual", upto("pk0", 1), latest)


def _choose(g: _Graph, weights: Weights, kept: Array, x: str) -> None:
    """Add the best token and its log-probability, at the wanted places.

    An argmax over tens of thousands is slow, so it takes two steps: the best block of 256, then the best in it.
    """
    x = g.node("Gather", x, "wanted")
    y = g.layer_norm(x, weights.tensor("model.decoder.norm.weight_merged_0"))
    logits = g.row_product(g.by_row(y), take(weights.linear("logits"), kept))
    last = g.constant(np.array([-1], np.int64))
    blocks = g.reshape(logits, 0, -1, BLOCK)
    block = g.node("ArgMax", g.node("ReduceMax", blocks, last, keepdims=0), axis=-1, keepdims=1)
    inside = g.node("ArgMax", g.node("GatherND", blocks, block, batch_dims=1), axis=-1, keepdims=1)
    best = g.node("Add", g.node("Mul", block, g.constant(np.int64(BLOCK))), inside)
    chance = g.node("GatherElements", g.node("Softmax", logits, axis=-1), best, axis=1)
    g.node("Gather", g.constant(kept), g.reshape(best, -1), outputs=("best",))
    g.node("Log", g.reshape(chance, -1), outputs=("logprob",))
