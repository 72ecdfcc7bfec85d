import numpy as np
import pytest

from antiphon.core.errors import EngineError
from antiphon.engines import moonshine_weights
from antiphon.engines.moonshine_weights import Linear


def dense(layer: Linear) -> np.ndarray:
    return (layer.q.astype(np.float32) - layer.zero) * layer.scale


def layer(columns: int, zero: int, scale: float) -> Linear:
    q = np.random.default_rng(zero).integers(0, 256, (6, columns), dtype=np.uint8)
    return Linear(q, np.full(columns, scale, np.float32), np.full(columns, zero, np.uint8))


def test_shifting_to_int8_and_back_changes_no_weight():
    before = layer(5, 131, 0.02)
    signed = moonshine_weights.shift(before, signed=True)
    assert signed.q.dtype == signed.zero.dtype == np.int8
    assert np.array_equal(dense(signed), dense(before))
    assert np.array_equal(moonshine_weights.shift(signed, signed=False).q, before.q)


def test_joined_layers_keep_their_own_scales():
    parts = [layer(2, 120, 0.5), layer(3, 140, 0.1)]
    assert np.array_equal(dense(moonshine_weights.join(parts)), np.hstack([dense(part) for part in parts]))


def test_taken_columns_are_the_same_columns():
    whole = layer(7, 128, 0.3)
    assert np.array_equal(dense(moonshine_weights.take(whole, np.array([5, 0]))), dense(whole)[:, [5, 0]])


def test_quantised_weights_are_within_half_a_step():
    weight = np.random.default_rng(3).standard_normal((8, 4)).astype(np.float32)
    weight[:, 2] = 0
    error = np.abs(dense(moonshine_weights.quantise(weight)) - weight)
    assert (error <= np.abs(weight).max(0) / 127 / 2 + 1e-6).all()


def test_a_file_that_is_no_model_is_an_error(tmp_path):
    path = tmp_path / "encoder_model.ort"
    path.write_bytes(b"not a flatbuffer at all, but long enough to be read as one" * 4)
    with pytest.raises(EngineError):
        moonshine_weights.read_weights(path)
