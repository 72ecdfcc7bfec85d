"""The vocoder of a voice's graph: the convolutions that turn frames into sound, run over windows of them.

A sample depends on few frames, `halo` on either side of its own. Further than that from its edges, a window gives the
same as one run over everything; at an edge where nothing follows, all of it does.

Every tensor gets an axis of length 1 before time: engines are fast at two-dimensional convolutions.
"""

import math
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from antiphon.engines.piper.streaming import Graph, attributes

FRAMES = "frames"


@dataclass(frozen=True, slots=True)
class Vocoder:
    """A model from `FRAMES`, float (1, `channels`, 1, frames), to sound, `hop` samples each. `inputs` are those of the
    original that it also takes.
    """

    model: bytes
    inputs: tuple[str, ...]
    channels: int
    hop: int
    halo: int


def vocoder(model: onnx.ModelProto, frames: str, result: str) -> Vocoder:
    """Return the part of `model` from the tensor `frames` to the tensor `result`. Raises `ValueError` if there is
    none.
    """
    return _Upright(model, frames).until(result)


class _Upright:
    def __init__(self, model: onnx.ModelProto, frames: str) -> None:
        self._model = model
        self._frames = frames
        self._graph = Graph(model)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}
        self._inputs: dict[str, None] = {}
        self._reaches = {frames: 0.0}  # of the tensors that grow with time, in frames
        self._rates = {frames: 1}  # in steps to a frame

    def until(self, result: str) -> Vocoder:
        for node in self._graph.nodes:
            moving = [name for name in node.input if name in self._rates]
            if moving and result not in self._rates:
                reach = max(self._reaches[name] for name in moving)
                self._take(node, reach, self._rates[moving[0]])
        if result not in self._rates:
            raise ValueError(f"{result} does not come from {self._frames}")
        (entry,) = (node for node in self._graph.nodes if node.input[:1] == [self._frames])
        channels = self._graph.weights[entry.input[1]].dims[1]
        for node in self._nodes:
            node.input[:] = [FRAMES if name == self._frames else name for name in node.input]
        floats = onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            self._nodes,
            "vocoder",
            [
                helper.make_tensor_value_info(FRAMES, floats, [1, channels, 1, None]),
                *(self._graph.inputs[name] for name in self._inputs),
            ],
            [helper.make_tensor_value_info(result, floats, None)],
            list(self._weights.values()),
        )
        made = helper.make_model(graph, opset_imports=self._model.opset_import, ir_version=self._model.ir_version)
        halo = math.ceil(self._reaches[result])
        return Vocoder(made.SerializeToString(), tuple(self._inputs), channels, self._rates[result], halo)

    def _take(self, node: onnx.NodeProto, reach: float, rate: int) -> None:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if node.op_type in ("Conv", "ConvTranspose"):
            options = attributes(node)
            width = (options["kernel_shape"][0] - 1) * options.get("dilations", [1])[0] + 1
            if node.op_type == "Conv":
                reach += width // 2 / rate
            else:
                rate *= options["strides"][0]
                reach += width / rate
            _stand(copy)
            for name in node.input[1:]:
                weight = self._graph.value(name)
                upright = weight[:, :, None, :] if weight.ndim == 3 else weight
                self._weights[name] = numpy_helper.from_array(np.ascontiguousarray(upright), name)
        else:
            copy.input[:] = [name if name in self._rates else self._still(name) for name in node.input]
        self._reaches[node.output[0]], self._rates[node.output[0]] = reach, rate
        self._nodes.append(copy)

    def _still(self, name: str) -> str:
        """Return a tensor that is constant over time: a constant, or (1, channels, 1) of the speaker."""
        nodes, ends = self._graph.sources(name)
        self._inputs |= {end: None for end in ends if end in self._graph.inputs}
        self._weights |= {end: self._graph.weights[end] for end in ends if end in self._graph.weights}
        made = {output for node in self._nodes for output in node.output}
        self._nodes += [node for node in nodes if node.output[0] not in made]
        if not any(end in self._graph.inputs for end in ends):
            return name
        axis, upright = f"{name}_axis", f"{name}_upright"
        if upright not in made:
            self._weights[axis] = numpy_helper.from_array(np.array([2], np.int64), axis)
            self._nodes.append(helper.make_node("Unsqueeze", [name, axis], [upright]))
        return upright


def _stand(node: onnx.NodeProto) -> None:
    """Give a convolution along time an axis of length 1 before it."""
    for attribute in node.attribute:
        if attribute.name == "pads":
            before, after = attribute.ints
            attribute.ints[:] = [0, before, 0, after]
        elif attribute.name == "output_padding":
            attribute.ints[:] = [0, *attribute.ints]
        elif attribute.name in ("kernel_shape", "dilations", "strides"):
            attribute.ints[:] = [1, *attribute.ints]
