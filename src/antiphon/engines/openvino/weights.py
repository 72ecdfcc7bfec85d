"""Matrices for a processor's integer units: int8, with one scale for each row.

Files have weights in 4 bits, with a scale for every 32 of them, so at most 32 inputs of a product can share a scale
too: with many requests in a step, that is what takes the time. With one scale per row, the inputs' groups may be
longer. The length is written into the model, as OpenVINO's own tools do it (`runtime_options`), so that whoever
compiles it need not know.
"""

import math
from collections.abc import Callable, Iterable

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as op

Matrix = NDArray[np.float32]

LONGEST_GROUP = 128  # inputs that share one scale: longer is faster, and less exact
GROUP_STEP = 32
_LARGEST = 127
_ROWS_AT_ONCE = 1024
_UNPACKING = {"Constant", "Convert", "Multiply", "Reshape", "Subtract", "Transpose"}


def to_int8(model: ov.Model, exact: Callable[[Matrix], Matrix] = lambda matrix: matrix) -> int:
    """Rewrite the matrices of a model in place. Returns how many were rewritten. `exact` returns the original of each
    matrix, if the model has lost some precision.

    Not rewritten: matrices in int8 with a scale for each row, those whose rows are no multiple of `GROUP_STEP` (their
    inputs would not become integers), and lookup tables, even if they are also used as a matrix.
    """
    columns = []
    for product in model.get_ordered_ops():
        if product.get_type_name() != "MatMul" or not _is_worth_it(product):
            continue
        source, transposed = product.input_value(1), product.get_attributes()["transpose_b"]
        matrix = _unpacked(source)
        rewritten = _packed(exact(matrix if transposed else matrix.T), source.get_element_type())
        for target in source.get_target_inputs():
            user = target.get_node()
            if user.get_type_name() != "MatMul" or target.get_index() != 1:
                continue
            if user.get_attributes()["transpose_b"] == transposed:
                user.set_attribute("transpose_b", True)
                target.replace_source_output(rewritten)
        columns.append(rewritten.get_shape()[1])
    if columns and (group := group_for(columns)):
        model.set_rt_info(str(group), ["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"])
    return len(columns)


def group_for(columns: Iterable[int]) -> int:
    """Return the longest group that divides rows of all these lengths; 0 if there is none."""
    common = math.gcd(*columns)
    return max((size for size in range(GROUP_STEP, LONGEST_GROUP + 1, GROUP_STEP) if common % size == 0), default=0)


def _is_worth_it(product: ov.Node) -> bool:
    source, transposed = product.input_value(1), product.get_attributes()["transpose_b"]
    shape = source.get_partial_shape()
    if shape.rank.is_dynamic or len(shape) != 2 or not shape.is_static:
        return False
    nodes, waiting = [], [source.get_node()]
    while waiting:
        node = waiting.pop()
        if node.get_type_name() not in _UNPACKING:
            return False  # it is computed, so it is not weights
        nodes.append(node)
        waiting += [node.input_value(number).get_node() for number in range(node.get_input_size())]
    kinds = {node.get_type_name() for node in nodes}
    whole = any(
        node.get_type_name() == "Constant"
        and node.get_element_type() == ov.Type.i8
        and node.get_output_partial_shape(0) == shape
        for node in nodes
    )
    if whole and transposed and kinds == {"Constant", "Convert", "Multiply"}:
        return False
    return int(shape.to_shape()[1 if transposed else 0]) % GROUP_STEP == 0


def _unpacked(source: ov.Output) -> Matrix:
    wide = source if source.get_element_type() == ov.Type.f32 else op.convert(source, "f32").output(0)  # memory counts
    alone = ov.Model([op.result(wide)], [], "weights")
    matrix = ov.Tensor(ov.Type.f32, source.get_shape())
    if not alone.evaluate([matrix], []):
        raise ValueError("the model's weights cannot be unpacked")
    return np.asarray(matrix.data, dtype=np.float32)


def _packed(matrix: Matrix, kind: ov.Type) -> ov.Output:
    """Return the nearest int8 matrix with a scale for each row, as a product of the element type `kind`."""
    scales = np.maximum(matrix.max(axis=1, keepdims=True), -matrix.min(axis=1, keepdims=True)) / _LARGEST
    scales[scales == 0] = 1
    integers = np.empty(matrix.shape, np.int8)
    for start in range(0, len(matrix), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        integers[rows] = np.rint(matrix[rows] / scales[rows])
    scaled = op.multiply(op.convert(op.constant(integers), kind), op.constant(scales, dtype=kind))
    return scaled.output(0)
