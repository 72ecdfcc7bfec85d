import pytest

from antiphon.bench.clips import Clip
from antiphon.bench.measure import (
    Errors,
    Level,
    Load,
    Percentiles,
    Stream,
    TimedResult,
    Verdict,
    level,
    percentiles,
    transcript_errors,
    verdicts,
    word_errors,
    words,
)
from antiphon.bench.schedule import Plan, Play
from antiphon.bench.speech import Span

MS = 1_000_000


def plan_of(*plays: Play, samples: int = 160_000) -> Plan:
    return Plan(plays, samples, chunk_samples=1_600, phase_ns=0)


def heard(at_ms: int, start: float, end: float, text: str, *, final: bool = False) -> TimedResult:
    return TimedResult(at_ms * MS, Span(round(start * 16_000), round(end * 16_000)), final, text)


# The clip of the fixture holds speech from 0.2 s to 1.2 s: its first sample leaves at 300 ms, its last at 1200 ms.


def test_latencies_run_from_the_chunk_of_the_first_and_the_last_sample_of_speech(clip: Clip) -> None:
    results = [
        heard(480, 0.2, 0.4, ""),
        heard(510, 0.2, 0.45, "won"),
        heard(700, 0.2, 0.6, "One two"),
        heard(1_650, 0.2, 1.2, "One, two, three.", final=True),
    ]
    assert verdicts(plan_of(Play(clip, 0)), results) == [Verdict(210.0, 400.0, 450.0)]


def test_a_final_alone_is_also_the_first_text_and_the_first_word(clip: Clip) -> None:
    results = [heard(1_500, 0.2, 1.2, "one two three", final=True)]
    assert verdicts(plan_of(Play(clip, 0)), results) == [Verdict(1200.0, 1200.0, 300.0)]


def test_the_final_is_the_one_that_covers_the_end_of_the_speech(clip: Clip) -> None:
    early = heard(900, 0.2, 0.8, "one", final=True)
    late = heard(1_700, 0.8, 1.1, "two three", final=True)
    assert verdicts(plan_of(Play(clip, 0)), [early, late])[0].final_ms == 500.0
    assert verdicts(plan_of(Play(clip, 0)), [early])[0].lost


def test_an_utterance_without_text_in_a_final_is_lost_and_not_good(clip: Clip) -> None:
    for results in ([], [heard(400, 0.2, 0.5, "one")], [heard(1_300, 0.0, 1.3, "", final=True)]):
        (verdict,) = verdicts(plan_of(Play(clip, 0)), results)
        assert verdict.lost
        assert not verdict.good


def test_results_go_to_the_utterance_they_overlap(clip: Clip) -> None:
    plan = plan_of(Play(clip, 0), Play(clip, 48_000))
    results = [
        heard(400, 0.1, 0.4, "one"),
        heard(1_600, 0.1, 1.5, "one two three", final=True),
        heard(3_450, 3.1, 3.3, "one"),
        heard(4_600, 3.1, 4.2, "one two three", final=True),
    ]
    assert verdicts(plan, results) == [Verdict(100.0, 100.0, 400.0), Verdict(150.0, 150.0, 400.0)]


def test_an_utterance_near_the_close_is_not_judged(clip: Clip) -> None:
    assert verdicts(plan_of(Play(clip, 0), samples=30_000), []) == []


@pytest.mark.parametrize(
    ("verdict", "good"),
    [
        (Verdict(300.0, None, 800.0), True),
        (Verdict(300.1, None, 800.0), False),
        (Verdict(300.0, None, 800.1), False),
        (Verdict(None, None, 10.0), False),
        (Verdict(10.0, None, None), False),
    ],
)
def test_goodput_wants_both_objectives(verdict: Verdict, good: bool) -> None:
    assert verdict.good is good


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentiles([*range(100, 0, -1), None]) == Percentiles(50, 95, 99)
    assert percentiles([7.04]) == Percentiles(7.0, 7.0, 7.0)
    assert percentiles([None]) == Percentiles(None, None, None)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors"),
    [
        ("a b c", "a b c", 0),
        ("a b c", "a x c", 1),
        ("a b c", "a c", 1),
        ("a b c", "a b b c", 1),
        ("a b c", "", 3),
        ("kitten sitting", "sitting kitten", 2),
        ("", "a b", 2),
    ],
)
def test_word_errors_are_the_fewest_edits(reference: str, hypothesis: str, errors: int) -> None:
    assert word_errors(reference, hypothesis) == Errors(errors, len(reference.split()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("And so, my fellow Americans:", "and so my fellow americans"),
        ("Mr. Dashwood's ill-disposed", "mister dashwoods ill disposed"),
        ("MRS. and Dr. Who?", "missus and doctor who"),
        ("In 1961, 21 of 1,000,007", "in one thousand nine hundred sixty one twenty one of one million seven"),
        ("0 110 90", "zero one hundred ten ninety"),
        ("— …", ""),
    ],
)
def test_words_are_compared_without_case_punctuation_titles_and_digits(text: str, expected: str) -> None:
    assert words(text) == expected.split()


def test_errors_are_counted_for_clips_played_to_their_end_and_text_goes_to_its_clip(clip: Clip) -> None:
    plan = plan_of(Play(clip, 0), Play(clip, 48_000), Play(clip, 130_000))
    results = [
        heard(900, 0.1, 0.7, "One two,", final=True),
        heard(1_600, 0.7, 1.8, "three.", final=True),
        heard(4_600, 2.9, 4.2, "one too three", final=True),
        heard(4_700, 2.9, 4.2, "not a final"),
    ]
    assert transcript_errors(plan, results) == Errors(1, 6)


def test_a_clip_that_nobody_heard_is_all_deletions_and_one_without_reference_is_left_out(clip: Clip) -> None:
    other = Clip("other.wav", clip.pcm, clip.utterances)
    assert transcript_errors(plan_of(Play(clip, 0), Play(other, 48_000)), []) == Errors(3, 3)


def test_a_level_sums_up_its_streams_and_its_processes(clip: Clip) -> None:
    plan = plan_of(Play(clip, 0), Play(clip, 48_000))
    good = [
        heard(400, 0.1, 0.4, "one"),
        heard(1_600, 0.1, 1.5, "one two three", final=True),
        heard(3_450, 3.1, 3.3, "one"),
        heard(11_000, 3.1, 4.2, "one two three", final=True),
    ]
    streams = [Stream(plan, good, late_ms=[1.0, 3.0]), Stream(plan, [], failure="closed with 1011")]
    load = Load(10.0, 0.5, server_cpu_s=4.0, server_rss=300_000_000, before_rss=200_000_000)
    assert level(streams, 1, load) == Level(
        streams=3,
        refused=1,
        failed=1,
        utterances=4,
        lost=2,
        ttfb=Percentiles(100.0, 150.0, 150.0),
        first_word=Percentiles(100.0, 150.0, 150.0),
        final=Percentiles(400.0, 6800.0, 6800.0),
        goodput=0.25,
        wer=0.5,
        reference_words=12,
        speech_share=0.3,
        lag=1.1,
        client_cpu_percent=5.0,
        late_ms_p99=3.0,
        server_cpu_percent=40.0,
        server_rtf=0.2,
        server_rss_mb=300.0,
        server_mb_per_stream=50.0,
        failures={"closed with 1011": 1},
    )


def test_a_level_in_which_every_stream_was_refused_has_no_figures() -> None:
    summed = level([], 4, Load(1.0, 0.1))
    assert (summed.streams, summed.refused, summed.utterances) == (4, 4, 0)
    assert summed.goodput is summed.wer is summed.lag is summed.ttfb.p50 is None
