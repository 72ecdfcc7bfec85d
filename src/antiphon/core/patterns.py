"""Whether a regular expression can take exponential time: Python's engine tries every way to match, and cannot be
stopped.

There are exponentially many ways if, in the automaton of the pattern's characters, two different paths read the same
text from one character back to it, or one step of such a path can be made in two ways. A pattern is refused rather than
misjudged: counts that vary are taken as unlimited, and a pattern that is too large to be judged is refused.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

MAX_CHARACTERS = 512  # of the automaton
MAX_COPIES = 64  # of characters, for a fixed count
MAX_STEPS = 200_000

_CASES = re.IGNORECASE
_OTHERS = "a5_ .\n-é١😀"  # one of each category, and of none


class TooLarge(ValueError):
    """The pattern is too large to be judged."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the pattern: in how many ways it matches nothing, and each character that it may begin or end with, as
    often as there are ways to it. More than two are as two.
    """

    empty: int = 1
    first: Counter[int] = field(default_factory=Counter)
    last: Counter[int] = field(default_factory=Counter)

    def or_nothing(self) -> "_Part":
        return _Part(min(2, self.empty + 1), self.first, self.last)


def _ways(*ways: tuple[int, Counter[int]]) -> Counter[int]:
    """Return the sum, each times its factor."""
    found = Counter[int]()
    for factor, characters in ways:
        for character, count in characters.items():
            found[character] = min(2, found[character] + factor * count)
    return +found


@dataclass(slots=True)
class _Automaton:
    """The characters of a pattern, each with what it matches among `samples`, and how often each follows another."""

    samples: frozenset[str]
    reads: list[frozenset[str]] = field(default_factory=list)
    follows: Counter[tuple[int, int]] = field(default_factory=Counter)
    apart: list["_Automaton"] = field(default_factory=list)  # of lookarounds

    def character(self, reads: Iterable[str]) -> _Part:
        if len(self.reads) >= MAX_CHARACTERS:
            raise TooLarge
        self.reads.append(frozenset(reads))
        only = Counter({len(self.reads) - 1: 1})
        return _Part(0, only, only)

    def one_after_other(self, parts: Iterable[_Part]) -> _Part:
        whole = _Part()
        for part in parts:
            self.join(whole, part)
            whole = _Part(
                min(2, whole.empty * part.empty),
                _ways((1, whole.first), (whole.empty, part.first)),
                _ways((1, part.last), (part.empty, whole.last)),
            )
        return whole

    def join(self, part: _Part, following: _Part) -> None:
        for last, ways in part.last.items():
            for first, more in following.first.items():
                self.follows[last, first] += ways * more

    def sequence(self, nodes: Sequence[tuple[Any, Any]]) -> _Part:
        return self.one_after_other(self.node(str(kind), value) for kind, value in nodes)

    def node(self, kind: str, value: Any) -> _Part:
        """Add a node of the parsed pattern."""
        match kind:
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                return self.repeat(*value)
            case "SUBPATTERN":
                return self.sequence(value[3])
            case "ATOMIC_GROUP":
                return self.sequence(value)
            case "BRANCH":
                return _either(self.sequence(each) for each in value[1])
            case "GROUPREF_EXISTS":
                return _either(self.sequence(each or ()) for each in value[1:])
            case "ASSERT" | "ASSERT_NOT":
                self.apart.append(around := _Automaton(self.samples, apart=self.apart))
                around.sequence(value[1])
                return _Part()
            case "AT":
                return _Part()
            case "GROUPREF":
                part = self.character(self.samples)
                self.join(part, part)
                return part.or_nothing()
        return self.character(each for each in self.samples if _matches(kind, value, each))

    def repeat(self, least: int, most: int, nodes: Sequence[tuple[Any, Any]]) -> _Part:
        if most == 0:
            return _Part()
        before = len(self.reads)
        part = self.sequence(nodes)
        if least == most and (len(self.reads) - before) * most <= MAX_COPIES:
            return self.one_after_other((part, *(self.sequence(nodes) for _ in range(most - 1))))
        if most > 1:
            self.join(part, part)
        return part if least else part.or_nothing()

    def explodes(self) -> bool:
        """Return whether two different paths lead from one character back to it and read the same."""
        after = defaultdict[int, list[int]](list)
        for one, other in self.follows:
            after[one].append(other)
        for one, other in self.follows:
            if self.follows[one, other] > 1 and self._reach(after, other, one):
                return True
        steps = 0
        nexts: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for start in range(len(self.reads)):
            if not self._reach(after, start, start):
                continue
            # Pairs that both paths can be at: from the character to two different ones, and back to it.
            seen, left, back = {(start, start)}, [(start, start)], defaultdict[Any, list[tuple[int, int]]](list)
            while left:
                pair = left.pop()
                if pair not in nexts:
                    ones, others = after[pair[0]], after[pair[1]]
                    steps += len(ones) * len(others)
                    if steps > MAX_STEPS:
                        raise TooLarge
                    nexts[pair] = [(a, b) for a in ones for b in others if self.reads[a] & self.reads[b]]
                for each in nexts[pair]:
                    back[each].append(pair)
                    if each not in seen:
                        seen.add(each)
                        left.append(each)
            returns, left = {(start, start)}, [(start, start)]
            while left:
                for each in back[left.pop()]:
                    if each not in returns:
                        returns.add(each)
                        left.append(each)
            if any(one != other for one, other in returns):
                return True
        return False

    @staticmethod
    def _reach(after: dict[int, list[int]], start: int, end: int) -> bool:
        """Return whether a path of one or more steps leads there."""
        seen, left = set[int](), list(after[start])
        while left:
            each = left.pop()
            if each == end:
                return True
            if each not in seen:
                seen.add(each)
                left += after[each]
        return False


@lru_cache(1024)  # each policy is read again and again
def explodes(pattern: str) -> bool:
    """Return whether a valid pattern, in any case, could take exponential time."""
    nodes: Any = re._parser.parse(pattern, re.IGNORECASE)  # type: ignore[attr-defined]
    automaton = _Automaton(frozenset(_OTHERS).union(*_samples(nodes)))
    try:
        automaton.sequence(nodes)
        return automaton.explodes() or any(each.explodes() for each in automaton.apart)
    except (TooLarge, RecursionError):
        return True


def _either(parts: Iterable[_Part]) -> _Part:
    whole = _Part(0)
    for part in parts:
        empty = min(2, whole.empty + part.empty)
        whole = _Part(empty, _ways((1, whole.first), (1, part.first)), _ways((1, whole.last), (1, part.last)))
    return whole


def _samples(value: Any) -> Iterable[str]:
    """Yield characters of which each two sets in a pattern that overlap have one in common: all that it names, in
    every case, and the ends of its ranges.
    """
    if isinstance(value, (list, tuple, re._parser.SubPattern)):  # type: ignore[attr-defined]
        for each in value:
            yield from _samples(each)
    elif type(value) is int and 0 <= value < 0x110000:
        yield from _cases(chr(value))


def _cases(character: str) -> set[str]:
    return {each for each in (character, character.lower(), character.upper(), character.swapcase()) if len(each) == 1}


def _matches(kind: str, value: Any, character: str) -> bool:
    """Return whether a node of one character matches, in any case."""
    match kind:
        case "LITERAL":
            return chr(value) in _cases(character)
        case "NOT_LITERAL":
            return chr(value) not in _cases(character)
        case "RANGE":
            return any(value[0] <= ord(each) <= value[1] for each in _cases(character))
        case "CATEGORY":
            return re.fullmatch(_CATEGORIES[str(value)], character, _CASES) is not None
        case "IN":
            named = [(str(one), other) for one, other in value]
            negated = named[0][0] == "NEGATE"
            return any(_matches(*each, character) for each in named[negated:]) is not negated
    return True  # any character


_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}
