"""Everything to hide in one text, by all recognisers, as spans that do not overlap."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from antiphon.core.redaction import OF_THE_MODEL, Entity, Redaction, Span
from antiphon.trust.redaction.dates import dates
from antiphon.trust.redaction.names import names
from antiphon.trust.redaction.places import addresses
from antiphon.trust.redaction.runs import MIN_CODE, kinds_of, runs_of
from antiphon.trust.redaction.spoken import open_mail, spoken
from antiphon.trust.redaction.tokens import NUMERALS, Kind, Token, tokens_of, word_set
from antiphon.trust.redaction.written import written

# What the model takes for a place or a name now and then.
_NEVER = word_set(
    "spring summer autumn fall winter today tomorrow yesterday monday tuesday wednesday thursday friday saturday "
    "sunday spelled spelt"
)
MAX_PATTERNS = 32
MAX_PATTERN_CHARS = 200


def find(
    text: str,
    wanted: Redaction,
    tagged: Iterable[Span] = (),
    least: int = MIN_CODE,
    tokens: list[Token] | None = None,
    goes_on: bool = False,
) -> list[Span]:
    """What is to be hidden or told, in order. `tagged` is what a model found; `least` how many digits are enough. A
    text that `goes_on` may end within something: fewer are enough at its end.
    """
    tokens = tokens_of(text) if tokens is None else tokens
    sought = wanted.sought
    found = [*_custom(text, wanted)]
    if sought:
        found += written(text)
        found += spoken(tokens)
        found += dates(text, tokens)
        found += addresses(tokens)
        if Entity.NAME in sought:
            found += names(tokens)
        found += (span for span in tagged if not _says_nothing(text[span.start : span.end]))
        if goes_on:
            found += open_mail(tokens)
        for run in runs_of(tokens):
            kinds = kinds_of(tokens, run, least, opens=goes_on and run.open)
            if kinds:
                found.append(Span(tokens[run.start].start, tokens[run.end - 1].end, kinds))
    return merged([span for span in found if not sought.isdisjoint(span.kinds) or span.kinds == (Entity.CUSTOM,)])


def merged(spans: Sequence[Span]) -> list[Span]:
    """Those that touch the same characters as one. It is what the longest of them is."""
    out: list[Span] = []
    lengths: list[int] = []
    for span in sorted(spans, key=lambda each: (each.start, -each.end)):
        length = span.end - span.start
        if out and span.start < out[-1].end:
            last = out[-1]
            first, second = (span.kinds, last.kinds) if length > lengths[-1] else (last.kinds, span.kinds)
            out[-1] = Span(last.start, max(last.end, span.end), tuple(dict.fromkeys(first + second)))
            lengths[-1] = max(lengths[-1], length)
        else:
            out.append(span)
            lengths.append(length)
    return out


def _says_nothing(tagged: str) -> bool:
    words = tokens_of(tagged)
    return all(token.word in _NEVER or (token.kind in NUMERALS and token.kind is not Kind.DIGITS) for token in words)


def needs_model(wanted: Redaction) -> bool:
    return not wanted.sought.isdisjoint(OF_THE_MODEL)


def _custom(text: str, wanted: Redaction) -> Iterable[Span]:
    if not (wanted.words or wanted.patterns):
        return
    for pattern in _compiled(wanted.words, wanted.patterns):
        for match in pattern.finditer(text):
            if match.end() > match.start():
                yield Span(*match.span(), (Entity.CUSTOM,))


@lru_cache(maxsize=256)
def _compiled(words: tuple[str, ...], patterns: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    compiled = [re.compile(pattern, re.IGNORECASE) for pattern in patterns]
    if words:
        each = (r"[\s-]+".join(map(re.escape, word.split())) for word in sorted(words, key=len, reverse=True))
        compiled.append(re.compile(rf"(?<!\w)(?:{'|'.join(each)})(?!\w)", re.IGNORECASE))
    return tuple(compiled)
