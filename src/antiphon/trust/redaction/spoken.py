"""Dictated addresses of mail, pages and machines."""

from collections.abc import Iterator, Sequence

from antiphon.core.redaction import Entity, Span
from antiphon.trust.redaction.cues import STOPWORDS
from antiphon.trust.redaction.tokens import JOINERS, NUMERALS, Kind, Token, is_word, read_number, spelled, word_set

TOP_DOMAINS = word_set(
    "com org net edu gov mil io co uk de fr es it nl eu us ca au nz in ie ch at be se no dk fi pl pt info biz app "
    "dev ai me tv ly example local "
    "cz sk hu ro bg gr hr si lt lv ee ru ua tr il za ng ke jp cn kr sg hk tw my th vn ph id br mx ar cl pe"
)
MAIL_HOUSES = word_set(
    "gmail googlemail yahoo hotmail outlook icloud aol protonmail proton gmx comcast verizon live msn fastmail zoho "
    "mailbox ymail hey att sbcglobal btinternet"
)
MAX_DOMAIN_WORDS = 3
MAX_LABEL_TOKENS = 80  # of the parts of an address: a longer part is not one
MAX_DOTS = 8
MAX_OCTET_TOKENS = 8
MAX_LOCAL_WORDS = 3  # before "at", without a joining sign between them
_SIGNS = frozenset("._-+/@")
_OF_ADDRESSES = frozenset(("at", "@", "dot", "underscore", "dash", "hyphen", "slash"))
_ALL_ONE = frozenset(("one", "lower", "lowercase", "small", "together"))  # "all one word"
_ARTICLES = frozenset(("a", "an", "the"))
_ADDRESS_CUES = word_set("is was on to from visit open type use at it's site email's browse")
_OF_NAMES = word_set("the my our your its all just only no not so we very too one")  # which an address may begin with
_OF_NO_NAMES = STOPWORDS - _OF_NAMES


def spoken(tokens: Sequence[Token]) -> Iterator[Span]:
    yield from _addresses(tokens)
    yield from _machines(tokens)


# -- mail and pages ----------------------------------------------------------------------------------------------------


def _addresses(tokens: Sequence[Token]) -> Iterator[Span]:
    last_dot = max((at for at in range(len(tokens)) if _is_dot(tokens, at)), default=0)
    for at, token in enumerate(tokens):
        if (name := _after_www(tokens, at)) is not None:
            end = _long_domain(tokens, name) or _domain(tokens, name, alone=False)
            if end is not None:
                yield Span(token.start, tokens[_path(tokens, end) - 1].end, (Entity.URL, Entity.EMAIL))
        elif token.word in ("at", "@"):
            end = _long_domain(tokens, at + 1) or _domain(tokens, at + 1, alone=False)
            if end is None:
                continue
            start = local_start(tokens, at)
            if start < at:
                start = _from_cue(tokens, start)
                yield Span(tokens[start].start, tokens[end - 1].end, (Entity.EMAIL,))
            else:
                yield Span(tokens[at + 1].start, tokens[end - 1].end, (Entity.URL, Entity.EMAIL))
        elif at < last_dot and token.word not in STOPWORDS and (end := _domain(tokens, at, alone=True)) is not None:
            start = _from_cue(tokens, at)
            yield Span(tokens[start].start, tokens[_path(tokens, end) - 1].end, (Entity.URL, Entity.EMAIL))


def _after_www(tokens: Sequence[Token], at: int) -> int | None:
    """Return the first token of the name after "w w w dot" or "h t t p s colon slash slash"; `None` if that is not what
    begins at the token `at`.
    """
    for sign in ("www", "http"):
        if tokens[at].word[0] != sign[0]:
            continue
        end = at + 1 if tokens[at].word == sign else at + len(sign)
        if end == at + len(sign) and [token.word for token in tokens[at:end]] != list(sign):
            continue
        if sign == "www":
            return end + 1 if end < len(tokens) and _is_dot(tokens, end) else None
        end += is_word(tokens, end, "s")
        if [token.word for token in tokens[end : end + 3]] == ["colon", "slash", "slash"]:
            return _after_www(tokens, end + 3) or end + 3 if end + 3 < len(tokens) else None
    return None


def _from_cue(tokens: Sequence[Token], start: int) -> int:
    """Return the beginning of an address with the words before it that follow directly on a word that says that an
    address comes: "send it to the real bob at ...", "visit my shop dot io".
    """
    at = start
    while at > 0 and start - at < MAX_LOCAL_WORDS and tokens[at - 1].kind is Kind.WORD:
        if tokens[at - 1].word in _ADDRESS_CUES:
            return at
        if tokens[at - 1].word == "dot" and at > 1 and tokens[at - 2].kind in (Kind.WORD, Kind.LETTER):
            return at - 2
        if tokens[at - 1].word in _OF_NO_NAMES:
            break
        at -= 1
    return start


