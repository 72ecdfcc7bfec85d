"""Deepgram's `search`: where words like those that are searched for stand in a transcript.

A hit is as many words in a row as the query has. Its confidence is how much their letters agree with the query's, each
word counted by its length. Words are compared as the transcript has them, and not by their sound. Pure.
"""

from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from functools import cache

from antiphon.core.events import Word
from antiphon.core.text import join, plain
from antiphon.surfaces.deepgram import wire

MAX_SEARCHES = 25  # of one call
MOST_HITS = 10  # of one query
ALIKE = 0.7  # from which on words are a hit
CONFIDENCE_DIGITS = 6

Likeness = Callable[[str, str], float]


def search(queries: Sequence[str], heard: Sequence[Word]) -> list[wire.Search] | None:
    """The hits of each query; `None` where nothing is searched for."""
    if not queries:
        return None
    words = [(plain(word.text), word) for word in heard]
    words = [(text, word) for text, word in words if text]
    alike = cache(_alike)  # a recording has many words, and few that differ
    return [wire.Search(query, _hits(plain(query).split(), words, alike)) for query in queries]


def _hits(query: Sequence[str], words: Sequence[tuple[str, Word]], alike: Likeness) -> list[wire.Hit]:
    """The best first, none of which has a word of another."""
    letters = sum(map(len, query))
    if not letters:
        return []
    found = []
    for start in range(len(words) - len(query) + 1):
        pairs = zip(query, words[start : start + len(query)], strict=True)
        likeness = sum(alike(asked, text) * len(asked) for asked, (text, _) in pairs) / letters
        if likeness >= ALIKE:
            found.append((-likeness, start))
    hits: list[wire.Hit] = []
    taken: set[int] = set()
    for unlike, start in sorted(found):
        span = range(start, start + len(query))
        if taken.isdisjoint(span):
            taken.update(span)
            hits.append(_hit(-unlike, [word for _, word in words[start : start + len(query)]]))
        if len(hits) == MOST_HITS:
            break
    return hits


def _hit(likeness: float, words: Sequence[Word]) -> wire.Hit:
    snippet = join(plain(word.text) for word in words)
    confidence = round(likeness, CONFIDENCE_DIGITS)
    return wire.Hit(confidence, words[0].start_ms / 1000, words[-1].end_ms / 1000, snippet)


def _alike(one: str, other: str) -> float:
    """0..1: how many of their letters agree, in order."""
    if one == other:
        return 1.0
    if 2 * min(len(one), len(other)) < ALIKE * (len(one) + len(other)) / 2:
        return 0.0  # far too different in length, which is quick to see
    return SequenceMatcher(None, one, other, autojunk=False).ratio()
