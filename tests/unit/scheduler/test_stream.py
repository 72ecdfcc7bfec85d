"""A stream's whole life with scripted speech: a frame is 32 ms, a pause three quiet frames, the endpoint ten."""

import pytest
from rig import FRAME_NS, MS, Rig, overlaps

from antiphon.core.audio import ms_to_samples, samples_to_ms
from antiphon.core.errors import EngineError
from antiphon.core.events import Cause, Final, Interim, SpeechResumed, SpeechStarted, TurnMayEnd, UtteranceEnded, Word
from antiphon.core.ports import Guidance, Hypothesis
from antiphon.core.speech import Drained, StreamSpec, Tuning
from antiphon.scheduler.endpoint import FRAME, LONGEST
from antiphon.scheduler.interims import FIRST_AUDIO, REFRESH_AUDIO, REFRESH_SHARE, RETRY_AUDIO
from antiphon.scheduler.policy import WorkKind

FIRST, RETRY, REFRESH = (-(-samples // FRAME) for samples in (FIRST_AUDIO, RETRY_AUDIO, REFRESH_AUDIO))  # in frames

# -- interims ----------------------------------------------------------------------------------------------------------


def test_the_first_interim_is_asked_for_once_there_is_enough_speech_and_is_due_after_its_onset():
    rig = Rig()
    rig.say("QQQQQQQQQQ" + "S" * (FIRST - 1))
    assert rig.waiting == []
    rig.say("S")
    assert rig.waiting == [(WorkKind.FIRST, 3, 10 + FIRST)]
    (work,) = rig.board.waiting
    assert work.deadline_ns == 11 * FRAME_NS + 280 * MS  # the first frame of speech is the eleventh


def test_an_interim_that_waits_hears_up_to_now_instead_of_being_asked_for_again():
    rig = Rig()
    rig.say("S" * 6)
    before = rig.board.waiting[0]
    rig.say("S" * 4)
    assert rig.board.waiting == [before]
    assert before.end == 10 * FRAME
    assert len(before.utterance().pcm) == 2 * before.end


def test_no_interim_is_asked_for_while_one_runs_and_the_next_is_a_refresh_with_the_last_as_its_draft():
    rig = Rig()
    rig.say("S" * 20)
    (first,) = rig.board.waiting
    utterance = rig.start(first)
    rig.say("S" * 20)
    assert rig.waiting == []
    result = rig.finish(first, utterance)
    assert rig.waiting == [(WorkKind.REFRESH, 0, 40)]
    (refresh,) = rig.board.waiting
    assert refresh.draft == result.tokens
    assert refresh.new_audio_ms == 20 * 32
    assert refresh.deadline_ns == 20 * FRAME_NS + 900 * MS


def test_a_refresh_wants_some_new_audio():
    rig = Rig()
    rig.say("S" * 20)
    rig.decode()
    rig.say("S" * (REFRESH - 1))
    assert rig.waiting == []
    rig.say("S")
    assert rig.waiting == [(WorkKind.REFRESH, 0, 20 + REFRESH)]


def test_the_longer_the_utterance_the_more_new_audio_a_refresh_wants():
    rig = Rig()
    rig.say("S" * 160)
    rig.decode()
    more = 0
    while not rig.waiting:
        rig.say("S")
        more += 1
    assert more == -(-160 // (REFRESH_SHARE - 1))
    assert more > REFRESH


def test_an_empty_interim_is_not_said_and_soon_tried_again_as_the_first():
    rig = Rig()
    rig.say("S" * 6)
    rig.decode("")
    assert rig.events == []
    rig.say("S" * (RETRY - 1))
    assert rig.waiting == []
    rig.say("S")
    assert rig.waiting == [(WorkKind.FIRST, 0, 6 + RETRY)]
    rig.decode("hello")
    assert rig.interims[0].transcript.text == "hello"


def test_interims_replace_each_other_and_grow_with_the_utterance():
    rig = Rig()
    for _ in range(5):
        rig.say("S" * 20)
        rig.decode_all()
    assert rig.kinds() == ["interim"] * 5
    assert {i.start_ms for i in rig.interims} == {0}
    assert [i.end_ms for i in rig.interims] == [640, 1280, 1920, 2560, 3200]


def test_a_stream_that_wants_no_interims_gets_none_and_asks_for_none():
    rig = Rig(interims=False)
    rig.say("S" * 50)
    assert rig.waiting == []
    rig.say("Q" * 12)
    rig.decode_all()
    assert rig.kinds() == ["final"]


# -- the end of an utterance -------------------------------------------------------------------------------------------


def test_at_a_pause_the_final_is_decoded_ahead_and_becomes_the_final_without_new_work():
    rig = Rig()
    rig.say("S" * 30)
    rig.decode()
    rig.say("QQQ")
    assert rig.waiting == [(WorkKind.FINAL, 0, 33)]
    assert rig.board.waiting[0].deadline_ns == 30 * FRAME_NS + 700 * MS
    rig.decode()
    assert rig.kinds() == ["interim", "interim"]
    rig.say("Q" * 7)
    assert rig.waiting == []
    assert rig.kinds() == ["interim", "interim", "final"]
    final = rig.finals[0]
    assert (final.start_ms, final.end_ms, final.cause) == (0, 33 * 32, Cause.ENDPOINT)
    assert final.transcript.text == "one two three"
    assert (rig.heard[-1].onset, rig.heard[-1].spoken) == (1, 30 * FRAME)


def test_what_still_runs_when_the_silence_is_over_becomes_the_final():
    rig = Rig()
    rig.say("S" * 30)
    rig.decode()
    rig.say("QQQ")
    (work,) = rig.board.waiting
    utterance = rig.start(work)
    rig.say("Q" * 10)
    assert rig.waiting == []
    assert rig.kinds() == ["interim"]
    rig.finish(work, utterance)
    assert rig.kinds() == ["interim", "final"]


def test_what_still_waits_when_the_silence_is_over_is_replaced_by_the_final_with_the_same_deadline():
    rig = Rig()
    rig.say("S" * 30 + "QQQ")
    (ahead,) = rig.board.waiting
    rig.say("Q" * 7)
    assert rig.waiting == [(WorkKind.FINAL, 0, 33)]
    assert rig.board.waiting[0] is not ahead
    assert rig.board.waiting[0].deadline_ns == ahead.deadline_ns
    rig.decode()
    assert rig.kinds() == ["final"]


def test_a_first_interim_that_still_waits_at_the_pause_keeps_its_deadline():
    rig = Rig()
    rig.say("SSSSQQ")
    (first,) = rig.board.waiting
    assert first.kind is WorkKind.FIRST
    rig.say("Q")
    (ahead,) = rig.board.waiting
    assert ahead.kind is WorkKind.FINAL
    assert ahead.deadline_ns == first.deadline_ns
    rig.decode("yes")
    assert rig.interims[0].transcript.text == "yes"


def test_an_interim_that_runs_into_the_pause_is_followed_by_the_decoding_ahead():
    rig = Rig()
    rig.say("S" * 20)
    (interim,) = rig.board.waiting
    utterance = rig.start(interim)
    rig.say("SQQQ")
    assert rig.waiting == []
    rig.finish(interim, utterance)
    assert rig.waiting == [(WorkKind.FINAL, 0, 24)]


def test_an_interim_that_runs_past_the_end_is_forgotten_and_says_nothing():
    rig = Rig()
    rig.say("S" * 20)
    (interim,) = rig.board.waiting
    utterance = rig.start(interim)
    rig.say("Q" * 12)
    (final,) = rig.board.waiting
    rig.finish(final, rig.start(final))
    rig.finish(interim, utterance)
    assert rig.kinds() == ["final"]
    assert rig.waiting == []


def test_speech_that_goes_on_drops_the_decoding_ahead_and_goes_on_with_interims():
    rig = Rig()
    rig.say("S" * 30)
    rig.decode()
    rig.say("QQQ")
    assert rig.waiting == [(WorkKind.FINAL, 0, 33)]
    rig.say("SS")
    assert rig.waiting == []
    rig.say("S" * 9)
    assert rig.waiting == [(WorkKind.REFRESH, 0, 44)]
    rig.decode()
    rig.say("Q" * 10)
    rig.decode_all()
    assert len(rig.finals) == 1
    assert rig.finals[0].end_ms == (44 + 3) * 32


def test_what_was_decoded_ahead_of_speech_that_goes_on_is_an_interim_and_the_next_draft():
    rig = Rig()
    rig.say("S" * 30 + "QQQ")
    (work,) = rig.board.waiting
    utterance = rig.start(work)
    rig.say("S" * 5)
    result = rig.finish(work, utterance)
    assert rig.kinds() == ["interim"]
    rig.say("S" * 10 + "QQQ")
    assert rig.board.waiting[0].draft == result.tokens


def test_without_an_endpoint_a_pause_brings_the_last_interim_and_no_final():
    rig = Rig(endpointing_ms=None)
    rig.say("S" * 10 + "QQQ")
    assert rig.waiting == [(WorkKind.FIRST, 0, 13)]
    rig.decode("yes")
    rig.say("Q" * 100)
    assert rig.waiting == []
    rig.say("S" * 11)
    assert [kind for kind, _, _ in rig.waiting] == [WorkKind.REFRESH]
    rig.stream.flush(rig.now_ns)
    rig.listen()
    rig.decode_all()
    assert rig.kinds() == ["interim", "final"]


def test_two_utterances_get_two_finals_that_share_no_audio():
    rig = Rig()
    for _ in range(2):
        rig.say("S" * 20 + "Q" * 10)
        rig.decode_all()
    assert len(rig.finals) == 2
    assert not overlaps(rig.finals)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_finals_leave_in_the_order_of_their_utterances_whatever_order_they_finish_in(order):
    rig = Rig(interims=False)
    works = []
    for _ in range(3):
        rig.say("S" * 20 + "Q" * 12)
        (work,) = rig.board.waiting
        works.append((work, rig.start(work)))
    for n in order:
        rig.finish(*works[n], text=f"number {n}")
    assert [f.transcript.text for f in rig.finals] == ["number 0", "number 1", "number 2"]
    assert not overlaps(rig.finals)


def test_interims_of_the_next_utterance_wait_for_the_final_before_them():
    rig = Rig()
    rig.say("S" * 20 + "Q" * 12)
    (final,) = rig.board.waiting
    utterance = rig.start(final)
    rig.say("S" * 20)
    rig.decode("two")
    rig.say("S" * 20)
    rig.decode("two and")
    assert rig.events == []
    rig.finish(final, utterance, "one")
    assert [e.transcript.text for e in rig.events] == ["one", "two and"]
    assert rig.kinds() == ["final", "interim"]


def test_an_interim_that_waited_is_not_said_after_its_own_final():
    rig = Rig()
    rig.say("S" * 20 + "Q" * 12)
    (final,) = rig.board.waiting
    utterance = rig.start(final)
    rig.say("S" * 20)
    rig.decode("two")
    rig.say("Q" * 12)
    rig.decode("two and a half")
    rig.finish(final, utterance, "one")
    assert [(k, e.transcript.text) for k, e in zip(rig.kinds(), rig.events, strict=True)] == [
        ("final", "one"),
        ("final", "two and a half"),
    ]


# -- too long ----------------------------------------------------------------------------------------------------------


def test_speech_without_a_pause_is_cut_at_its_quietest_point_and_nothing_is_lost_or_twice():
    rig = Rig()
    longest = LONGEST // FRAME + 1
    dip = 380
    rig.say("S" * dip)
    rig.say("S" * 3, loudness=3)
    rig.say("S" * (longest - dip - 3))
    finals = [w for w in rig.board.waiting if w.segment]
    assert len(finals) == 1
    assert abs(finals[0].end - (dip * FRAME + 3 * FRAME // 2)) <= FRAME // 2  # the middle of the dip
    rig.decode_all()
    assert [f.cause for f in rig.finals] == [Cause.LENGTH]
    rig.say("S" * 30 + "Q" * 12)
    rig.decode_all()
    first, second = rig.finals
    assert (first.end_ms, second.start_ms) == (samples_to_ms(finals[0].end),) * 2
    assert second.cause is Cause.ENDPOINT


@pytest.mark.parametrize("before", range(20, 40))
def test_speech_that_begins_softly_is_decoded_from_its_beginning(before):
    rig = Rig(interims=False)
    rig.say("Q" * before + "s" * 6 + "S" * 10 + "QQQ")
    (final,) = rig.board.waiting
    assert final.start == (before - 7) * FRAME
    assert len(rig.start(final).pcm) == 2 * (final.end - final.start)


@pytest.mark.parametrize("before", range(20, 40))
def test_longer_padding_begins_where_there_still_is_audio(before):
    rig = Rig(interims=False)
    rig.say("Q" * before)
    rig.stream.change(Tuning(300, padding_ms=5000), rig.now_ns)
    rig.say("S" * 10 + "QQQ")
    (final,) = rig.board.waiting
    assert len(rig.start(final).pcm) == 2 * (final.end - final.start)
    assert final.start <= (before - 7) * FRAME


def test_what_follows_a_cut_counts_from_the_cut_and_not_from_when_it_was_spoken():
    rig = Rig()
    rig.say("S" * 100, loudness=900)
    rig.decode()
    rig.say("S" * (LONGEST // FRAME - 99), loudness=1000)
    cut_ns = rig.now_ns
    (first,) = [w for w in rig.board.waiting if w.kind is WorkKind.FIRST]
    assert first.deadline_ns == cut_ns + 280 * MS
    rig.decode_all()
    assert isinstance(rig.heard[-1].event, Interim)
    assert rig.heard[-1].onset == rig.stream.received


def test_a_draft_that_reaches_past_the_cut_is_no_negative_work():
    rig = Rig()
    rig.say("S" * (LONGEST // FRAME - 2))
    rig.decode()
    rig.say("S" * 3)
    (final,) = [w for w in rig.board.waiting if w.segment]
    assert final.draft
    assert final.new_audio_ms == 0


def test_a_pause_that_makes_an_utterance_too_long_parts_it_there():
    rig = Rig(endpointing_ms=None)
    rig.say("S" * 100 + "Q" * (LONGEST // FRAME))
    rig.decode_all()
    (final,) = rig.finals
    assert (final.end_ms, final.cause) == (103 * 32, Cause.LENGTH)


# -- what counts as late -----------------------------------------------------------------------------------------------


def test_a_cut_counts_from_when_it_was_made_and_not_from_where():
    rig = Rig(interims=False)
    rig.say("S" * (LONGEST // FRAME + 1), loudness=700)
    (work,) = rig.board.waiting
    assert rig.stream.received - work.end > 2 * 16_000
    assert work.deadline_ns == rig.now_ns + 280 * MS  # what is said next waits for it
    rig.decode()
    assert rig.heard[-1].spoken == rig.stream.received


def test_a_parting_in_a_long_pause_counts_from_when_it_was_made():
    rig = Rig(endpointing_ms=None)
    rig.say("S" * 100 + "QQQ")
    rig.decode_all()
    while not rig.finals:
        rig.say("Q")
    assert rig.heard[-1].spoken == rig.stream.received


def test_a_flush_and_the_end_count_from_where_they_were_asked_for():
    rig = Rig(endpointing_ms=None)
    for ask in (rig.stream.flush, rig.stream.end):
        rig.say("S" * 20 + "QQQ")
        rig.decode_all()
        rig.now_ns += 5000 * MS
        asked_ns = rig.now_ns
        ask(asked_ns)
        rig.now_ns += 10 * MS
        rig.listen()
        (final,) = [h for h in rig.heard if isinstance(h.event, Final)]
        assert final.spoken == rig.stream.received
        rig.heard.clear()


@pytest.mark.parametrize(("endpointing_ms", "wished_ms"), [(10, 0), (300, 0), (1300, 1000)])
def test_silence_that_the_caller_wants_beyond_the_usual_is_not_lateness(endpointing_ms, wished_ms):
    rig = Rig(endpointing_ms=endpointing_ms)
    rig.say("S" * 20 + "QQQ")
    assert rig.board.waiting[0].deadline_ns == 20 * FRAME_NS + (wished_ms + 700) * MS
    rig.decode_all()
    while not rig.finals:
        rig.say("Q")
    assert (rig.heard[-1].spoken, rig.heard[-1].wished_ms) == (20 * FRAME, wished_ms)


# -- flush and end -----------------------------------------------------------------------------------------------------


def test_a_flush_in_speech_makes_what_was_received_final_to_the_sample():
    rig = Rig()
    rig.say("S" * 20)
    rig.feed(100)
    rig.stream.flush(rig.now_ns)
    rig.listen()
    rig.decode_all()
    (final,) = rig.finals
    assert (final.end_ms, final.cause) == (samples_to_ms(20 * FRAME + 100), Cause.FLUSH)
    rig.feed(FRAME - 100, "S")
    rig.say("S" * 20 + "Q" * 12)
    rig.decode_all()
    assert len(rig.finals) == 2
    assert rig.finals[1].start_ms == final.end_ms


def test_a_flush_in_a_pause_uses_what_was_decoded_ahead():
    rig = Rig()
    rig.say("S" * 20 + "QQQ")
    rig.decode()
    rig.say("QQ")
    rig.stream.flush(rig.now_ns)
    rig.listen()
    assert rig.waiting == []
    (final,) = rig.finals
    assert (final.end_ms, final.cause) == (23 * 32, Cause.FLUSH)


def test_a_flush_without_speech_is_answered_by_an_empty_final_after_those_before_it():
    rig = Rig()
    rig.say("S" * 20 + "Q" * 12)
    rig.stream.flush(rig.now_ns)
    rig.listen()
    assert rig.finals == []
    rig.decode_all()
    spoken, empty = rig.finals
    assert (spoken.cause, empty.cause) == (Cause.ENDPOINT, Cause.FLUSH)
    assert (empty.transcript.text, empty.start_ms, empty.end_ms) == ("", 32 * 32, 32 * 32)


def test_audio_after_a_flush_that_was_not_heard_yet_is_not_part_of_it():
    rig = Rig()
    rig.feed(20 * FRAME, "S" * 20)
    rig.stream.flush(rig.now_ns)
    rig.feed(20 * FRAME, "S" * 20)
    rig.listen(most=64)
    rig.decode_all()
    assert [f.end_ms for f in rig.finals] == [20 * 32]
    rig.listen(most=64)
    rig.stream.end(rig.now_ns)
    rig.listen()
    rig.decode_all()
    assert [f.end_ms for f in rig.finals] == [20 * 32, 40 * 32]
    assert not overlaps(rig.finals)


def test_each_flush_is_answered_though_nothing_is_between_them():
    rig = Rig()
    rig.say("S" * 10)
    for _ in range(5):
        rig.stream.flush(rig.now_ns)
    rig.listen()
    rig.decode_all()
    assert [bool(final.transcript.text) for final in rig.finals] == [True, False, False, False, False]
    assert {final.cause for final in rig.finals} == {Cause.FLUSH}


def test_a_flood_of_flushes_is_bounded_and_the_last_of_them_counts():
    rig = Rig()
    for _ in range(10_000):
        rig.feed(1)
        rig.stream.flush(rig.now_ns)
    assert len(rig.stream._marks) <= 64
    rig._script = [0.1] * 100
    while rig.stream._marks:
        rig.listen()
    assert rig.finals[-1].end_ms == samples_to_ms(10_000)


def test_a_flood_of_flushes_takes_no_tuning_away_and_no_tuning_a_flush():
    rig = Rig()
    rig.feed(FRAME)
    for _ in range(63):
        rig.stream.flush(rig.now_ns)
    rig.feed(FRAME)
    rig.stream.change(Tuning(2000), rig.now_ns)
    for _ in range(10_000):
        rig.feed(1)
        rig.stream.flush(rig.now_ns)
    marks = list(rig.stream._marks)
    assert (marks.count(Tuning(2000)), marks.count(Cause.FLUSH)) == (1, 63)
    rig.stream.change(Tuning(500), rig.now_ns)
    marks = list(rig.stream._marks)
    assert (marks.count(Tuning(500)), marks.count(Cause.FLUSH)) == (1, 63)


def test_what_guides_the_engine_changes_in_order_with_the_audio():
    rig = Rig(guidance=Guidance(prompt="before"))
    rig.feed(20 * FRAME, "S" * 20)
    rig.stream.flush(rig.now_ns)
    rig.stream.change(Guidance(prompt="after"), rig.now_ns)
    rig.feed(20 * FRAME, "S" * 20)
    rig.listen(20)
    guided = [rig.board.waiting[0].utterance().guidance.prompt]
    rig.decode_all()
    rig.listen(20)
    guided.append(rig.board.waiting[-1].utterance().guidance.prompt)
    assert guided == ["before", "after"]


def test_the_end_finalises_what_is_spoken_then_says_so():
    rig = Rig(channel=3)
    rig.say("S" * 20)
    rig.stream.end(rig.now_ns)
    rig.listen()
    assert "drained" not in rig.kinds()
    rig.decode_all()
    assert rig.kinds()[-2:] == ["final", "drained"]
    assert rig.finals[0].cause is Cause.END
    assert rig.events[-1] == Drained(3)


@pytest.mark.parametrize("samples", [0, 1, FRAME - 1])
def test_a_stream_of_nothing_or_next_to_nothing_just_ends(samples):
    rig = Rig()
    if samples:
        rig.feed(samples)
    rig.stream.end(rig.now_ns)
    rig.listen()
    assert rig.events == [Drained(0)]
    assert rig.waiting == []


def test_an_end_right_after_speech_began_is_a_final_of_it():
    rig = Rig()
    rig.say("SS")
    rig.stream.end(rig.now_ns)
    rig.listen()
    rig.decode_all()
    assert rig.kinds() == ["final", "drained"]
    assert rig.finals[0].end_ms == 64


def test_nothing_happens_after_the_end():
    rig = Rig()
    rig.say("S" * 20)
    rig.stream.end(rig.now_ns)
    rig.stream.end(rig.now_ns)
    rig.stream.flush(rig.now_ns)
    rig.stream.feed(bytes(2 * FRAME), rig.now_ns)
    rig.listen()
    rig.decode_all()
    rig.listen()
    assert rig.kinds() == ["final", "drained"]
    assert rig.stream.received == 20 * FRAME


# -- utterance end and speech start ------------------------------------------------------------------------------------


def test_utterance_end_is_said_once_after_the_gap_since_the_last_word():
    rig = Rig(utterance_end_ms=1000, timed=True)
    rig.say("S" * 30 + "Q" * 12)
    rig.decode_all()
    last_word_ms = rig.finals[0].transcript.words[-1].end_ms
    quiet = 0
    while "end" not in rig.kinds():
        rig.say("Q")
        quiet += 1
        assert quiet < 60
    assert rig.events[-1] == UtteranceEnded(0, last_word_ms)
    assert 1000 <= samples_to_ms(rig.stream.received) - last_word_ms < 1032
    rig.say("Q" * 100)
    assert rig.kinds().count("end") == 1


def test_without_word_times_the_gap_counts_from_the_end_of_speech():
    rig = Rig(utterance_end_ms=1000)
    rig.say("S" * 30 + "Q" * 12)
    rig.decode_all()
    rig.say("Q" * 30)
    assert rig.events[-1] == UtteranceEnded(0, 30 * 32)


def test_the_last_word_does_not_end_before_its_utterance_began():
    rig = Rig(utterance_end_ms=1000)
    rig.say("SS")
    rig.stream.flush(rig.now_ns)
    rig.listen()
    rig.decode("yes")
    rig.say("Q" * 40)
    assert rig.events[-1] == UtteranceEnded(0, 0)


def test_utterance_end_alone_also_ends_utterances_and_decodes_ahead():
    rig = Rig(endpointing_ms=None, utterance_end_ms=1000)
    rig.say("S" * 30 + "QQQ")
    assert rig.waiting == [(WorkKind.FINAL, 0, 33)]
    rig.decode()
    rig.say("Q" * 40)
    assert rig.kinds() == ["interim", "final", "end"]


def test_speech_within_the_gap_puts_utterance_end_off_until_its_own_final():
    rig = Rig(utterance_end_ms=1000, interims=False)
    rig.say("S" * 20 + "Q" * 20)
    rig.decode("one")
    rig.say("S" * 20 + "Q" * 50)  # a gap since "two", whose final is late
    assert rig.kinds() == ["final"]
    rig.decode("two")
    assert rig.kinds() == ["final", "final", "end"]
    assert rig.events[-1] == UtteranceEnded(0, 60 * 32)


def test_a_final_that_comes_while_the_next_utterance_is_spoken_does_not_end_it():
    rig = Rig(utterance_end_ms=1000, interims=False)
    rig.say("S" * 20 + "Q" * 12)
    (first,) = rig.board.waiting
    utterance = rig.start(first)
    rig.say("S" * 40)
    rig.finish(first, utterance, "one")
    rig.say("Q" * 12)
    assert rig.kinds() == ["final"]
    rig.decode("two")
    rig.say("Q" * 40)
    assert rig.kinds() == ["final", "final", "end"]


def test_a_noise_without_words_does_not_take_the_utterance_end_away():
    rig = Rig(utterance_end_ms=1000, interims=False)
    rig.say("S" * 20 + "Q" * 12)
    rig.decode("one")
    rig.say("SSS" + "Q" * 12)
    rig.decode("")
    rig.say("Q" * 40)
    assert rig.kinds() == ["final", "final", "end"]
    assert rig.events[-1] == UtteranceEnded(0, 20 * 32)


def test_speech_start_is_said_where_asked_for_with_the_arrival_of_its_first_sample():
    rig = Rig(speech_events=True)
    rig.say("QQQQQ" + "SS")
    assert rig.events == [SpeechStarted(0, 5 * 32)]
    assert rig.heard[0].onset == 5 * FRAME + 1
    silent = Rig()
    silent.say("QQSSS")
    assert silent.events == []


# -- recordings --------------------------------------------------------------------------------------------------------


def test_a_recording_is_work_of_its_own_kind_and_only_of_finals():
    rig = Rig(live=False)
    rig.say("S" * 50 + "QQQQQ")
    assert rig.waiting == []
    rig.say("Q" * 5)
    assert [kind for kind, _, _ in rig.waiting] == [WorkKind.RECORDING]
    assert rig.board.waiting[0].deadline_ns == rig.now_ns + 10_000 * MS
    rig.stream.end(rig.now_ns)
    rig.listen()
    rig.decode_all()
    assert rig.kinds() == ["final", "drained"]


def test_the_finals_of_a_recording_are_due_one_after_the_other_so_that_recordings_take_turns():
    rig = Rig(live=False)
    rig.feed(96 * FRAME, ("S" * 20 + "Q" * 12) * 3)
    while rig.stream.ready:
        rig.listen()
    assert [w.deadline_ns for w in rig.board.waiting] == [n * 10_000 * MS for n in (1, 2, 3)]


def test_a_file_and_a_stream_of_the_same_speech_give_the_same_finals():
    script = "QQQ" + ("S" * 40 + "QQQQ" + "S" * 20 + "Q" * 15) * 5 + "S" * 30
    live, whole = Rig(), Rig(live=False, interims=False)
    for letter in script:
        live.say(letter)
        live.decode_all()
    whole.feed(len(script) * FRAME, script)
    for rig in (live, whole):
        rig.stream.end(rig.now_ns)
        rig.listen()
        while rig.stream.ready:
            rig.listen()
            rig.decode_all()
        rig.decode_all()
    assert live.finals == whole.finals
    assert len(live.finals) == 6


# -- bounds ------------------------------------------------------------------------------------------------------------

HOUR = 3_600_000 // 32  # frames


def feed_long(rig: Rig, letter: str, frames: int) -> int:
    """Speech or silence in pieces of 32 frames, decoded as it comes; the most bytes ever held."""
    most = 0
    for _ in range(frames // 32):
        rig.now_ns += 32 * FRAME_NS
        rig.feed(32 * FRAME, letter * 32)
        rig.listen()
        rig.decode_all()
        most = max(most, rig.held_bytes + 100 * len(rig.stream._tape._arrivals._times))
    return most


def test_an_hour_of_silence_takes_no_memory():
    rig = Rig()
    assert feed_long(rig, "Q", HOUR) < 100_000
    assert rig.events == []


def test_an_hour_of_endless_speech_takes_bounded_memory_and_every_sample_is_in_one_final():
    rig = Rig(interims=False)
    assert feed_long(rig, "S", HOUR) < 1_000_000
    rig.stream.end(rig.now_ns)
    rig.listen()
    rig.decode_all()
    at = 0
    for final in rig.finals:
        assert final.start_ms == at
        assert final.end_ms - final.start_ms <= 15_100
        at = final.end_ms
    assert at == samples_to_ms(rig.stream.received)


def test_audio_sample_by_sample_takes_no_more_memory_than_in_frames():
    rig = Rig()
    for _ in range(20_000):
        rig.now_ns += MS // 16
        rig.stream.feed(b"\0\0", rig.now_ns)
    assert len(rig.stream._tape._arrivals._times) <= 20_000 // FRAME + 2


def test_a_stream_with_too_many_finals_pending_listens_no_further_until_one_is_said():
    rig = Rig(live=False)
    sentence = "S" * 20 + "Q" * 12
    rig.feed(20 * 32 * FRAME, sentence * 20)
    while rig.stream.ready:
        rig.listen()
    assert rig.stream.pending == 8
    assert rig.stream.run(32) == b""
    assert rig.stream.backlog >= 11 * 32 * FRAME
    work = rig.board.waiting[0]
    rig.finish(work, rig.start(work))
    assert rig.stream.ready
    while rig.stream.ready or rig.board.waiting:
        rig.listen()
        rig.decode_all()
    assert len(rig.finals) == 20


# -- when things go wrong ----------------------------------------------------------------------------------------------


def test_a_final_that_failed_is_told_to_the_session():
    rig = Rig()
    rig.say("S" * 20 + "Q" * 12)
    (work,) = rig.board.waiting
    rig.start(work)
    error = EngineError("no")
    rig.stream.fail(work, error)
    assert rig.heard == [error]


def test_an_interim_that_failed_is_only_missed_and_tried_again_with_more_audio():
    rig = Rig()
    rig.say("S" * 10)
    (work,) = rig.board.waiting
    rig.start(work)
    rig.stream.fail(work, EngineError("no"))
    assert rig.heard == []
    rig.say("S" * (RETRY - 1))
    assert rig.waiting == []
    rig.say("S")
    assert rig.waiting == [(WorkKind.FIRST, 0, 10 + RETRY)]
    rig.say("Q" * 12)
    rig.decode_all()
    assert rig.finals[0].transcript.text


def test_a_decoding_ahead_that_failed_before_the_end_is_done_again_at_the_end():
    rig = Rig()
    rig.say("S" * 20 + "QQQ")
    (work,) = rig.board.waiting
    rig.start(work)
    rig.stream.fail(work, EngineError("no"))
    rig.say("QQ")
    assert rig.waiting == []
    rig.say("Q" * 7)
    rig.decode()
    assert rig.kinds() == ["final"]


def test_an_abandoned_stream_has_no_work_and_says_nothing_whatever_comes_back():
    rig = Rig()
    other = Rig()
    other.board = rig.board
    other.stream.board = rig.board
    rig.say("S" * 20 + "Q" * 12)
    (final,) = rig.board.waiting
    running = rig.start(final)
    rig.say("S" * 20)
    other.say("S" * 20)
    rig.stream.abandon()
    assert {w.stream for w in rig.board.waiting} == {other.stream}
    rig.finish(final, running)
    rig.stream.fail(final, EngineError("no"))
    rig.stream.hear([], rig.now_ns)
    assert rig.heard == []


# -- transcripts -------------------------------------------------------------------------------------------------------


def test_word_times_are_of_the_stream_where_they_were_asked_for():
    timed, plain = Rig(timed=True), Rig()
    for rig in (timed, plain):
        rig.say("Q" * 50 + "S" * 30 + "Q" * 12)
        rig.decode_all()
    start_ms = timed.finals[0].start_ms
    assert start_ms == 43 * 32
    assert timed.finals[0].transcript.words[0].start_ms == start_ms
    assert timed.finals[0].transcript.words[-1].end_ms <= timed.finals[0].end_ms
    assert {w.start_ms for w in plain.finals[0].transcript.words} == {0}


def test_tokens_come_with_their_text_and_log_probabilities_where_asked_for():
    with_tokens, without = Rig(tokens=True), Rig()
    for rig in (with_tokens, without):
        rig.say("S" * 20 + "Q" * 12)
        rig.decode("so be it")
    tokens = with_tokens.finals[0].transcript.tokens
    assert [(t.id, t.text, t.logprob) for t in tokens] == [(1, " so", -0.1), (2, " be", -0.1), (3, " it", -0.1)]
    assert without.finals[0].transcript.tokens == ()


def test_events_carry_their_channel():
    rig = Rig(StreamSpec(channel=2, speech_events=True, utterance_end_ms=500))
    rig.say("S" * 20)
    rig.decode_all()
    rig.say("Q" * 30)
    rig.decode_all()
    assert rig.kinds() == ["start", "interim", "final", "end"]
    assert {e.channel for e in rig.events} == {2}


# -- tuning ------------------------------------------------------------------------------------------------------------


def test_in_a_pause_the_session_may_say_how_long_to_wait():
    rig = Rig()
    rig.stream.change(Tuning(2000, soonest_ms=300), rig.now_ns)
    rig.say("S" * 10)
    rig.wait(300)  # nobody is silent yet
    assert rig.stream.pause is None
    rig.say("Q" * 8)
    assert rig.stream.pause == 10 * FRAME
    (final,) = [work for work in rig.board.waiting if work.kind is WorkKind.FINAL]
    assert final.deadline_ns <= 10 * FRAME_NS + 700 * MS  # as urgent as if it ended soonest
    rig.finish(final, rig.start(final))
    rig.wait(300)
    rig.say("Q")
    assert rig.finals == []
    rig.say("Q")
    assert [final.cause for final in rig.finals] == [Cause.ENDPOINT]


def paused_for_long():
    """Someone who has been silent for longer than it takes, where it is not known yet whether the turn is over."""
    rig = Rig()
    rig.stream.change(Tuning(2000, soonest_ms=300), rig.now_ns)
    rig.say("S" * 10 + "Q" * 12)
    (work,) = rig.board.waiting
    return rig, work


def test_silence_that_has_been_heard_counts_so_that_no_more_audio_is_needed_for_the_final():
    rig, work = paused_for_long()
    rig.finish(work, rig.start(work), "done")
    rig.wait(300)
    assert rig.stream.pause is None
    (final,) = rig.finals
    assert (final.end_ms, final.transcript.text, final.cause) == (13 * 32, "done", Cause.ENDPOINT)


def test_what_runs_when_the_silence_turns_out_to_be_over_becomes_the_final():
    rig, work = paused_for_long()
    utterance = rig.start(work)
    rig.wait(300)
    assert rig.finals == []
    rig.finish(work, utterance, "done")
    assert [final.transcript.text for final in rig.finals] == ["done"]
    assert rig.waiting == []


def test_what_waits_when_the_silence_turns_out_to_be_over_is_asked_for_as_the_final():
    rig, _ = paused_for_long()
    rig.wait(300)
    rig.decode("done")
    assert [final.transcript.text for final in rig.finals] == ["done"]


def test_after_it_was_ended_so_the_next_utterance_is_one_of_its_own():
    rig, _ = paused_for_long()
    rig.wait(300)
    rig.decode_all()
    rig.say("S" * 20)
    rig.stream.end(rig.now_ns)
    rig.listen()
    rig.decode_all()
    assert len(rig.finals) == 2
    assert not overlaps(rig.finals)


def test_in_a_pause_it_may_say_before_the_end_that_the_turn_may_end_and_then_that_it_goes_on():
    rig = Rig()
    rig.stream.change(Tuning(2000, soonest_ms=300), rig.now_ns)
    rig.say("S" * 10 + "Q" * 4)
    rig.decode_all()
    rig.stream.wait(1000, rig.now_ns, early_ms=160)
    assert TurnMayEnd not in map(type, rig.events)
    rig.say("Q")
    assert rig.events[-1] == TurnMayEnd(0, 320)
    rig.say("QQQ")
    assert [type(event) for event in rig.events].count(TurnMayEnd) == 1
    rig.say("SSS")
    resumed = [event for event in rig.events if isinstance(event, SpeechResumed)]
    assert [event.at_ms for event in resumed] == [18 * 32]
    rig.say("S" * 5 + "Q" * 40)
    assert [type(event) for event in rig.events].count(TurnMayEnd) == 1  # nobody asked for another


def test_speech_that_resumes_before_anything_was_told_is_not_told_either():
    rig = Rig()
    rig.stream.change(Tuning(2000, soonest_ms=300), rig.now_ns)
    rig.say("S" * 10 + "Q" * 4)
    rig.decode_all()
    rig.stream.wait(1000, rig.now_ns, early_ms=900)
    rig.say("SSSSS" + "Q" * 40)
    assert not {TurnMayEnd, SpeechResumed} & set(map(type, rig.events))


def test_an_early_word_that_is_due_already_is_told_at_once():
    rig = Rig()
    rig.stream.change(Tuning(2000, soonest_ms=300), rig.now_ns)
    rig.say("S" * 10 + "Q" * 12)
    rig.stream.wait(1000, rig.now_ns, early_ms=200)
    assert rig.events[-1] == TurnMayEnd(0, 320)


@pytest.mark.parametrize(("threshold", "starts"), [(0.5, True), (0.95, False)])
def test_a_higher_threshold_takes_more_to_be_speech(threshold, starts):
    rig = Rig(speech_events=True)
    rig.stream.change(Tuning(300, threshold=threshold), rig.now_ns)
    rig.say("S" * 10)
    assert bool(rig.heard) is starts


# -- interims that were never said -------------------------------------------------------------------------------------


def hears(rig, text, confidence):
    """The engine, of what waits."""
    (work,) = rig.board.waiting
    rig.start(work)
    words = text.split()
    tokens = tuple(range(1, len(words) + 1))
    rig.stream.complete(work, Hypothesis(text, tuple(Word(w, 0, 0, confidence) for w in words), confidence, tokens))


def said(rig):
    return [interim.transcript.text for interim in rig.interims]


@pytest.mark.parametrize(
    ("text", "confidence"),
    [("Yeah.", 0.7), ("Mm-hmm.", 0.4), ("It was", 0.1), ("You, you", 0.38), ("you you are", 0.4)],
)
def test_an_early_interim_that_was_hardly_said_is_not_told_before_a_second_look(text, confidence):
    for second, again in (("He was", 0.9), (text, confidence)):
        rig = Rig()
        rig.say("S" * 4)
        hears(rig, text, confidence)
        assert said(rig) == []
        rig.say("S" * RETRY)
        hears(rig, second, again)
        assert said(rig) == [second]


@pytest.mark.parametrize(("text", "confidence"), [("It was", 0.2), ("No, no", 0.6), ("Yet you", 0.3)])
def test_what_is_likely_enough_is_told_at_once(text, confidence):
    rig = Rig()
    rig.say("S" * 4)
    hears(rig, text, confidence)
    assert said(rig) == [text]


@pytest.mark.parametrize(("text", "told"), [("Yeah.", True), ("It was", True), ("You, you", False)])
def test_only_a_word_twice_waits_for_a_second_look_when_that_would_come_late(text, told):
    rig = Rig()
    rig.say("S" * 4)
    (work,) = rig.board.waiting
    rig.start(work)
    rig.say("S")  # the engine took so long
    rig.stream.complete(work, Hypothesis(text, tuple(Word(w, 0, 0, 0.1) for w in text.split()), 0.1, (1, 2)))
    assert bool(said(rig)) is told


def test_at_a_pause_all_is_told_that_was_heard():
    rig = Rig()
    rig.say("SSSSQQQ")
    hears(rig, "Yeah.", 0.1)
    assert said(rig) == ["Yeah."]


# -- what the session is told of where it is ---------------------------------------------------------------------------


def test_a_tuning_holds_from_the_audio_on_that_follows_it():
    rig = Rig(endpointing_ms=96)
    rig.feed(20 * FRAME, "S" * 8 + "Q" * 12)  # sent at once, and heard only later
    rig.stream.change(Tuning(None), rig.now_ns)
    rig.feed(20 * FRAME, "S" * 8 + "Q" * 12)
    rig.listen()
    rig.listen()
    rig.decode_all()
    assert [final.start_ms for final in rig.finals] == [0]  # the first pause was an end, the second is none


def test_an_interim_says_that_the_speaker_has_paused_and_all_is_in_it():
    rig = Rig(endpointing_ms=2000)
    rig.say("S" * 10)
    rig.decode_all()
    rig.say("S" * 20 + "QQQ")
    rig.decode_all()
    assert [interim.paused for interim in rig.interims] == [False, True]
    assert rig.heard[-1].spoken == 30 * FRAME
    assert rig.stream.pause == 30 * FRAME


def test_nothing_is_settled_that_a_final_to_come_is_about():
    rig = Rig(interims=False)
    rig.say("Q" * 30 + "S" * 30 + "Q" * 60)
    settled = rig.stream.settled
    rig.decode_all()
    assert rig.heard[-1].onset == 30 * FRAME + 1
    assert settled <= ms_to_samples(rig.finals[0].start_ms)  # which is before the speech
    rig.say("Q" * 30)
    assert rig.stream.settled > 60 * FRAME


def test_an_interim_says_how_many_of_its_words_are_stable_in_each_utterance_anew():
    rig = Rig()
    for _ in range(6):
        rig.say("S" * 12)
        rig.decode("we were all")
    assert [interim.stable_words for interim in rig.interims] == [0, 0, 0, 2, 2, 2]
    rig.say("Q" * 30)
    rig.decode_all()
    rig.say("S" * 12)
    rig.decode("we were all")
    assert rig.interims[-1].stable_words == 0


@pytest.mark.parametrize(("threshold", "heard"), [(0.5, 1), (0.99, 0)])
def test_what_counts_as_speech_is_the_spec_s(threshold, heard):
    rig = Rig(voice_threshold=threshold, speech_events=True, interims=False)
    rig.say("S" * 10)
    assert rig.kinds().count("start") == heard
