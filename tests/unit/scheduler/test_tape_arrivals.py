"""When audio counts as arrived, from senders of any speed."""

from antiphon.core.arrivals import HEAD_START_NS
from antiphon.core.audio import SAMPLE_RATE
from antiphon.scheduler.tape import Tape

SECOND_NS = 1_000_000_000
SECOND = bytes(2 * SAMPLE_RATE)


def test_audio_in_real_time_arrives_when_it_comes():
    tape = Tape()
    for second in range(20):
        tape.append(SECOND, second * SECOND_NS)
    assert [tape.arrival_ns(n * SAMPLE_RATE) for n in range(1, 21)] == [n * SECOND_NS for n in range(20)]


def test_a_backlog_within_the_head_start_arrives_when_it_comes():
    tape = Tape()
    for _ in range(5):
        tape.append(SECOND, 7)
    assert tape.arrival_ns(5 * SAMPLE_RATE) == 7


def test_audio_sent_far_ahead_arrives_no_sooner_than_it_could_have_been_spoken():
    tape = Tape()
    for _ in range(60):
        tape.append(SECOND, 0)
    assert tape.arrival_ns(60 * SAMPLE_RATE) == 59 * SECOND_NS - HEAD_START_NS
