"""Builds Moonshine's graphs anew from its weights, for ragged batches on a CPU.

Three graphs: `encoder` turns one utterance into frames, `memory` turns the frames of a padded batch into every
decoder layer's keys and values, `decoder` takes one or many tokens of every row and gives the likeliest next one
after each.

Rules:
- A row never depends on its neighbours. The encoder runs one row at a time, so it may scale activations by tensor, as
  the published graph does; everything batched scales them by row.
- Weights are exactly the published ones (`moonshine_weights`), but for the second convolution, which becomes int8.
- The decoder's own keys and values live in buffers longer than needed. A row's length says how much of them counts,
  so rejecting a draft is a smaller number, and copies nothing.
- Logits stay inside: what comes out is the best token and its log-probability.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from antiphon.engines.moonshine_weights import Array, Linear, Weights, join, pad_heads, quantise, shift

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

LAYERS = 6
HEADS = 8
HEAD_SIZE = 36
WIDE_HEAD = 48  # the fused attention with positions wants heads in multiples of 16
WIDTH = HEADS * HEAD_SIZE
ROTARY = 32  # of a head's channels, this many carry the position
VOCABULARY = 32_768
MOST_POSITIONS = 1024
HOP_SAMPLES = 384  # one encoder frame
EDGE_SAMPLES = 512  # what the convolutions need beyond whole hops

_MS = "com.microsoft"
_FLOAT, _UINT8, _INT16, _INT32, _INT64 = 1, 2, 5, 6, 7


class _Graph:
    """Collects nodes and constants; methods return the name of what they produce."""

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

    def heads(self, x: str) -> str:
        """(B, T, WIDTH) -> (B, HEADS, T, HEAD_SIZE)"""
        return self.node("Transpose", self.reshape(x, 0, -1, HEADS, HEAD_SIZE), perm=[0, 2, 1, 3])

    def layer_norm(self, x: str, gain: Array) -> str:
        return self.node("LayerNormalization", x, self.constant(gain), axis=-1, epsilon=1e-5)

    def add_norm(self, x: str, change: str, gain: Array) -> tuple[str, str]:
        """The sum, normalised, and the sum itself. (The fused node for this is several times slower.)"""
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

    def by_row(self, x: str) -> tuple[tuple[str, str, str], str]:
        """x as uint8 around 128, one scale a row; and that scale."""
        peak = self.node("ReduceMax", self.node("Abs", x), self.constant(np.array([-1], np.int64)), keepdims=1)
        peak = self.node("Max", peak, self.constant(np.float32(1e-12)))
        q = self.node("QuantizeLinear", self.node("Div", x, peak), self._row_scale, self._row_zero)
        return (q, self._row_scale, self._row_zero), peak

    def row_product(self, x: tuple[tuple[str, str, str], str], layer: Linear) -> str:
        y = self.node("Mul", self.product(x[0], layer, biased=False), x[1])
        return y if layer.bias is None else self.node("Add", y, self.constant(layer.bias))

    def model(self, inputs: dict[str, tuple[int, list[Any]]], outputs: dict[str, int]) -> bytes:
        from onnx import helper

        graph = helper.make_graph(
            self._nodes,
            "moonshine",
            [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
            [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
            list(self._constants.values()),
        )
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid(_MS, 1)]
        return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def _rotations(frequencies: Array) -> tuple[Array, Array]:
    angles = np.arange(MOST_POSITIONS)[:, None] * frequencies.reshape(1, -1).astype(np.float64)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def encoder(weights: Weights, *, signed: bool) -> bytes:
    """`pcm` int16 (HOP_SAMPLES * frames + EDGE_SAMPLES,) -> `frames` float (1, frames, WIDTH)."""
    g = _Graph(signed=signed)
    x = _stem(g, weights)
    cos, sin = (g.constant(part) for part in _rotations(weights.tensor("onnx::Expand_202")))
    start = g.constant(np.array([0], np.int64))

    def turn(q: str) -> str:
        return g.node(
            "RotaryEmbedding",
            q,
            start,
            cos,
            sin,
            domain=_MS,
            interleaved=1,
            num_heads=HEADS,
            rotary_embedding_dim=ROTARY,
        )

    y = g.layer_norm(x, weights.tensor("layers.0.input_layernorm.weight"))
    for i in range(LAYERS):
        layer = f"/layers.{i}"
        qx = g.by_tensor(y)
        q, k, v = (
            g.product(qx, weights.linear(f"{layer}/self_attn/{part}_proj/MatMul_output_0")) for part in ("q", "k", "v")
        )
        a = g.node("MultiHeadAttention", turn(q), turn(k), v, domain=_MS, num_heads=HEADS, scale=HEAD_SIZE**-0.5)
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
    """The three convolutions as matrix products over overlapping windows, and the group norm between them.

    Strides and kernels (64, 127), (3, 7) and (2, 3) make every window a few whole strides and a rest, so that slices
    side by side are the windows. The group norm has one group: a mean and a deviation of everything, which commute
    with the second convolution, so that one reads the tanh values directly.
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

    gain, shift_by = weights.tensor("onnx::Mul_2080")[:, 0], weights.tensor("onnx::Add_2081")[:, 0]
    kernel = weights.tensor("conv2.weight_add_tensor").transpose(2, 1, 0)  # (7, in, out)
    second = (kernel * gain[:, None]).reshape(-1, kernel.shape[2])
    rest = np.einsum("kio,i->o", kernel, shift_by) + weights.tensor("conv2.bias")
    windows = g.node(
        "Concat",
        g.reshape(g.cut(x, 0, -4), -1, 3 * WIDTH),
        g.reshape(g.cut(x, 3, -1), -1, 3 * WIDTH),
        g.cut(x, 6, None, step=3),
        axis=1,
    )
    # By row: quiet sounds beside loud ones would not survive one scale for all.
    y = g.row_product(g.by_row(windows), quantise(second))
    centre = g.node("Sub", y, g.node("Mul", mean, g.constant(second.sum(0))))
    x = g.node("Gelu", g.node("Add", g.node("Div", centre, deviation), g.constant(rest)), domain=_MS)

    # Some of these channels are a hundred times the others: int8 would lose the rest.
    kernel = weights.tensor("conv3.weight_add_tensor").transpose(2, 1, 0)
    third = g.constant(kernel.reshape(-1, kernel.shape[2]))
    windows = g.node("Concat", g.reshape(g.cut(x, 0, -1), -1, 4 * WIDTH), g.cut(x, 2, None, step=2), axis=1)
    y = g.node("Add", g.node("MatMul", windows, third), g.constant(weights.tensor("conv3.bias")))
    return g.reshape(g.node("Gelu", y, domain=_MS), 1, -1, WIDTH)


