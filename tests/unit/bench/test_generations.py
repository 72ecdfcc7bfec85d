import pytest

from antiphon.bench.generations import OBJECTIVES, Answer, Objectives, level
from antiphon.bench.measure import Load, Percentiles

MS = 1_000_000


def answer(
    total_ms: int, first_ms: int | None = None, *, due_ms: int = 0, reported: int | None = None, deltas: int = 0
) -> Answer:
    first_ns = None if first_ms is None else (due_ms + first_ms) * MS
    return Answer(due_ms * MS, (due_ms + 2) * MS, (due_ms + total_ms) * MS, first_ns, deltas, reported, 10)


def test_times_run_from_when_the_request_was_due() -> None:
    streamed = answer(1_100, 100, due_ms=5_000, reported=11)
    assert (streamed.ttft_ms, streamed.tpot_ms, streamed.total_ms) == (100.0, 100.0, 1_100.0)


def test_an_answer_that_was_not_streamed_has_a_total_alone() -> None:
    whole = answer(1_100, reported=11)
    assert (whole.ttft_ms, whole.tpot_ms, whole.total_ms) == (None, None, 1_100.0)


def test_tokens_are_the_servers_count_and_without_one_the_deltas() -> None:
    assert answer(100, 50, reported=7, deltas=3).tokens == 7
    assert answer(100, 50, deltas=3).tokens == 3
    assert answer(100, 50, deltas=3).tpot_ms == 25.0
    assert answer(100, 50, deltas=1).tpot_ms is None


@pytest.mark.parametrize(
    ("streamed", "good"),
    [
        (answer(650, 500, reported=11), True),
        (answer(650, 501, reported=11), False),
        (answer(651, 500, reported=11), False),  # 15.1 ms a token
        (answer(2_000, 500, reported=1_001), True),
        (answer(2_001, 500, reported=1_001), False),
        (answer(2_000), True),
        (answer(2_001), False),
    ],
)
def test_a_good_answer_keeps_every_objective_that_applies(streamed: Answer, good: bool) -> None:
    assert streamed.good(OBJECTIVES) is good


def test_what_was_refused_or_failed_is_not_good_however_fast() -> None:
    assert not Answer(0, 0, 1, refused=True).good(OBJECTIVES)
    assert not Answer(0, 0, 1, failure="500: no").good(OBJECTIVES)


def test_a_level_counts_whole_answers_and_tells_the_rest_by_kind() -> None:
    answers = [
        answer(1_000, 100, reported=10),
        answer(3_000, 100, reported=30),
        Answer(0, 0, 5 * MS, refused=True),
        Answer(0, 0, 5 * MS, 4 * MS, deltas=9, failure="500: no"),
        Answer(0, 0, 5 * MS, failure="500: no"),
    ]
    load = Load(wall_s=4.0, client_cpu_s=0.5, server_cpu_s=6.0, server_rss=50_000_000)
    summed = level(answers, load, Objectives(tpot_ms=1_000), concurrency=2, rate=None)
    assert (summed.requests, summed.refused, summed.failed) == (5, 1, 2)
    assert summed.failures == {"500: no": 2}
    assert summed.total == Percentiles(1_000.0, 3_000.0, 3_000.0)
    assert (summed.tokens, summed.tokens_per_s, summed.requests_per_s) == (40, 10.0, 0.5)
    assert (summed.goodput, summed.good_per_s) == (0.2, 0.25)
    assert (summed.client_cpu_percent, summed.server_cpu_percent, summed.server_rss_mb) == (12.5, 150.0, 50.0)
    assert summed.late_ms_p99 == 2.0
    assert summed.input_tokens == 20
    assert summed.reported
    assert summed.load == 2


def test_a_level_says_where_a_server_did_not_count() -> None:
    answers = [answer(1_000, 100, reported=10), answer(1_000, 100, deltas=10)]
    summed = level(answers, Load(1.0, 0.1), OBJECTIVES, concurrency=None, rate=2.5)
    assert not summed.reported
    assert summed.tokens == 20
    assert summed.load == 2.5


def test_a_level_without_a_whole_answer_has_no_figures() -> None:
    summed = level([Answer(0, 0, 1, refused=True)], Load(1.0, 0.1), OBJECTIVES, concurrency=1, rate=None)
    assert summed.ttft == Percentiles(None, None, None)
    assert (summed.goodput, summed.tokens_per_s, summed.reported) == (0.0, 0.0, False)
