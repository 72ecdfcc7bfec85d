"""The search for words at the end of a text that may become part of something to hide when the text goes on."""

from collections.abc import Sequence

from antiphon.trust.redaction.cues import STOPWORDS, UNITS_BEHIND
from antiphon.trust.redaction.places import LINKS as STREET_LINKS
from antiphon.trust.redaction.places import REACH as NEAR
from antiphon.trust.redaction.spoken import address_from, local_start
from antiphon.trust.redaction.tokens import (
    FILLERS,
    JOINERS,
    LETTER_WORDS,
    NUMERALS,
    SOFT_JOINERS,
    Kind,
    Token,
    word_set,
)

MAX_STREET_WORDS = 4  # between a number and the word that makes it an address
MAX_IBAN_TOKENS, IBAN_GROUP = 24, 4  # characters of a group
_NO_STREET = (STOPWORDS | UNITS_BEHIND) - STREET_LINKS
_WORDS = frozenset(
    ("and", "for", "to", "of", "in", "the", "as", "like", *FILLERS, *SOFT_JOINERS)
)  # not without a sign before
_LINKS = _WORDS | frozenset((*JOINERS, "at", "@", "oh", "capital", "number"))
_HOMES = word_set("live lives living address deliver located ship moved")


def open_from(tokens: Sequence[Token]) -> int:
    """Return the index of the first token at the end that may be part of something incomplete; `len(tokens)` if none
    is.
    """
    at = len(tokens)
    while at > 0 and (_may_go_on(tokens[at - 1]) or _spells(tokens, at - 1)):
        at -= 1
    while at < len(tokens) and _joins_nothing(tokens[at]):
        at += 1
    if at < len(tokens) and tokens[-1].word in ("at", "@", "dot", "underscore", "dash"):
        at = min(at, local_start(tokens, len(tokens) - 1))
    return min(at, address_from(tokens), _street_from(tokens), _iban_from(tokens))


def _may_go_on(token: Token) -> bool:
    spelled = (
        token.kind in NUMERALS
        or token.kind is Kind.SCALE
        or (token.kind is Kind.LETTER and token.word not in ("i", "a"))
        or token.word in LETTER_WORDS
    )
    return spelled or token.kind is Kind.MARK or token.word in _LINKS


def _joins_nothing(token: Token) -> bool:
    """Return whether a token that begins what may go on can be no part of it: it would join what is not there."""
    return token.word in _WORDS or (token.kind is Kind.MARK and token.word not in "(+@")


def _spells(tokens: Sequence[Token], at: int) -> bool:
    """Return whether a word spells a letter before it: "b as in bravo"."""
    words = [token.word for token in tokens[max(0, at - 2) : at]]
    return words in (["as", "in"], ["like", "in"])


def _street_from(tokens: Sequence[Token]) -> int:
    """Return the index of a number that may be a house number: the words before it speak of an address, or those after
    it may be the name of a street. `len(tokens)` if there is none.
    """
    named = True
    for at in range(len(tokens) - 1, max(-1, len(tokens) - 2 - MAX_STREET_WORDS), -1):
        if tokens[at].kind not in NUMERALS:
            named &= tokens[at].kind in (Kind.WORD, Kind.LETTER) and tokens[at].word not in _NO_STREET
            continue
        last = at
        while at > 0 and tokens[at - 1].kind in NUMERALS:
            at -= 1
        has_cue = any(token.word in _HOMES for token in tokens[max(0, at - NEAR) : at])
        several = at < last or len(tokens[at].text) > 1
        return at if has_cue or (named and several and tokens[at].kind is not Kind.UNIT) else len(tokens)
    return len(tokens)


def _iban_from(tokens: Sequence[Token]) -> int:
    """Return the index of what begins like an IBAN, if all that follows may belong to it; otherwise `len(tokens)`."""
    for at in range(len(tokens) - 1, max(-1, len(tokens) - 1 - MAX_IBAN_TOKENS), -1):
        token = tokens[at]
        if token.kind is Kind.MARK and token.word != "-":
            break
        if token.kind in (Kind.WORD, Kind.LETTER) and len(token.text) > IBAN_GROUP:
            break
        following = tokens[at + 1] if at + 1 < len(tokens) else None
        country = len(token.text) == 2 and token.text.isalpha() and not token.glued
        if country and following is not None and following.glued and following.kind is Kind.DIGITS:
            return at
    return len(tokens)
