"""What the line before a voice does at capacity and beyond it, for one project and for several, on a simulated clock.

One place, on which a step takes about 20 ms and makes 500 ms of sound; a sentence has four to twelve steps, and its
caller listens at the speed of speech, with a second of sound ahead. So some 25 sentences are spoken at once.
"""

import heapq
import random
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from itertools import count

import pytest

from antiphon.core.identity import Principal
from antiphon.core.units import NS_PER_MS
from antiphon.scheduler.steps import QueuedStep, StepQueue
from antiphon.slo.admission import Asker, Capacity, Queueing, admit
from antiphon.slo.shares import Bound, Shares

STEP_MS, SOUND_MS, AHEAD_MS = 20.0, 500, 1000
OBJECTIVE_MS, SLACK_MS = 75, 30
CAPACITY = 1000 / STEP_MS / 8  # sentences a second
SECOND = 1000 * NS_PER_MS
SPAN_S = 12


@dataclass(eq=False)
class Sentence:
    """One, and what became of it."""

    project: str
    weight: int
    came_ns: int
    steps: int
    made: int = 0
    made_early: int = 0
    first_ms: float | None = None
    plays_until_ns: int = 0
    dry: bool = False
    refused: bool = False
    retry_after_s: int = 0

    @property
    def good(self) -> bool:
        return self.first_ms is not None and self.first_ms <= OBJECTIVE_MS and not self.dry


@dataclass
class Simulation:
    """Callers of each project come at random, so many a second on average: `rates`, by project, for `seconds`."""

    seed: int = 1
    weights: dict[str, int] = field(default_factory=lambda: defaultdict(lambda: 1))
    admits: bool = True

    def __post_init__(self):
        self.chance = random.Random(self.seed)
        self.now_ns = 0
        self.line, self.queueing = StepQueue(1), Queueing()
        self.line.step_ms = STEP_MS
        self.sentences: list[Sentence] = []
        self._events, self._order = [], count()
        self._steps: dict[QueuedStep, Sentence] = {}
        self.shares = Shares(Bound(256))
        self._places = {}

    def crowd(self, project, rate, start_s, end_s):
        at_s = start_s
        while (at_s := at_s + self.chance.expovariate(rate)) < end_s:
            self._at(int(at_s * SECOND), lambda: self._come(project))

    def _at(self, at_ns, what):
        heapq.heappush(self._events, (at_ns, next(self._order), what))

    def run(self):
        while self._events:
            self.now_ns, _, what = heapq.heappop(self._events)
            what()
        return self

    def _come(self, project):
        sentence = Sentence(project, self.weights[project], self.now_ns, self.chance.randint(4, 12))
        self.sentences.append(sentence)
        step = self._step(sentence)
        first_ms, queued = self.line.first_ms(step, self.now_ns), self.line.urgent(step)
        capacity = Capacity(self.shares.held, 1, self.line.share)
        who = Principal(project, project, frozenset(), sentence.weight)
        fits = admit(capacity, 1, Asker(self.shares.own(who), 0.0, self.shares.others(who)))
        in_time = fits and self.queueing.admit(project, first_ms, OBJECTIVE_MS, queued, self.now_ns)
        if in_time or not self.admits:
            self._places[sentence] = self.shares.hold(who, 1, self.now_ns)
            self._want(sentence)
        else:
            sentence.refused = True
            sentence.retry_after_s = self.shares.retry_after_s(who, self.now_ns)

    def _step(self, sentence):
        first_ns = sentence.came_ns + OBJECTIVE_MS * NS_PER_MS
        due_ns = max(first_ns, sentence.plays_until_ns) - SLACK_MS * NS_PER_MS
        return QueuedStep(due_ns, sentence.project, sentence.weight)

    def _want(self, sentence):
        step = self._step(sentence)
        self._steps[step] = sentence
        if self.line.enter(step):
            self._begin(step)

    def _begin(self, step):
        took_ms = STEP_MS * self.chance.uniform(0.7, 1.3)
        self._at(self.now_ns + int(took_ms * NS_PER_MS), lambda: self._end(step, took_ms))

    def _end(self, step, took_ms):
        sentence = self._steps.pop(step)
        step.made_ms = SOUND_MS
        self.line.took(step, took_ms)
        if following := self.line.following(self.now_ns):
            self._begin(following)
        sentence.made += 1
        sentence.made_early += self.now_ns < SPAN_S * SECOND
        if sentence.first_ms is None:
            sentence.first_ms = (self.now_ns - sentence.came_ns) / NS_PER_MS
        elif sentence.plays_until_ns < self.now_ns:
            sentence.dry = True
        sentence.plays_until_ns = max(self.now_ns, sentence.plays_until_ns) + SOUND_MS * NS_PER_MS
        if sentence.made < sentence.steps:
            self._at(max(self.now_ns, sentence.plays_until_ns - AHEAD_MS * NS_PER_MS), lambda: self._want(sentence))
        else:
            self.shares.let_go(self._places.pop(sentence))

    def of(self, project=None, since_s=0, until_s=10**6):
        """Those who came then."""
        return [
            s
            for s in self.sentences
            if project in (None, s.project) and since_s * SECOND <= s.came_ns < until_s * SECOND
        ]


