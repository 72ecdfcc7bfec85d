"""Passwords, answers to security questions and names of users, written and dictated, by what announces them."""

from collections.abc import Iterator, Sequence

from antiphon.core.redaction import Entity, Span
from antiphon.trust.redaction.cues import STOPWORDS
from antiphon.trust.redaction.tokens import NUMERALS, Kind, Token, is_word, spelled, word_set

_CASES = frozenset(
    ("capital", "uppercase", "upper", "lowercase", "lower", "case", "cap", "caps", "letter", "number", "small")
)
_SYMBOLS = word_set(
    "exclamation mark point question hash hashtag pound dollar sign percent ampersand star asterisk at underscore "
    "dash hyphen dot period comma space bang"
)
_SURE_SYMBOLS = _SYMBOLS - STOPWORDS - {"space", "point"}  # that are no other words
_WORDS_OF_SECRETS = STOPWORDS | _SYMBOLS
_PASSWORD_CUES = word_set("password password's passphrase passphrase's passcode passcode's pwd pw passwd passwords")
_SECRETS = frozenset(("word", "answer", "phrase"))
_OF_SECURITY = word_set("memorable security secret safe recovery seed verification magic")  # before one of these
_USER_CUES = frozenset(("login", "username", "userid", "nickname"))
_FOR = frozenset(("for", "to", "on", "of", "at", "i", "i've", "we", "that", "you", "he", "she"))
_CHANGES = frozenset(("change", "changed", "set", "reset", "updated", "switched"))  # it to something
_BEFORE_SECRETS = word_set("is was : = to it's are , should would will be used been")
_QUOTES = {'"': '"', "\u201c": "\u201d", "\u201e": "\u201c", "'": "'", "\u2018": "\u2019", "`": "`"}
MAX_SECRET_WORDS = 3
MAX_SECRET_TOKENS = 80
MAX_FOR = 5  # tokens from "for" to behind "is"
_NOT_A_PASSWORD = word_set(
    "wrong correct incorrect expired required reset invalid protected too strong weak secret changed different same "
    "needed saved stored hidden case sensitive there here working accepted rejected field box page manager long short "
    "unique easy hard simple stored shared updated entered between different typed kept set "
    "safe secure lost forgotten old new something someone locked blocked screen prompt which what when if"
)


def passwords(tokens: Sequence[Token]) -> Iterator[Span]:
    """Yield passwords, and names of users."""
    end, named = 0, False
    for at, token in enumerate(tokens):
        kinds = _kinds_at(tokens, at)
        changed = named and (
            (token.word == "to" and any(each.word in _CHANGES for each in tokens[max(0, at - 3) : at]))
            or (token.word == "or" and at + 1 < len(tokens) and _odd(tokens, at + 1))
        )
        named |= kinds[:1] == (Entity.PASSWORD,)
        if at < end or not (kinds or changed):
            continue
        start = _after_cue(tokens, at + 1)
        is_explicit = (start > at + 1 and tokens[start - 1].word != ",") or token.word.endswith("'s")
        user = kinds[:1] == (Entity.ACCOUNT,)
        if start >= len(tokens) or (user and not is_explicit):
            continue
        if tokens[start].word in _QUOTES and (close := _quoted(tokens, start)) is not None:
            end = close
            if not user or all(each.glued for each in tokens[start + 1 : end]):
                yield Span(tokens[start].end, tokens[end].start, kinds or (Entity.PASSWORD,))
            continue
        plain = tokens[start].kind is Kind.WORD and not _odd(tokens, start)
        if plain and (user or not is_explicit or tokens[start].word in _NOT_A_PASSWORD | STOPWORDS):
            continue
        if tokens[start].word in STOPWORDS and not _odd(tokens, start):
            continue
        end = _secret(tokens, start)
        if end > start:
            yield Span(tokens[start].start, tokens[end - 1].end, kinds or (Entity.PASSWORD,))


