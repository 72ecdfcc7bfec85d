"""What a run of numerals and letters is: a card, a phone number, a code.

The shape of a run decides; a cue near it only makes fewer signs enough. If one part of it looks like a code, the whole
run is hidden.
"""

from collections.abc import Sequence
from itertools import pairwise

from antiphon.core.redaction import Entity
from antiphon.trust.redaction.cues import CUES, HARMLESS_BEFORE, STOPWORDS, UNITS_BEHIND, Cue, cue_before, cue_behind
from antiphon.trust.redaction.runs import MAX_BETWEEN, MIN_CODE, MIN_SINGLE, MIN_SOFT, Run
from antiphon.trust.redaction.tokens import Kind, Token, word_set

MIN_OPEN = 3  # digits at the end of an utterance
MIN_LISTED = 7  # digits, each with a comma after it, as recognisers write what is read out slowly
MIN_IN_PAIRS = 9  # digits of several groups of numbers
MIN_SPELLED = 3  # letters
YEAR = 4  # digits
MIN_PHONE = 7  # digits
MAX_TO_ANOTHER = 6  # tokens between a hidden run and another one
_EMERGENCY = frozenset(("911", "999", "112", "000", "411"))  # numbers that are everybody's
_EXTENSIONS = frozenset(("ext", "extension"))
# Words in capitals beside the digits of a code, and letters of one of them at most.
MAX_LETTER_GROUPS, MAX_LETTERS_BEFORE, MAX_LETTERS_BEHIND = 2, 5, 3
_BEFORE_SPELLING = word_set(", . that's it's spelled spelt so is")
_LETTER_JOINS = frozenset("-./_<")
# Kinds whose codes may have letters before their digits, with a space between.
WITH_LETTERS = frozenset(
    (
        *(Entity.PASSPORT, Entity.LICENCE, Entity.ACCOUNT, Entity.HEALTH_RECORD),
        *(Entity.NATIONAL_ID, Entity.BANK, Entity.NUMBER),
    )
)
CARD_LENGTHS = range(13, 20)
CARD_SHAPES = ([4, 4, 4, 4], [4, 6, 5])  # digits of its groups
CENTURIES = ("18", "19", "20")  # how years begin
_CODE_LENGTHS = range(3, 5)  # of a code that may be spoken as one quantity
_OF_A_QUANTITY = frozenset((Entity.CARD_CODE, Entity.PIN))
_ACRONYMS = word_set(
    "usa uk fbi cia ibm pdf url abc nbc cbs bbc cnn gps atm hr it tv vip faq rsvp diy ceo cfo cto mba phd asap led "
    "lcd usb dna eta ssn cvv cvc dob mrn pin nhs iban api sms gp er icu ups dhl irs dmv id ac dc bc ad am pm ok"
)


def kinds_of(tokens: list[Token], run: Run, least: int = MIN_CODE, *, opens: bool = False) -> tuple[Entity, ...]:
    """Return the possible kinds of a run, the likeliest first; empty if it is not hidden. `least` digits are enough
    without a cue. With `opens`, the run may go on.
    """
    digits, letters = run.digits, run.letters
    if len(digits) in CARD_LENGTHS and passes_luhn(digits):
        return (Entity.CARD,)
    found = cue_before(tokens, run.start)
    cue = found[0] if found else cue_behind(tokens, run.end)
    near = found is not None and found[1] <= 3
    least = MIN_OPEN if opens else least
    if opens and near and cue is not None and (run.size > 1 or Entity.PHONE not in cue.kinds) and run.digits:
        return (*cue.kinds, *_by_shape(run))
    fits = cue is not None and (
        _fits_quantity(tokens, cue, run) if run.is_quantity else _fits(cue, run, _letters_beside(tokens, cue, run))
    )
    if cue is not None and fits and ((near and not run.is_quantity) or not _harmless(tokens, run)):
        return (*cue.kinds, *(_by_shape(run) if looks_like_a_code(run, least) else ()))
    if len(letters) >= MIN_SPELLED and len(letters) > len(digits) and (opens or run.size == len(letters)):
        return (Entity.NAME, Entity.EMAIL, Entity.ACCOUNT) if letters not in _ACRONYMS else ()
    if looks_like_a_code(run, least) and not _harmless(tokens, run):
        return _by_shape(run)
    return ()


