"""Voice activity with the Silero model on onnxruntime, for many streams in one call.

A frame is 512 samples (32 ms) of 16 kHz mono int16; the model also reads the 64 samples before it. A stream's state is
one immutable array: the recurrent state, then that context. One onnxruntime thread: the caller decides how many threads
there are.

The graph is rebuilt from the published weights: on a window this short every convolution is a small dense layer, and
for many streams six matrix products are several times faster than the hundred nodes of the original.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.core.errors import EngineError

FRAME_SAMPLES = 512
_CONTEXT = 64
_WIDTH = 128
_STATE = 2 * _WIDTH  # the LSTM's output, then its cell
_BINS = 129
_FFT = 256
_FRAMES = 4  # short-time spectra in one window

State = NDArray[np.float32]  # (256 + 64,)


class SileroVad:
    """Implements `core.ports.VoiceDetector`."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        model = _build(_read(path))
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def initial_state(self) -> State:
        return np.zeros(_STATE + _CONTEXT, np.float32)

    def probabilities(self, frames: Sequence[bytes], states: Sequence[State]) -> tuple[list[float], list[State]]:
        """Return the probability of speech in each frame, and each stream's next state. Raises `EngineError` for other
        sizes.
        """
        if not frames:
            return [], []
        if any(len(frame) != 2 * FRAME_SAMPLES for frame in frames) or len(states) != len(frames):
            raise EngineError(f"voice activity takes {2 * FRAME_SAMPLES} bytes a frame and a state for each")
        before = np.stack(states)
        samples = np.frombuffer(b"".join(frames), "<i2").reshape(len(frames), FRAME_SAMPLES)
        window = np.empty((len(frames), _CONTEXT + FRAME_SAMPLES + _CONTEXT), np.float32)
        window[:, :_CONTEXT] = before[:, _STATE:]
        np.multiply(samples, np.float32(1 / 32768), out=window[:, _CONTEXT:-_CONTEXT])
        window[:, -_CONTEXT:] = window[:, -_CONTEXT - 2 : -2 * _CONTEXT - 2 : -1]  # mirrored at the last sample
        after = np.empty_like(before)
        speech, after[:, :_STATE] = self._session.run(None, {"window": window, "state": before[:, :_STATE]})
        after[:, _STATE:] = window[:, -2 * _CONTEXT : -_CONTEXT]
        return speech[:, 0].tolist(), list(after)


def _read(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the 16 kHz branch's weights by the ends of their names."""
    import onnx

    try:
        (branch,) = (
            attribute.g
            for node in onnx.load(path).graph.node
            for attribute in node.attribute
            if node.op_type == "If" and attribute.name == "then_branch"
        )
        constants = {node.output[0]: node.attribute[0].t for node in branch.node if node.op_type == "Constant"}
        return {name.rpartition("__")[2]: onnx.numpy_helper.to_array(value) for name, value in constants.items()}
    except Exception as error:  # damage leads to any of protobuf's, onnx's and Python's own errors
        raise EngineError(f"{path.name} is not a usable voice activity model") from error


def _dense(kernel: NDArray[np.float32], frames: int, stride: int) -> NDArray[np.float32]:
    """Return a convolution (out, in, 3), padded by one, as one matrix (frames * in, frames out * out)."""
    outputs, inputs, _ = kernel.shape
    count = (frames - 1) // stride + 1
    matrix = np.zeros((frames, inputs, count, outputs), np.float32)
    for at in range(count):
        for tap in range(3):
            source = at * stride + tap - 1
            if 0 <= source < frames:
                matrix[source, :, at] = kernel[:, :, tap].T
    return matrix.reshape(frames * inputs, count * outputs)


def _build(weights: dict[str, NDArray[np.float32]]) -> bytes:
    """Build the graph: `window` (B, 640), `state` (B, 256) -> `speech` (B, 1), `next` (B, 256)."""
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    constants: list[Any] = []

    def node(kind: str, *inputs: str | Any, out: str = "", count: int = 1, **attributes: Any) -> Any:
        names = []
        for value in inputs:
            if not isinstance(value, str):
                constants.append(numpy_helper.from_array(np.ascontiguousarray(value), f"c{len(constants)}"))
                value = constants[-1].name
            names.append(value)
        made = [out or f"n{len(nodes)}_{i}" for i in range(count)]
        nodes.append(helper.make_node(kind, names, made, **attributes))
        return made[0] if count == 1 else made

    def layer(x: str, number: int, frames: int, stride: int) -> str:
        kernel, bias = (weights[f"encoder.{number}.reparam_conv.{part}"] for part in ("weight", "bias"))
        matrix = _dense(kernel, frames, stride)
        y = node("Gemm", x, matrix, np.tile(bias, matrix.shape[1] // len(bias)))
        return str(node("Relu", y))

    hops = node("Reshape", "window", np.array([0, _FRAMES + 1, _FFT // 2]))
    first, second = (node("Slice", hops, np.array([at]), np.array([at + _FRAMES]), np.array([1])) for at in (0, 1))
    basis = weights["stft.forward_basis_buffer"][:, 0].T
    spectra = node("MatMul", node("Concat", first, second, axis=2), basis)
    real, imaginary = node("Split", spectra, count=2, axis=2, num_outputs=2)
    power = node("Add", node("Mul", real, real), node("Mul", imaginary, imaginary))
    x = node("Reshape", node("Sqrt", power), np.array([0, _FRAMES * _BINS]))
    for number, (frames, stride) in enumerate(((4, 1), (4, 2), (2, 2), (1, 1))):
        x = layer(x, number, frames, stride)

    hidden, cell = node("Split", "state", count=2, axis=1, num_outputs=2)
    gates = node(
        "Gemm",
        node("Concat", x, hidden, axis=1),
        np.concatenate([weights[f"decoder.rnn.weight_{part}"].T for part in ("ih", "hh")]),
        weights["decoder.rnn.bias_ih"] + weights["decoder.rnn.bias_hh"],
    )
    enter, forget, fresh, leave = node("Split", gates, count=4, axis=1, num_outputs=4)
    kept = node("Mul", node("Sigmoid", forget), cell)
    cell = node("Add", kept, node("Mul", node("Sigmoid", enter), node("Tanh", fresh)))
    hidden = node("Mul", node("Sigmoid", leave), node("Tanh", cell))
    node("Concat", hidden, cell, out="next", axis=1)
    out_weight, out_bias = weights["decoder.decoder.2.weight"][:, :, 0].T, weights["decoder.decoder.2.bias"]
    node("Sigmoid", node("Gemm", node("Relu", hidden), out_weight, out_bias), out="speech")

    def tensor(name: str, width: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["streams", width])

    inputs = [tensor("window", (_FRAMES + 1) * _FFT // 2), tensor("state", _STATE)]
    graph = helper.make_graph(nodes, "silero", inputs, [tensor("speech", 1), tensor("next", _STATE)], constants)
    opsets = [helper.make_opsetid("", 21)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
