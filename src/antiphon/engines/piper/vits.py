"""A Piper voice's graph (VITS), cut so that speech begins long before all of it is computed.

The reader processes each phoneme in context. The pacer gives it a number of frames, each with a mean and a deviation
from which its sound is drawn. The flow, convolutions with a long reach, runs in pieces (`streaming`). The vocoder, most
of the work, runs over windows (`vocoder`).

The graph draws its own random numbers; here they are inputs, so that a text always sounds the same. It rounds every
phoneme up to whole frames, which makes fast speech slower than requested; here the pace is applied after that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from antiphon.engines.piper.streaming import Streamed, streamed
from antiphon.engines.piper.vocoder import Vocoder, vocoder

TIMING = "timing_noise"  # float (1, 2, phonemes)
PACE = "pace"  # float (1,): the duration divided by the usual one


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a voice. `reader` takes the phonemes, which padding may follow; its output is the input `read` of
    `pacer`, float (1, channels, phonemes). `pacer` also takes the inputs of the voice's own graph, `TIMING` and `PACE`;
    its outputs are means and deviations, float (1, channels, frames). The source of `flow` is means + noise *
    deviations; its output are the vocoder's frames.
    """

    reader: bytes
    read: str
    pacer: bytes
    flow: Streamed
    vocoder: Vocoder


def cut(path: Path) -> Parts:
    """Cut a voice's graph. Raises `ValueError` if it is of another kind."""
    model = onnx.load(path)
    graph = model.graph
    noises = [node for node in graph.node if node.op_type == "RandomNormalLike"]
    roundings = [node for node in graph.node if node.op_type == "Ceil"]
    taken = {node.input[1]: node.input[0] for node in graph.node if node.op_type == "Conv"}  # by a convolution's weight
    read, frames = taken.get("enc_p.proj.weight"), taken.get("dec.conv_pre.weight")
    if len(noises) != 2 or len(roundings) != 1 or read is None or frames is None:
        raise ValueError("the graph is not a Piper voice's")
    timing, sound = noises
    # source = mean + noise * deviation * scale
    product = _after(graph, sound.output[0], "Mul")
    (deviations,) = (name for name in product.input if name != sound.output[0])
    scaled = _after(graph, product.output[0], "Mul")
    source = _after(graph, scaled.output[0], "Add").output[0]

    def instead(node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
        if node is timing:
            return [helper.make_node("Identity", [TIMING], node.output)]
        return _paced(node) if node is roundings[0] else [node]

    float_inputs = {read: (1, None, None), TIMING: (1, 2, None), PACE: (1,)}
    return Parts(
        _part(model, [read], {}),
        read,
        _part(model, [sound.input[0], deviations], float_inputs, instead),
        streamed(model, source, frames),
        vocoder(model, frames, graph.output[0].name),
    )


def _after(graph: onnx.GraphProto, name: str, kind: str) -> onnx.NodeProto:
    nodes: list[onnx.NodeProto] = [node for node in graph.node if name in node.input]
    if len(nodes) != 1 or nodes[0].op_type != kind:
        raise ValueError("the graph is not a Piper voice's")
    return nodes[0]


def _part(
    model: onnx.ModelProto,
    outputs: Sequence[str],
    float_inputs: Mapping[str, Sequence[int | None]],
    instead: Callable[[onnx.NodeProto], Sequence[onnx.NodeProto]] = lambda node: [node],
) -> bytes:
    """Return the part that computes `outputs`. Tensors of `float_inputs`, by name and shape, become inputs."""
    graph, floats = model.graph, onnx.TensorProto.FLOAT
    wanted = set(outputs)
    nodes: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output) and not set(float_inputs).intersection(node.output):
            wanted.update(node.input)
            nodes += reversed(instead(node))
    made = helper.make_graph(
        list(reversed(nodes)),
        "part",
        [
            *(value for value in graph.input if value.name in wanted),
            *(helper.make_tensor_value_info(name, floats, shape) for name, shape in float_inputs.items()),
        ],
        [helper.make_tensor_value_info(name, floats, None) for name in outputs],
        [
            *(tensor for tensor in graph.initializer if tensor.name in wanted),
            *(numpy_helper.from_array(np.array(value, np.int64), name) for name, value in _NUMBERS.items()),
        ],
    )
    part = helper.make_model(made, opset_imports=model.opset_import, ir_version=model.ir_version)
    return bytes(part.SerializeToString())


_NUMBERS = {"pace_axis": 2, "pace_axes": [2], "pace_first": [0, 0, 1, 0, 0, 0], "pace_start": [0], "pace_end": [-1]}


def _paced(rounding: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return nodes for each phoneme's frames, float (1, 1, phonemes): its end, by the pace, minus the end of the one
    before.
    """
    return [
        helper.make_node("Ceil", rounding.input, ["pace_usual"]),
        helper.make_node("CumSum", ["pace_usual", "pace_axis"], ["pace_ends"]),
        helper.make_node("Mul", ["pace_ends", PACE], ["pace_exact"]),
        helper.make_node("Round", ["pace_exact"], ["pace_whole"]),
        helper.make_node("Pad", ["pace_whole", "pace_first"], ["pace_later"]),
        helper.make_node("Slice", ["pace_later", "pace_start", "pace_end", "pace_axes"], ["pace_begins"]),
        helper.make_node("Sub", ["pace_whole", "pace_begins"], rounding.output),
    ]