def _kinds_at(tokens: Sequence[Token], at: int) -> tuple[Entity, ...]:
    """Return the kinds of the secret, or of the name of a user, that the token `at` announces; empty if it does not."""
    word = tokens[at].word
    behind = tokens[at + 1].word if at + 1 < len(tokens) else ""
    if word in _USER_CUES or (word == "user" and behind in (":", "=")):
        return Entity.ACCOUNT, Entity.PASSWORD
    signed = word == "pass" and behind in (":", "=")
    of_security = word in _SECRETS and at > 0 and tokens[at - 1].word in _OF_SECURITY
    return (Entity.PASSWORD,) if word in _PASSWORD_CUES or signed or of_security else ()


def _after_cue(tokens: Sequence[Token], start: int) -> int:
    """Return the first token of what a cue before the token `start` announces: "is", "for the portal is", "i use"."""
    if start < len(tokens) and tokens[start].word in _FOR:
        words = [each.word for each in tokens[start : start + MAX_FOR]]
        verb = next((at for at, word in enumerate(words) if word in ("is", "was")), None)
        start += verb if verb is not None else 2 * (words[:2] == ["i", "use"])
    while start < len(tokens) and tokens[start].word in _BEFORE_SECRETS:
        start += 1
    return start


def _quoted(tokens: Sequence[Token], start: int) -> int | None:
    """Return the token that ends what begins with a quotation mark at the token `start`, if it is not too long."""
    closing = _QUOTES[tokens[start].word]
    for end in range(start + 2, min(start + MAX_SECRET_TOKENS, len(tokens))):
        if tokens[end].word == closing:
            return end
    return None


def _secret(tokens: Sequence[Token], start: int) -> int:
    """Return the end of a password: everything without a space, spelled signs, or up to three words."""
    end = start + 1
    while end < len(tokens) and tokens[end].glued:
        end += 1
    words = int(tokens[start].kind is Kind.WORD and tokens[start].word not in _CASES)
    while end < len(tokens):
        token = tokens[end]
        odd = spelled(token) or token.word in _CASES or token.word in _SYMBOLS or token.kind is Kind.SCALE
        if token.kind is Kind.MARK and not (token.word in ",-" and end + 1 < len(tokens) and spelled(tokens[end + 1])):
            break
        following = end + 1 + (token.word == "and" and is_word(tokens, end + 1, "then"))
        if token.word in ("and", "then") and following < len(tokens) and spelled(tokens[following]):
            end = following
            continue
        if not odd and token.kind is not Kind.MARK:
            words += 1
            if token.word in STOPWORDS or words > MAX_SECRET_WORDS:
                break
        end += 1
    while end - 1 > start and tokens[end - 1].word in ".,;?":
        end -= 1
    return end


def _odd(tokens: Sequence[Token], at: int) -> bool:
    """Return whether the token is not a plain word: it names a letter's case, or digits follow it without a space, or
    signs as no word has them: "blue#elephant", "blue-green-elephant".
    """
    end = at + 1
    while end < len(tokens) and tokens[end].glued and end - at < MAX_SECRET_TOKENS:
        end += 1
    signs = [token.word for token in tokens[at + 1 : end - 1] if token.kind is Kind.MARK]
    signed = any(sign not in "-.,:;?!'\"/()" for sign in signs) or signs.count("-") > 1
    numbered = any(token.kind is Kind.DIGITS for token in tokens[at + 1 : end])
    cased = tokens[at].word in _CASES or (
        tokens[at].word == "all" and at + 1 < len(tokens) and tokens[at + 1].word in _CASES
    )
    plain = at + 1 < len(tokens) and tokens[at + 1].kind is Kind.WORD and tokens[at + 1].word not in _WORDS_OF_SECRETS
    behind = tokens[at + 1 + plain] if at + 1 + plain < len(tokens) else None
    has_symbol = behind is not None and (behind.kind in NUMERALS or behind.word in _SURE_SYMBOLS)
    return cased or signed or numbered or has_symbol