def memory(weights: Weights, *, signed: bool) -> bytes:
    """`frames` float (B, T, WIDTH) -> `k0`, `v0`, ... float (B, HEADS, T, HEAD_SIZE)."""
    g = _Graph(signed=signed)
    x = g.by_row("frames")
    outputs = {}
    for i in range(LAYERS):
        for part in ("k", "v"):
            y = g.row_product(x, weights.linear(f"/model/decoder/layers.{i}/encoder_attn/{part}_proj/MatMul_output_0"))
            g.node("Identity", g.heads(y), outputs=(f"{part}{i}",))
            outputs[f"{part}{i}"] = _FLOAT
    return g.model({"frames": (_FLOAT, ["rows", "frames", WIDTH])}, outputs)


def decoder(weights: Weights, *, signed: bool) -> bytes:
    """One pass over `tokens` (B, S), which follow `last` - S + 1 earlier ones.

    Inputs: `tokens` int64 (B, S); `last` int32 (B,), the position of each row's last token; `longest` int32 (), the
    largest of them plus one; `wanted` int64 (N,), indices into the flattened tokens; `heard` int32 (B, T), 1 where a
    frame is real; `k*`, `v*` of `memory`; `pk*`, `pv*` float (B, HEADS, L, WIDE_HEAD), the buffers of own keys and
    values, to be bound as the outputs `nk*`, `nv*` too.
    Outputs: `best` int64 (N,) and `logprob` float (N,).
    """
    g = _Graph(signed=signed)
    stem = "/model/decoder"
    table = weights.tensor("model.decoder.embed_tokens.weight_merged_0_quantized")
    zero, scale = (
        g.constant(weights.tensor(f"model.decoder.embed_tokens.weight_merged_0_{part}").astype(np.float32))
        for part in ("zero_point", "scale")
    )
    x = g.node("Cast", g.node("Gather", g.constant(table), "tokens"), to=_FLOAT)
    x = g.node("Mul", g.node("Sub", x, zero), scale)
    cos, sin = (g.constant(part) for part in _rotations(weights.tensor("onnx::Expand_219")))
    y = g.layer_norm(x, weights.tensor("model.decoder.layers.0.input_layernorm.weight_merged_0"))
    inputs: dict[str, tuple[int, list[Any]]] = {
        "tokens": (_INT64, ["rows", "new"]),
        "last": (_INT32, ["rows"]),
        "longest": (_INT32, []),
        "wanted": (_INT64, ["wanted"]),
        "heard": (_INT32, ["rows", "frames"]),
    }
    outputs = {"best": _INT64, "logprob": _FLOAT}
    for i in range(LAYERS):
        layer = f"{stem}/layers.{i}"
        own = [weights.linear(f"{layer}/self_attn/{part}_proj/MatMul_output_0") for part in ("q", "k", "v")]
        qkv = g.row_product(g.by_row(y), join([pad_heads(part, HEADS, WIDE_HEAD) for part in own]))
        a = g.node(
            "GroupQueryAttention",
            *(qkv, "", "", f"pk{i}", f"pv{i}", "last", "longest", cos, sin),
            domain=_MS,
            outputs=(f"a{i}", f"nk{i}", f"nv{i}"),
            num_heads=HEADS,
            kv_num_heads=HEADS,
            scale=HEAD_SIZE**-0.5,
            do_rotary=1,
            rotary_interleaved=1,
        )
        o = weights.linear(f"{layer}/self_attn/o_proj/MatMul_output_0")
        change = g.row_product(g.by_row(a), pad_heads(o, HEADS, WIDE_HEAD, inputs=True))
        norm = f"model.decoder.layers.{i}.post_attention_layernorm.weight_merged_0"
        y, x = g.add_norm(x, change, weights.tensor(norm))
        q = g.row_product(g.by_row(y), weights.linear(f"{layer}/encoder_attn/q_proj/MatMul_output_0"))
        a = g.node(
            "MultiHeadAttention",
            *(q, f"k{i}", f"v{i}", "", "heard"),
            domain=_MS,
            num_heads=HEADS,
            scale=HEAD_SIZE**-0.5,
        )
        change = g.row_product(g.by_row(a), weights.linear(f"{layer}/encoder_attn/o_proj/MatMul_output_0"))
        y, x = g.add_norm(x, change, weights.tensor(f"model.decoder.layers.{i}.final_layernorm.weight_merged_0"))
        f = g.row_product(g.by_row(y), weights.linear(f"{layer}/mlp/fc1/Add_output_0"))
        value, gate = g.fork("Split", f, count=2, axis=-1, num_outputs=2)
        f = g.node("Mul", g.node("QuickGelu", gate, domain=_MS, alpha=1.0), value)
        f = g.row_product(g.by_row(f), weights.linear(f"{layer}/mlp/fc2/Add_output_0"))
        if i + 1 < LAYERS:
            y, x = g.add_norm(x, f, weights.tensor(f"model.decoder.layers.{i + 1}.input_layernorm.weight_merged_0"))
        else:
            x = g.node("Add", x, f)
        for part in "kv":
            inputs[f"{part}{i}"] = (_FLOAT, ["rows", HEADS, "frames", HEAD_SIZE])
            inputs[f"p{part}{i}"] = (_FLOAT, ["rows", HEADS, "room", WIDE_HEAD])
            outputs[f"n{part}{i}"] = _FLOAT
    _choose(g, weights, x)
    return g.model(inputs, outputs)


def _choose(g: _Graph, weights: Weights, x: str) -> None:
    """The best token and its log-probability, at the wanted places.

    The largest of a softmax is the chosen token's probability. An argmax over 32,768 is slow, so it is taken in two
    steps: the best block of 256, then the best inside it.
    """
    x = g.node("Gather", g.reshape(x, -1, WIDTH), "wanted")
    y = g.layer_norm(x, weights.tensor("model.decoder.norm.weight_merged_0"))
    logits = g.row_product(g.by_row(y), weights.linear("logits"))
    last = g.constant(np.array([-1], np.int64))
    peaks = g.node("ReduceMax", g.reshape(logits, 0, -1, 256), last, keepdims=0)
    block = g.node("ArgMax", peaks, axis=-1, keepdims=1)
    inside = g.node("GatherND", g.reshape(logits, 0, -1, 256), block, batch_dims=1)
    best = g.node("ArgMax", inside, axis=-1, keepdims=0)
    base = g.node("Mul", g.reshape(block, -1), g.constant(np.int64(256)))
    g.node("Add", base, best, outputs=("best",))
    top = g.node("ReduceMax", g.node("Softmax", logits, axis=-1), last, keepdims=0)
    g.node("Log", top, outputs=("logprob",))
