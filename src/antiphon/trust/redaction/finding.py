"""The search for everything to hide in one text, by all recognisers, as spans that do not overlap."""

import re
from collections.abc import Iterable, Sequence, Set
from functools import lru_cache
from time import thread_time
from typing import Any

from antiphon.core.redaction import OF_THE_MODEL, Entity, Redaction, Span
from antiphon.trust.redaction.codes import (
    WITH_LETTERS,
    is_another,
    is_extension,
    kinds_of,
    spelled_from,
    with_letters,
)
from antiphon.trust.redaction.cues import STOPWORDS
from antiphon.trust.redaction.dates import MONTHS, dates, open_date, written_dates
from antiphon.trust.redaction.names import names, repeated, whole_names
from antiphon.trust.redaction.passwords import passwords
from antiphon.trust.redaction.places import addresses, open_address
from antiphon.trust.redaction.runs import MIN_CODE, runs_of
from antiphon.trust.redaction.spoken import open_mail, spoken
from antiphon.trust.redaction.tokens import NUMERALS, Kind, Token, legible, placed, tokens_of, word_set
from antiphon.trust.redaction.written import written

# Words that the model sometimes takes for a place or a name.
_NEVER = word_set(
    "spring summer autumn fall winter today tomorrow yesterday monday tuesday wednesday thursday friday saturday "
    "sunday spelled spelt"
)
PATTERN_S = 0.1  # of the thread's processor time, for a pattern of a policy in a short text; a longer one has more ...
CHARS_PER_S = 500_000  # ... by its length. After that the call ends: such a pattern could stop the server
_HAS_DIGIT = re.compile("[0-9]")
_OF_ADDRESSES = word_set(
    "live lives living address deliver delivered located ship shipped mail send home house moved zip zipcode postal "
    "postcode street road apartment apt flat unit suite"
)
_BEFORE_MONTHS = word_set("in of by since until till last next this from to through late early mid during every for")
NEAR_CHARS, BESIDE_CHARS = 60, 3  # of the text before a number, and between two parts of an address
SURE_KINDS = 3  # a span with more possible kinds is of an unknown kind


def find(
    text: str,
    wanted: Redaction,
    tagged: Iterable[Span] = (),
    least: int = MIN_CODE,
    tokens: list[Token] | None = None,
    goes_on: bool = False,
) -> list[Span]:
    """Return the spans to hide or report, in order. `tagged` are the model's spans; a number of `least` digits is
    hidden without a cue. If the text `goes_on`, a number at its end may be incomplete, so fewer digits are enough
    there.
    """
    tokens = tokens_of(text) if tokens is None else tokens
    sought = wanted.sought
    tagged = _plausible(text, list(tagged))
    seen, places = legible(text)

    def in_text(spans: Iterable[Span]) -> list[Span]:
        return [Span(*placed(span.start, span.end, places), span.kinds) for span in spans]

    found = [*_custom(text, wanted), *(in_text(_custom(seen, wanted)) if seen != text else ())]
    unsure: set[Span] = set()
    if sought:
        forms = in_text((*written(seen), *written_dates(seen)))
        unsure = {*tagged, *(span for span in forms if len(span.kinds) > SURE_KINDS)}
        found += forms
        found += spoken(tokens)
        found += passwords(tokens)
        found += dates(tokens)
        found += addresses(tokens)
        if Entity.NAME in sought:
            named = [*names(tokens), *(span for span in tagged if span.kinds[0] is Entity.NAME)]
            found += named
            found += whole_names(tokens, named)
            found += repeated(tokens, named)
        found += tagged
        if goes_on:
            found += open_mail(tokens)
            found += open_address(tokens)
            found += open_date(tokens)
        shouted = text.isupper()
        judged = [(run, kinds_of(tokens, run, least, opens=goes_on and run.open)) for run in runs_of(tokens)]
        for at, (run, kinds) in enumerate(judged):
            beside = [each for each in (*judged[max(0, at - 1) : at], *judged[at + 1 : at + 2]) if each[1]]
            if at and judged[at - 1][1] and is_extension(tokens, judged[at - 1][0], run):
                found.append(Span(tokens[judged[at - 1][0].start].start, tokens[run.end - 1].end, (Entity.PHONE,)))
            kinds = kinds or next((near for other, near in beside if is_another(tokens, other, run)), ())
            if kinds:
                coded = kinds[0] in WITH_LETTERS and not shouted
                start, end = with_letters(tokens, run) if coded else (run.start, run.end)
                start = spelled_from(tokens, run, start)
                found.append(Span(tokens[start].start, tokens[end - 1].end, kinds))
    spans = (span for span in found if not sought.isdisjoint(span.kinds) or span.kinds == (Entity.CUSTOM,))
    return merged(list(spans), unsure)


