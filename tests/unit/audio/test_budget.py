"""Memory that several share."""

import pytest

from antiphon.audio.budget import Budget
from antiphon.core.errors import CapacityError


def test_who_wants_more_than_is_left_is_told_to_come_again():
    budget = Budget(10)
    first, second = budget.hold(), budget.hold()
    first.take(6)
    second.take(4)
    with pytest.raises(CapacityError) as refused:
        second.take(1)
    assert refused.value.retry_after_s
    assert (first.taken_bytes, second.taken_bytes, budget.taken_bytes) == (6, 0, 6)
    second.give_back()
    first.take(4)  # two that grow beside each other are not both refused
    first.give_back()
    first.give_back()
    second.take(6)
    assert budget.taken_bytes == 6


def test_one_that_is_alone_may_hold_more():
    budget = Budget(10)
    alone, other = budget.hold(), budget.hold()
    alone.take(8)
    alone.take(8)
    with pytest.raises(CapacityError):
        other.take(1)
    alone.give_back()
    other.take(1)
    assert budget.taken_bytes == 1
