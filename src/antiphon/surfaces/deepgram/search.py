"""Deepgram's `search`: the places of a transcript with words like those of a query.

A hit has as many consecutive words as the query. Its confidence is the agreement of their letters with the query's,
weighted by the words' lengths. Words are compared by spelling, not by sound. Pure.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from functools import cache, lru_cache
from itertools import islice
from operator import add

from antiphon.core.events import Word
from antiphon.core.text import join, plain
from antiphon.surfaces.deepgram import wire

MAX_SEARCHES = 25  # of one call
MOST_HITS = 10  # of one query
ALIKE = 0.7  # the least likeness of a hit
CONFIDENCE_DIGITS = 6
ROUNDING = 1e-9  # sums of the same numbers in another order may differ by less

Likeness = Callable[[str, str], float]
Common = Callable[[str], Sequence[float]]


def search(queries: Sequence[str], words: Sequence[Word]) -> list[wire.Search] | None:
    """Return the hits of each query; `None` without queries."""
    if not queries:
        return None
    entries = [(plain(word.text), word) for word in words]
    entries = [(text, word) for text, word in entries if text]
    common = _common([text for text, _ in entries])
    alike = cache(_alike)  # a recording has many words, few of them distinct
    return [wire.Search(query, _hits(plain(query).split(), entries, common, alike)) for query in queries]


def _hits(query: Sequence[str], words: Sequence[tuple[str, Word]], common: Common, alike: Likeness) -> list[wire.Hit]:
    """Return the best hits first, without overlaps."""
    letters = sum(map(len, query))
    if not letters:
        return []
    found = []
    for start in _promising(query, len(words), common):
        pairs = zip(query, words[start : start + len(query)], strict=True)
        likeness = sum(alike(term, text) * len(term) for term, (text, _) in pairs) / letters
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


def _promising(query: Sequence[str], count: int, common: Common) -> list[int]:
    """Return the places where there can be a hit, by the letters in common alone. To compare their order at every place
    would take minutes for long queries and a long recording.
    """
    most = [0.0] * max(0, count - len(query) + 1)
    left = sum(map(len, query))
    least = ALIKE * left - ROUNDING
    for place, term in enumerate(query):
        left -= len(term)
        most = list(map(add, most, islice(common(term), place, None)))
        if max(most, default=0.0) + left < least:
            return []
    return [start for start, likeness in enumerate(most) if likeness >= least]


def _common(texts: Sequence[str]) -> Common:
    """Return a function of a word that returns how many of its letters can agree with each of these texts, at most:
    those that both have, in any order.
    """
    places: dict[tuple[str, int], int] = {}  # a bit for the first of a letter in a word, another one for its second

    def letters(word: str) -> int:
        found: Counter[str] = Counter()
        bits = 0
        for letter in word:
            found[letter] += 1
            bits |= 1 << places.setdefault((letter, found[letter]), len(places))
        return bits

    vocabulary = {text: (letters(text), len(text)) for text in set(texts)}

    @lru_cache(32)  # each result is as long as the recording
    def common(word: str) -> list[float]:
        own, size = letters(word), len(word)
        most = {text: 2 * size * (own & has).bit_count() / (size + long) for text, (has, long) in vocabulary.items()}
        return [most[text] for text in texts]

    return common


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
