"""Graphs cut into pieces give what they give whole. The graphs are small, and have what the real ones have."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from antiphon.engines.piper.streaming import LAST, Array, Streamed, streamed
from antiphon.engines.piper.vocoder import FRAMES, vocoder

CHANNELS = 4
FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


class Build:
    """A model with inputs `sequence` int64 (1, length), of which a mask is made, `sid` int64 (1,) and `noise`."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(3)
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        mask = self.node("Cast", "sequence", to=FLOAT)
        ones = self.node("Add", self.node("Mul", mask, self.constant(np.float32(0))), self.constant(np.float32(1)))
        self.mask = self.node("Unsqueeze", ones, self.constant(np.array([1])))
        table = self.constant(self._random.standard_normal((3, CHANNELS)).astype(np.float32))
        speaker = self.node("Unsqueeze", self.node("Gather", table, "sid"), self.constant(np.array([-1])))
        self.speaker = self.conv(speaker, 1)
        self.source = self.node("Identity", "noise")

    def constant(self, value: Any) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, kind: str, *inputs: str, outputs: int = 1, **given: Any) -> str:
        name = f"n{len(self._nodes)}"
        names = [name, *(f"{name}_{i}" for i in range(1, outputs))]
        self._nodes.append(helper.make_node(kind, inputs, names, **given))
        return name

    def weight(self, *shape: int) -> str:
        return self.constant(self._random.standard_normal(shape).astype(np.float32) / 2)

    def conv(self, x: str, width: int, dilation: int = 1, **given: Any) -> str:
        pad = (width - 1) * dilation // 2
        given = {"kernel_shape": [width], "dilations": [dilation], "pads": [pad, pad], "strides": [1]} | given
        return self.node("Conv", x, self.weight(CHANNELS, CHANNELS, width), self.weight(CHANNELS), **given)

    def wider(self, x: str, stride: int) -> str:
        weights = (self.weight(CHANNELS, CHANNELS, 2 * stride), self.weight(CHANNELS))
        given = {"kernel_shape": [2 * stride], "pads": [stride // 2, stride // 2], "strides": [stride]}
        return self.node("ConvTranspose", x, *weights, **given)

    def slice(self, x: str, start: int, end: int, axis: int, step: int = 1) -> str:
        return self.node("Slice", x, *(self.constant(np.array([at])) for at in (start, end, axis, step)))

    def model(self, result: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes,
            "small",
            [
                helper.make_tensor_value_info("sequence", INT64, [1, None]),
                helper.make_tensor_value_info("sid", INT64, [1]),
                helper.make_tensor_value_info("noise", FLOAT, [1, CHANNELS, None]),
            ],
            [helper.make_tensor_value_info(result, FLOAT, None)],
            self._weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def run(model: bytes | onnx.ModelProto, inputs: dict[str, Any]) -> list[Array]:
    data = model if isinstance(model, bytes) else model.SerializeToString()
    results: list[Array] = onnxruntime.InferenceSession(data).run(None, inputs)
    return results


def flow(b: Build) -> str:
    """A coupling as a flow has it: halves, a gated layer, a skip beside a residual, zeros shaped like something."""
    flipped = b.slice(b.source, -1, -1000, 1, -1)
    half = CHANNELS // 2
    kept = b.node("Split", flipped, b.constant(np.array([half, half])), outputs=2, axis=1)
    changed = f"{kept}_1"
    x = b.node("Mul", b.node("Concat", kept, kept, axis=1), b.mask)
    inside = b.node("Add", b.conv(x, 5), b.speaker)
    zeros = b.node("ConstantOfShape", b.node("Shape", inside))
    gated = b.node("Mul", b.node("Tanh", b.node("Add", inside, zeros)), b.node("Sigmoid", b.conv(x, 3, 2)))
    skip = b.conv(gated, 1)
    x = b.node("Mul", b.node("Add", x, skip), b.mask)
    x = b.node("Add", b.conv(x, 7, 3), skip)
    like = b.node("ConstantOfShape", b.node("Shape", b.slice(x, 0, half, 1)))
    ones = b.node("Exp", b.node("Neg", like))
    shift = b.node("Mul", b.node("Mul", b.slice(x, 0, half, 1), ones), b.mask)
    return b.node("Concat", kept, b.node("Sub", changed, shift), axis=1)


class Small:
    """A flow, whole and in pieces."""

    def __init__(self) -> None:
        b = Build()
        result = flow(b)
        model = b.model(result)
        self.cut: Streamed = streamed(model, b.source, result)
        self._whole = onnxruntime.InferenceSession(model.SerializeToString())
        self._pieces = onnxruntime.InferenceSession(self.cut.model)

    def whole(self, x: Array, speaker: int) -> Array:
        length = np.zeros((1, x.shape[2]), np.int64)
        (result,) = self._whole.run(None, {"sequence": length, "sid": np.array([speaker]), "noise": x})
        return np.asarray(result)

    def pieces(self, x: Array, speaker: int, sizes: list[int]) -> list[Array]:
        states, at, results = self.cut.states, 0, []
        while at < x.shape[2]:
            size = (sizes.pop(0) if sizes else 5) + (self.cut.lag if at == 0 else 0)
            end = min(at + size, x.shape[2])
            given = {self.cut.source: x[:, :, at:end], LAST: np.array([int(end == x.shape[2])]), **states}
            result, *after = self._pieces.run(None, {**given, "sid": np.array([speaker])})
            states = dict(zip(states, after, strict=True))
            results.append(result)
            at = end
        return results


@pytest.fixture(scope="module")
def small() -> Small:
    return Small()


@settings(max_examples=60)
@given(length=st.integers(1, 80), sizes=st.lists(st.integers(1, 20), max_size=12), speaker=st.integers(0, 2))
def test_pieces_joined_are_the_whole(small: Small, length: int, sizes: list[int], speaker: int) -> None:
    x = np.random.default_rng(length).standard_normal((1, CHANNELS, length)).astype(np.float32)
    joined = np.concatenate(small.pieces(x, speaker, sizes), axis=2)
    np.testing.assert_allclose(joined, small.whole(x, speaker), atol=2e-5)


def test_each_piece_brings_as_much_as_it_is_given_but_for_the_lag(small: Small) -> None:
    x = np.ones((1, CHANNELS, small.cut.lag + 17), np.float32)
    assert small.cut.lag == 2 + 9
    assert [piece.shape[2] for piece in small.pieces(x, 0, [4, 5, 5])] == [4, 5, 5, 3 + small.cut.lag]
    assert small.cut.inputs == ("sid",)


def test_what_comes_later_does_not_change_what_was_given(small: Small) -> None:
    x = np.zeros((1, CHANNELS, 60), np.float32)
    y = x.copy()
    y[:, :, 40:] = 1
    first, other = small.pieces(x, 0, [8, 8, 8]), small.pieces(y, 0, [8, 8, 8])
    np.testing.assert_array_equal(first[0], other[0])
    assert abs(first[-1] - other[-1]).max() > 0.01


@pytest.mark.parametrize(
    "broken",
    [
        lambda b: b.node("Softmax", b.source, axis=2),
        lambda b: b.slice(b.source, 0, 3, 2),
        lambda b: b.node("Concat", b.source, b.source, axis=2),
        lambda b: b.conv(b.source, 3, pads=[2, 0]),
        lambda b: b.conv(b.source, 2),
        lambda b: b.conv(b.source, 3, strides=[2]),
        lambda b: b.speaker,
    ],
)
def test_a_graph_that_does_something_else_along_time_is_refused(broken: Callable[[Build], str]) -> None:
    b = Build()
    result = broken(b)
    model = b.model(result)
    with pytest.raises(ValueError, match=r"pieces|come from"):
        streamed(model, b.source, result)


def sounds(b: Build) -> str:
    """A small vocoder: wider twice, with branches of different reach."""
    x = b.node("Add", b.conv(b.source, 7), b.speaker)
    x = b.wider(b.node("LeakyRelu", x, alpha=0.1), 4)
    near, far = b.conv(x, 3), b.node("Add", b.conv(b.conv(x, 5, 2), 7, 3), x)
    x = b.node("Div", b.node("Add", near, far), b.constant(np.float32(2)))
    return b.node("Tanh", b.conv(b.wider(x, 2), 7))


def test_a_window_gives_the_samples_of_the_whole() -> None:
    b = Build()
    result = sounds(b)
    model = b.model(result)
    cut = vocoder(model, b.source, result)
    assert (cut.hop, cut.channels, cut.inputs) == (8, CHANNELS, ("sid",))
    x = np.random.default_rng(0).standard_normal((1, CHANNELS, 60)).astype(np.float32)
    speaker = np.array([2])
    (whole,) = run(model, {"sequence": np.zeros((1, 60), np.int64), "sid": speaker, "noise": x})
    for start, end in ((0, 24), (20, 50), (36, 60)):
        (part,) = run(cut.model, {FRAMES: x[:, :, None, start:end], "sid": speaker})
        first, last = (start + cut.halo) * (start > 0), end - cut.halo * (end < 60)
        window = part[:, :, 0, (first - start) * cut.hop : (last - start) * cut.hop]
        np.testing.assert_allclose(window, whole[:, :, first * cut.hop : last * cut.hop], atol=2e-5)
    (near,) = run(cut.model, {FRAMES: x[:, :, None, 20:50], "sid": speaker})
    edge = (cut.halo - 3) * cut.hop  # the halo is no larger than it must be, or by little
    assert (
        abs(near[0, :, 0, edge : edge + cut.hop] - whole[0, :, 20 * cut.hop + edge : 21 * cut.hop + edge]).max() > 1e-4
    )


def test_a_result_that_does_not_come_from_the_frames_is_refused() -> None:
    b = Build()
    with pytest.raises(ValueError, match="does not come from"):
        vocoder(b.model(b.speaker), b.source, b.speaker)
