"""Separating text from markup. Pieces may have any size; an event is returned as soon as it is certain.

Expat parses SSML as it arrives, inside an element of our own, so that no document type and no entity can be declared.
What is not supported is refused by name: unknown elements and attributes, and meaningless values. A text with breaks is
plain except for `<break/>`. Every event contains its range of the caller's characters, tags included.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol
from xml.parsers import expat

from antiphon.core.errors import CallerError, TooLarge, UnsupportedParameter
from antiphon.core.specs import Markup
from antiphon.text.reading import READ, read
from antiphon.text.say_as import say_as

LONGEST_TAG = 4096  # bytes
DEEPEST = 32  # nested elements
LONGEST_BREAK_MS = 10_000
LONGEST_SAY_AS = 1000  # characters; and of an alias
SPEEDS = (0.25, 4.0)
PARAGRAPH_MS = 500

_PIECE = 2048  # characters given to expat at a time
_ROOT, _ROOT_END = b"<_>", b"</_>"
# Characters that XML cannot hold, and our own placeholder: replaced one by one, so that positions stay.
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")
_UNWRITABLE = re.compile(f"[\ud800-\udfff\ufffe\uffff{READ}]")
_REFERENCE = re.compile(rb"&[#\w]+;")
# From Azure's documentation; the recommendation leaves them open.
_RATES = {"x-slow": 0.5, "slow": 0.64, "medium": 1.0, "default": 1.0, "fast": 1.55, "x-fast": 2.0}
_STRENGTHS_MS = {"none": 0, "x-weak": 100, "weak": 250, "medium": 500, "strong": 750, "x-strong": 1000}
_UNCHANGED = frozenset(("default", "medium", "+0%", "0%", "+0st", "+0Hz", "+0dB", "+0.0dB"))


@dataclass(frozen=True, slots=True)
class Text:
    """Characters that were written from `start` to `end`: one for each, or one for all of them."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Substitution:
    """Words given by the markup, for the characters `start..end`."""

    words: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Silence in milliseconds; 0 only ends a clause."""

    ms: int


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast everything after it is spoken."""

    factor: float


Event = Text | Substitution | Pause | Speed


class Reader(Protocol):
    """Splits a text into events as it arrives. `feed` and `flush` raise a `CallerError` whose `param` is `text`."""

    def feed(self, text: str) -> list[Event]: ...

    def flush(self) -> list[Event]:
        """Return what was held back. Raises `CallerError` for incomplete markup."""


def reader(markup: Markup) -> Reader:
    """Return a new reader for that kind of markup."""
    kinds: dict[Markup, type[Plain] | type[Breaks] | type[Ssml]] = {
        Markup.NONE: Plain,
        Markup.BREAKS: Breaks,
        Markup.SSML: Ssml,
    }
    return kinds[markup]()


def clean(text: str) -> str:
    """Return the text with unspeakable and unwritable characters replaced, at the same length."""
    return _UNWRITABLE.sub("\ufffd", _UNFIT.sub(" ", text))


class Plain:
    """Text without markup."""

    def __init__(self) -> None:
        self._at = 0

    def feed(self, text: str) -> list[Event]:
        start, self._at = self._at, self._at + len(text)
        return [Text(clean(text), start, self._at)] if text else []

    def flush(self) -> list[Event]:
        return []


class Breaks:
    """Plain text in which `<break time="1.5s"/>` is a pause. Every other tag is text."""

    _TAG = re.compile(r"<break(?:\s[^<>]{0,200})?/?>")
    _BEGUN = re.compile(r"<(?:b(?:r(?:e(?:a(?:k(?:\s[^<>]{0,200})?/?)?)?)?)?)?$")

    def __init__(self) -> None:
        self._at = 0
        self._held = ""

    def feed(self, text: str) -> list[Event]:
        text = self._held + clean(text)
        found = self._BEGUN.search(text, max(0, len(text) - 210))
        whole = found.start() if found else len(text)
        self._held = text[whole:]
        return self._events(text[:whole])

    def flush(self) -> list[Event]:
        held, self._held = self._held, ""
        return self._events(held)

    def _events(self, text: str) -> list[Event]:
        events: list[Event] = []
        place = 0
        for tag in self._TAG.finditer(text):
            events += self._text(text[place : tag.start()])
            self._at += len(tag[0])
            events.append(Pause(break_ms(_attributes(tag[0]))))
            place = tag.end()
        return events + self._text(text[place:])

    def _text(self, text: str) -> list[Event]:
        start, self._at = self._at, self._at + len(text)
        return [Text(text, start, self._at)] if text else []


def _attributes(tag: str) -> dict[str, str]:
    """Return the attributes of one tag, closed or not."""
    found: dict[str, str] = {}
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda _name, attributes: found.update(attributes)
    try:
        parser.Parse((tag[:-1].rstrip("/ ") + "/>").encode(), True)
    except expat.ExpatError as error:
        raise CallerError("The break tag is malformed.", param="text") from error
    return found


