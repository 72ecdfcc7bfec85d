"""Weights rewritten to int8, in models of a few nodes; and where such models are kept."""

import json
import os
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as op

from antiphon.engines.openvino import converted as keeping
from antiphon.engines.openvino.converted import converted
from antiphon.engines.openvino.weights import GROUP_STEP, LONGEST_GROUP, group_for, to_int8

CORE = ov.Core()
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def inputs(columns: int) -> ov.Node:
    return op.parameter([-1, columns], ov.Type.f32, name="x")


def in_groups(rows: int, columns: int, group: int, kind: ov.Type) -> ov.Output:
    """A matrix in 4 or 8 bits with zero points, scales for groups, as the pipeline unpacks it from a file."""
    largest = 15 if kind == ov.Type.u4 else 255
    groups = columns // group
    random = np.random.default_rng((rows, columns, group))
    integers = random.integers(0, largest + 1, (rows, groups, group)).astype(np.uint8)
    zeros = random.integers(largest // 2, largest // 2 + 2, (rows, groups, 1)).astype(np.uint8)
    scales = random.uniform(0.001, 0.02, (rows, groups, 1)).astype(np.float16)
    shifted = op.subtract(
        op.convert(op.constant(integers, dtype=kind), "f16"), op.convert(op.constant(zeros, dtype=kind), "f16")
    )
    flat = op.reshape(op.multiply(shifted, op.constant(scales)), op.constant(np.array([rows, columns])), False)
    return op.convert(flat, "f32").output(0)


def product(x: ov.Node, matrix: ov.Output, transposed: bool = True) -> ov.Node:
    return op.matmul(x, matrix, False, transposed)


def values(columns: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((5, columns)).astype(np.float32)


def answers(model: ov.Model, columns: int) -> list[np.ndarray]:
    compiled = CORE.compile_model(model, "CPU", EXACT)
    return [np.array(answer) for answer in compiled([values(columns)]).values()]


def kinds(model: ov.Model) -> list[str]:
    """The element types of whole matrices that products take in."""
    found = []
    for node in model.get_ordered_ops():
        if node.get_type_name() == "MatMul":
            source = node.input_value(1).get_node()
            while source.get_type_name() != "Constant":
                source = source.input_value(0).get_node()
            found.append(source.get_element_type().to_string())
    return found


def close(after: np.ndarray, before: np.ndarray) -> None:
    """Within what rounding to one part in 127 of a row's largest can bring; and not the same."""
    assert np.abs(after - before).max() < 0.02 * np.abs(before).max()
    assert not np.array_equal(after, before)


@pytest.mark.parametrize("kind", [ov.Type.u4, ov.Type.u8])
@pytest.mark.parametrize("group", [16, 32, 96])
def test_weights_in_groups_become_int8(kind: ov.Type, group: int) -> None:
    x = inputs(96)
    model = ov.Model([op.result(product(x, in_groups(40, 96, group, kind)))], [x])
    before = answers(model, 96)
    assert to_int8(model) == 1
    assert kinds(model) == ["i8"]
    close(answers(model, 96)[0], before[0])


@pytest.mark.parametrize("kind", ["f32", "f16"])
def test_weights_in_floating_point_become_int8(kind: str) -> None:
    x = inputs(64)
    matrix = op.convert(op.constant(numbers(48, 64).astype(np.float32 if kind == "f32" else np.float16)), "f32")
    model = ov.Model([op.result(product(x, matrix.output(0)))], [x])
    before = answers(model, 64)
    assert to_int8(model) == 1
    close(answers(model, 64)[0], before[0])


def test_a_matrix_that_is_not_transposed_is_turned() -> None:
    x = inputs(64)
    matrix = numbers(64, 32) * np.geomspace(0.01, 10, 32, dtype=np.float32)  # a scale for each output, not each input
    model = ov.Model([op.result(product(x, op.constant(matrix).output(0), transposed=False))], [x])
    before = answers(model, 64)[0]
    assert to_int8(model) == 1
    after = answers(model, 64)[0]
    for one in range(32):
        close(after[:, one], before[:, one])


def test_each_row_keeps_its_own_scale_and_a_row_of_nothing_stays_nothing() -> None:
    x = inputs(32)
    matrix = numbers(3, 32) * np.array([[1e-4], [0], [100]], np.float32)
    model = ov.Model([op.result(product(x, op.constant(matrix).output(0)))], [x])
    before = answers(model, 32)[0]
    with np.errstate(all="raise"):
        to_int8(model)
    after = answers(model, 32)[0]
    close(after[:, 0], before[:, 0])
    assert not after[:, 1].any()
    close(after[:, 2], before[:, 2])


def test_a_table_that_is_a_matrix_too_is_looked_up_as_before() -> None:
    table, x = in_groups(64, 32, 32, ov.Type.u8), inputs(32)
    tokens = op.constant(np.array([3, 60, 3]))
    looked_up = op.gather(table, tokens, op.constant(np.int64(0)))
    model = ov.Model([op.result(looked_up), op.result(product(x, table))], [x])
    before = answers(model, 32)
    assert to_int8(model) == 1
    after = answers(model, 32)
    assert np.array_equal(after[0], before[0])
    close(after[1], before[1])


def test_products_that_share_a_matrix_share_its_rewriting() -> None:
    shared, x = in_groups(64, 64, 32, ov.Type.u4), inputs(64)
    model = ov.Model([op.result(product(product(x, shared), shared))], [x])
    before = answers(model, 64)[0]
    assert to_int8(model) == 1
    assert kinds(model) == ["i8", "i8"]
    assert sum(node.get_element_type() == ov.Type.i8 for node in model.get_ops() if not node.get_input_size()) == 1
    assert np.abs(answers(model, 64)[0] - before).max() < 0.03 * np.abs(before).max()


def test_a_matrix_that_is_shared_both_ways_round_is_rewritten_for_each() -> None:
    matrix, x = numbers(64, 64), inputs(64)
    shared = op.constant(matrix).output(0)
    model = ov.Model([op.result(product(x, shared)), op.result(product(x, shared, transposed=False))], [x])
    assert to_int8(model) == 2
    one, other = answers(model, 64)
    close(one, values(64) @ matrix.T)  # as the model was, the runtime mistakes one for the other
    close(other, values(64) @ matrix)


def test_rows_that_groups_do_not_divide_and_what_is_computed_stay() -> None:
    x = inputs(40)
    squares = op.matmul(x, x, False, True)
    model = ov.Model([op.result(product(x, op.constant(numbers(32, 40)).output(0))), op.result(squares)], [x])
    assert to_int8(model) == 0
    assert not model.has_rt_info(["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"])


def test_what_has_been_rewritten_stays() -> None:
    x = inputs(64)
    model = ov.Model([op.result(product(x, in_groups(32, 64, 32, ov.Type.u4)))], [x])
    assert [to_int8(model), to_int8(model)] == [1, 0]


def test_the_model_says_how_long_the_groups_of_inputs_are(tmp_path: Path) -> None:
    x = inputs(96)
    deep = product(product(x, in_groups(192, 96, 32, ov.Type.u4)), in_groups(32, 192, 32, ov.Type.u4))
    model = ov.Model([op.result(deep)], [x])
    to_int8(model)
    ov.save_model(model, tmp_path / "model.xml")
    compiled = CORE.compile_model(tmp_path / "model.xml", "CPU")
    assert compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == 96


@pytest.mark.parametrize(
    ("columns", "group"),
    [((576, 1536), 96), ((4096, 14336), 128), ((32,), 32), ((64, 96), 32), ((1184,), 32), ((40, 64), 0)],
)
def test_a_group_divides_every_row(columns: tuple[int, ...], group: int) -> None:
    assert group_for(columns) == group <= LONGEST_GROUP
    assert group % GROUP_STEP == 0


# -- where they are kept -----------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "a model"
    folder.mkdir()
    x = inputs(64)
    ov.save_model(ov.Model([op.result(product(x, in_groups(32, 64, 32, ov.Type.u4)))], [x]), folder / keeping._MODEL)
    (folder / "generation_config.json").write_text('{"eos_token_id": 7}')
    return folder


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What was made, in this process instead of one of its own."""
    sources: list[Path] = []

    def run(source: Path, target: Path, lock: int) -> None:
        os.fstat(lock)
        sources.append(source)
        keeping._make(source, target)

    monkeypatch.setattr(keeping, "_run", run)
    return sources


def test_a_model_is_rewritten_once(source: Path, made: list[Path], tmp_path: Path) -> None:
    folder = converted(source, tmp_path / "kept")
    assert kinds(CORE.read_model(folder / keeping._MODEL)) == ["i8"]
    assert json.loads((folder / "generation_config.json").read_text()) == {"eos_token_id": 7}
    assert converted(source, tmp_path / "kept") == folder
    assert made == [source]


def test_a_model_that_changed_is_rewritten_in_place_of_the_old(source: Path, made: list[Path], tmp_path: Path) -> None:
    folder = converted(source, tmp_path / "kept")
    (source / "generation_config.json").write_text('{"eos_token_id": 1234}')
    assert converted(source, tmp_path / "kept") == folder
    assert len(made) == 2
    assert [path.name for path in (tmp_path / "kept").iterdir() if path.is_dir()] == [folder.name]


@pytest.mark.parametrize("damage", ["openvino_model.bin", "openvino_model.xml", "made_of.json"])
def test_one_that_is_damaged_is_made_again(source: Path, made: list[Path], tmp_path: Path, damage: str) -> None:
    folder = converted(source, tmp_path / "kept")
    whole = (folder / damage).read_bytes()
    (folder / damage).write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
    converted(source, tmp_path / "kept")
    assert len(made) == 2
    assert kinds(CORE.read_model(folder / keeping._MODEL)) == ["i8"]
    assert (folder / damage).stat().st_size == len(whole)


def test_what_a_killed_process_left_is_swept_away(source: Path, made: list[Path], tmp_path: Path) -> None:
    folder = converted(source, tmp_path / "kept")
    folder.rename(folder.with_name(f"{folder.name}.new"))
    assert converted(source, tmp_path / "kept") == folder
    assert len(made) == 2


def test_a_model_with_nothing_to_rewrite_is_an_error_that_says_so(source: Path, tmp_path: Path) -> None:
    x = inputs(40)
    ov.save_model(
        ov.Model([op.result(product(x, op.constant(numbers(8, 40)).output(0)))], [x]), source / keeping._MODEL
    )
    with pytest.raises(ValueError, match='set weights = "file"'):
        converted(source, tmp_path / "kept")
    assert not [path for path in (tmp_path / "kept").iterdir() if path.is_dir()]