def good(sentences):
    """Of those who were let in, how many were served well."""
    admitted = [s for s in sentences if not s.refused]
    return sum(s.good for s in admitted) / len(admitted)


@cache
def load(times: float, admits: bool = True) -> Simulation:
    """One project, with so many times what the voice can do, for 40 s, and 5 s of half of it."""
    simulation = Simulation(admits=admits)
    simulation.crowd("one", times * CAPACITY, 0, 40)
    simulation.crowd("one", 0.5 * CAPACITY, 40, 50)
    return simulation.run()


def rate(sentences, seconds=40):
    return sum(s.good for s in sentences) / seconds


def test_below_capacity_nobody_is_refused_or_late():
    alone = load(0.5).of()
    assert good(alone) == 1
    assert not any(s.refused for s in alone)


def test_at_five_times_the_capacity_those_who_are_let_in_are_served_well():
    peak = max(rate(load(times).of(until_s=40)) for times in (0.8, 1.0, 1.5))
    crowd = load(5.0).of(until_s=40)
    assert good(crowd) >= 0.95
    assert rate(crowd) >= 0.9 * peak
    assert 0.7 < sum(s.refused for s in crowd) / len(crowd) < 0.85  # and no more are sent away than must be


def test_without_admission_nobody_would_be_served_well():
    assert good(load(5.0, admits=False).of(until_s=40)) < 0.1


def test_it_recovers_as_soon_as_the_crowd_has_gone():
    after = load(5.0).of(since_s=42)
    assert sum(s.good for s in after) / len(after) >= 0.95


def test_those_who_are_sent_away_are_told_to_come_one_after_the_other():
    told = [s.came_ns // SECOND + s.retry_after_s for s in load(5.0).of(until_s=10) if s.refused]
    assert min(s.retry_after_s for s in load(5.0).of(until_s=10) if s.refused) == 1
    most = max(told.count(second) for second in set(told) if second < 60)
    assert most < 5 * CAPACITY


@cache
def flood(weights: tuple[tuple[str, int], ...] = (), admits: bool = True) -> Simulation:
    """One project floods for 40 s; another comes with a quarter of what the voice can do."""
    simulation = Simulation(weights=defaultdict(lambda: 1, weights), admits=admits)
    simulation.crowd("many", 5 * CAPACITY, 0, 40)
    simulation.crowd("few", 0.25 * CAPACITY, 0, 40)
    return simulation.run()


def test_a_flood_of_one_project_is_not_felt_by_another():
    few = flood().of("few", since_s=2)
    assert sum(s.good for s in few) / len(few) >= 0.9  # the refused ones are not good
    assert good(few) == 1
    assert good(flood().of("many")) >= 0.8


def test_even_a_flood_that_was_let_in_is_late_itself():
    few = flood(admits=False).of("few")
    assert sum(s.good for s in few) / len(few) >= 0.9
    assert good(flood(admits=False).of("many")) < 0.2


@pytest.mark.parametrize(("admits", "least"), [(True, 1.6), (False, 2.6)])  # twenty places are few to share out
def test_two_that_flood_share_by_weight(admits, least):
    simulation = Simulation(weights={"heavy": 3, "light": 1}, admits=admits)
    for project in ("heavy", "light"):
        simulation.crowd(project, 5 * CAPACITY, 0, SPAN_S)
    simulation.run()
    made = {project: sum(s.made_early for s in simulation.of(project)) for project in ("heavy", "light")}
    assert least < made["heavy"] / made["light"] < 3.8
