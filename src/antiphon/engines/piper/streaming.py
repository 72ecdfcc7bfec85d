"""Rewriting of a graph of convolutions so that it runs piece by piece; the joined pieces equal the result of one run.

A convolution needs its neighbours: wherever it is cut, they would be computed again. Here every convolution keeps the
end of its input for the next piece instead, so nothing is computed twice. Its output lags by half its width; where two
branches meet, the one that lags less is delayed. Zeros are padded only at the beginning of the whole (the states' first
values) and at its end (`last`), inside every layer as in one run; the only differences are from rounding.

A graph that does anything else along time is refused (`ValueError`).
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
_ALONG = {"Tanh", "Sigmoid"}
_MEETING = {"Add", "Sub", "Mul", "Neg", "Exp", "Concat"}


@dataclass(frozen=True, slots=True)
class Streamed:
    """A model with an input `source`, of shape (1, channels, frames); `LAST`, int64 (1,), 1 with the last piece and 0
    before; those `inputs` of the original that it depends on; and `states`, by name, with their first values. Its
    outputs are the result and the states for the next piece, in order. A piece of n frames gives n; the first gives
    `lag` fewer, the last as many more.
    """

    model: bytes
    source: str
    inputs: tuple[str, ...]
    states: dict[str, Array]
    lag: int


def streamed(model: onnx.ModelProto, source: str, result: str) -> Streamed:
    """Return the part of `model` from the tensor `source` to the tensor `result`. Its other inputs must be constants,
    single numbers, or masks, which count as 1 everywhere. Raises `ValueError`.
    """
    return _Rewriting(model, source).until(result)


class Graph:
    """The nodes, inputs and weights of a model, for several rewritings."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes: list[onnx.NodeProto] = list(model.graph.node)
        self.inputs = {value.name: value for value in model.graph.input}
        self.weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self.makers = {output: i for i, node in enumerate(self.nodes) for output in node.output}

    def value(self, name: str) -> Any:
        """Return the value of a constant."""
        if name in self.weights:
            return numpy_helper.to_array(self.weights[name])
        return numpy_helper.to_array(attributes(self.nodes[self.makers[name]])["value"])

    def sources(self, name: str) -> tuple[list[onnx.NodeProto], list[str]]:
        """Return the nodes that a tensor depends on, in order, and their inputs and weights."""
        found, ends, nodes = [name], [], set()
        for tensor in found:
            if tensor in self.makers:
                nodes.add(self.makers[tensor])
                found += [each for each in self.nodes[self.makers[tensor]].input if each and each not in found]
            else:
                ends.append(tensor)
        return [self.nodes[i] for i in sorted(nodes)], ends


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


