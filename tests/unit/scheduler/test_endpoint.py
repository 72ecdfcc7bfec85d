"""Each row of the table at the head of the module, its edges, and what holds for any speech at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig import steady

from antiphon.core.audio import ms_to_samples
from antiphon.scheduler.endpoint import (
    FRAME,
    PRE_ROLL,
    SPEECH_OFF,
    SPEECH_ON,
    TAIL,
    Change,
    Endpointer,
    EndpointState,
    Turn,
)

S, Q = 0.95, 0.1  # speech, quiet
UNSURE = (SPEECH_ON + SPEECH_OFF) / 2  # keeps speech alive, and does not begin or resume it


def play(ends: Endpointer, *frames: float) -> list[tuple[int, Change]]:
    """What happened, each with the number of the frame (from 1) it happened at."""
    changes = []
    for n, frame in enumerate(frames, start=1):
        change = ends.push(frame)
        if change:
            changes.append((n, change))
    return changes


def turns(changes: list[tuple[int, Change]]) -> list[Turn]:
    return [change.turn for _, change in changes]


def test_two_frames_in_a_row_start_speech_and_the_first_of_them_is_its_onset():
    ends = Endpointer(300)
    assert play(ends, Q, S, Q, S) == []
    assert play(ends, S) == [(1, Change(Turn.START, 3 * FRAME))]
    assert ends.state is EndpointState.SPEECH


def test_the_pre_roll_comes_before_the_onset_but_not_before_the_stream():
    early, late = Endpointer(300), Endpointer(300)
    play(early, S, S)
    play(late, *[Q] * 20, S, S)
    assert (early.start, early.onset) == (0, 0)
    assert (late.start, late.onset) == (20 * FRAME - PRE_ROLL, 20 * FRAME)


def test_unsure_frames_keep_speech_alive_and_do_not_start_it():
    ends = Endpointer(300)
    assert play(ends, *[UNSURE] * 50) == []
    play(ends, S, S)
    assert play(ends, *[UNSURE] * 50) == []
    assert ends.state is EndpointState.SPEECH


def test_three_silent_frames_in_a_row_are_a_pause():
    ends = Endpointer(300)
    play(ends, S, S)
    assert play(ends, Q, Q, S, Q, Q) == []
    assert play(ends, Q) == [(1, Change(Turn.PAUSE, 5 * FRAME))]
    assert ends.state is EndpointState.PAUSE


def test_as_much_speech_as_starts_an_utterance_ends_a_pause():
    ends = Endpointer(300)
    play(ends, S, S, Q, Q, Q)
    assert play(ends, UNSURE, S, UNSURE, S) == []
    assert play(ends, S) == [(1, Change(Turn.RESUME, 8 * FRAME))]
    assert ends.state is EndpointState.SPEECH


def test_a_click_at_the_end_of_a_pause_does_not_keep_the_final_back():
    ends = Endpointer(300)
    play(ends, S, S, *[Q] * 9)
    assert play(ends, S) == [(1, Change(Turn.STOP, 2 * FRAME))]
    assert play(ends, S) == [(1, Change(Turn.START, 11 * FRAME))]


def test_silence_as_long_as_the_endpoint_ends_the_utterance():
    ends = Endpointer(300)  # 9.4 frames, so the tenth
    changes = play(ends, S, S, *[Q] * 30)
    assert changes == [
        (2, Change(Turn.START, 0)),
        (5, Change(Turn.PAUSE, 2 * FRAME)),
        (12, Change(Turn.STOP, 2 * FRAME)),
    ]
    assert ends.state is EndpointState.SILENCE


@pytest.mark.parametrize("silence_ms", [0, 10, 96])
def test_an_endpoint_shorter_than_a_pause_ends_at_the_frame_after_the_pause(silence_ms):
    ends = Endpointer(silence_ms)
    changes = play(ends, S, S, Q, Q, Q, Q, Q)
    assert turns(changes) == [Turn.START, Turn.PAUSE, Turn.STOP]
    assert changes[-1] == (6, Change(Turn.STOP, 2 * FRAME))


def test_no_endpoint_never_stops():
    ends = Endpointer(None)
    assert turns(play(ends, S, S, *[Q] * 400)) == [Turn.START, Turn.PAUSE]


def test_a_pause_in_an_utterance_that_is_too_long_parts_it():
    ends = Endpointer(None, longest=20 * FRAME)
    changes = play(ends, S, S, *[Q] * 40)
    assert changes[-1] == (20, Change(Turn.PART, 2 * FRAME))
    assert ends.state is EndpointState.SILENCE


def test_speech_that_is_too_long_is_cut_at_every_frame_until_it_is_split():
    ends = Endpointer(300, longest=10 * FRAME)
    changes = play(ends, *[S] * 12)
    assert changes[1:] == [(n, Change(Turn.CUT, n * FRAME)) for n in (10, 11, 12)]
    ends.split(9 * FRAME)
    assert (ends.start, ends.onset, ends.state) == (9 * FRAME, 9 * FRAME, EndpointState.SPEECH)
    assert turns(play(ends, *[S] * 7)) == [Turn.CUT]


def test_the_next_utterance_may_reach_back_to_where_the_last_one_ended_and_no_further():
    ends = Endpointer(96)
    play(ends, S, S, Q, Q, Q, Q)  # stopped at frame 6; its final ends after frame 5
    play(ends, S, S)
    assert ends.start == 2 * FRAME + TAIL


def test_a_flush_in_the_middle_of_a_frame_is_the_floor_of_the_next_utterance():
    ends = Endpointer(300)
    play(ends, S, S, S)
    ends.reset(3 * FRAME + 100)
    assert play(ends, S, S) == [(2, Change(Turn.START, 3 * FRAME + 100))]
    assert ends.start == 3 * FRAME + 100


def test_a_flush_forgets_speech_frames_counted_so_far():
    ends = Endpointer(300)
    play(ends, S)
    ends.reset(FRAME)
    assert play(ends, S) == []


@steady
@given(
    st.lists(st.sampled_from([S, Q, UNSURE]), max_size=400),
    st.sampled_from([None, 10, 300, 1000]),
    st.integers(min_value=8, max_value=60),
)
def test_any_speech_gives_whole_bounded_utterances_in_order(frames, silence_ms, longest):
    ends = Endpointer(silence_ms, longest=longest * FRAME)
    floor = 0
    speaking = False
    for frame in frames:
        change = ends.push(frame)
        turn = change.turn if change else None
        if turn is Turn.START:
            assert not speaking
            assert floor <= ends.start <= ends.onset < ends.position
            speaking = True
        elif turn in (Turn.STOP, Turn.PART):
            assert speaking
            assert change.at == ends.speech_end
            assert ends.start < change.at + TAIL <= ends.position
            floor = change.at + TAIL
            speaking = False
            if turn is Turn.STOP:
                assert ends.position - change.at >= ms_to_samples(silence_ms)
        elif turn is Turn.CUT:
            assert speaking
            floor = ends.position - FRAME
            ends.split(floor)
        elif turn is not None:
            assert speaking
        assert speaking == (ends.state is not EndpointState.SILENCE)
        if speaking:
            # A change of state at the bound defers the cut, by a frame each time.
            assert ends.position - ends.start < (longest + 4) * FRAME


# -- patience ----------------------------------------------------------------------------------------------------------


def frames(ms: int) -> int:
    return -(-ms_to_samples(ms) // FRAME)


def test_a_pause_can_be_given_another_patience_until_speech_resumes():
    ends = Endpointer(2000)
    play(ends, S, S, *[Q] * 5)
    ends.wait(300)
    assert turns(play(ends, *[Q] * (frames(300) - 5))) == [Turn.STOP]
    play(ends, S, S, *[Q] * 5)
    ends.wait(300)
    play(ends, S, S)
    changes = play(ends, *[Q] * frames(2100))
    assert [(n, c.turn) for n, c in changes] == [(3, Turn.PAUSE), (frames(2000), Turn.STOP)]


def test_patience_that_has_run_out_already_ends_the_utterance_at_once():
    ends = Endpointer(2000)
    play(ends, S, S, *[Q] * frames(500))
    assert ends.wait(600) is None
    assert ends.wait(300) == Change(Turn.STOP, 2 * FRAME)
    assert ends.state is EndpointState.SILENCE
    assert turns(play(ends, S, S)) == [Turn.START]


def test_patience_counts_in_a_pause_only():
    ends = Endpointer(2000)
    assert ends.wait(300) is None
    play(ends, S, S)
    assert ends.wait(0) is None
    assert turns(play(ends, *[Q] * frames(1900))) == [Turn.PAUSE]


def test_what_may_be_the_first_frame_of_the_next_utterance_is_not_lost_by_patience_that_has_run_out():
    ends = Endpointer(2000)
    play(ends, S, S, *[Q] * frames(500), S)
    assert ends.wait(300) == Change(Turn.STOP, 2 * FRAME)
    assert play(ends, S) == [(1, Change(Turn.START, (2 + frames(500)) * FRAME))]


def test_it_can_be_tuned_while_it_listens():
    ends = Endpointer(None)
    play(ends, *[Q] * 20)
    ends.tune(300, 2 * FRAME)
    play(ends, S, S)
    assert ends.start == ends.onset - 2 * FRAME
    assert turns(play(ends, *[Q] * frames(300))) == [Turn.PAUSE, Turn.STOP]


def test_a_long_utterance_is_not_parted_in_a_pause_where_that_would_end_a_turn():
    ends = Endpointer(300, longest=20 * FRAME)
    ends.tune(2000, PRE_ROLL, parts=False)
    play(ends, *[S] * 15)
    assert turns(play(ends, *[Q] * 20)) == [Turn.PAUSE]
    assert turns(play(ends, S, S, S)) == [Turn.RESUME, Turn.CUT]
