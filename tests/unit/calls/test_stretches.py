"""What a live stream reserves of its budgets, and when."""

from types import SimpleNamespace

import pytest

from antiphon.calls.demands import CLOSING_MS, STRETCH_MS
from antiphon.calls.stretches import Stretches
from antiphon.core.arrivals import Arrivals
from antiphon.core.errors import BudgetExceeded
from antiphon.core.usage import Dimension, Meter


class Allowance:
    """Has room for so many milliseconds of each channel; `covered` is what was reserved."""

    def __init__(self, room_ms):
        self.room_ms = room_ms
        self.covered = []

    def cover(self, meters, entries):
        assert set(meters) == set(entries)
        if max(meters.values()) > self.room_ms:
            raise BudgetExceeded("It is spent.")
        self.covered.append(dict(meters))

    def note(self, meters):
        self.noted = meters


@pytest.fixture
def channels():
    return [SimpleNamespace(arrivals=Arrivals()) for _ in range(2)]


def pcm(ms):
    return [bytes(32 * ms)] * 2


def test_a_stretch_is_reserved_when_half_of_the_one_before_is_heard(channels):
    allowance = Allowance(1_000_000)
    stretches = Stretches(allowance, channels, charges_time=False)
    assert stretches.cover(pcm(STRETCH_MS // 2), 0)
    assert allowance.covered == []
    assert stretches.cover(pcm(STRETCH_MS // 2 + 1), 0)
    upto = STRETCH_MS // 2 + 1 + STRETCH_MS
    assert allowance.covered == [{Meter(Dimension.STT_AUDIO_MS, number): upto for number in range(2)}]
    assert stretches.cover(pcm(STRETCH_MS), 0)
    assert len(allowance.covered) == 1


def test_what_is_left_is_heard_to_its_end_and_not_further(channels):
    allowance = Allowance(STRETCH_MS + 100)
    stretches = Stretches(allowance, channels, charges_time=False)
    assert stretches.cover(pcm(STRETCH_MS), 0)  # the opening reserved so much
    assert stretches.cover(pcm(STRETCH_MS + 100), 0)
    assert stretches.refusal is None
    assert not stretches.cover(pcm(STRETCH_MS + 101), 0)
    assert isinstance(stretches.refusal, BudgetExceeded)


def test_time_without_audio_counts_where_it_is_charged(channels):
    allowance = Allowance(1_000_000)
    stretches = Stretches(allowance, channels, charges_time=True)
    assert stretches.cover((), STRETCH_MS)
    (covered,) = allowance.covered
    assert covered[Meter(Dimension.STT_SESSION_MS)] == 2 * STRETCH_MS + CLOSING_MS
    allowance.room_ms = 0
    assert stretches.cover((), STRETCH_MS)
    assert stretches.cover((), 2 * STRETCH_MS)  # what was reserved before
    assert not stretches.cover((), 2 * STRETCH_MS + 1)
