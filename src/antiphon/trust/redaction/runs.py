"""Runs of numerals and letters that belong together, dictated or written sign by sign.

Speech has them in any mixture ("M 8 two double four"). A run is cut into parts at commas and full stops; what it is,
`codes.py` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from antiphon.trust.redaction.cues import CUES
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
)

MIN_CODE = 5  # digits and letters that are hidden without a cue
MIN_SINGLE = 4  # digits, spoken one by one
MIN_SOFT = 3  # digits, spoken one by one, after which "and" or "then" may go on
MAX_BETWEEN = 5  # joining tokens at most between two signs
MAX_GLUED = 4  # letters of a word next to digits, as in AB-1234

_SPELLED_CUES = ("cvv", "cvc", "ssn", "mrn", "dob", "pin", "id", "ip", "nhs")
_MARKS = frozenset("-._,/()+#*:\\|~`")
_CUTS = frozenset(".,;:")
_BETWEEN = frozenset(JOINERS) | FILLERS | SOFT_JOINERS


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
        letters = _repeated_letter(tokens, at)
        if letters:
            part.letters += letters
            part.row = 0
        return at + 2 if letters else None
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
    spelling = next((each for each in _SPELLED_CUES if _begins_with(tokens, run, each)), None)
    if spelling is not None:
        run.start += len(spelling)
        run.parts[0].letters = run.parts[0].letters[len(spelling) :]
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