def merged(spans: Sequence[Span], unsure: Set[Span] = frozenset()) -> list[Span]:
    """Merge spans that overlap. The kind of the longest one comes first, but `unsure` spans come after all others."""
    out: list[Span] = []
    ranks: list[tuple[bool, int]] = []
    for span in sorted(spans, key=lambda each: (each.start, -each.end)):
        rank = span not in unsure, span.end - span.start
        if out and span.start < out[-1].end:
            last = out[-1]
            first, second = (span.kinds, last.kinds) if rank > ranks[-1] else (last.kinds, span.kinds)
            out[-1] = Span(last.start, max(last.end, span.end), tuple(dict.fromkeys(first + second)))
            ranks[-1] = max(ranks[-1], rank)
        else:
            out.append(span)
            ranks.append(rank)
    return out


def _plausible(text: str, tagged: Sequence[Span]) -> list[Span]:
    """Return the spans that the model is not known to have wrongly."""
    kept = []
    for at, span in enumerate(tagged):
        phrase = text[span.start : span.end]
        if _says_nothing(phrase):
            continue
        before = text[max(0, span.start - NEAR_CHARS) : span.start].lower().split()
        if _is_number(phrase):
            # A number is a part of an address where something says so: a word of it, or one before it.
            beside = (*tagged[max(0, at - 1) : at], *tagged[at + 1 : at + 2])
            near = any(
                min(abs(span.start - each.end), abs(each.start - span.end)) <= BESIDE_CHARS
                and not _is_number(text[each.start : each.end])
                for each in beside
            )
            if not near and _OF_ADDRESSES.isdisjoint(before):
                continue
        if phrase.lower() in MONTHS and before and before[-1] in _BEFORE_MONTHS:
            continue
        kept.append(span)
    return kept


def _says_nothing(tagged: str) -> bool:
    words = tokens_of(tagged)
    spoken = NUMERALS - {Kind.DIGITS} | {Kind.LETTER, Kind.MARK}
    return all(token.word in _NEVER or token.word in STOPWORDS or token.kind in spoken for token in words)


def _is_number(phrase: str) -> bool:
    return all(_HAS_DIGIT.search(word) for word in phrase.split())


def needs_model(wanted: Redaction) -> bool:
    return not wanted.sought.isdisjoint(OF_THE_MODEL)


def _custom(text: str, wanted: Redaction) -> Iterable[Span]:
    if not (wanted.words or wanted.patterns):
        return
    for pattern in _compiled(wanted.words, wanted.patterns):
        for match in _matches(pattern, text):
            if match.end() > match.start():
                yield Span(match.start(), match.end(), (Entity.CUSTOM,))


def _matches(pattern: Any, text: str) -> list[Any]:
    """Return the matches of a pattern. Raises `TimeoutError` if that takes too long.

    The library counts the time of all threads together, which is many times that of this one where models compute on
    many processors. So it gets more, until this thread has spent what it may.
    """
    most_s = timeout_s = PATTERN_S + len(text) / CHARS_PER_S
    begun_s = thread_time()
    while True:
        try:
            return list(pattern.finditer(text, timeout=timeout_s))
        except TimeoutError:
            if thread_time() - begun_s >= most_s:
                raise
            timeout_s *= 2


@lru_cache(maxsize=256)
def _compiled(words: tuple[str, ...], patterns: tuple[str, ...]) -> tuple[Any, ...]:
    import regex  # it can stop, which `re` cannot

    compiled = [regex.compile(pattern, regex.IGNORECASE) for pattern in patterns]
    if words:
        each = (r"[\s-]+".join(map(re.escape, word.split())) for word in sorted(words, key=len, reverse=True))
        compiled.append(regex.compile(rf"(?<!\w)(?:{'|'.join(each)})(?!\w)", regex.IGNORECASE))
    return tuple(compiled)
