"""Deepgram's `search`: the places of a transcript with words like those of a query.

A hit has as many consecutive words as the query. Its confidence is the agreement of their letters with the query's,
weighted by the words' lengths. Words are compared by spelling, not by sound. Pure.
"""

from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from functools import cache

from antiphon.core.events import Word
from antiphon.core.text import join, plain
from antiphon.surfaces.deepgram import wire

MAX_SEARCHES = 25  # of one call
MOST_HITS = 10  # of one query
ALIKE = 0.7  # the least likeness of a hit
CONFIDENCE_DIGITS = 6

Likeness = Callable[[str, str], float]


def search(queries: Sequence[str], heard: Sequence[Word]) -> list[wire.Search] | None:
    """Return the hits of each query; `None` without queries."""
    if not queries:
        return None
    words = [(plain(word.text), word) for word in heard]
    words = [(text, word) for text, word in words if text]
    alike = cache(_alike)  # a recording has many words, few of them distinct
    return [wire.Search(query, _hits(plain(query).split(), words, alike)) for query in queries]


def _hits(query: Sequence[str], words: Sequence[tuple[str, Word]], alike: Likeness) -> list[wire.Hit]:
    """Return the best hits first, without overlaps."""
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
    """Return the share of letters that agree, in order: 0..1."""
    if one == other:
        return 1.0
    if 2 * min(len(one), len(other)) < ALIKE * (len(one) + len(other)) / 2:
        return 0.0  # their lengths differ too much, which is fast to check
    return SequenceMatcher(None, one, other, autojunk=False).ratio()