def open_mail(tokens: Sequence[Token]) -> Iterator[Span]:
    """Yield the end of a text that may be the beginning of a mail address, like "j o h n at", "maria dot" or "maria dot
    santos at example".
    """
    start = address_from(tokens)
    if start == len(tokens) and tokens and tokens[-1].word in ("at", "@", "dash", "hyphen"):
        start = local_start(tokens, len(tokens) - 1)
        local = tokens[start:-1]
        if tokens[-1].word == "at" and not any(
            (spelled(token) and token.word not in ("i", "a")) or token.word in JOINERS for token in local
        ):
            return
    if start < len(tokens) - 1:
        yield Span(tokens[start].start, tokens[-1].end, (Entity.EMAIL, Entity.URL))


def address_from(tokens: Sequence[Token]) -> int:
    """Return the index of the first word of what may become an address of mail or of a page, as "maria dot santos at
    example"; `len(tokens)` if the text ends with nothing of the kind.
    """
    start, words, signs = len(tokens), 0, set[str]()
    while start > 0:
        token = tokens[start - 1]
        if token.word in _OF_ADDRESSES:
            signs.add(token.word)
            words = 0
        elif token.kind is Kind.MARK or (token.word in STOPWORDS and token.kind is not Kind.LETTER):
            break
        else:
            words += token.kind is Kind.WORD
            if words > MAX_LOCAL_WORDS:
                break
        start -= 1
    sure = signs & {"dot", "underscore"} or (signs & {"at", "@"} and signs & {"dash", "hyphen"})
    return start if sure else len(tokens)


def _domain(tokens: Sequence[Token], at: int, *, alone: bool, houses: bool = True) -> int | None:
    """Return the end of a domain that begins at the token `at`, like "example dot co dot uk", "g m x dot n e t" or, if
    it is not `alone` and `houses` are looked for, "gmail".
    """
    end, dots = at, 0
    while True:
        label = _label(tokens, end)
        spelled = _spelled_top(tokens, end) if dots else None
        if spelled is not None and not (spelled < len(tokens) and _goes_on(tokens, spelled)):
            return spelled
        if label == end and not alone and end < len(tokens) and _is_common_label(tokens, end, first=dots == 0):
            label = end + 1
        if label == end:
            break
        if dots:
            last = "".join(token.word for token in tokens[end:label])
            known = last in TOP_DOMAINS
        else:
            last = ""
            known = False
        end = label
        if end < len(tokens) and _is_dot(tokens, end) and end + 1 < len(tokens):
            dots += 1
            if dots > MAX_DOTS:
                break
            if _label(tokens, end + 1) > end + 1 or (not alone and tokens[end + 1].word in TOP_DOMAINS):
                end += 1
                continue
        if known:
            return end
        break
    house = tokens[at].word if at < len(tokens) else ""
    return at + 1 if houses and not alone and house in MAIL_HOUSES else None


def _goes_on(tokens: Sequence[Token], at: int) -> bool:
    """Return whether what is at the token `at` belongs to the spelled part of a domain before it."""
    return _is_dot(tokens, at) or tokens[at].word in ("-", "dash", "hyphen") or spelled(tokens[at])


def _is_common_label(tokens: Sequence[Token], at: int, *, first: bool) -> bool:
    """Return whether a common word is a part of a domain: the last of "dot no", or the first of "me dot com"."""
    if not first:
        return tokens[at].word in TOP_DOMAINS
    if tokens[at].word in _ARTICLES or at + 2 >= len(tokens) or not _is_dot(tokens, at + 1):
        return False
    return tokens[at + 2].word in TOP_DOMAINS or _spelled_top(tokens, at + 2) is not None


def _spelled_top(tokens: Sequence[Token], at: int) -> int | None:
    """Return the end of the last part of a domain in letters, like "n e t" or "u k"; `None` if there is none."""
    for end in (at + 3, at + 2):
        letters = tokens[at:end]
        if all(token.kind is Kind.LETTER for token in letters) and "".join(t.word for t in letters) in TOP_DOMAINS:
            return min(end, len(tokens))
    return None


def _long_domain(tokens: Sequence[Token], at: int) -> int | None:
    """Return the end of a domain whose name is spoken in two or three words, like "proton mail dot com"."""
    for first in range(at + 1, min(at + MAX_DOMAIN_WORDS, len(tokens))):
        name = tokens[at:first]
        if any(
            token.kind is not Kind.WORD or (token.word in _OF_NO_NAMES and not (token.word == "and" and place))
            for place, token in enumerate(name)
        ):
            return None
        end = _domain(tokens, first, alone=False, houses=False)
        if end is not None:
            return end
    return None


def _label(tokens: Sequence[Token], at: int) -> int:
    """Return the end of one part of a domain: a word, or spelled letters and digits, also with dashes."""
    end = at
    while end < len(tokens) and end - at < MAX_LABEL_TOKENS:
        token = tokens[end]
        spelled = token.kind is Kind.LETTER or token.kind in NUMERALS
        worded = end > at and tokens[end - 1].kind is Kind.WORD and tokens[end - 1].word not in JOINERS
        if spelled and worded and not token.glued:
            break
        if spelled:
            number = read_number(tokens, end) if token.kind in NUMERALS else None
            end = number.end if number else end + 1
            continue
        if (
            token.kind is Kind.WORD
            and token.text.isascii()
            and (token.word not in STOPWORDS or end > at)
            and token.word not in JOINERS
        ):
            before = tokens[end - 1]
            if end > at and before.kind is Kind.WORD and before.word not in JOINERS and not token.glued:
                break
            if token.word in ("at", "and", "or") and not token.glued:
                break
            end += 1
            continue
        joins = token.word in ("-", "dash", "hyphen") and end > at and end + 1 < len(tokens)
        if not joins:
            break
        end += 1
    return end


