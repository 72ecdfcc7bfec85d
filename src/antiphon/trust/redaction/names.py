"""Names, recognised by the words before them: titles, and phrases of introduction. A model finds the others."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from antiphon.core.redaction import Entity, Span
from antiphon.trust.redaction.cues import STOPWORDS
from antiphon.trust.redaction.lexicon import GIVEN_NAMES, SURNAMES
from antiphon.trust.redaction.tokens import Kind, Token, word_set

MAX_WORDS = 3
MIN_REPEATED = 4  # characters of a name
_TITLES = word_set("mister mr mrs ms miss missus doctor dr professor prof sir madam mx reverend nurse")


def _phrases(text: str) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(phrase.split()) for phrase in text.split("|"))


# After these a name follows, with or without a capital.
_SAYS = _phrases(
    "my name is|my name's|name is|name's|the name is|last name|first name|surname|surname is|last name is|"
    "first name is|maiden name|middle name|full name is|named|name was|family name|last name's|middle name is|"
    "first name's|her name is|family name is|given name is|given name|full name"
)
# After these a name may follow: a capitalised word, or a usual given name.
_MAY = _phrases(
    "this is|i am|i'm|it's|speaking with|speaking to|speak to|speak with|talk to|talking to|talk with|spoke with|"
    "spoke to|ask for|call me|tell|ask|signed|regards|sincerely|contact|from|with|and|for|to|by|hi|hello|dear|hey|"
    "thanks|called|meet|husband|wife|son|daughter|mother|father|brother|sister|friend|colleague|patient|agent|"
    "manager|cousin|uncle|aunt|boss|partner"
)
_NOT_NAMES = STOPWORDS | word_set(
    "spelled spelt calling speaking sorry not going trying looking happy sure afraid about wrong right good great "
    "fine back new old still really spelled spelt with regarding concerning interested ready available open closed "
    "important urgent what where because everything something nothing everyone someone anyone nobody monday tuesday "
    "wednesday thursday friday saturday sunday january february march april may june july august september october "
    "november december english customer support billing sales claims service team department office company number "
    "account email phone"
)
# After these a capitalised word is a name.
_WHO = _phrases(
    "this is|speaking with|speaking to|speak to|speak with|talk to|talking to|talk with|spoke with|spoke to|ask for|"
    "asked for|who is|who's|who was|i'm|i am|behalf of|made out to|hi|hello|dear|regards|sincerely|signed by"
)
_IAM = _phrases("this is|i'm|i am")
LONGEST = max(map(len, _SAYS | _MAY | _WHO))
# A sentence that begins with one of these and a capitalised word asks about somebody.
_ASKS = word_set("is was did does has had can could will would should")
_KNOWN = GIVEN_NAMES | SURNAMES
_OF_PEOPLES = ("ish", "ese", "ican", "ian", "ist")  # ends of words like "English", "Canadian"


def names(tokens: Sequence[Token]) -> Iterator[Span]:
    words = [token.word for token in tokens]
    lower = not any(token.text[0].isupper() and token.text != "I" for token in tokens)  # the text has no capitals
    for at, token in enumerate(tokens):
        if token.word in _TITLES and at + 1 < len(tokens):
            start = at + 1 + (words[at + 1] == ".")
            end = _end(tokens, start, sure=token.word != "nurse" and token.word != "miss")
            if end > start:
                yield Span(token.start, tokens[end - 1].end, (Entity.NAME,))
        elif token.word in GIVEN_NAMES and (token.text[0].isupper() or lower or _introduced(words, at)):
            end = _surname(tokens, at + 1, lower)
            if end == at + 1 and lower and _follows(words, at, _IAM):
                end = _end(tokens, at, sure=True, most=2)
            yield Span(token.start, tokens[end - 1].end, (Entity.NAME,))
        elif token.word in SURNAMES and (lower or token.text[0].isupper()):
            yield Span(token.start, token.end, (Entity.NAME,))
        says = _follows(words, at, _SAYS)
        if says or (token.text[0].isupper() and (_follows(words, at, _WHO) or _in_question(tokens, at))):
            start = at + (says and token.word in ("is", ":", "'s"))
            end = _end(tokens, start, sure=says)
            if end > start:
                yield Span(tokens[start].start, tokens[end - 1].end, (Entity.NAME,))


def _follows(words: Sequence[str], at: int, phrases: frozenset[tuple[str, ...]]) -> bool:
    return any(tuple(words[at - size : at]) in phrases for size in range(1, min(at, LONGEST) + 1))


def _in_question(tokens: Sequence[Token], at: int) -> bool:
    """Return whether the capitalised word at the token `at` is the second one of a question: "Did Kwame pay"."""
    begins = at == 1 or (at > 1 and tokens[at - 2].kind is Kind.MARK)
    return begins and tokens[at - 1].word in _ASKS and tokens[at - 1].text[0].isupper()


def _introduced(words: Sequence[str], at: int) -> bool:
    return at == 0 or _follows(words, at, _MAY) or _follows(words, at, _SAYS)


def _end(tokens: Sequence[Token], start: int, *, sure: bool, most: int = MAX_WORDS) -> int:
    """Return the end of a name that begins at `start`; with `sure`, also of one without a capital."""
    end = start
    capital = start < len(tokens) and tokens[start].text[0].isupper()
    while end < len(tokens) and end - start < most:
        token = tokens[end]
        if token.kind is not Kind.WORD or token.word in _NOT_NAMES:
            break
        if not sure and token.word.endswith(_OF_PEOPLES) and token.word not in _KNOWN:
            break
        if not token.text[0].isupper() and (capital or not sure) and token.word not in GIVEN_NAMES:
            break
        if end > start and tokens[end - 1].word in ("name", "is"):
            break
        end += 1
    return end


def _surname(tokens: Sequence[Token], end: int, lower: bool) -> int:
    """Return the end of the name with the capitalised words after a given name, or with usual names in a text in
    `lower` case.
    """
    start = end
    while end < len(tokens) and end - start < MAX_WORDS - 1:
        token = tokens[end]
        if token.kind is not Kind.WORD or token.word in _NOT_NAMES:
            break
        if not (token.text[0].isupper() or (lower and token.word in _KNOWN)):
            break
        end += 1
    return end


def repeated(tokens: Sequence[Token], spans: Sequence[Span]) -> Iterator[Span]:
    """Yield the other places of words that are a name where they stand with more of it: "Marsh, Helen Marsh"."""
    if not spans:
        return
    starts = [token.start for token in tokens]
    parts: set[str] = set()
    for span in spans:
        within = tokens[bisect_left(starts, span.start) : bisect_left(starts, span.end)]
        if len(within) > 1:
            parts.update(token.text for token in within if token.kind is Kind.WORD and token.word not in _NOT_NAMES)
    for token in tokens if parts else ():
        if token.text in parts and len(token.text) >= MIN_REPEATED:
            yield Span(token.start, token.end, (Entity.NAME,))


def whole_names(tokens: Sequence[Token], spans: Sequence[Span]) -> Iterator[Span]:
    """Yield names with the initials before them, and the capitalised words after them, of which they are parts."""
    starts = [token.start for token in tokens]
    for span in spans:
        first, last = bisect_left(starts, span.start), bisect_left(starts, span.end) - 1
        if first >= len(tokens) or not tokens[first].text[0].isupper():
            continue
        begin = first
        while begin > 0:
            initial = begin - 1 - (tokens[begin - 1].word == ".")
            if initial < 0 or not _is_initial(tokens, initial):
                break
            begin = initial
        end = last + 1
        while end + 1 < len(tokens) and _is_initial(tokens, end):
            following = end + 1 + (tokens[end + 1].word == ".")
            if following >= len(tokens) or not _is_surname(tokens[following]):
                break
            end = following
        while end < len(tokens) and end - last < MAX_WORDS and _is_surname(tokens[end]):
            end += 1
        if begin < first or end > last + 1:
            yield Span(tokens[begin].start, tokens[end - 1].end, span.kinds)


def _is_initial(tokens: Sequence[Token], at: int) -> bool:
    """Return whether the token is a capital letter; "I" only with a full stop."""
    token = tokens[at]
    stopped = at + 1 < len(tokens) and tokens[at + 1].word == "." and tokens[at + 1].glued
    return token.kind is Kind.LETTER and token.text.isupper() and (token.word not in ("i", "a") or stopped)


def _is_surname(token: Token) -> bool:
    return token.kind is Kind.WORD and token.text[0].isupper() and token.word not in _NOT_NAMES
