"""Wire scripts for Amazon's surface: small text files that say what comes in, and exactly what must go out.

What comes in:
    ? post | socket         an opening over HTTP/2, or by a presigned URL
    : NAME: VALUE           an option of the next opening, in place of the usual one; without a value there is none
    > N                     an event with N bytes of audio, signed where that is needed; of none it is the end
    > TYPE N                an event of another type
    >> TEXT                 a text message
    >>> HEX                 bytes as they are, nothing at the end of the request
    @ +MS                   so much time passes; if a deadline was reached, it expires
    ! EVENT                 an event of the session, see `_event`
    % ERROR                 why the session does not open, as Python writes it
What must go out, and is compared character by character:
    < LINE                  the status line, a header, an event as Amazon's own SDK reads it
    = INPUTS                what is asked for, or inputs to the session
    x CODE REASON           the close
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from amazon_transcribe.eventstream import EventStreamBuffer
from signed_by_hand import OPTIONS, UNIX_MS, Signer, audio, posted, presigned

from antiphon.core import capabilities, errors
from antiphon.core.endpoints import Surface
from antiphon.core.events import Audio, Cause, Closed, Failed, Final, Input, Interim, Opened, Output, Transcript, Word
from antiphon.core.text import join
from antiphon.core.units import NS_PER_MS
from antiphon.core.wire import Opening, Response, Step
from antiphon.surfaces.amazon.live import SocketEndpoint, StreamEndpoint
from wire_player import WirePlayer

_WORD = re.compile(r"(\S+)@(\d+)-(\d+)(?:/([\d.]+))?")


@dataclass
class Player(WirePlayer):
    headers: dict[str, str] = field(default_factory=dict)
    now_ns: int = 0
    opening: Opening | None = None
    endpoint: StreamEndpoint = field(default_factory=StreamEndpoint)
    signer: Signer | None = None
    surface: Surface[Any] | None = None

    def _line(self, mark: str, rest: str) -> Iterator[str]:
        match mark:
            case "?":
                yield from self._open(rest)
            case ">":
                *kind, count = rest.split(" ")
                yield from self._receive(self._event_of(int(count), *kind))
            case ">>":
                yield from self._receive(rest)
            case ">>>":
                yield from self._receive(bytes.fromhex(rest))
            case "@":
                self.now_ns += int(rest) * NS_PER_MS
                deadline_ns = self._open_surface().deadline_ns()
                if deadline_ns is not None and self.now_ns >= deadline_ns:
                    yield from self._step(self._open_surface().expire(self.now_ns))
            case "%":
                yield from self._refuse(eval(rest, dict(vars(capabilities))))
            case "!":
                yield from self._step(self._open_surface().emit(_event(rest), self.now_ns))
            case _:
                raise ValueError(mark)

    def _open_surface(self) -> Surface[Any]:
        assert self.surface is not None, "no opening was accepted"
        return self.surface

    def _open(self, how: str) -> Iterator[str]:
        options = {name: value for name, value in {**OPTIONS, **self.headers}.items() if value}
        self.headers.clear()
        self.surface, self.now_ns = None, 0
        self.opening = posted(options) if how == "post" else presigned(options)
        self.signer = Signer(self.opening)
        self.endpoint = StreamEndpoint() if how == "post" else SocketEndpoint()
        try:
            accepted = self.endpoint.negotiate(self.opening)
        except errors.AntiphonError as error:
            yield from self._refuse(error)
            return
        self.surface = accepted.surface
        yield from (f"< {name}: {value}" for name, value in accepted.headers)
        spec = accepted.spec
        each = " multichannel" if spec.multichannel else ""
        form = spec.format
        spoken = f" {spec.language}" if spec.language else ""
        several = f" one of {', '.join(spec.languages)}" if spec.detect else ""
        yield f"= {spec.model} {form.encoding} {form.sample_rate} Hz {form.channels} channels{each}{spoken}{several}"

    def _refuse(self, error: errors.AntiphonError) -> Iterator[str]:
        assert self.opening is not None
        yield from self._step(self.endpoint.refuse(self.opening, error))

    def _event_of(self, count: int, kind: str = "AudioEvent") -> bytes:
        assert self.opening is not None
        assert self.signer is not None
        event = audio(bytes(count), kind)
        if self.opening.method != "POST":
            return event
        return self.signer.event(event if count else b"", UNIX_MS + self.now_ns // NS_PER_MS)

    def _receive(self, message: str | bytes) -> Iterator[str]:
        yield from self._step(self._open_surface().receive(message, self.now_ns))

    def _step(self, step: Step) -> Iterator[str]:
        if step.inputs:
            yield "= " + " ".join(map(_input, step.inputs))
        if isinstance(step, Response):
            yield f"< {step.status}"
            yield from (f"< {name}: {value}" for name, value in step.headers)
            yield f"< {step.body.decode()}"
            return
        for send in step.sends:
            assert isinstance(send, bytes)
            buffer = EventStreamBuffer()
            buffer.add_data(send)
            for event in buffer:
                named = event.headers.get(":event-type") or event.headers[":exception-type"]
                assert event.headers[":content-type"] == "application/json"
                yield f"< {event.headers[':message-type']} {named} {event.payload.decode()}"
        if step.close is not None:
            yield f"x {step.close.code} {step.close.reason}".rstrip()


def _input(value: Input) -> str:
    return f"Audio({len(value.data)})" if isinstance(value, Audio) else type(value).__name__


def _event(text: str) -> Output:
    """An event from its line; a word is `text@from-to/confidence`: `opened MODEL`, `interim CH FROM TO WORDS`,
    `final CH FROM TO CAUSE WORDS`, `closed LENGTH CHANNELS`, `failed CLASS MESSAGE`.
    """
    name, *rest = text.split(" ")
    match name:
        case "opened":
            return Opened(rest[0])
        case "interim":
            return Interim(int(rest[0]), int(rest[1]), int(rest[2]), _transcript(rest[3:]))
        case "final":
            return Final(int(rest[0]), int(rest[1]), int(rest[2]), _transcript(rest[4:]), Cause(rest[3]))
        case "closed":
            return Closed(int(rest[0]), int(rest[1]), "0" * 64)
        case "failed":
            kind: type[errors.AntiphonError] = getattr(errors, rest[0])
            return Failed(kind(" ".join(rest[1:])))
    raise ValueError(text)


def _transcript(words: list[str]) -> Transcript:
    """A word `[LANGUAGE/CONFIDENCE]` first is what is spoken."""
    heard = []
    language, sure = "", 1.0
    if words and words[0].startswith("["):
        language, _, told = words.pop(0).strip("[]").partition("/")
        sure = float(told or 1)
    for word in words:
        match = _WORD.fullmatch(word)
        assert match is not None, word
        heard.append(Word(match[1], int(match[2]), int(match[3]), float(match[4] or 0.9)))
    return Transcript(join(word.text for word in heard), 0.9, tuple(heard), language=language, language_confidence=sure)
