from collections import Counter

import pytest

from antiphon.bench.clips import Clip
from antiphon.bench.schedule import Plan, Play, chunks, gap_samples, plan_streams
from antiphon.bench.speech import Span


def clip(name: str, samples: int) -> Clip:
    return Clip(name, (name.encode() * 2) * samples, (Span(0, samples),))


CLIPS = [clip("a", 16_000), clip("b", 48_000), clip("c", 80_000)]


def test_the_same_arguments_give_the_same_plans_and_another_seed_others() -> None:
    one, two = (plan_streams(CLIPS, 8, samples=960_000, chunk_samples=1_600) for _ in range(2))
    assert one == two
    assert plan_streams(CLIPS, 8, samples=960_000, chunk_samples=1_600, seed=1) != one


def test_streams_play_every_clip_as_often_in_orders_of_their_own() -> None:
    plans = plan_streams(CLIPS, 6, samples=6_000_000, chunk_samples=1_600)
    for plan in plans:
        played = Counter(play.clip.name for play in plan.plays)
        assert max(played.values()) - min(played.values()) <= 1
    assert len({tuple(play.clip.name for play in plan.plays) for plan in plans}) == 6


def test_streams_begin_all_over_one_cycle_and_all_over_one_chunk() -> None:
    plans = plan_streams(CLIPS, 10, samples=960_000, chunk_samples=1_600)
    cycle = sum(c.samples + gap_samples(c) for c in CLIPS) // 3
    # Each as if it had begun a part of the cycle ago; what had ended by now is not played.
    assert all(plan.plays[0].start <= 0 < plan.plays[0].end for plan in plans)
    assert max(-plan.plays[0].start for plan in plans) < cycle
    assert len({plan.plays[0].start for plan in plans}) > 5
    assert sorted(plan.phase_ns for plan in plans) == [10_000_000 * place for place in range(10)]


def test_speech_is_about_80_percent_and_every_gap_ends_an_utterance() -> None:
    (plan,) = plan_streams(CLIPS, 1, samples=9_600_000, chunk_samples=1_600)
    for before, after in zip(plan.plays, plan.plays[1:], strict=False):
        gap = after.start - before.start - before.clip.samples
        assert gap >= 9_600
        assert gap == pytest.approx(before.clip.samples / 4, abs=1) or before.clip.samples < 4 * 9_600
    assert 0.75 < sum(play.clip.samples for play in plan.plays) / plan.plays[-1].end < 0.81


@pytest.mark.parametrize("samples", [1, 1_599, 1_600, 40_000, 100_001, 250_000])
@pytest.mark.parametrize("lead", [0, 700, 5_000, -1, -15_999, -17_000])
def test_chunks_are_the_stream_cut_at_every_chunk_length(samples: int, lead: int) -> None:
    first = Play(CLIPS[0], lead)
    second = Play(CLIPS[1], first.end)
    plays = tuple(play for play in (first, second) if play.start < samples)
    plan = Plan(plays, samples, 1_600, 0)
    whole = bytearray(samples * 2)
    for play in plays:
        for at in range(max(play.start, 0), play.start + play.clip.samples):
            whole[at * 2 : at * 2 + 2] = play.clip.pcm[(at - play.start) * 2 :][:2]
    pieces = list(chunks(plan))
    assert b"".join(pieces) == bytes(whole[: samples * 2])
    assert {len(piece) for piece in pieces[:-1]} <= {3_200}
    assert len(pieces) == plan.chunks


def test_a_chunk_leaves_when_its_last_sample_would_have_been_recorded() -> None:
    plan = Plan((), 16_000, 1_600, phase_ns=7)
    assert plan.sent_ns(0) == 100_000_007
    assert plan.sent_ns(1_599) == 100_000_007
    assert plan.sent_ns(1_600) == 200_000_007


def test_an_utterance_is_judged_if_its_final_was_due_before_the_close() -> None:
    plan = Plan((), 160_000, 1_600, 0)
    assert plan.judged(Span(0, 136_000))
    assert not plan.judged(Span(-1, 100))
    assert not plan.judged(Span(0, 136_001))
