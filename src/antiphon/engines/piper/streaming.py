"""Rewrites a graph of convolutions so that it runs piece by piece, and the pieces joined are what one run gives.

A convolution needs its neighbours: cut anywhere, it would need them computed again. Here every convolution keeps the
end of what it was given for the next piece instead, so nothing is computed twice. What comes out of it lags by half its
width; where two branches meet, the one that lags less is held back. Zeros are padded only at the beginning of the whole
(the states' first values) and at its end (`last`), inside every layer as in one run: what differs is rounding.

A graph is refused (`ValueError`) if it does anything else along time.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[np.float32]

LAST = "last"
_ALL = 1 << 40  # an end beyond every end
_ALONG = {"LeakyRelu", "Tanh", "Sigmoid", "Relu", "Neg", "Exp", "Identity", "Unsqueeze"}
_MEETING = {"Add", "Sub", "Mul", "Div", "Concat"}
_AXES = {"Slice", "Split"}


@dataclass(frozen=True, slots=True)
class Streamed:
    """A model with an input `source`, of shape (1, channels, frames); `LAST`, int64 (1,), 1 with the last piece and 0
    before; those `inputs` of the original that it also depends on; and `states`, by name, with their first values. Its
    outputs are `result` and the states that the next piece wants, in order. A piece of n frames gives n * `hop`
    samples; the first gives `lag` fewer, the last as many more.
    """

    model: bytes
    source: str
    result: str
    inputs: tuple[str, ...]
    states: dict[str, Array]
    hop: int
    lag: int


def streamed(model: onnx.ModelProto, source: str, result: str) -> Streamed:
    """The part of `model` from the tensor `source` to its output `result`. What else goes into that part, and does not
    come from the model's inputs of one value per call, is taken for a mask, which is 1 everywhere.
    """
    return _Rewriting(model, source).finished(result)


class _Rewriting:
    def __init__(self, model: onnx.ModelProto, source: str) -> None:
        self._model = model
        self._source = source
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._makers = {output: node for node in model.graph.node for output in node.output}
        self._inputs = {value.name: value for value in model.graph.input}
        self._used: dict[str, None] = {}
        self._kept: dict[str, onnx.TensorProto] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._lags = {source: 0}  # of the tensors that grow with time, in their own steps
        self._rates = {source: 1}  # their steps to one of the source
        self._shapes: set[str] = set()
        self._still: dict[str, str] = {}  # tensors that do not, by what stands for them here
        self._states: dict[str, Array] = {}
        self._next: list[str] = []
        self._tails: dict[tuple[int, int], str] = {}

    def finished(self, result: str) -> Streamed:
        for node in self._model.graph.node:
            if any(name in self._lags or name in self._shapes for name in node.input):
                self._take(node)
        if result not in self._lags:
            raise ValueError(f"{result} does not come from {self._source}")
        floats = onnx.TensorProto.FLOAT
        inputs = [
            helper.make_tensor_value_info(self._source, floats, [1, None, None]),
            helper.make_tensor_value_info(LAST, onnx.TensorProto.INT64, [1]),
            *(self._inputs[name] for name in self._used),
            *(helper.make_tensor_value_info(name, floats, [1, x.shape[1], None]) for name, x in self._states.items()),
        ]
        outputs = [helper.make_tensor_value_info(name, floats, None) for name in (result, *self._next)]
        graph = helper.make_graph(self._nodes, "streamed", inputs, outputs, list(self._kept.values()))
        made = helper.make_model(graph, opset_imports=self._model.opset_import, ir_version=self._model.ir_version)
        hop, lag = self._rates[result], self._lags[result]
        return Streamed(made.SerializeToString(), self._source, result, tuple(self._used), self._states, hop, lag)

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def _take(self, node: onnx.NodeProto) -> None:
        match node.op_type:
            case "Shape":
                self._shapes.update(node.output)
            case "ConstantOfShape" if node.input[0] in self._shapes:
                value = _attributes(node).get("value")
                filled = np.zeros(1, np.float32) if value is None else numpy_helper.to_array(value)
                self._still[node.output[0]] = self._constant(filled.reshape(()))
            case "Conv":
                self._convolve(node)
            case "ConvTranspose":
                self._spread(node)
            case kind if kind in _MEETING:
                self._meet(node)
            case kind if kind in _ALONG or (kind in _AXES and self._axis(node) == 1):
                self._copy(node, [node.input[0], *map(self._stand_in, node.input[1:])], node.input[0])
            case kind:
                raise ValueError(f"{kind} cannot be run in pieces")

    def _axis(self, node: onnx.NodeProto) -> int:
        if node.op_type == "Split":
            return int(_attributes(node).get("axis", 0))
        axes = self._value(node.input[3]) if len(node.input) > 3 else np.array([0])
        return int(axes[0]) if axes.size == 1 else -1

    def _copy(self, node: onnx.NodeProto, inputs: list[str], like: str, lag: int | None = None) -> None:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        del copy.input[:]
        copy.input.extend(inputs)
        self._nodes.append(copy)
        for output in node.output:
            self._lags[output] = self._lags[like] if lag is None else lag
            self._rates[output] = self._rates[like]

    def _convolve(self, node: onnx.NodeProto) -> None:
        """Every output that its input so far allows."""
        x, *weights = node.input
        given = _attributes(node)
        weight = numpy_helper.to_array(self._weights[weights[0]])
        dilation, group = (given.get("dilations") or [1])[0], given.get("group", 1)
        reach, odd = divmod((weight.shape[2] - 1) * dilation, 2)
        pads = list(given.get("pads") or [0, 0])
        if odd or pads != [reach, reach] or (given.get("strides") or [1]) != [1]:
            raise ValueError("a convolution that is not symmetric cannot be run in pieces")
        channels = weight.shape[1] * group
        if reach:
            seen = self._node("Concat", self._state(channels, reach), x, self._tail(channels, reach), axis=2)
            self._hold(seen, 2 * reach)
        else:
            seen = x
        names = [seen, *map(self._stand_in, weights)]
        made = helper.make_node(
            "Conv", names, node.output, kernel_shape=[weight.shape[2]], dilations=[dilation], group=group, pads=[0, 0]
        )
        self._nodes.append(made)
        self._lags[node.output[0]] = self._lags[x] + reach
        self._rates[node.output[0]] = self._rates[x]

    def _spread(self, node: onnx.NodeProto) -> None:
        """A step becomes `stride` steps, and reaches into those of the next one: each output wants two inputs."""
        x, *weights = node.input
        given = _attributes(node)
        weight = numpy_helper.to_array(self._weights[weights[0]])
        (stride,), width, pads = given["strides"], weight.shape[2], list(given.get("pads") or [0, 0])
        pad = pads[0]
        if width != 2 * stride or pads != [pad, pad] or 2 * pad != stride or given.get("group", 1) != 1:
            raise ValueError("such a transposed convolution cannot be run in pieces")
        before = self._state(weight.shape[0], 0)
        seen = self._node("Concat", before, x, axis=2)
        self._hold(seen, 1)
        names = [seen, *map(self._stand_in, weights)]
        whole = self._node("ConvTranspose", *names, kernel_shape=[width], strides=[stride], pads=[0, 0])
        seen_before = self._node("Shape", before, start=2, end=3)  # 0 at the beginning, then 1
        start = self._sum(pad, seen_before, stride - pad)
        end = self._sum(-stride, LAST, stride - pad)
        self._nodes.append(helper.make_node("Slice", [whole, start, end, self._axis_2()], node.output))
        self._lags[node.output[0]] = self._lags[x] * stride + pad
        self._rates[node.output[0]] = self._rates[x] * stride

    def _meet(self, node: onnx.NodeProto) -> None:
        if node.op_type == "Concat" and _attributes(node)["axis"] != 1:
            raise ValueError("joining along time cannot be done in pieces")
        moving = [name for name in node.input if name in self._lags]
        if not moving:  # of constants that had the shape of something that moves
            copied = self._node(node.op_type, *map(self._stand_in, node.input))
            self._still[node.output[0]] = copied
            return
        if len({self._rates[name] for name in moving}) > 1:
            raise ValueError("branches of different rates meet")
        lag = max(self._lags[name] for name in moving)
        inputs = [
            self._held(name, lag - self._lags[name]) if name in self._lags else self._stand_in(name)
            for name in node.input
        ]
        self._copy(node, inputs, moving[0], lag)

    def _held(self, x: str, steps: int) -> str:
        """x, `steps` later."""
        if not steps:
            return x
        channels = self._channels(x)
        seen = self._node("Concat", self._state(channels, 0), x, axis=2)
        self._hold(seen, steps)
        begin = self._constant(np.array([0], np.int64))
        return self._node("Slice", seen, begin, self._sum(-steps, LAST, _ALL), self._axis_2())

    # -- tensors -------------------------------------------------------------------------------------------------------

    def _node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"streamed_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def _constant(self, value: Any) -> str:
        name = f"constant_{len(self._kept)}"
        self._kept[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def _axis_2(self) -> str:
        return self._constant(np.array([2], np.int64))

    def _sum(self, constant: int, x: str, factor: int) -> str:
        """constant + factor * x, int64 (1,)."""
        product = self._node("Mul", x, self._constant(np.array([factor], np.int64)))
        return self._node("Add", product, self._constant(np.array([constant], np.int64)))

    def _state(self, channels: int, steps: int) -> str:
        name = f"state_{len(self._states)}"
        self._states[name] = np.zeros((1, channels, steps), np.float32)
        return name

    def _hold(self, seen: str, steps: int) -> None:
        """The end of it is the last state's next value."""
        ends = (self._constant(np.array([at], np.int64)) for at in (-steps, _ALL))
        self._next.append(self._node("Slice", seen, *ends, self._axis_2()))

    def _tail(self, channels: int, steps: int) -> str:
        """The zeros after the end: none before the last piece."""
        if (channels, steps) not in self._tails:
            sides = self._constant(np.array([1, channels], np.int64))
            shape = self._node("Concat", sides, self._sum(0, LAST, steps), axis=0)
            self._tails[channels, steps] = self._node("ConstantOfShape", shape)
        return self._tails[channels, steps]

    def _channels(self, x: str) -> int:
        """How many channels a tensor of the original graph has."""
        node = self._makers.get(x)
        if node is None or x == self._source:
            raise ValueError("the channels are not known")
        match node.op_type:
            case "Conv":
                return int(self._weights[node.input[1]].dims[0])
            case "ConvTranspose":
                return int(self._weights[node.input[1]].dims[1])
            case "Split":
                return int(self._value(node.input[1])[list(node.output).index(x)])
            case "Slice":
                start, end, _, *step = (int(self._value(name)[0]) for name in node.input[1:])
                return len(range(self._channels(node.input[0]))[start : end : step[0] if step else 1])
            case "Concat":
                return sum(self._channels(name) for name in node.input)
        moving = next(name for name in node.input if name in self._lags)
        return self._channels(moving)

    def _value(self, name: str) -> Any:
        if name in self._weights:
            return numpy_helper.to_array(self._weights[name])
        return numpy_helper.to_array(_attributes(self._makers[name])["value"])

    def _stand_in(self, name: str) -> str:
        """What stands for a tensor that does not grow with time: itself, with all it comes from, or 1 for a mask."""
        if not name:
            return ""
        if name not in self._still:
            self._still[name] = name if self._bring(name) else self._constant(np.float32(1))
        return self._still[name]

    def _bring(self, name: str) -> bool:
        """Copies what a tensor comes from. Returns false, and copies nothing, if it comes from a sequence."""
        nodes, seen, found = [], {name}, [name]
        for tensor in found:
            if tensor in self._inputs:
                shape = self._inputs[tensor].type.tensor_type.shape
                if len(shape.dim) != 1:
                    return False
            elif tensor in self._makers:
                node = self._makers[tensor]
                nodes.append(node)
                found += [each for each in node.input if each and each not in seen]
                seen.update(node.input)
        made = {output for node in self._nodes for output in node.output}
        self._nodes += sorted((node for node in nodes if node.output[0] not in made), key=self._order)
        self._used |= {each: None for each in found if each in self._inputs}
        self._kept |= {each: self._weights[each] for each in found if each in self._weights}
        return True

    def _order(self, node: onnx.NodeProto) -> int:
        return next(i for i, each in enumerate(self._model.graph.node) if each is node)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
