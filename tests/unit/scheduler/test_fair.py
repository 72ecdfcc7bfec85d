from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig import steady

from antiphon.scheduler.fair import MOST_PROJECTS, FairShares, by_share, in_turn


@dataclass(frozen=True)
class Claim:
    deadline_ns: int
    project: str
    weight: int = 1
    size: float = 1.0


def had(*projects):
    return dict.fromkeys(projects, 0.0)


def projects(claims):
    return "".join(claim.project for claim in claims)


def test_as_long_as_all_can_be_in_time_the_earliest_deadline_is_first():
    waiting = [Claim(10 * n, project) for n, project in enumerate("aaaab", 1)]
    assert in_turn(waiting, 0, 10, had("a", "b")) == waiting
    assert projects(in_turn(waiting, 1, 10, had("a", "b"))) == "abaaa"


def test_within_a_project_the_earliest_deadline_is_first_in_any_case():
    waiting = [Claim(n, project) for n, project in enumerate("aababb")]
    turns = in_turn(waiting, 100, 10, had("a", "b"))
    for project in "ab":
        deadlines = [claim.deadline_ns for claim in turns if claim.project == project]
        assert deadlines == sorted(deadlines)


@pytest.mark.parametrize(("weight", "first"), [(1, "abababab"), (3, "abbbabbb")])
def test_turns_are_by_weight(weight, first):
    waiting = [Claim(0, "a")] * 50 + [Claim(0, "b", weight)] * 50
    turns = projects(by_share(waiting, had("a", "b")))
    assert Counter(turns[:40])["b"] == pytest.approx(40 * weight / (weight + 1), abs=2)
    assert Counter(turns[:8]) == Counter(first)


def test_who_had_more_comes_later():
    waiting = [Claim(0, "a")] * 4 + [Claim(0, "b")] * 4
    assert projects(by_share(waiting, {"a": 2.0, "b": 0.0})) == "bbababaa"


def test_large_ones_count_more():
    waiting = [Claim(0, "a", size=3.0)] * 2 + [Claim(0, "b")] * 6
    assert projects(by_share(waiting, had("a", "b")))[:5] == "abbba"


def test_nobody_saves_up_a_right_to_be_first():
    ledger = FairShares()
    for _ in range(100):
        ledger.took([Claim(0, "a")])
    assert ledger["a"] == 100
    assert ledger["b"] == 99  # when it comes, it is at where the last one began


def test_what_was_taken_together_counts_for_each():
    ledger = FairShares()
    ledger.took([Claim(0, "a", 2), Claim(0, "b"), Claim(0, "a", 2)])
    assert (ledger["a"], ledger["b"]) == (1.0, 1.0)


def test_projects_that_have_gone_are_forgotten():
    ledger = FairShares()
    for n in range(10 * MOST_PROJECTS):
        ledger.took([Claim(0, f"project {n}")])
        ledger.took([Claim(0, "busy")])
    assert len(ledger._had) <= MOST_PROJECTS + 1


@steady
@given(st.lists(st.tuples(st.integers(-50, 50), st.sampled_from("abc"), st.integers(1, 4)), max_size=40))
def test_whatever_waits_everybody_is_there_once(given_):
    weights = {project: weight for _, project, weight in given_}
    waiting = sorted((Claim(due, p, weights[p]) for due, p, _ in given_), key=lambda claim: claim.deadline_ns)
    turns = in_turn(waiting, 0, 5, had("a", "b", "c"))
    assert Counter(turns) == Counter(waiting)
    # While a project waits, no other gets more than one turn beyond what its weight is worth.
    for project in weights:
        last = max(n for n, claim in enumerate(turns) if claim.project == project)
        before = Counter(claim.project for claim in turns[:last])
        if turns != waiting:
            for other, count in before.items():
                assert count / weights[other] <= before[project] / weights[project] + 1 / weights[other] + 1e-9
