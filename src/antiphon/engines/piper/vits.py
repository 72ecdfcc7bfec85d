"""A Piper voice's graph (VITS), cut in two so that speech comes out long before all of it is computed.

`encoder` turns phonemes into what each frame of sound is drawn from: a mean and a deviation. The rest, the flow and the
vocoder, is nine tenths of the work, and made of convolutions: it runs in pieces (`streaming`).

The graph draws its own random numbers. Here they are given to it, so that a text always sounds the same.
"""

from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import helper

from antiphon.engines.piper.streaming import Streamed, streamed

TIMING = "timing_noise"  # float (1, 2, phonemes)


@dataclass(frozen=True, slots=True)
class Graphs:
    """`encoder` takes what the voice's own graph takes, and `TIMING`; its outputs are means and deviations, float (1,
    channels, frames). The source of `speaker` is means + noise * deviations.
    """

    encoder: bytes
    speaker: Streamed


def cut(path: Path) -> Graphs:
    """Raises `ValueError` for a graph that is not of this kind."""
    model = onnx.load(path)
    graph = model.graph
    noises = [node for node in graph.node if node.op_type == "RandomNormalLike"]
    if len(noises) != 2:
        raise ValueError("the graph is not a Piper voice's")
    timing, sound = noises
    # z = mean + noise * deviation * scale
    product = _after(graph, sound.output[0], "Mul")
    (deviations,) = (name for name in product.input if name != sound.output[0])
    scaled = _after(graph, product.output[0], "Mul")
    source = _after(graph, scaled.output[0], "Add").output[0]
    speaker = streamed(model, source, graph.output[0].name)
    return Graphs(_encoder(model, timing, (sound.input[0], deviations)), speaker)


def _after(graph: onnx.GraphProto, name: str, kind: str) -> onnx.NodeProto:
    nodes: list[onnx.NodeProto] = [node for node in graph.node if name in node.input]
    if len(nodes) != 1 or nodes[0].op_type != kind:
        raise ValueError("the graph is not a Piper voice's")
    return nodes[0]


def _encoder(model: onnx.ModelProto, timing: onnx.NodeProto, outputs: tuple[str, str]) -> bytes:
    graph = model.graph
    wanted, nodes = set(outputs), []
    for node in reversed(graph.node):
        if node is not timing and wanted.intersection(node.output):
            wanted.update(node.input)
            nodes.append(node)
    renamed = helper.make_node("Identity", [TIMING], list(timing.output))
    floats = onnx.TensorProto.FLOAT
    made = helper.make_graph(
        [renamed, *reversed(nodes)],
        "encoder",
        [
            *(value for value in graph.input if value.name in wanted),
            helper.make_tensor_value_info(TIMING, floats, [1, 2, None]),
        ],
        [helper.make_tensor_value_info(name, floats, None) for name in outputs],
        [tensor for tensor in graph.initializer if tensor.name in wanted],
    )
    cut = helper.make_model(made, opset_imports=model.opset_import, ir_version=model.ir_version)
    return bytes(cut.SerializeToString())