def with_letters(tokens: Sequence[Token], run: Run) -> tuple[int, int]:
    """Return the begin and end of a run with the words in capitals beside it, of a code like "AB 1234567"."""
    start, end = run.start, run.end
    for _ in range(MAX_LETTER_GROUPS):
        joined = start > 1 and tokens[start - 1].word in _LETTER_JOINS
        before = start - 1 - joined
        if before < 0 or not _of_code(tokens[before], joined and tokens[start].glued and tokens[start - 1].glued):
            break
        start = before
    if end < len(tokens) and _of_code(tokens[end]) and len(tokens[end].text) <= MAX_LETTERS_BEHIND:
        end += 1
    return start, end


def spelled_from(tokens: Sequence[Token], run: Run, start: int) -> int:
    """Return the beginning of a run with the word before it, if its letters spell that word: "liam, l i a m"."""
    word = start - 1
    while word > 0 and start - word < MAX_BETWEEN and tokens[word].word in _BEFORE_SPELLING:
        word -= 1
    return word if word >= 0 and run.letters and tokens[word].word == run.letters else start


def is_extension(tokens: Sequence[Token], phone: Run, run: Run) -> bool:
    """Return whether a run is the extension of the phone number before it."""
    between = [token.word for token in tokens[phone.end : run.start]] if run.start - phone.end <= MAX_BETWEEN else []
    words = [word for word in between if word not in (",", ".")]
    return len(words) == 1 and words[0] in _EXTENSIONS and len(phone.digits) >= MIN_PHONE


def is_another(tokens: list[Token], hidden: Run, run: Run) -> bool:
    """Return whether a run that is no code by itself is one beside a hidden one: "it was AB 12345, now NS 774 221"."""
    grouped = any(part.grouped for part in run.parts)
    near = max(run.start - hidden.end, hidden.start - run.end) <= MAX_TO_ANOTHER
    code = len(run.digits) > MIN_CODE or (len(run.digits) > 1 < len(run.letters))
    return near and code and not grouped and not _harmless(tokens, run)


def _of_code(token: Token, joined: bool = False) -> bool:
    """Return whether a word is a part of the code beside it, to which a sign may have `joined` it."""
    capitals = token.text.isupper() and token.kind in (Kind.WORD, Kind.LETTER) and token.text.isascii()
    short = len(token.text) <= MAX_LETTERS_BEFORE and token.word not in ("i", "a")
    return capitals and short and (joined or ((token.word,) not in CUES and token.word not in _ACRONYMS))


def _letters_beside(tokens: Sequence[Token], cue: Cue, run: Run) -> int:
    if WITH_LETTERS.isdisjoint(cue.kinds) or not run.digits:
        return 0
    start, end = with_letters(tokens, run)
    return sum(len(token.text) for token in (*tokens[start : run.start], *tokens[run.end : end]))


def _fits(cue: Cue, run: Run, letters: int) -> bool:
    """Return whether the run, with the `letters` beside it, is long enough for the cue. A single letter is a word."""
    if not run.digits and len(run.letters) < 2:
        return False
    if Entity.PHONE in cue.kinds and len(run.digits) < 7 and not any(part.singles >= 2 for part in run.parts):
        return cue.least == 2 and len(run.digits) >= 2
    return run.size + letters >= cue.least and not any(part.grouped for part in run.parts)


def _fits_quantity(tokens: Sequence[Token], cue: Cue, run: Run) -> bool:
    """Return whether what is spoken as one quantity is a code: "the security code is eight hundred and twelve", but
    not "the code has eight hundred lines".
    """
    behind = tokens[run.end] if run.end < len(tokens) else None
    ends = behind is None or behind.kind is Kind.MARK or behind.word in STOPWORDS
    return ends and not _OF_A_QUANTITY.isdisjoint(cue.kinds) and len(run.digits) in _CODE_LENGTHS


