"""Moonshine's weights, read from the `.ort` files in which it is published.

They are onnxruntime flatbuffers whose linear layers are uint8 with one scale and one zero point each. Weights are found
by the layer that they feed, which is stable, and not by their own names, which a converter made up.

uint8 weights take onnxruntime's slow path. Shifting them to int8 (q - 128, zero point - 128) leaves every product
unchanged and more than doubles the speed if the CPU multiplies uint8 by int8 in one instruction (VNNI). Without it the
int8 path saturates, so the weights stay as they are.
"""

from dataclasses import dataclass
from pathlib import Path
from platform import machine
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.core.errors import EngineError

Array = NDArray[Any]

_FLOAT, _UINT8 = 1, 2  # ONNX TensorProto.DataType


@dataclass(frozen=True, slots=True)
class Linear:
    """A layer y = (q - zero) * scale, by column. `q` is (inputs, outputs), `scale` float and `zero` of q's type
    (outputs,).
    """

    q: Array
    scale: Array
    zero: Array
    bias: Array | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """Every initializer of a graph by name, and the inputs of every node by its first output."""

    tensors: dict[str, Array]
    feeds: dict[str, tuple[str, ...]]

    def tensor(self, name: str) -> Array:
        try:
            return self.tensors[name]
        except KeyError:
            raise EngineError(f"the model has no tensor {name}") from None

    def linear(self, output: str) -> Linear:
        """Return the quantised layer that produces `output`. Raises `EngineError` if there is none."""
        names = [name for name in self.feeds.get(output, ()) if name.endswith("_quantized") and name in self.tensors]
        if len(names) != 1:
            raise EngineError(f"the model has no quantised layer {output}")
        stem = names[0].removesuffix("_quantized")
        q = self.tensor(names[0])
        biases = [name for name in self.feeds[output] if name.endswith(("bias", "bias_merged_0"))]
        columns = q.shape[1]
        return Linear(
            q,
            np.full(columns, self.tensor(f"{stem}_scale"), np.float32),
            np.full(columns, self.tensor(f"{stem}_zero_point"), np.uint8),
            self.tensor(biases[0]) if biases else None,
        )


def read_weights(path: Path) -> Weights:
    """Return a file's weights. Raises `EngineError` if it is not a model."""
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import InferenceSession

    try:
        graph = InferenceSession.GetRootAsInferenceSession(path.read_bytes(), 0).Model().Graph()
        tensors: dict[str, Array] = {}
        feeds: dict[str, tuple[str, ...]] = {}
        _collect(graph, tensors, feeds)
    except EngineError:
        raise
    except Exception as error:  # on damage, flatbuffers raises any of IndexError, struct.error, AttributeError, ...
        raise EngineError(f"{path.name} is not a readable model") from error
    return Weights(tensors, feeds)


def _collect(graph: Any, tensors: dict[str, Array], feeds: dict[str, tuple[str, ...]]) -> None:
    """Collect tensors and inputs. Of a condition's two branches, only the one without a cache, which has every
    layer.
    """
    for i in range(graph.InitializersLength()):
        tensor = graph.Initializers(i)
        kind = {_FLOAT: np.float32, _UINT8: np.uint8}.get(tensor.DataType())
        if kind is not None and tensor.RawDataLength():
            shape = [tensor.Dims(axis) for axis in range(tensor.DimsLength())]
            tensors.setdefault(tensor.Name().decode(), tensor.RawDataAsNumpy().view(kind).reshape(shape))
    for i in range(graph.NodesLength()):
        node = graph.Nodes(i)
        branches = {node.Attributes(k).Name(): node.Attributes(k).G() for k in range(node.AttributesLength())}
        if branches.get(b"else_branch") is not None:
            _collect(branches[b"else_branch"], tensors, feeds)
        elif node.OutputsLength():
            inputs = tuple(node.Inputs(k).decode() for k in range(node.InputsLength()))
            feeds[node.Outputs(0).decode()] = inputs


def join(layers: list[Linear]) -> Linear:
    """Return layers of the same input as one layer, side by side."""
    return Linear(
        *(np.concatenate([getattr(layer, part) for layer in layers], axis=-1) for part in ("q", "scale", "zero"))
    )


def take(layer: Linear, columns: Array) -> Linear:
    """Return a layer with only those output columns."""
    return Linear(layer.q[:, columns], layer.scale[columns], layer.zero[columns])


def quantise(weight: Array) -> Linear:
    """Return a float layer (inputs, outputs) as int8 around zero, with one scale per column."""
    scale = np.abs(weight).max(0) / 127
    scale[scale == 0] = 1
    return Linear(np.rint(weight / scale).astype(np.int8), scale.astype(np.float32), np.zeros(weight.shape[1], np.int8))


def multiplies_int8() -> bool:
    """Return whether this CPU multiplies uint8 by int8 without saturating: all but x86 before VNNI."""
    if machine().lower() not in {"x86_64", "amd64"}:
        return True
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def shift(layer: Linear, *, signed: bool) -> Linear:
    """Return the same layer with int8 weights if `signed`, else uint8."""
    wanted = np.dtype(np.int8 if signed else np.uint8)
    if layer.q.dtype == wanted:
        return layer
    # Adding 128 modulo 256 converts uint8 to int8 and back.
    q, zero = ((part.view(np.uint8) ^ 0x80).view(wanted) for part in (layer.q, layer.zero))
    return Linear(np.ascontiguousarray(q), layer.scale, zero, layer.bias)
