"""Each row of the table at the head of `turns.py`, and what time does."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.conversation.turns import Move, Playback, TurnTaking
from antiphon.core.conversation.spec import Turns

S = 1_000_000_000
MS = 1_000_000


def taking(**turns):
    return TurnTaking(Turns(**turns))


def test_a_turn_is_answered():
    who = taking()
    assert who.speech_started(0) == ()
    assert who.speech_stopped(words=True) == (Move.RESPOND,)


def test_a_turn_without_words_is_not_answered():
    who = taking()
    who.speech_started(0)
    assert who.speech_stopped(words=False) == ()


def test_who_answers_by_itself_is_left_to_it():
    who = taking(respond=False)
    who.speech_started(0)
    assert who.speech_stopped(words=True) == ()
    who = TurnTaking(None)
    who.reply_started()
    assert who.speech_started(0) == ()


def test_speech_interrupts_a_reply_while_it_is_made_and_while_it_plays():
    who = taking()
    who.reply_started()
    assert who.speech_started(0) == (Move.INTERRUPT,)
    who = taking()
    who.reply_started()
    who.plays_until(5 * S)
    who.reply_ended(1 * S)
    assert who.speech_started(5 * S - 1) == (Move.INTERRUPT,)
    assert who.speech_started(5 * S) == ()


def test_a_reply_that_was_cut_is_not_interrupted_again():
    who = taking()
    who.reply_started()
    who.plays_until(5 * S)
    who.reply_ended(1 * S)
    assert who.speech_started(2 * S) == (Move.INTERRUPT,)
    who.reply_cut()
    assert who.speech_started(3 * S) == ()


def test_what_is_said_over_a_reply_is_answered_after_it():
    who = taking(interrupt=False)
    who.reply_started()
    assert who.speech_started(0) == ()
    assert who.speech_stopped(words=True) == ()
    assert who.reply_ended(1 * S) == (Move.RESPOND,)
    who.reply_started()
    assert who.reply_ended(2 * S) == ()


def test_what_stopped_a_reply_is_answered_even_without_words():
    who = taking()
    who.reply_started()
    assert who.speech_started(0) == (Move.INTERRUPT,)
    assert who.reply_ended(0) == ()  # somebody speaks
    assert who.speech_stopped(words=False) == (Move.RESPOND,)
    who.reply_started()
    who.reply_ended(1 * S)
    who.speech_started(2 * S)
    assert who.speech_stopped(words=False) == ()


def test_it_is_left_to_a_caller_who_answers_by_itself_or_ends_that_turn_itself():
    who = taking(respond=False)
    who.reply_started()
    assert who.speech_started(0) == (Move.INTERRUPT,)
    who.reply_ended(0)
    assert who.speech_stopped(words=False) == ()
    who = taking()
    who.reply_started()
    who.speech_started(0)
    who.reply_ended(0)
    who.speech_forgotten()
    who.speech_started(1 * S)
    assert who.speech_stopped(words=False) == ()


def test_nobody_is_answered_while_they_speak():
    who = taking(interrupt=False)
    who.reply_started()
    who.speech_started(0)
    who.speech_stopped(words=True)
    who.speech_started(1 * S)
    assert who.reply_ended(2 * S) == ()
    assert who.speech_stopped(words=False) == (Move.RESPOND,)


def test_settings_do_not_forget_an_answer_that_is_owed():
    who = taking(interrupt=False)
    who.reply_started()
    who.speech_started(0)
    who.speech_stopped(words=True)
    who.configure(Turns(interrupt=False, silence_ms=800))
    assert who.reply_ended(1 * S) == (Move.RESPOND,)
    who.reply_started()
    who.speech_started(2 * S)
    who.speech_stopped(words=True)
    who.configure(Turns(respond=False))
    assert who.reply_ended(3 * S) == ()


def test_the_idle_time_runs_from_the_end_of_the_playing():
    who = taking(idle_ms=3000)
    assert who.deadline_ns() is None  # nobody has replied yet
    who.reply_started()
    assert who.deadline_ns() is None
    who.reply_ended(1 * S)
    assert who.deadline_ns() == 4 * S
    who.plays_until(10 * S)  # what was made is still being sent
    assert who.deadline_ns() == 13 * S
    assert who.expire(13 * S - 1) == ()
    assert who.expire(13 * S) == (Move.PROMPT,)
    assert who.expire(99 * S) == ()


def test_speech_stops_the_idle_time():
    who = taking(idle_ms=3000)
    who.reply_started()
    who.reply_ended(0)
    who.speech_started(1 * S)
    assert who.deadline_ns() is None
    who.speech_stopped(words=False)
    assert who.deadline_ns() is None


def test_another_way_of_taking_turns_forgets_what_was_owed():
    who = taking(interrupt=False, idle_ms=1000)
    who.reply_started()
    who.speech_started(0)
    who.speech_stopped(words=True)
    who.configure(None)
    assert who.reply_ended(0) == ()
    assert who.deadline_ns() is None


def test_a_reply_is_heard_as_it_plays():
    playback = Playback()
    assert playback.position_ms(5 * S) == 0
    playback.sent(1000, 0)
    assert playback.position_ms(400 * MS) == 400
    playback.sent(1500, 400 * MS)
    assert playback.until_ns == 1500 * MS
    assert playback.position_ms(1400 * MS) == 1400
    assert playback.position_ms(9 * S) == 1500
    playback.sent(2000, 10 * S)  # it had run dry
    assert playback.position_ms(10 * S + 100 * MS) == 1600


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 2000)), max_size=30))
def test_what_was_heard_never_falls_and_was_always_sent(pieces):
    playback, now, heard = Playback(), 0, 0
    for more_ms, later_ms in pieces:
        playback.sent(playback.sent_ms + more_ms, now)
        now += later_ms * MS
        assert heard <= playback.position_ms(now) <= playback.sent_ms
        heard = playback.position_ms(now)