def looks_like_a_code(run: Run, least: int) -> bool:
    """Return whether the shape of a run alone says that it is a code. `least` digits, spoken one by one, are enough."""
    total = len(run.digits)
    if least == MIN_CODE and total <= MIN_CODE and not run.letters and run.is_spoken and _counts(run.digits):
        return False
    if run.letters and run.size >= least and total >= 2 and total + len(run.letters) > min(least, MIN_CODE - 1):
        return True
    if total >= MIN_LISTED and all(part.singles == len(part.digits) for part in run.parts) and not _counts(run.digits):
        return True
    sizes = [len(part.digits) for part in run.parts]
    if sizes in CARD_SHAPES and not all(part.digits[:2] in CENTURIES for part in run.parts):
        return True
    if total >= MIN_IN_PAIRS and sum(part.numbers > 1 and len(part.digits) >= MIN_OPEN for part in run.parts) > 1:
        return True  # "41 47, 20 21, 34"
    for part in run.parts:
        if part.grouped:
            continue
        if part.singles >= MIN_SINGLE or (part.singles >= MIN_SOFT and total >= least):
            return True
        if part.singles == total == MIN_SOFT and run.is_spoken and run.digits not in _EMERGENCY:
            return True
        if part.written >= MIN_CODE or (part.written and len(part.digits) >= 7):
            return True
        if not part.written and part.numbers > 1 and len(part.digits) >= 7:
            return True
        if least < MIN_CODE and (part.singles >= least or (len(part.digits) >= least and part.numbers > 1)):
            return True
        if least < MIN_CODE and part.written == YEAR and part.digits[:2] not in CENTURIES:
            return True
    return False


def _counts(digits: str) -> bool:
    """Return whether somebody counts: each digit is one more, or one less, than the one before."""
    steps = {int(after) - int(before) for before, after in pairwise(digits)}
    return steps in ({1}, {-1})


def _harmless(tokens: list[Token], run: Run) -> bool:
    """Return whether the words beside it mark it as a quantity, a time or a place in a book."""
    behind = tokens[run.end].word if run.end < len(tokens) else ""
    if behind in UNITS_BEHIND and not (run.end < len(tokens) and tokens[run.end].glued):
        return True
    words = [token.word for token in tokens[max(0, run.start - 3) : run.start]]
    strong = {"score", "scores", "scored", "chapter", "verse", "version", "psalm", "ratio", "won", "$", "£", "€"}
    if set(words) & strong:
        return True
    longest = max((max(part.singles, part.written) for part in run.parts), default=0)
    return bool(words) and words[-1] in HARMLESS_BEFORE and len(run.digits) < 7 and longest < MIN_CODE


def _by_shape(run: Run) -> tuple[Entity, ...]:
    digits = run.digits
    if run.letters:
        return Entity.ACCOUNT, Entity.LICENCE, Entity.PASSPORT, Entity.HEALTH_RECORD, Entity.NUMBER
    sizes = [len(part.digits) for part in run.parts]
    if len(digits) in (10, 11) or sizes in ([3, 3, 4], [3, 4]):
        return Entity.PHONE, Entity.NUMBER, Entity.ACCOUNT, Entity.BANK
    if len(digits) == 9:
        return Entity.NATIONAL_ID, Entity.BANK, Entity.PASSPORT, Entity.NUMBER, Entity.ACCOUNT
    if len(digits) in CARD_LENGTHS:
        return Entity.CARD, Entity.NUMBER, Entity.ACCOUNT, Entity.BANK
    return Entity.NUMBER, Entity.ACCOUNT, Entity.PHONE, Entity.BANK


def passes_luhn(digits: str) -> bool:
    """Return whether the check digit is right (ISO/IEC 7812-1, annex B), and the digits are not all the same."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0 and len(set(digits)) > 1
