"""Where to cut a text, so that it is spoken while it arrives.

A cut depends only on the characters before it and a few after it, never on how the text arrived: the same text in other
pieces is cut at the same places. White space in the text is single.
"""

import re

from antiphon.text.tables import CLOSERS, CONNECTIVES, TITLES, set_of

LONGEST = 200  # characters of a phrase
FIRST_WORDS = 3  # of the first phrase, which a comma may end
OPENING_WORDS = 3  # before its wanted length, a first phrase may end before a word that opens another group of words
LONG_ENOUGH = 120  # characters of a later phrase, which a comma may end

_CLOSING = r"[\"'”’)\]}*_`»]*"
_PLACE = re.compile(
    rf"(?P<strong>[.!?…;:]++{_CLOSING}+(?=\s)|[。！？；]++{_CLOSING}+(?=\S)|(?=\n))"
    rf"|(?P<weak>[,،]{_CLOSING}(?=\s)|[、，]|(?<=\s)[–—-](?=\s)|—(?=\w))"
    r"|(?P<space>\s(?=\S))"
)
_SPACE = re.compile(r"\s")
_TOKEN = re.compile(r"[^\s(\[{\"“‘'*_]+$")
# A phrase that ends with one of these is incomplete.
_LEADING_ON = set_of(
    "a an the of to in on at by for from with and or but as is are was were be been that which this my your our their"
)
# A group of words that can be spoken at once begins with one of these.
_OPENING = set_of(
    "and or but because since when while where which who if in on at by for from with about as than like during after"
    " before until between through over under into without against among"
)
_WORD = re.compile(r"\S+")
_NUMBERED = set_of("No Nos no Fig fig Figs Sec Ch ch pp p Eq eq Art Vol vol")


def next_cut(text: str, first_words: int | None, final: bool) -> int | None:
    """Return where the first phrase of the text ends, or `None` if more text is needed to know. `first_words` asks for
    a short one: after so many words it ends even without a comma. With `final` there is no more text.
    """
    begin = next((place for place, char in enumerate(text[:2]) if not char.isspace()), len(text))
    words = 0
    for place in _PLACE.finditer(text, begin):
        end = place.end()
        if end - begin > LONGEST:
            break
        verdict: bool | None = False
        if place.lastgroup == "strong":
            verdict = _ends_sentence(text, begin, place, final)
        elif place.lastgroup == "weak":
            if (first_words and words + 1 >= FIRST_WORDS) or end - begin >= LONG_ENOUGH:
                verdict = _ends_clause(text, place, final)
        else:
            words += 1
            verdict = first_words is not None and _ends_first(text, place, words - first_words, final)
        if verdict is None:
            return None
        if verdict:
            return end
    if len(text) - begin > LONGEST:
        return begin + (_best_cut(text[begin : begin + LONGEST]) or LONGEST)
    return len(text) if final and begin < len(text) else None


def scheduled_cut(text: str, wanted: int) -> int | None:
    """Return where to cut a text once `wanted` characters wait; `None` while they do not, or are one word."""
    if len(text) <= wanted:
        return None
    if (cut := _best_cut(text[:wanted])) > 1:
        return cut
    space = _SPACE.search(text, max(wanted, 1), wanted + LONGEST)
    if space is None:
        return wanted + LONGEST if len(text) >= wanted + LONGEST else None
    return space.start()


def _best_cut(text: str) -> int:
    """Return the best place to cut a text that is too long: after a sentence, a clause or a word; 0 if there is
    none.
    """
    found = {"strong": 0, "weak": 0, "space": 0}
    for place in _PLACE.finditer(text):
        if place.lastgroup == "space" and not _may_part(text, place):
            continue
        if place.lastgroup == "strong" and not _ends_sentence(text, 0, place, True):
            continue
        if place.lastgroup == "weak" and not _ends_clause(text, place, True):
            continue
        found[place.lastgroup or "space"] = place.end()
    third = len(text) // 3
    for kind in ("strong", "weak", "space"):
        if found[kind] > third:
            return found[kind]
    return max(found.values()) or (text.rfind(" ") + 1)


def _ends_sentence(text: str, begin: int, place: re.Match[str], final: bool) -> bool | None:
    start, end = place.span()
    if text[start : start + 1] != "." or text[start + 1 : start + 2] == ".":
        return True
    if text[begin:start].isdecimal() and start - begin <= 3:
        return False  # the number of an item
    token = _TOKEN.search(text, max(begin, start - 24), start)
    word = token[0] if token else ""
    opens = word in TITLES or word in CONNECTIVES or word in ("E.g", "I.e") or word in _NUMBERED
    if not (opens or word in CLOSERS or "." in word or (len(word) == 1 and word.isupper())):
        return True
    if text[end : end + 1] == "\n":
        return True
    follows = text[end + 1 : end + 2]
    if not follows:
        return True if final else None
    if word in _NUMBERED:
        return not follows.isdecimal()
    if opens or word == "St" or (word.isupper() and word not in ("A.M", "P.M")):
        return False  # "Dr. Who", "U.S. Army", "J. Smith"
    return not (follows.islower() or follows.isdecimal() or follows in ",;:)")


def _ends_clause(text: str, place: re.Match[str], final: bool) -> bool | None:
    start, end = place.span()
    if not text[start - 1 : start].isdecimal():
        return True
    follows = text[end + 1 : end + 2] if text[start] in ",،" else text[end : end + 1]
    if not follows:
        return True if final else None
    return not follows.isdecimal()  # "March 5, 2024"


def _ends_first(text: str, space: re.Match[str], words_over: int, final: bool) -> bool | None:
    """Return whether a first phrase ends there without a comma. It is longer than wanted by that many words."""
    if words_over < -OPENING_WORDS or not _may_part(text, space):
        return False
    if words_over >= 0:
        return True
    word = _WORD.match(text, space.end())
    if not final and (word is None or word.end() == len(text)):
        return None  # the word may continue
    return word is not None and word[0] in _OPENING


def _may_part(text: str, space: re.Match[str]) -> bool:
    """Return whether two words can be separated, unlike "5" and "p.m."."""
    token = _TOKEN.search(text, max(0, space.start() - 24), space.start())
    word = token[0] if token else ""
    follows = text[space.end() : space.end() + 1]
    return (
        bool(word)
        and word.lower() not in _LEADING_ON
        and not any(char.isdecimal() for char in word)
        and not word.endswith(".")
        and (follows.isalpha() or follows in '(“"')
    )
