"""The search for everything to hide in one text, by all recognisers, as spans that do not overlap."""

import re
from collections.abc import Iterable, Sequence, Set
from functools import lru_cache
from typing import Any

from antiphon.core.redaction import OF_THE_MODEL, Entity, Redaction, Span
from antiphon.trust.redaction.cues import STOPWORDS
from antiphon.trust.redaction.dates import dates
from antiphon.trust.redaction.names import names
from antiphon.trust.redaction.places import addresses
from antiphon.trust.redaction.runs import MIN_CODE, kinds_of, runs_of
from antiphon.trust.redaction.spoken import open_mail, spoken
from antiphon.trust.redaction.tokens import NUMERALS, Kind, Token, in_ascii, tokens_of, word_set
from antiphon.trust.redaction.written import written

# Words that the model sometimes takes for a place or a name.
_NEVER = word_set(
    "spring summer autumn fall winter today tomorrow yesterday monday tuesday wednesday thursday friday saturday "
    "sunday spelled spelt"
)
PATTERN_S = 0.1  # of processor time, for a pattern of a policy in a short text; a longer one has more ...
CHARS_PER_S = 500_000  # ... by its length. After that the call ends: such a pattern could stop the server
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
    tagged = [span for span in tagged if not _says_nothing(text[span.start : span.end])]
    found = [*_custom(text, wanted)]
    unsure: set[Span] = set()
    if sought:
        text = in_ascii(text)
        forms = list(written(text))
        unsure = {*tagged, *(span for span in forms if len(span.kinds) > SURE_KINDS)}
        found += forms
        found += spoken(tokens)
        found += dates(text, tokens)
        found += addresses(tokens)
        if Entity.NAME in sought:
            found += names(tokens)
        found += tagged
        if goes_on:
            found += open_mail(tokens)
        for run in runs_of(tokens):
            kinds = kinds_of(tokens, run, least, opens=goes_on and run.open)
            if kinds:
                found.append(Span(tokens[run.start].start, tokens[run.end - 1].end, kinds))
    told = (span for span in found if not sought.isdisjoint(span.kinds) or span.kinds == (Entity.CUSTOM,))
    return merged(list(told), unsure)


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


def _says_nothing(tagged: str) -> bool:
    words = tokens_of(tagged)
    spoken = NUMERALS - {Kind.DIGITS} | {Kind.LETTER, Kind.MARK}
    return all(token.word in _NEVER or token.word in STOPWORDS or token.kind in spoken for token in words)


def needs_model(wanted: Redaction) -> bool:
    return not wanted.sought.isdisjoint(OF_THE_MODEL)


def _custom(text: str, wanted: Redaction) -> Iterable[Span]:
    if not (wanted.words or wanted.patterns):
        return
    timeout_s = PATTERN_S + len(text) / CHARS_PER_S
    for pattern in _compiled(wanted.words, wanted.patterns):
        for match in pattern.finditer(text, timeout=timeout_s):
            if match.end() > match.start():
                yield Span(match.start(), match.end(), (Entity.CUSTOM,))


@lru_cache(maxsize=256)
def _compiled(words: tuple[str, ...], patterns: tuple[str, ...]) -> tuple[Any, ...]:
    import regex  # it can stop, which `re` cannot

    compiled = [regex.compile(pattern, regex.IGNORECASE) for pattern in patterns]
    if words:
        each = (r"[\s-]+".join(map(re.escape, word.split())) for word in sorted(words, key=len, reverse=True))
        compiled.append(regex.compile(rf"(?<!\w)(?:{'|'.join(each)})(?!\w)", regex.IGNORECASE))
    return tuple(compiled)
