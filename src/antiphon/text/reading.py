"""How a text is read aloud: the table of written forms, and the walk through them.

The walk goes from one written form to the next: the first row of the table that matches and whose function accepts it.
What no row takes is a word, a run of digits or a sign. Each word contains its range of the caller's characters.
Punctuation belongs to the word before it; silent characters (Markdown, brackets, emoji) to a word beside them.

Nobody reads out a line of a hundred "<": of signs in a row `MOST_SIGNS` are read. Text without spaces is read in words
of at most `LONGEST_WORD` characters and `MOST_DOTS` dotted letters, and repetitions in it `MOST_REPEATS` times.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from antiphon.text import counts, dates, letters
from antiphon.text.forms import Say, constant, whole
from antiphon.text.numbers import cardinal
from antiphon.text.tables import (
    CLOSERS,
    CONNECTIVES,
    CURRENCIES,
    DAYS,
    MONTH_NUMBERS,
    PER,
    POINTLESS,
    PRONUNCIATIONS,
    SIGNS,
    TITLES,
    UNITS,
    set_of,
)

_LETTER = r"[^\W\d_¹²³⁰-⁹₀-₉½¼¾⅐-⅞]"
READ = "\ue000"  # stands in a text for something whose words are given
MOST_SIGNS = 3
LONGEST_WORD = 40
MOST_DOTS = 8
MOST_REPEATS = 8


@dataclass(frozen=True, slots=True)
class ReadWord:
    """A word as it is read aloud, with its punctuation, and the half-open range of the caller's characters that it
    replaces. Words that replace the same characters have the same range.
    """

    read: str
    start: int
    end: int


def _any(words: Iterable[str]) -> str:
    return "(?:" + "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)) + ")"


_NUMBER = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<![\w.])\.[0-9]+)"
_SIGNED = rf"(?:(?<![\w)\].%])[-+−])?{_NUMBER}"
_RANGE = rf"(?P<low>{_SIGNED})(?:(?:-|\s?[–—]\s?)(?P<high>{_NUMBER}))?(?!-?[0-9])"
_MONTH = f"(?P<month>{_any(MONTH_NUMBERS)})"
_YEAR = r"(?P<year>1[0-9]{3}|20[0-9]{2})(?![0-9])"
_HALF = r"(?:[ap]m|[AP]M|[ap]\.m\.|[AP]\.M\.)(?!\w)"
_SIGNS = _any([sign for sign in CURRENCIES if not sign.isalpha()])
_CODES = _any([sign for sign in CURRENCIES if sign.isalpha()])
_SIZES = r"(?:[kKmMbBT]|[bmt]n|\s(?:hundred|thousand|million|billion|trillion))(?!\w)"
_PER = rf"(?:\s?/\s?(?P<per>{_any(PER)})(?!\w))?"
_UNITS = _any(UNITS)
_PARTS = rf"(?:\s?(?P<unit>{_UNITS})(?![\w'’]))?"
# Endings of the names of sites and files.
_SUFFIXES = _any(
    set_of(
        """
        com org net io dev ai edu gov co uk de fr eu app info me tv ca us au jp cn in ch nl se es it
        py js ts md txt json csv html css pdf toml yaml yml xml png jpg mp3 wav zip exe sh
        """
    )
)
_END = r"[^\s<>\[\]\"“”.,!?;:)}'’*_`]"

# form -> how it is read. The first match is taken.
_FORMS: tuple[tuple[str, Say], ...] = (
    # addresses
    (r"[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+", letters.address),
    (rf"(?:[a-z][a-z0-9+.-]{{1,9}}://|www\.|mailto:)[^\s<>\[\]\"“”]*{_END}", letters.address),
    (rf"(?:[A-Za-z0-9][\w-]*\.)+{_SUFFIXES}(?![\w@])(?:/(?:[^\s<>\[\]\"“”]*{_END})?)?", letters.address),
    (r"(?<!\w)~?(?:/[\w.-]*\w){2,}/?", letters.address),
    # numbers that are not quantities
    (r"(?:\+?[0-9]{1,3}[\s.-])?(?:\([0-9]{3}\)\s?|[0-9]{3}[\s.-])[0-9]{3}[\s.-][0-9]{4}(?!\w)", counts.called),
    (r"\+[0-9][0-9().-]*(?:\s[0-9().-]+){0,6}(?!\w)", counts.called),
    (r"[0-9]{4}(?:[ -][0-9]{4}){2,4}(?!\w)", counts.called),
    (r"[0-9]{3}-[0-9]{4}(?![\w-])|0[0-9]{2,5}(?:[ -][0-9]{3,6}){1,3}(?!\w)", counts.called),
    (r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?::[0-9]+)?(?!\w|\.\w)", counts.internet_address),
    # dates and times
    (
        r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[T ](?P<hour>[0-2][0-9]):(?P<minute>[0-5][0-9])(?::[0-9]{2}(?:\.[0-9]+)?)?"
        r"(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2})?)?(?![\w-])",
        dates.iso_date,
    ),
    (r"([0-9]{1,2})([/.])([0-9]{1,2})\2([0-9]{4})(?!\w)", dates.numeric_date),
    (
        rf"{_MONTH}\s+(?P<day>[0-9]{{1,2}})(?P<th>st|nd|rd|th|(?=\W|$))(?![:.,]?[0-9])(?!\w)(?:,?\s+{_YEAR})?",
        dates.month_day,
    ),
    (
        rf"(?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}(?<![a-z]\.)(?!\w)(?:,?\s+{_YEAR})?",
        dates.day_month,
    ),
    (rf"{_MONTH}\s+{_YEAR}(?!\w)", dates.month_year),
    (rf"({_any(DAYS)})\.?\s?[-–]\s?({_any(DAYS)})\b", dates.days),
    (
        r"(?P<hour>[01]?[0-9]|2[0-4]):(?P<minute>[0-5][0-9])(?::(?P<second>[0-5][0-9]))?(?![0-9:])"
        rf"(?:\s?(?P<half>{_HALF}))?",
        dates.time,
    ),
    (rf"(1[0-2]|0?[1-9])\s?({_HALF})", dates.hour),
    # money and measures
    (r"['’‘]?((?:1[0-9]|20)[0-9]0|[2-9]0)['’]?s(?!\w)", counts.decade),
    (
        rf"(?P<minus>[-−]?)(?P<sign>{_SIGNS})\s?(?P<low>{_NUMBER})(?:\s?[-–]\s?(?P=sign)?(?P<high>{_NUMBER}))?"
        rf"(?P<size>{_SIZES})?(?![0-9]){_PER}",
        counts.money,
    ),
    (
        rf"(?P<minus>)(?P<sign>{_CODES})\s?(?P<low>{_NUMBER})(?:[-–](?P<high>{_NUMBER}))?(?P<size>{_SIZES})?(?!\w){_PER}",
        counts.money,
    ),
    (rf"{_RANGE}\s?(?P<sign>[€£¥₹₩₽₺₪]|{_CODES}(?!\w))", counts.price),
    (r"([0-9]+)\s?¢", counts.cents),
    (rf"{_RANGE}\s?%", counts.percent),
    (r"([0-9]+)['′]\s?([0-9]{1,2})(?:[\"″”]|'')", counts.feet),
    (rf"{_RANGE}(?P<tied>[\s-]?)(?P<unit>{_UNITS})(?![\w'’]|\.\w){_PER}", counts.measure),
    (rf"(?P<low>{_NUMBER})(?P<size>[kKMB]|bn)(?!\w)", counts.magnitude),
    # numbers
    (r"[vV]?[0-9]+(?:\.[0-9]+){2,}(?:-[a-z]+\.?[0-9]*)?(?!\w)|[vV][0-9]+(?:\.[0-9]+)?(?!\w|\.\w)", counts.version),
    (r"([0-9]+(?:,[0-9]{3})*)(?:st|nd|rd|th|ST|ND|RD|TH)(?!\w)", counts.ordinal),
    (r"(?:(?P<count>[0-9]+)\s)?(?P<over>[0-9]+)[/⁄](?P<under>[0-9]+)(?P<vulgar>)(?![\w/])" + _PARTS, counts.fraction),
    (r"(?:(?P<count>[0-9]+)\s?)?(?P<vulgar>[½⅓⅔¼¾⅛⅜⅝⅞])(?P<over>)(?P<under>)" + _PARTS, counts.fraction),
    (r"([0-9]+):([0-9]+)(?![0-9:])", counts.ratio),
    (rf"({_NUMBER})\s?[x×]\s?({_NUMBER})(?!\w)", counts.product),
    (rf"({_NUMBER})[xX×](?!\w)", counts.times),
    (rf"({_NUMBER})\^(-?[0-9]+)", counts.power),
    (r"\^2(?!\w)", constant("squared")),
    (r"\^3(?!\w)", constant("cubed")),
    (rf"({_NUMBER})[eE]([+-]?[0-9]+)(?!\w)", counts.exponent),
    (r"[0-9]+(?:-[0-9]+){2,}(?!\w)", counts.sequence),
    (rf"{_RANGE}(?![^\W_])", counts.number),
    (r"#\s?(?=[0-9])|Nos?\.\s?(?=[0-9])|no\.\s?(?=[0-9])", counts.numbered),
    (r"#([^\W\d_]\w*)", letters.hashtag),
    # letters
    (r"(?=[^\W_]*[0-9])(?=[0-9]*[^\W\d_])(?:[0-9]+(?:\.[0-9]+)?|[^\W\d_]+)+", letters.mixed),
    (r"[A-Z]{1,3}&[A-Z]{1,3}(?:['’]s)?\b", letters.joined_initials),
    (rf"({_any(list({**TITLES, **CONNECTIVES, **CLOSERS}))})(?!\w)(\.(?![a-z0-9_]))?", letters.abbreviation),
    (r"(?:[A-Z]\.)+[A-Z](?!\w)\.?|(?:[^\W\d_]\.){2,}(?!\w)", letters.dotted_initials),
    (r"[A-HJ-Z]\.(?=\s+[A-Z])", letters.initial),
    (rf"{_any(PRONUNCIATIONS)}(?!\w)", letters.pronunciation),
    (r"[IVXLC]+\b", letters.roman),
    (r"([A-Z]{2,6})((?:[’']?s)?)\b(?!['’]\w)", letters.capitals),
    (r"(?<=[a-z]\s)A(?=\s[a-z])", constant("A-")),
    (r"([A-Z])#(?!\w)", lambda match: whole(match, [match[1], "sharp"])),
    (r"w/o\b", constant("without")),
    (r"w/(?=\s)", constant("with")),
    # signs
    (r"(?<=[0-9])[-–—](?=[0-9])|(?<=[ap]m)[-–—](?=[0-9])", constant("to")),
    (r"(?<=[0-9]\s)[-*](?=\s[0-9])", lambda match: whole(match, ["minus" if match[0] == "-" else "times"])),
    (r"~(?=[0-9])", constant("about")),
    (r"->|=>|→", constant("to")),
    (r"(?<![\w)\]’”])\.(?=\w)|(?<=[a-z0-9_])\.(?=[a-z_])", constant("dot")),
    (r"&amp;", constant("and")),
    (r"\(\)", constant()),
    (r"[:;]['’]?-?[()DPp/|](?!\w)", constant()),  # a face
    (r"[<>]=", lambda match: whole(match, SIGNS["≤" if match[0] == "<=" else "≥"].split())),
    (r"[!=]=", lambda match: whole(match, (SIGNS["≠"] if match[0] == "!=" else SIGNS["="]).split())),
    ("[" + re.escape("".join(SIGNS)) + "]", letters.sign),
)  # fmt: skip


def _marks() -> str:
    """Return signs that belong to the letter before: accents, Indian vowel signs, joiners."""
    found = (chr(point) for point in (*range(0x300, 0x3100), 0xFE20, 0xFE2F))
    return "".join(char for char in found if unicodedata.category(char)[0] == "M") + "\u200c\u200d"


class _Forms:
    """The table, compiled when the first text is read."""

    def __init__(self) -> None:
        self.rows = [(re.compile(pattern), say) for pattern, say in _FORMS]
        self.word = re.compile(rf"{_LETTER}(?:{_LETTER}|[{_marks()}])*(?:['’]{_LETTER}+)*")


_SILENT = re.compile(
    r"""
      (?m:^)[^\S\n]*(?:[-*+•◦▪‣·]\s+(?:\[[ xX]\]\s)?|\#{1,6}\s+|>+\s)      # items, headings, quotations
    | (?m:^)[^\S\n]*+(?:(?:[-*_=]\s?){3,}|[`~]{3,}[\w+-]*|(?:-{0,2}[\s:|])*---[\s:|-]*)(?m:$)  # rules, fences
    | \]\((?:[^()\s]|\([^()\s]*\))*(?:\s+"[^"]*")?\)                        # the address behind a link's text
    | \]\[[^\]\s]*\] | !?\[(?=[^\[\]]*\][(\[]) | \[\^?[0-9]+\]               # the rest of a link, a footnote
    | </?[a-zA-Z][^<>]{0,80}> | &(?:nbsp|lt|gt|quot|\#39);                 # what is left of HTML
    """,
    re.VERBOSE,
)
_PLAIN = re.compile(r"[a-z]+(?=[\s,!?;])")  # most of every text; no row takes it
_PUNCTUATION = {
    **dict.fromkeys(".!?,;:", ""), "…": "...", "。": ".", "．": ".", "！": "!", "？": "?", "，": ",", "、": ",",
    "；": ";", "：": ":", "؟": "?", "،": ",", "।": ".",
}  # fmt: skip
_ENDS = tuple(".!?,;:")
_ASIDE = frozenset("()—–{}|")  # read as a short pause
_OPENING = frozenset("([{“‘«¿¡<\"'*_`~#")


class _Line:
    """The words so far; `groups` are (start, end, words), with positions in the text."""

    def __init__(self, text: str, signs: int) -> None:
        self.text = text
        self.groups: list[tuple[int, int, list[str]]] = []
        self.signs = signs  # in a row, up to here
        self._waiting: int | None = None  # silent characters from here on belong to the next word
        self._pause = False

    def add(self, start: int, end: int, words: list[str]) -> None:
        if not words:
            self.silent(start, end)
            return
        if self._waiting is not None:
            start, self._waiting = self._waiting, None
        end = start + len(self.text[start:end].rstrip())
        if self._pause:
            self.mark(",")
        self._pause = False
        self.signs = 0
        self.groups.append((start, end, words))

    def silent(self, start: int, end: int, opening: bool = False) -> None:
        written = self.text[start:end]
        if self._waiting is not None or not written.strip():
            return
        end = start + len(written.rstrip())
        if opening or not self.groups:
            self._waiting = start
        else:
            self._stretch(end)

    def aside(self) -> None:
        self._pause = bool(self.groups)

    def punctuate(self, start: int, end: int, mark: str) -> None:
        if self._waiting is None:
            self.silent(start, end)
        self.mark(mark)

    def mark(self, mark: str) -> None:
        """Put one mark after a word; any other mark replaces a comma."""
        if not self.groups:
            return
        words = self.groups[-1][2]
        last = words[-1]
        if last.endswith(",") and mark != ",":
            words[-1] = last[:-1] + mark
        elif not last.endswith(_ENDS):
            words[-1] = last + mark

    def finish(self) -> None:
        bare = self.text.rstrip()
        if self.groups and self.groups[-1][1] < len(bare):
            self._stretch(len(bare))
        if bare.rstrip("\"'”’)]*_`»").endswith("."):
            self.mark(".")

    def _stretch(self, end: int) -> None:
        start, _, words = self.groups[-1]
        self.groups[-1] = (start, end, words)


_forms: _Forms | None = None


def warm() -> None:
    """Compile the table and import the numbers now, so that the first text need not wait."""
    read("1", (0,), (1,))


def read(text: str, starts: Sequence[int], ends: Sequence[int], known: Sequence[Sequence[str]] = ()) -> list[ReadWord]:
    """Return the words of a text whose characters begin and end at `starts` and `ends` of what the caller wrote.
    `known` are the words of each `READ` in it, in order. Empty if nothing is read aloud.
    """
    return read_on(text, starts, ends, known, 0)[0]


def read_on(
    text: str, starts: Sequence[int], ends: Sequence[int], known: Sequence[Sequence[str]], signs: int
) -> tuple[list[ReadWord], int]:
    """Return the same as `read`, for a text that follows `signs` in a row, and how many signs this one ends in."""
    line = _walk(text, known, signs)
    words = [
        ReadWord(part, starts[start], ends[end - 1])
        for start, end, words in line.groups
        for word in words
        if word
        for part in ((word,) if len(word) <= 2 * MOST_DOTS else _parted(word))
    ]
    return words, line.signs


_REPEATED = re.compile(rf"(?P<unit>.{{1,4}}?)(?P=unit){{{MOST_REPEATS},}}")
_PARTS_OF_WORD = re.compile(rf"(?:[^.]{{0,{LONGEST_WORD}}}\.){{0,{MOST_DOTS - 1}}}[^.]{{1,{LONGEST_WORD}}}\.*")


def _parted(word: str) -> list[str]:
    """Return a word in parts, if it is too long."""
    if len(word) <= LONGEST_WORD and word.count(".") <= MOST_DOTS:
        return [word]
    word = _REPEATED.sub(lambda found: found["unit"] * MOST_REPEATS, word)
    *parts, last = _PARTS_OF_WORD.findall(word) or [word]
    return [*(part.rstrip(".") for part in parts), last]


def _walk(text: str, known: Sequence[Sequence[str]], signs: int) -> _Line:
    global _forms
    if _forms is None:
        _forms = _Forms()
    line, readings = _Line(text, signs), iter(known)
    silent = {found.start(): found.end() for found in _SILENT.finditer(text)}
    place = 0
    while place < len(text):
        char = text[place]
        if place in silent and silent[place] > place:
            line.silent(place, silent[place], opening=not char.isspace() and char != "]")
            place = silent[place]
        elif char.isspace():
            place += 1
        elif char == READ:
            line.add(place, place + 1, list(next(readings)))
            place += 1
        elif (word := _PLAIN.match(text, place)) is not None and word[0] not in POINTLESS:
            line.add(place, word.end(), [word[0]])
            place = word.end()
        else:
            place = _form(line, text, place, _forms)
    line.finish()
    return line


def _punctuation(line: _Line, text: str, start: int) -> int:
    end = start + 1
    while end < len(text) and text[end] in ".!?" and text[start] in ".!?":
        end += 1
    mark = _PUNCTUATION[text[start]] or text[start]
    line.punctuate(start, end, "..." if text[start:end].startswith("..") else mark)
    return end


def _form(line: _Line, text: str, place: int, forms: _Forms) -> int:
    for row, say in forms.rows:
        found = row.match(text, place)
        parts = say(found) if found is not None and found.end() > place else None
        if found is not None and parts is not None:
            signs = line.signs + 1 if _is_sign(found[0]) else 0
            if signs > MOST_SIGNS:
                line.silent(place, found.end())
                return found.end()
            for start, end, words in parts:
                if start > place:
                    line.silent(place, start)
                line.add(start, end, words)
                place = end
            if place < found.end():
                line.silent(place, found.end())
            if signs and any(words for _, _, words in parts):
                line.signs = signs
            return found.end()
    if text[place] in _PUNCTUATION:
        return _punctuation(line, text, place)
    if (word := forms.word.match(text, place)) is not None:
        line.add(place, word.end(), unicodedata.normalize("NFKC", word[0]).split())
        return word.end()
    if text[place].isdigit():  # of any script, or small and raised
        end = place + 1
        while end < len(text) and text[end].isdigit():
            end += 1
        line.add(place, end, cardinal("".join(str(unicodedata.digit(char)) for char in text[place:end])))
        return end
    return _other(line, text, place)


def _is_sign(written: str) -> bool:
    return written in SIGNS or not any(char.isalpha() or char.isdecimal() for char in written)


def _other(line: _Line, text: str, place: int) -> int:
    """Pass over quotes, brackets, dashes and emoji: nothing is read."""
    char = text[place]
    alone = text[place - 1 : place].isspace() and text[place + 1 : place + 2].isspace()
    if char in _ASIDE or (char == "-" and (alone or "-" in (text[place - 1 : place], text[place + 1 : place + 2]))):
        line.aside()
    follows = text[place + 1 : place + 2]
    line.silent(place, place + 1, opening=char in _OPENING and bool(follows.strip()) and not _inside(text, place))
    return place + 1


def _inside(text: str, place: int) -> bool:
    """Return whether a word ends directly before, so that a quote or an asterisk closes it."""
    return place > 0 and not text[place - 1].isspace() and text[place - 1] not in _OPENING