def break_ms(attributes: Mapping[str, str]) -> int:
    """Return the length of a `<break>` (ms). Raises `CallerError`."""
    if unknown := attributes.keys() - {"time", "strength"}:
        raise _refused("break", min(unknown))
    written = attributes.get("time")
    if written is None:
        strength = attributes.get("strength", "medium")
        if strength not in _STRENGTHS_MS:
            raise _meaningless("break", "strength")
        return _STRENGTHS_MS[strength]
    found = re.fullmatch(r"\+?([0-9]{1,6}(?:\.[0-9]{0,6})?|\.[0-9]{1,6})\s?(ms|s)", written.strip())
    if found is None:
        raise _meaningless("break", "time")
    ms = round(float(found[1]) * (1000 if found[2] == "s" else 1))
    if ms > LONGEST_BREAK_MS:
        raise CallerError(f"A break can last at most {LONGEST_BREAK_MS // 1000} seconds.", param="text")
    return ms


def rate(written: str) -> float:
    """Return how many times faster `"slow"`, `"80%"`, `"+10%"` or `"1.2"` is. Raises `CallerError`."""
    written = written.strip()
    if written in _RATES:
        return _RATES[written]
    found = re.fullmatch(r"([+-]?)([0-9]{1,6}(?:\.[0-9]{0,6})?)(%?)", written)
    if found is None or (found[1] and not found[3]):
        raise _meaningless("prosody", "rate")
    value = float(found[2]) / (100 if found[3] else 1)
    return {"+": 1 + value, "-": 1 - value}.get(found[1], value)


def _refused(tag: str, attribute: str) -> UnsupportedParameter:
    return UnsupportedParameter(f"The attribute {_named(attribute)} of <{tag}> is not supported.", param="text")


def _meaningless(tag: str, attribute: str) -> CallerError:
    return CallerError(f"The attribute {attribute} of <{tag}> has an invalid value.", param="text")


def _named(name: str) -> str:
    """Return a caller's name, safe for a message."""
    return name[:40] if re.fullmatch(r"[\w:.-]+", name) else "of an unknown name"


