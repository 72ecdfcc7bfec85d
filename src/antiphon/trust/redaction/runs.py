"""Runs of numerals and letters that belong together, dictated or written sign by sign.

Speech has them in any mixture ("M 8 two double four"), so the shape of a run decides; a cue near it only makes fewer
signs enough. A run is cut into parts at commas and full stops; if one part looks like a code, the whole run is hidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from antiphon.core.redaction import Entity
from antiphon.trust.redaction.cues import CUES, HARMLESS_BEFORE, STOPWORDS, UNITS_BEHIND, Cue, cue_before, cue_behind
from antiphon.trust.redaction.tokens import (
    FILLERS,
    JOINERS,
    LETTER_WORDS,
    LETTERS,
    NUMERALS,
    SOFT_JOINERS,
    TIMES,
    Kind,
    Number,
    Token,
    is_word,
    read_number,
    word_set,
)

MIN_CODE = 5  # digits and letters that are hidden without a cue
MIN_OPEN = 3  # digits at the end of an utterance
MIN_SINGLE = 4  # digits, spoken one by one
MIN_LISTED = 7  # digits, each with a comma after it, as recognisers write what is read out slowly
MIN_IN_PAIRS = 9  # digits of several groups of numbers
MIN_SPELLED = 3  # letters
MIN_SOFT = 3  # digits, spoken one by one, after which "and" or "then" may go on
MAX_BETWEEN = 5  # joining tokens at most between two signs
MAX_GLUED = 4  # letters of a word next to digits, as in AB-1234
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
    {
        *(Entity.PASSPORT, Entity.LICENCE, Entity.ACCOUNT, Entity.HEALTH_RECORD, Entity.NATIONAL_ID, Entity.BANK),
        Entity.NUMBER,
    }
)
CARD_LENGTHS = range(13, 20)
CARD_SHAPES = ([4, 4, 4, 4], [4, 6, 5])  # digits of its groups
CENTURIES = ("18", "19", "20")  # how years begin
_CODE_LENGTHS = range(3, 5)  # of a code that may be spoken as one quantity
_OF_A_QUANTITY = frozenset((Entity.CARD_CODE, Entity.PIN))

_SPELLED_CUES = ("cvv", "cvc", "ssn", "mrn", "dob", "pin", "id", "ip", "nhs")
_MARKS = frozenset("-._,/()+#*:\\|~`")
_CUTS = frozenset(".,;:")
_BETWEEN = frozenset(JOINERS) | FILLERS | SOFT_JOINERS
_ACRONYMS = word_set(
    "usa uk fbi cia ibm pdf url abc nbc cbs bbc cnn gps atm hr it tv vip faq rsvp diy ceo cfo cto mba phd asap led "
    "lcd usb dna eta ssn cvv cvc dob mrn pin nhs iban api sms gp er icu ups dhl irs dmv id ac dc bc ad am pm ok"
)


@dataclass(slots=True)
class Part:
    """A part of a run between two cuts."""

    digits: str = ""
    letters: str = ""
    singles: int = 0  # the longest sequence of digits that were spoken one by one
    row: int = 0
    scaled: bool = False
    written: int = 0  # digits of the longest token
    numbers: int = 0
    grouped: bool = False  # 120,000: a quantity


@dataclass(slots=True)
class Run:
    """The tokens `start..end`. `open`: the text ends with the run, so it may go on."""

    start: int
    end: int
    parts: list[Part] = field(default_factory=list)
    open: bool = False

    @property
    def digits(self) -> str:
        return "".join(part.digits for part in self.parts)

    @property
    def letters(self) -> str:
        return "".join(part.letters for part in self.parts)

    @property
    def is_spoken(self) -> bool:
        return not any(part.written for part in self.parts)

    @property
    def is_quantity(self) -> bool:
        return len(self.parts) == 1 and self.parts[0].scaled and self.parts[0].numbers == 1

    @property
    def size(self) -> int:
        return len(self.digits) + len(self.letters)


def runs_of(tokens: Sequence[Token]) -> list[Run]:
    """Return all runs, in order, also those of a single letter or number."""
    runs, at = [], 0
    while at < len(tokens):
        run = _read(tokens, at) if _may_begin(tokens[at]) else None
        if run is None:
            at += 1
            continue
        runs.append(run)
        at = max(run.end, at + 1)
    return runs


def _may_begin(token: Token) -> bool:
    """Return whether a run may begin with a token: most words are spared the rest."""
    return token.kind is not Kind.WORD or token.word in LETTER_WORDS or token.word == "plus" or token.text.isupper()


def _read(tokens: Sequence[Token], start: int) -> Run | None:
    run = Run(start, start, [Part()])
    at = start
    while at < len(tokens):
        step = _sign(tokens, at, run)
        if step is None:
            joined = _joiner(tokens, at, run)
            if joined is None:
                break
            at = joined
            continue
        at = run.end = step
    if run.end == start:
        return None
    _trim(tokens, run)
    run.open = all(
        tokens[each].kind in (Kind.MARK, Kind.TIMES) or tokens[each].word in _BETWEEN
        for each in range(run.end, len(tokens))  # a slice for each run would take quadratic time
    )
    return run if run.end > run.start else None


def _sign(tokens: Sequence[Token], at: int, run: Run) -> int | None:
    """Add the number or letter at the token `at` to the run; return its end, `None` if it does not belong
    to the run.
    """
    token, part = tokens[at], run.parts[-1]
    if token.kind in NUMERALS:
        number = read_number(tokens, at)
        if number is not None:
            _take(tokens, at, number, run)
            return number.end
        said = _repeated_letter(tokens, at)
        if said:
            part.letters += said
            part.row = 0
        return at + 2 if said else None
    if token.kind is Kind.LETTER and token.text.isascii():
        part.letters += LETTERS.get(token.word, token.word)
        part.row = 0
        spelled = _as_in(tokens, at + 1)
        return spelled if spelled else at + 1
    behind = tokens[at + 1] if at + 1 < len(tokens) else None
    if token.word in LETTER_WORDS and (run.end > run.start or _begins_code(tokens, at + 1)):
        part.letters += LETTER_WORDS[token.word]
        return at + 1
    # Letters next to digits without a space: AB1234, AB-1234, 12AB.
    short = token.kind is Kind.WORD and len(token.text) <= MAX_GLUED and token.text.isupper()
    after = behind if behind is None or behind.word != "-" else (tokens[at + 2] if at + 2 < len(tokens) else None)
    if short and (
        (behind and behind.glued and after and after.glued and after.kind is Kind.DIGITS) or _glued(tokens, at)
    ):
        part.letters += token.word
        return at + 1
    return None


def _begins_code(tokens: Sequence[Token], at: int) -> bool:
    """Return whether a letter or number, or a word for a letter, is at the token `at`."""
    if at >= len(tokens):
        return False
    return tokens[at].word in LETTER_WORDS or tokens[at].kind in NUMERALS


def _repeated_letter(tokens: Sequence[Token], at: int) -> str:
    """Return the letters that "double t" or "double u" at the token `at` stands for."""
    if tokens[at].kind is not Kind.TIMES or at + 1 >= len(tokens) or tokens[at + 1].kind is not Kind.LETTER:
        return ""
    letter = LETTERS.get(tokens[at + 1].word, tokens[at + 1].word)
    return "w" if (tokens[at].word, letter) == ("double", "u") else letter * TIMES[tokens[at].word]


def _glued(tokens: Sequence[Token], at: int) -> bool:
    """Return whether digits precede the token without a space."""
    if not tokens[at].glued or at == 0:
        return False
    before = tokens[at - 1]
    return before.kind is Kind.DIGITS or (
        before.word == "-" and before.glued and at > 1 and tokens[at - 2].kind is Kind.DIGITS
    )


def _take(tokens: Sequence[Token], at: int, number: Number, run: Run) -> None:
    part = run.parts[-1]
    if number.written and at >= 2 and tokens[at - 1].word == "," and tokens[at].glued and len(number.digits) == 3:
        before = run.parts[-2] if len(run.parts) > 1 else part
        if before.digits and tokens[at - 1].glued and len(tokens[at - 2].text) <= 3:
            part.grouped = before.grouped = True
    part.digits += number.digits
    part.numbers += 1
    part.scaled |= number.scaled
    if number.written:
        part.written = max(part.written, len(number.digits))
    part.row = part.row + len(number.digits) if number.single else 0
    part.singles = max(part.singles, part.row)


def _joiner(tokens: Sequence[Token], at: int, run: Run) -> int | None:
    """Return the end of the joining tokens at `at`, if something that belongs to the run follows; otherwise `None`."""
    if run.end == run.start:
        opens = tokens[at].word in ("(", "+", "plus") and at == run.start
        return at + 1 if opens and at + 1 < len(tokens) and tokens[at + 1].kind in NUMERALS else None
    cut, soft, end = False, False, at
    while end < len(tokens) and end - at < MAX_BETWEEN:
        token = tokens[end]
        if token.word in _MARKS:
            glued_on = end + 1 < len(tokens) and tokens[end + 1].glued
            cut |= token.word in _CUTS and not (glued_on and token.word != ",")
        elif token.word in SOFT_JOINERS:
            soft = True
        elif token.word not in JOINERS and token.word not in FILLERS:
            break
        end += 1
    if end == at or end >= len(tokens) or (soft and not _goes_on(tokens, end, run)):
        return None
    following = tokens[end]
    belongs = (
        following.kind in NUMERALS or following.kind is Kind.LETTER or (following.glued and following.text.isupper())
    )
    if not belongs or (
        following.kind in NUMERALS and read_number(tokens, end) is None and not _repeated_letter(tokens, end)
    ):
        return None
    if cut:
        run.parts.append(Part())
    return end


def _goes_on(tokens: Sequence[Token], at: int, run: Run) -> bool:
    """Return whether what somebody reads out digit by digit goes on at the token `at`: "four one five and then five
    five" or "thirty seven forty four and then nine six three", but not "one and two".
    """
    part, following = run.parts[-1], tokens[at : at + MIN_SOFT]
    in_pairs = len(part.digits) >= MIN_SINGLE and len(following) == MIN_SOFT
    return (part.row >= MIN_SOFT and tokens[at].kind in NUMERALS) or (
        in_pairs and all(token.kind is Kind.UNIT for token in following)
    )


def _as_in(tokens: Sequence[Token], at: int) -> int | None:
    """Return the end of "as in bravo", "for bravo" or the "ray" of "x ray" after a letter."""
    if is_word(tokens, at, "ray") and tokens[at - 1].word == "x":
        return at + 1
    words = [token.word for token in tokens[at : at + 3]]
    if len(words) == 3 and words[:2] in (["as", "in"], ["like", "in"]) and tokens[at + 2].kind is Kind.WORD:
        return at + 3
    if len(words) >= 2 and words[0] in ("for", "like", "as"):
        same = tokens[at + 1].kind is Kind.WORD and words[1].startswith(tokens[at - 1].word)
        return at + 2 if same or words[1] in LETTER_WORDS else None
    return None


def _begins_with(tokens: Sequence[Token], run: Run, word: str) -> bool:
    end = run.start + len(word)
    letters = [token.word for token in tokens[run.start : end]]
    return end < run.end and tokens[end].kind in NUMERALS and letters == list(word)


def _trim(tokens: Sequence[Token], run: Run) -> None:
    """Remove an article or pronoun at an end, or a spelled cue at the beginning: "a five", "six I", "c v v 123"."""
    said = next((each for each in _SPELLED_CUES if _begins_with(tokens, run, each)), None)
    if said is not None:
        run.start += len(said)
        run.parts[0].letters = run.parts[0].letters[len(said) :]
    first = tokens[run.start]
    if run.end - run.start > 1 and first.word in ("a", "i") and first.kind is Kind.LETTER:
        behind = tokens[run.start + 1]
        cue = tokens[run.start - 1].word if run.start else ""
        of_code = (cue in ("is", "number") or (cue,) in CUES) and len(run.digits) >= MIN_CODE
        if behind.kind in NUMERALS and not behind.glued and first.text != "A" and not of_code:
            run.start += 1
            run.parts[0].letters = run.parts[0].letters[1:]
    if run.end - run.start > 1 and first.kind is Kind.UNIT and run.start and tokens[run.start - 1].word == "last":
        run.start += 1  # "the last four 3306"
        run.parts[0].digits = run.parts[0].digits[1:]
    last = tokens[run.end - 1]
    if run.end - run.start > 1 and last.word in ("a", "i") and last.kind is Kind.LETTER and not last.glued:
        before = tokens[run.end - 2]
        ends = run.end == len(tokens) or tokens[run.end].kind is Kind.MARK
        if before.kind is not Kind.LETTER and not (ends and len(run.digits) >= MIN_CODE):
            run.end -= 1
            run.parts[-1].letters = run.parts[-1].letters[:-1]


# -- what a run is -----------------------------------------------------------------------------------------------------


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
    said = [word for word in between if word not in (",", ".")]
    return len(said) == 1 and said[0] in _EXTENSIONS and len(phone.digits) >= MIN_PHONE


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
