"""A Piper voice's graph (VITS), cut in three so that speech comes out long before all of it is computed.

The encoder turns phonemes into what each frame of sound is drawn from: a mean and a deviation. The flow, convolutions
that reach far, runs in pieces (`streaming`). The vocoder, most of the work, runs over windows (`vocoder`).

The graph draws its own random numbers. Here they are given to it, so that a text always sounds the same. It rounds
every phoneme up to whole frames, which makes fast speech slower than asked for; here the pace counts after that.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from antiphon.engines.piper.streaming import Streamed, streamed
from antiphon.engines.piper.vocoder import Vocoder, vocoder

TIMING = "timing_noise"  # float (1, 2, phonemes)
PACE = "pace"  # float (1,): how long it takes, to how long it would


@dataclass(frozen=True, slots=True)
class Parts:
    """`encoder` takes what the voice's own graph takes, `TIMING` and `PACE`; its outputs are means and deviations, float
    (1, channels, frames). The source of `flow` is means + noise * deviations; what it gives are the vocoder's frames.
    """

    encoder: bytes
    flow: Streamed
    vocoder: Vocoder


def cut(path: Path) -> Parts:
    """Raises `ValueError` for a graph that is not of this kind."""
    model = onnx.load(path)
    graph = model.graph
    noises = [node for node in graph.node if node.op_type == "RandomNormalLike"]
    entries = [node for node in graph.node if node.op_type == "Conv" and node.input[1] == "dec.conv_pre.weight"]
    roundings = [node for node in graph.node if node.op_type == "Ceil"]
    if (len(noises), len(entries), len(roundings)) != (2, 1, 1):
        raise ValueError("the graph is not a Piper voice's")
    timing, sound = noises
    # source = mean + noise * deviation * scale
    product = _after(graph, sound.output[0], "Mul")
    (deviations,) = (name for name in product.input if name != sound.output[0])
    scaled = _after(graph, product.output[0], "Mul")
    source = _after(graph, scaled.output[0], "Add").output[0]
    frames = entries[0].input[0]
    encoder = _encoder(model, timing, roundings[0], (sound.input[0], deviations))
    return Parts(encoder, streamed(model, source, frames), vocoder(model, frames, graph.output[0].name))


def _after(graph: onnx.GraphProto, name: str, kind: str) -> onnx.NodeProto:
    nodes: list[onnx.NodeProto] = [node for node in graph.node if name in node.input]
    if len(nodes) != 1 or nodes[0].op_type != kind:
        raise ValueError("the graph is not a Piper voice's")
    return nodes[0]


def _encoder(
    model: onnx.ModelProto, timing: onnx.NodeProto, rounding: onnx.NodeProto, outputs: tuple[str, str]
) -> bytes:
    graph, floats = model.graph, onnx.TensorProto.FLOAT
    wanted = set(outputs)
    nodes: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if node is not timing and wanted.intersection(node.output):
            wanted.update(node.input)
            nodes += reversed(_paced(node)) if node is rounding else [node]
    given = helper.make_node("Identity", [TIMING], list(timing.output))
    inputs = [value for value in graph.input if value.name in wanted]
    made = helper.make_graph(
        [given, *reversed(nodes)],
        "encoder",
        [
            *inputs,
            helper.make_tensor_value_info(TIMING, floats, [1, 2, None]),
            helper.make_tensor_value_info(PACE, floats, [1]),
        ],
        [helper.make_tensor_value_info(name, floats, None) for name in outputs],
        [
            *(tensor for tensor in graph.initializer if tensor.name in wanted),
            *(numpy_helper.from_array(np.array(value, np.int64), name) for name, value in _NUMBERS.items()),
        ],
    )
    encoder = helper.make_model(made, opset_imports=model.opset_import, ir_version=model.ir_version)
    return bytes(encoder.SerializeToString())


_NUMBERS = {"pace_axis": 2, "pace_axes": [2], "pace_first": [0, 0, 1, 0, 0, 0], "pace_start": [0], "pace_end": [-1]}


def _paced(rounding: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Whole frames of each phoneme, float (1, 1, phonemes): where it ends, by the pace, less where the one before did."""
    return [
        helper.make_node("Ceil", rounding.input, ["pace_usual"]),
        helper.make_node("CumSum", ["pace_usual", "pace_axis"], ["pace_ends"]),
        helper.make_node("Mul", ["pace_ends", PACE], ["pace_exact"]),
        helper.make_node("Round", ["pace_exact"], ["pace_whole"]),
        helper.make_node("Pad", ["pace_whole", "pace_first"], ["pace_later"]),
        helper.make_node("Slice", ["pace_later", "pace_start", "pace_end", "pace_axes"], ["pace_begins"]),
        helper.make_node("Sub", ["pace_whole", "pace_begins"], rounding.output),
    ]