class Ssml:
    """A reader of SSML 1.1, limited to `_ATTRIBUTES`."""

    _ATTRIBUTES: ClassVar = {
        "speak": {"version", "xmlns", "xml:lang", "xmlns:xsi", "xsi:schemaLocation", "xml:base"},
        "p": {"xml:lang"},
        "s": {"xml:lang"},
        "prosody": {"rate", "pitch", "volume"},
        "break": {"time", "strength"},
        "say-as": {"interpret-as", "format", "detail"},
        "sub": {"alias"},
    }

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._total = 0  # characters fed
        self._begin()

    def _begin(self) -> None:
        """Begin a new document, after everything that was fed."""
        parser = expat.ParserCreate("utf-8")
        parser.Parse(_ROOT)
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        if hasattr(parser, "SetReparseDeferralEnabled"):
            parser.SetReparseDeferralEnabled(False)  # speech waits for it; the length of a tag is bounded here
        self._parser = parser
        self._opening: str | None = ""  # the first characters, while they may be an XML declaration
        self._open: list[tuple[str, dict[str, str]]] = []
        self._speeds = [1.0]
        self._held: list[Text] | None = None  # inside say-as or sub
        self._bytes = b""  # not yet parsed, from the byte `_at_byte`, which is the character `_at`
        self._at_byte = self._fed = len(_ROOT)
        self._at = self._total

    def feed(self, text: str) -> list[Event]:
        self._total += len(text)
        text = clean(text).replace("\r", " ")
        if self._opening is not None:
            text = self._without_declaration(self._opening + text)
        for place in range(0, len(text), _PIECE):
            self._parse(text[place : place + _PIECE])
        return self._taken()

    def flush(self) -> list[Event]:
        """End the document and return what was held back; the next `feed` begins another one."""
        if self._opening:
            text, self._opening = self._opening, None
            self._parse(text)
        if self._open:
            raise CallerError(f"<{self._open[-1][0]}> is not closed.", param="text")
        try:
            self._parser.Parse(_ROOT_END, True)
        except expat.ExpatError as error:
            raise CallerError("The markup ends inside a tag.", param="text") from error
        self._begin()
        return self._taken()

    def _taken(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _without_declaration(self, text: str) -> str:
        """Replace an `<?xml ...?>` at the beginning, which has no meaning here, by spaces."""
        begun = text.lstrip()[:5]
        if "<?xml".startswith(begun) and "?>" not in text and len(text) < LONGEST_TAG:
            self._opening = text
            return ""
        self._opening = None
        if begun == "<?xml" and "?>" in text:
            end = text.index("?>") + 2
            return " " * end + text[end:]
        return text

    def _parse(self, text: str) -> None:
        data = text.encode()
        self._bytes += data
        self._fed += len(data)
        try:
            self._parser.Parse(data)
        except expat.ExpatError as error:
            raise CallerError(f"The markup is malformed{self._where()}.", param="text") from error
        self._here()  # comments, which nothing else passes, must not pile up
        if self._fed - self._parser.CurrentByteIndex > LONGEST_TAG + _PIECE * 4:
            raise TooLarge("A tag is too long.", param="text")

    def _where(self) -> str:
        """Return the place of an error without its content."""
        found = re.match(rb"</?\s*([A-Za-z_][\w:.-]{0,39})", self._bytes[self._last() :])
        if found:
            return f" at <{found[1].decode()}>"
        return f" in <{self._open[-1][0]}>" if self._open else ""

    def _last(self) -> int:
        return max(0, self._parser.CurrentByteIndex - self._at_byte)

    def _here(self) -> int:
        """Return the position of the parser, in the caller's characters."""
        passed = self._parser.CurrentByteIndex - self._at_byte
        if passed > 0:
            self._at += len(self._bytes[:passed].decode())
            self._at_byte += passed
            self._bytes = self._bytes[passed:]
        return self._at

    # -- what expat finds ----------------------------------------------------------------------------------------------

    def _characters(self, data: str) -> None:
        start = self._here()
        reference = _REFERENCE.match(self._bytes) if len(data) == 1 else None
        text = Text(clean(data), start, start + (len(data) if reference is None else reference.end()))
        if self._held is None:
            self._events.append(text)
            return
        self._held.append(text)
        if sum(len(held.text) for held in self._held) > LONGEST_SAY_AS:
            raise TooLarge(f"<{self._open[-1][0]}> contains too much text.", param="text")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._here()
        name = {"paragraph": "p", "sentence": "s"}.get(tag, tag)
        if name not in self._ATTRIBUTES:
            raise UnsupportedParameter(f"The element <{_named(tag)}> is not supported.", param="text")
        if unknown := attributes.keys() - self._ATTRIBUTES[name]:
            raise _refused(name, min(unknown))
        if name == "speak" and self._open:
            raise CallerError("<speak> must not be inside another element.", param="text")
        if self._held is not None:
            raise CallerError(f"<{name}> must not be inside <{self._open[-1][0]}>.", param="text")
        if len(self._open) >= DEEPEST:
            raise TooLarge(f"<{name}> is nested too deeply.", param="text")
        if not attributes.get("xml:lang", "en").lower().startswith("en"):
            raise UnsupportedParameter(f"The language of <{name}> is not supported.", param="text")
        self._open.append((name, attributes))
        if name in ("p", "s"):
            self._events.append(Pause(0))
        elif name == "break":
            self._events.append(Pause(break_ms(attributes)))
        elif name == "prosody":
            self._faster(attributes)
        elif name in ("say-as", "sub"):
            if ("interpret-as" if name == "say-as" else "alias") not in attributes:
                raise CallerError(f"<{name}> needs an attribute.", param="text")
            if len(attributes.get("alias", "")) > LONGEST_SAY_AS:
                raise TooLarge("The attribute alias of <sub> is too long.", param="text")
            self._held = []

    def _faster(self, attributes: Mapping[str, str]) -> None:
        for attribute in ("pitch", "volume"):
            if attributes.get(attribute, "default") not in _UNCHANGED:
                raise _refused("prosody", attribute)
        factor = round(self._speeds[-1] * rate(attributes.get("rate", "default")), 4)
        if not SPEEDS[0] <= factor <= SPEEDS[1]:
            raise CallerError("The rate of <prosody> is out of range.", param="text")
        self._speeds.append(factor)
        self._events.append(Speed(factor))

    def _end(self, tag: str) -> None:
        if tag == "_" and not self._open:
            return  # ours; expat refuses whatever follows
        self._here()
        name, attributes = self._open.pop()
        if name == "prosody":
            self._speeds.pop()
            self._events.append(Speed(self._speeds[-1]))
        elif name in ("p", "s"):
            self._events.append(Pause(PARAGRAPH_MS if name == "p" else 0))
        elif name in ("say-as", "sub") and self._held is not None:
            held, self._held = self._held, None
            self._say(name, attributes, held)

    def _say(self, name: str, attributes: Mapping[str, str], held: list[Text]) -> None:
        written = "".join(text.text for text in held).strip()
        if name == "sub":
            alias = clean(attributes["alias"])
            places = range(len(alias))
            words = [word.read for word in read(alias, places, range(1, len(alias) + 1))]
        else:
            words = say_as(attributes["interpret-as"], attributes.get("format", ""), written)
        if written:
            self._events.append(Substitution(tuple(words), held[0].start, held[-1].end))