class _Rewriting:
    def __init__(self, model: onnx.ModelProto, source: str) -> None:
        self._model = model
        self._source = source
        self._graph = Graph(model)
        self._used: dict[str, None] = {}  # inputs of the original
        self._kept: dict[str, onnx.TensorProto] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._lags = {source: 0}  # of the tensors that grow with time
        self._shapes: set[str] = set()
        self._still: dict[str, str] = {}  # tensors that do not, with their replacement here
        self._states: dict[str, Array] = {}
        self._next: list[str] = []
        self._tails: dict[tuple[int, int], str] = {}

    def until(self, result: str) -> Streamed:
        for node in self._graph.nodes:
            known = self._lags.keys() | self._shapes | self._still.keys()
            if result not in self._lags and any(name in known for name in node.input):
                self._take(node)
        if result not in self._lags:
            raise ValueError(f"{result} does not come from {self._source}")
        floats = onnx.TensorProto.FLOAT
        inputs = [
            helper.make_tensor_value_info(self._source, floats, [1, None, None]),
            helper.make_tensor_value_info(LAST, onnx.TensorProto.INT64, [1]),
            *(self._graph.inputs[name] for name in self._used),
            *(helper.make_tensor_value_info(name, floats, [1, x.shape[1], None]) for name, x in self._states.items()),
        ]
        outputs = [helper.make_tensor_value_info(name, floats, None) for name in (result, *self._next)]
        graph = helper.make_graph(self._nodes, "streamed", inputs, outputs, list(self._kept.values()))
        made = helper.make_model(graph, opset_imports=self._model.opset_import, ir_version=self._model.ir_version)
        return Streamed(made.SerializeToString(), self._source, tuple(self._used), self._states, self._lags[result])

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def _take(self, node: onnx.NodeProto) -> None:
        match node.op_type:
            case "Shape":
                self._shapes.update(node.output)
            case "ConstantOfShape" if node.input[0] in self._shapes:
                value = attributes(node).get("value")
                filled = np.zeros(1, np.float32) if value is None else numpy_helper.to_array(value)
                self._still[node.output[0]] = self._constant(filled.reshape(()))
            case "Conv" if node.input[0] in self._lags:
                self._convolve(node)
            case kind if kind in _MEETING:
                self._meet(node)
            case kind if kind in _ALONG or (kind in ("Slice", "Split") and self._axis(node) == 1):
                self._copy(node, [node.input[0], *map(self._stand_in, node.input[1:])], self._lags[node.input[0]])
            case kind if any(name in self._lags or name in self._shapes for name in node.input):
                raise ValueError(f"{kind} cannot be run in pieces")

    def _axis(self, node: onnx.NodeProto) -> int:
        if node.op_type == "Split":
            return int(attributes(node).get("axis", 0))
        axes = self._graph.value(node.input[3])
        return int(axes[0]) if axes.size == 1 else -1

    def _copy(self, node: onnx.NodeProto, inputs: list[str], lag: int) -> None:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        del copy.input[:]
        copy.input.extend(inputs)
        self._nodes.append(copy)
        self._lags |= dict.fromkeys(node.output, lag)

    def _convolve(self, node: onnx.NodeProto) -> None:
        """Add a convolution, with every output that its input so far permits."""
        x, *weights = node.input
        options = attributes(node)
        _, channels, width = self._graph.weights[weights[0]].dims
        dilation = options.get("dilations", [1])[0]
        reach, odd = divmod((width - 1) * dilation, 2)
        if odd or list(options.get("pads", [0, 0])) != [reach, reach] or list(options.get("strides", [1])) != [1]:
            raise ValueError("a convolution that is not symmetric cannot be run in pieces")
        channels *= options.get("group", 1)
        seen = x
        if reach:
            seen = self._node("Concat", self._state(channels, reach), x, self._tail(channels, reach), axis=2)
            self._hold(seen, 2 * reach)
        self._copy(node, [seen, *map(self._stand_in, weights)], self._lags[x] + reach)
        for attribute in self._nodes[-1].attribute:
            if attribute.name == "pads":
                attribute.ints[:] = [0, 0]

    def _meet(self, node: onnx.NodeProto) -> None:
        """Add a node that joins branches, each of which grows with time or is constant."""
        moving = [name for name in node.input if name in self._lags]
        if not moving:
            inputs = map(self._stand_in, node.input)
            self._still[node.output[0]] = self._node(node.op_type, *inputs)
            return
        if attributes(node).get("axis", 1) != 1:
            raise ValueError("joining along time cannot be done in pieces")
        lag = max(self._lags[name] for name in moving)
        self._copy(node, [self._held(name, lag) for name in node.input], lag)

    def _held(self, x: str, lag: int) -> str:
        """Return x, delayed until it lags by `lag`."""
        if x not in self._lags:
            return self._stand_in(x)
        steps = lag - self._lags[x]
        if not steps:
            return x
        seen = self._node("Concat", self._state(self._channels(x), 0), x, axis=2)
        self._hold(seen, steps)
        end = self._node("Add", self._indices(-steps), self._node("Mul", LAST, self._indices(_ALL)))
        return self._node("Slice", seen, self._indices(0), end, self._indices(2))

    # -- tensors -------------------------------------------------------------------------------------------------------

    def _node(self, kind: str, *inputs: str, **options: Any) -> str:
        name = f"streamed_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], **options))
        return name

    def _constant(self, value: Any) -> str:
        name = f"constant_{len(self._kept)}"
        self._kept[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def _indices(self, *values: int) -> str:
        return self._constant(np.array(values, np.int64))

    def _state(self, channels: int, steps: int) -> str:
        name = f"state_{len(self._states)}"
        self._states[name] = np.zeros((1, channels, steps), np.float32)
        return name

    def _hold(self, seen: str, steps: int) -> None:
        """Make its end the next value of the last state."""
        self._next.append(self._node("Slice", seen, self._indices(-steps), self._indices(_ALL), self._indices(2)))

    def _tail(self, channels: int, steps: int) -> str:
        """Return the zeros after the end: none before the last piece."""
        if (channels, steps) not in self._tails:
            length = self._node("Mul", LAST, self._indices(steps))
            shape = self._node("Concat", self._indices(1, channels), length, axis=0)
            self._tails[channels, steps] = self._node("ConstantOfShape", shape)
        return self._tails[channels, steps]

    def _channels(self, x: str) -> int:
        """Return how many channels a tensor of the original graph has."""
        if x == self._source:
            raise ValueError("how many channels it has is not known")
        node = self._graph.nodes[self._graph.makers[x]]
        match node.op_type:
            case "Conv":
                return int(self._graph.weights[node.input[1]].dims[0])
            case "Split":
                return int(self._graph.value(node.input[1])[list(node.output).index(x)])
            case "Slice":
                start, end, _, *step = (int(self._graph.value(name)[0]) for name in node.input[1:])
                return len(range(self._channels(node.input[0]))[slice(start, end, *step)])
            case "Concat":
                return sum(self._channels(name) for name in node.input)
        return self._channels(next(name for name in node.input if name in self._lags))

    def _stand_in(self, name: str) -> str:
        """Return the replacement of a tensor that does not grow with time: itself, with its sources, or 1 for a
        mask.
        """
        if name not in self._still:
            nodes, ends = self._graph.sources(name)
            taken = [each for each in ends if each in self._graph.inputs]
            if all(len(self._graph.inputs[each].type.tensor_type.shape.dim) == 1 for each in taken):
                made = {output for node in self._nodes for output in node.output}
                self._nodes += [node for node in nodes if node.output[0] not in made]
                self._used |= dict.fromkeys(taken)
                self._kept |= {each: self._graph.weights[each] for each in ends if each in self._graph.weights}
                self._still[name] = name
            else:
                self._still[name] = self._constant(np.float32(1))
        return self._still[name]
