import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig import steady

from antiphon.scheduler.cost import PRIOR, CostModel, Row, features


def a_batch(chance: random.Random) -> list[Row]:
    lengths = [chance.randint(200, 8000) for _ in range(chance.randint(1, 8))]
    return [Row(length, chance.randint(0, length)) for length in lengths]


def cost(law: tuple[float, float, float], batch: list[Row]) -> float:
    return sum(weight * feature for weight, feature in zip(law, features(batch), strict=True))


def test_features_are_the_sum_of_the_audio_and_the_most_of_the_new_audio():
    assert features([Row(4000, 500), Row(1000, 1000)]) == (1.0, 5.0, 1.0)


def test_before_it_has_learnt_anything_it_says_what_it_was_told():
    assert CostModel((1.0, 2.0, 3.0)).predict_ms([Row(4000, 500), Row(1000, 1000)]) == 14.0


@pytest.mark.parametrize("law", [(4.0, 5.0, 12.0), (30.0, 1.0, 60.0), (1.0, 0.5, 1.0)])
def test_it_learns_a_linear_law_from_noisy_batches(law):
    chance = random.Random(7)
    model = CostModel()
    for _ in range(300):
        batch = a_batch(chance)
        model.learn(batch, cost(law, batch) * chance.uniform(0.95, 1.05))
    for _ in range(100):
        batch = a_batch(chance)
        assert model.predict_ms(batch) == pytest.approx(max(1.0, cost(law, batch)), rel=0.1, abs=0.5)


def test_a_change_of_the_law_is_learnt_within_a_few_hundred_batches_even_after_a_very_long_run():
    chance = random.Random(3)
    model = CostModel()
    for _ in range(5_000):
        batch = a_batch(chance)
        model.learn(batch, cost((4, 5, 12), batch))
    for _ in range(500):
        batch = a_batch(chance)
        model.learn(batch, cost((8, 10, 24), batch))
    batch = [Row(4000, 1000)] * 4
    assert model.predict_ms(batch) == pytest.approx(cost((8, 10, 24), batch), rel=0.1)


def test_a_long_run_of_batches_all_alike_leaves_it_stable():
    chance = random.Random(5)
    model = CostModel()
    alike = [Row(4000, 1000)] * 4
    for _ in range(20_000):
        model.learn(alike, 60 * chance.uniform(0.95, 1.05))
    assert model.predict_ms(alike) == pytest.approx(60, rel=0.03)
    # The first batch that differs changes what it knows nothing about, and not what it knows.
    other = [Row(12_000, 12_000)]
    model.learn(other, 300)
    assert model.predict_ms(alike) == pytest.approx(60, rel=0.03)
    for _ in range(10):
        model.learn(other, 300)
    assert model.predict_ms(other) == pytest.approx(300, rel=0.25)
    for _ in range(600):
        model.learn(alike, 120)
    assert model.predict_ms(alike) == pytest.approx(120, rel=0.06)


def test_one_stall_of_the_machine_is_not_a_law():
    chance = random.Random(9)
    model = CostModel()
    for _ in range(300):
        batch = a_batch(chance)
        model.learn(batch, cost((4, 5, 12), batch))
    batch = [Row(4000, 1000)] * 2
    before = model.predict_ms(batch)
    model.learn(batch, 30_000)
    assert model.predict_ms(batch) < 1.2 * before


def test_an_engine_far_slower_than_the_prior_is_believed_soon():
    chance = random.Random(11)
    model = CostModel((0.1, 0.1, 0.1))
    law = (100.0, 100.0, 300.0)
    for _ in range(30):
        batch = a_batch(chance)
        model.learn(batch, cost(law, batch))
    batch = [Row(4000, 1000)] * 4
    assert model.predict_ms(batch) == pytest.approx(cost(law, batch), rel=0.2)


@steady
@given(
    st.lists(
        st.tuples(
            st.lists(
                st.builds(Row, st.integers(0, 40_000), st.integers(0, 40_000)),
                min_size=1,
                max_size=4,
            ),
            st.floats(min_value=0, max_value=100_000),
        ),
        max_size=20,
    )
)
def test_whatever_it_is_told_it_stays_finite_not_negative_and_monotonic(history):
    model = CostModel()
    for batch, took_ms in history:
        model.learn(batch, took_ms)
    assert all(0 <= weight < 1e7 for weight in model.weights)
    small, large = [Row(1000, 100)], [Row(1000, 100), Row(2000, 2000)]
    assert 1.0 <= model.predict_ms(small) <= model.predict_ms(large)


def test_the_prior_is_not_negative():
    assert min(PRIOR) >= 0
