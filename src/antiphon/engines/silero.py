"""Voice activity with the Silero model on onnxruntime, for many streams in one call.

A frame is 512 samples (32 ms) of 16 kHz mono int16; the model also reads the 64 samples before it. A stream's state is
one immutable array: the recurrent state, then that context. One onnxruntime thread: the caller decides how many threads
there are.

The graph is rebuilt from the published weights. On a window this short every convolution is a small dense layer, and
nothing before the recurrent layer depends on earlier frames: so all frames of all streams pass those layers as one
batch, and only the recurrent layer goes frame by frame. That layer is a matrix product if each stream has one frame:
onnxruntime's own takes stream after stream.
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
# The gates of the recurrent layer: input, forget, cell, output in the weights; input, output, forget, cell in ONNX.
_GATES = np.concatenate([np.arange(_WIDTH) + _WIDTH * gate for gate in (0, 3, 1, 2)])

State = NDArray[np.float32]  # (256 + 64,)
Weights = dict[str, NDArray[np.float32]]


class SileroVad:
    """Implements `core.ports.VoiceDetector`."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        weights = _read(path)
        self._one, self._many = (
            onnxruntime.InferenceSession(_build(weights, many), options, providers=["CPUExecutionProvider"])
            for many in (False, True)
        )

    def initial_state(self) -> State:
        return np.zeros(_STATE + _CONTEXT, np.float32)

    def probabilities(self, runs: Sequence[bytes], states: Sequence[State]) -> tuple[list[list[float]], list[State]]:
        """Return the probability of speech in each frame of each stream's run, and each stream's next state. Raises
        `EngineError` for other sizes.
        """
        if not runs:
            return [], []
        counts = np.array([len(run) // (2 * FRAME_SAMPLES) for run in runs], np.int32)
        if len(states) != len(runs) or any(not run or len(run) % (2 * FRAME_SAMPLES) for run in runs):
            raise EngineError(f"voice activity takes runs of {2 * FRAME_SAMPLES} bytes a frame, and a state for each")
        before = np.stack(states)
        ends = np.cumsum(counts)
        firsts = ends - counts
        windows = _windows(b"".join(runs), firsts, before[:, _STATE:])
        feeds = {"windows": windows, "state": before[:, :_STATE]}
        if (steps := int(counts.max())) == 1:
            speech, recurrent = self._one.run(None, feeds)
        else:  # a shorter run has places of another's frames after its own, which are not looked at
            places = np.minimum(firsts + np.arange(steps)[:, None], ends[-1] - 1)
            speech, recurrent = self._many.run(None, {**feeds, "places": places, "counts": counts})
        after = np.concatenate((recurrent, windows[ends - 1, -2 * _CONTEXT : -_CONTEXT]), axis=1)
        return [speech[:count, stream].tolist() for stream, count in enumerate(counts)], list(after)


def _windows(samples: bytes, firsts: NDArray[np.int32], contexts: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each frame with what is before it, and mirrored at its last sample. `firsts` are the first frames of the
    runs, whose `contexts` are of earlier calls.
    """
    frames = np.frombuffer(samples, "<i2").reshape(-1, FRAME_SAMPLES)
    windows = np.empty((len(frames), _CONTEXT + FRAME_SAMPLES + _CONTEXT), np.float32)
    np.multiply(frames, np.float32(1 / 32768), out=windows[:, _CONTEXT:-_CONTEXT])
    windows[1:, :_CONTEXT] = windows[:-1, -2 * _CONTEXT : -_CONTEXT]
    windows[firsts, :_CONTEXT] = contexts
    windows[:, -_CONTEXT:] = windows[:, -_CONTEXT - 2 : -2 * _CONTEXT - 2 : -1]
    return windows


def _read(path: Path) -> Weights:
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


class _Graph:
    """An ONNX graph that is being built."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def node(self, kind: str, *inputs: str | Any, out: str = "", count: int = 1, **attributes: Any) -> Any:
        """Add a node, of names and constant arrays; return the name of what it gives, or the names of `count`."""
        from onnx import helper, numpy_helper

        names = []
        for value in inputs:
            if not isinstance(value, str):
                name = f"c{len(self._constants)}"
                self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
                value = name
            names.append(value)
        made = [out or f"n{len(self._nodes)}_{i}" for i in range(count)]
        self._nodes.append(helper.make_node(kind, names, made, **attributes))
        return made[0] if count == 1 else made

    def model(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> bytes:
        from onnx import helper

        graph = helper.make_graph(self._nodes, "silero", inputs, outputs, self._constants)
        opsets = [helper.make_opsetid("", 21)]
        return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def _build(weights: Weights, many: bool) -> bytes:
    """Build the graph, for one frame of each stream or for `many`. `windows` (N, 640) are all frames, and `state` is
    (B, 256). With many, `places` (T, B) says which frame is the t-th of each stream, and `counts` (B,) how many each
    has. It gives `speech` (T, B) and `next` (B, 256).
    """
    from onnx import TensorProto, helper

    def tensor(name: str, kind: int, *shape: str | int) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    graph = _Graph()
    node = graph.node
    hidden, cell = node("Split", node("Unsqueeze", "state", np.array([0])), count=2, axis=2, num_outputs=2)
    recur = _recur_many if many else _recur_one
    output, hidden, cell = recur(graph, weights, _encode(graph, weights), hidden, cell)
    node("Squeeze", node("Concat", hidden, cell, axis=2), np.array([0]), out="next")
    out_weight, out_bias = weights["decoder.decoder.2.weight"][:, :, 0].T, weights["decoder.decoder.2.bias"]
    scores = node("Add", node("MatMul", node("Relu", output), out_weight), out_bias)
    node("Squeeze", node("Sigmoid", scores), np.array([2]), out="speech")

    inputs = [
        tensor("windows", TensorProto.FLOAT, "frames", (_FRAMES + 1) * _FFT // 2),
        tensor("state", TensorProto.FLOAT, "streams", _STATE),
    ]
    if many:
        inputs += [
            tensor("places", TensorProto.INT64, "steps", "streams"),
            tensor("counts", TensorProto.INT32, "streams"),
        ]
    outputs = [
        tensor("speech", TensorProto.FLOAT, "steps", "streams"),
        tensor("next", TensorProto.FLOAT, "streams", _STATE),
    ]
    return graph.model(inputs, outputs)


def _encode(graph: _Graph, weights: Weights) -> str:
    """Add the layers that need no earlier frame: (N, 128)."""
    node = graph.node
    hops = node("Reshape", "windows", np.array([0, _FRAMES + 1, _FFT // 2]))
    first, second = (node("Slice", hops, np.array([at]), np.array([at + _FRAMES]), np.array([1])) for at in (0, 1))
    basis = weights["stft.forward_basis_buffer"][:, 0].T
    spectra = node("MatMul", node("Concat", first, second, axis=2), basis)
    real, imaginary = node("Split", spectra, count=2, axis=2, num_outputs=2)
    power = node("Add", node("Mul", real, real), node("Mul", imaginary, imaginary))
    x: str = node("Reshape", node("Sqrt", power), np.array([0, _FRAMES * _BINS]))
    for number, (frames, stride) in enumerate(((4, 1), (4, 2), (2, 2), (1, 1))):
        kernel, bias = (weights[f"encoder.{number}.reparam_conv.{part}"] for part in ("weight", "bias"))
        matrix = _dense(kernel, frames, stride)
        x = node("Relu", node("Gemm", x, matrix, np.tile(bias, matrix.shape[1] // len(bias))))
    return x


def _recur_one(graph: _Graph, weights: Weights, x: str, hidden: str, cell: str) -> tuple[str, str, str]:
    """Add the recurrent layer for one frame of each stream: its outputs (1, B, 128), and its state afterwards."""
    node = graph.node
    inner, outer, of_inner, of_outer = _recurrent(weights)
    x = node("Concat", node("Unsqueeze", x, np.array([0])), hidden, axis=2)
    gates = node("Add", node("MatMul", x, np.concatenate((inner, outer), axis=1).T), of_inner + of_outer)
    enter, forget, fresh, leave = node("Split", gates, count=4, axis=2, num_outputs=4)
    kept = node("Mul", node("Sigmoid", forget), cell)
    cell = node("Add", kept, node("Mul", node("Sigmoid", enter), node("Tanh", fresh)))
    output = node("Mul", node("Sigmoid", leave), node("Tanh", cell))
    return output, output, cell


def _recur_many(graph: _Graph, weights: Weights, x: str, hidden: str, cell: str) -> tuple[str, str, str]:
    """Add the recurrent layer for many frames of each stream: its outputs (T, B, 128), and its state afterwards."""
    node = graph.node
    inner, outer, of_inner, of_outer = _recurrent(weights)
    x = node("Gather", x, "places", axis=0)
    biases = np.concatenate((of_inner[_GATES], of_outer[_GATES]))[None]
    output, hidden, cell = node(
        *("LSTM", x, inner[_GATES][None], outer[_GATES][None], biases, "counts", hidden, cell),
        count=3,
        hidden_size=_WIDTH,
    )
    return node("Squeeze", output, np.array([1])), hidden, cell


def _recurrent(weights: Weights) -> list[NDArray[np.float32]]:
    return [weights[f"decoder.rnn.{part}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