def _is_dot(tokens: Sequence[Token], at: int) -> bool:
    token = tokens[at]
    return token.word in ("dot", "period") or (token.word == "." and at + 1 < len(tokens) and tokens[at + 1].glued)


def _path(tokens: Sequence[Token], end: int) -> int:
    """Return the end of the address with "slash something" after it."""
    while end + 1 < len(tokens) and tokens[end].word in ("slash", "/"):
        is_spoken = tokens[end].word == "slash"
        end += 2
        while is_spoken and end < len(tokens) and spelled(tokens[end]):
            end += 1
    return end


def local_start(tokens: Sequence[Token], at: int) -> int:
    """Return the beginning of a mail address's part before "at"."""
    start, plain = at, 0  # `plain` counts words without a joining sign
    written = at < len(tokens) and tokens[at].word == "@" and tokens[at].glued  # then no space is in it
    while start > 0 and at - start < MAX_LABEL_TOKENS and not (written and not tokens[start].glued):
        token = tokens[start - 1]
        joined = start < at and _joins(tokens, start)
        if _joins(tokens, start - 1):
            start -= 1
        elif token.kind is Kind.LETTER or token.kind in NUMERALS or (token.kind is Kind.SCALE):
            if (
                token.text in ("a", "I")
                and not (start > 1 and spelled(tokens[start - 2]))
                and not joined
                and start < at
            ):
                break
            start -= 1
        elif start >= 3 and tokens[start - 2].word == "in" and tokens[start - 3].word == "as":
            start -= 3  # "b as in bravo"
        elif start >= 3 and tokens[start - 2].word == "for" and token.word[0] == tokens[start - 3].word:
            start -= 3  # "b for bravo"
        elif token.word == "," and start > 1 and _comma_in_spelling(tokens, start, at):
            start -= 1
        elif token.word == "," and start > 2 and tokens[start - 3].word in ("in", "for", "like"):
            start -= 1  # "b as in bravo, o"
        elif token.word == "and" and start > 1 and tokens[start - 2].kind is Kind.SCALE and spelled(tokens[start]):
            start -= 1  # "two thousand and one"
        elif token.word == "the" and start < at and tokens[start].word in ("letter", "number"):
            start -= 1
        elif token.word == "all" and start < at and tokens[start].word in _ALL_ONE:
            start, plain = start - 1, 0
        elif token.kind is Kind.WORD and (joined or token.word.removesuffix("'s") not in STOPWORDS):
            if not joined:
                plain += 1
            if plain > MAX_LOCAL_WORDS or (token.word in STOPWORDS and not joined):
                break
            start -= 1
        else:
            break
    while start < at and tokens[start].word in (*JOINERS, ","):
        start += 1
    return start


def _joins(tokens: Sequence[Token], at: int) -> bool:
    """Return whether a token joins the one before it to the one after it."""
    token = tokens[at]
    if token.word in JOINERS:
        return True
    return token.word in _SIGNS and token.glued and at + 1 < len(tokens) and tokens[at + 1].glued


def _comma_in_spelling(tokens: Sequence[Token], start: int, at: int) -> bool:
    """Return whether the comma before the token `start` is beside what is spelled, or ends a name after a joining sign:
    "n, i, dot byrne, b, y, at", "s, m, dot anna, at".
    """
    before, behind = tokens[start - 2], tokens[start]
    if spelled(before):
        return start == at or behind.word in JOINERS or spelled(behind)
    named = start > 2 and tokens[start - 3].word in JOINERS
    return before.kind is Kind.WORD and (named if start == at else spelled(behind))


# -- machines ----------------------------------------------------------------------------------------------------------


def _machines(tokens: Sequence[Token]) -> Iterator[Span]:
    at = 0
    while at < len(tokens):
        end = _octets(tokens, at)
        if end is not None:
            yield Span(tokens[at].start, tokens[end - 1].end, (Entity.IP,))
            at = end
        at += 1


def _octets(tokens: Sequence[Token], at: int) -> int | None:
    """Return the end of four numbers with dots between them; `None` if there are none."""
    end = at
    for place in range(4):
        begun = end
        while end < len(tokens) and end - begun < MAX_OCTET_TOKENS and tokens[end].kind in NUMERALS | {Kind.SCALE}:
            number = read_number(tokens, end)
            end = number.end if number else end + 1
            if number and is_word(tokens, end, "and") and end + 1 < len(tokens) and tokens[end + 1].kind in NUMERALS:
                end += 1
        if end == begun:
            return None
        if place < 3:
            if end >= len(tokens) or tokens[end].word not in ("dot", "point", "."):
                return None
            end += 1
    return end
