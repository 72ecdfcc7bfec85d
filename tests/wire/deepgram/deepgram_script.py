"""Wire scripts for Deepgram's surfaces: small text files that say what comes in, and exactly what must go out.

What comes in:
    ? NAME=VALUE&...        a new opening (a request, for files), with that query
    : NAME: VALUE           a header of the next opening
    > TEXT                  a text message, or the body of the request
    >> N                    a binary message, or a body, of N bytes
    @ +MS                   so much time passes; if a deadline was reached, it expires
    ! EVENT                 an event of the session, see `_event`
What must go out, and is compared character by character:
    < LINE                  a message to the caller, or the status line, a header, the body
    = INPUTS                inputs to the session, the media of a request, or what shall be spoken and how
    x CODE REASON           the close
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from antiphon.core import errors
from antiphon.core.capabilities import SpeechAbility, SpeechCapabilities, settle_speech
from antiphon.core.endpoints import Accepted, AnswerSurface, DialogueEndpoint, Surface
from antiphon.core.events import (
    AllSpoken,
    Audio,
    Cause,
    CharacterTime,
    Cleared,
    Closed,
    ContextEnded,
    Failed,
    Final,
    Flush,
    Flushed,
    Guide,
    Input,
    Interim,
    Opened,
    Output,
    Retune,
    Say,
    SpeechOutput,
    SpeechResumed,
    SpeechStarted,
    Spoken,
    Transcript,
    TurnMayEnd,
    UtteranceEnded,
    Word,
)
from antiphon.core.specs import SpeakSpec, TranscribeSpec
from antiphon.core.units import NS_PER_MS
from antiphon.core.wire import Body, Head, Opening, Step
from antiphon.surfaces.deepgram.endpoint import Endpoint
from antiphon.surfaces.deepgram.flux import Flux, FluxEndpoint
from antiphon.surfaces.deepgram.flux_speak import FluxSpeakEndpoint, FluxSpeech
from antiphon.surfaces.deepgram.live import LiveListen, LiveListenEndpoint
from antiphon.surfaces.deepgram.prerecorded import PrerecordedListenEndpoint
from antiphon.surfaces.deepgram.speak import SpeakEndpoint
from antiphon.surfaces.deepgram.speak_live import LiveSpeakEndpoint, LiveSpeech
from wire_player import WirePlayer

ENGLISH = SpeechCapabilities()  # of what answers in the scripts
LACKING = frozenset({SpeechAbility.GUIDANCE})
REQUEST_ID = "8c8ebea9-dbec-45fa-a035-e4632cb05b5f"
RECEIVED_UNIX_MS = 1_724_974_675_202
SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

_WORD = re.compile(r"(\S+)@(\d+)-(\d+)(?:/([\d.]+))?")


@dataclass
class Player(WirePlayer):
    """`sent` is the text of what went out."""

    live: bool
    speak: bool = False
    flux: bool = False
    now_ns: int = 0
    surface: Surface[Any] | AnswerSurface[Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    pending: Opening | None = None
    sent: list[str] = field(default_factory=list)

    def _line(self, mark: str, rest: str) -> Iterator[str]:
        match mark:
            case "?":
                yield from self._open(rest)
            case ">" | ">>":
                message = rest if mark == ">" else bytes(int(rest))
                if self.live:
                    yield from self._step(self._live().receive(message, self.now_ns))
                else:
                    yield from self._request(message if isinstance(message, bytes) else message.encode())
            case "@":
                self.now_ns += int(rest) * NS_PER_MS
                deadline_ns = self._live().deadline_ns()
                if deadline_ns is not None and self.now_ns >= deadline_ns:
                    yield from self._step(self._live().expire(self.now_ns))
            case "!":
                assert self.surface is not None, "no opening was accepted"
                yield from self._step(self.surface.emit(_event(rest), self.now_ns))
            case _:
                raise ValueError(mark)

    def _live(self) -> Surface[Any]:
        assert isinstance(self.surface, LiveListen | LiveSpeech | Flux | FluxSpeech), "no opening was accepted"
        return self.surface

    def _open(self, query: str) -> Iterator[str]:
        offered = tuple(filter(None, self.headers.pop("sec-websocket-protocol", "").split(", ")))
        self.pending = Opening(
            "GET" if self.live else "POST",
            "/v2/listen" if self.flux else "/v1/speak" if self.speak else "/v1/listen",
            tuple(parse_qsl(query, keep_blank_values=True)),
            dict(self.headers),
            offered,
            REQUEST_ID,
            RECEIVED_UNIX_MS,
        )
        self.headers.clear()
        self.surface = None
        if self.live:
            endpoint: DialogueEndpoint = LiveListenEndpoint()
            if self.speak or self.flux:
                speaking = FluxSpeakEndpoint() if self.flux else LiveSpeakEndpoint()
                endpoint = speaking if self.speak else FluxEndpoint()
            try:
                accepted = endpoint.negotiate(self.pending)
                if isinstance(accepted.spec, TranscribeSpec):
                    settle_speech(accepted.spec, ENGLISH)
            except errors.AntiphonError as error:
                yield from self._refused(endpoint, error)
            else:
                yield from self._accepted(accepted)

    def _request(self, body: bytes) -> Iterator[str]:
        endpoint = SpeakEndpoint() if self.speak else PrerecordedListenEndpoint()
        assert self.pending is not None
        try:
            if isinstance(endpoint, SpeakEndpoint):
                asked = endpoint.negotiate(self.pending, body)
                assert isinstance(asked.spec, SpeakSpec)
                self.surface, wanted = asked.surface, _speech(asked.spec)
            else:
                accepted = endpoint.negotiate(self.pending, Body(body))
                settle_speech(accepted.spec, ENGLISH)
                self.surface, wanted = accepted.surface, repr(accepted.media)
        except errors.AntiphonError as error:
            yield from self._refused(endpoint, error)
        else:
            yield f"= {wanted}"

    def _accepted(self, accepted: Accepted[Any]) -> Iterator[str]:
        self.surface = accepted.surface
        yield "< 101"
        for name, value in accepted.headers_without(LACKING):
            yield f"< {name}: {value}"
        if accepted.subprotocol is not None:
            yield f"< sec-websocket-protocol: {accepted.subprotocol}"
        if isinstance(accepted.spec, SpeakSpec):
            yield f"= {_speech(accepted.spec)}"
        elif accepted.spec.turns is not None:
            yield f"= {accepted.spec.turns}"

    def _refused(self, endpoint: DialogueEndpoint | Endpoint, error: errors.AntiphonError) -> Iterator[str]:
        assert self.pending is not None
        answer = endpoint.refuse(self.pending, error)
        yield f"< {answer.status}"
        yield from (f"< {name}: {value}" for name, value in answer.headers)
        yield f"< {answer.body.decode()}"

    def _step(self, step: Step) -> Iterator[str]:
        if step.inputs:
            yield "= " + " ".join(map(_input, step.inputs))
        for send in step.sends:
            match send:
                case Head():
                    yield f"< {send.status}"
                    yield from (f"< {name}: {value}" for name, value in send.headers)
                case bytes():
                    if not self.speak:
                        self.sent.append(send.decode())
                    yield f"< {send.decode()}"
                case str():
                    self.sent.append(send)
                    yield f"< {send}"
        if step.close is not None:
            yield f"x {step.close.code} {step.close.reason}".rstrip()


def _input(value: Input) -> str:
    match value:
        case Audio():
            return f"Audio({len(value.data)})"
        case Say():
            return f"Say({value.text!r})"
        case Retune() | Guide():
            return str(value)
    if isinstance(value, Flush) and value.channel is not None:
        return f"Flush(channel={value.channel})"
    return type(value).__name__


def _speech(spec: SpeakSpec) -> str:
    assert spec.model == spec.voice
    assert spec.stream
    form = spec.format
    rate = f"{form.sample_rate} Hz" if form.bit_rate is None else f"{form.sample_rate} Hz {form.bit_rate} bit/s"
    text = "live" if spec.live else repr(spec.text)
    return " ".join((text, spec.voice, form.codec, form.container, rate, f"x{spec.speed}", *spec.tags))


def _event(text: str) -> Output | SpeechOutput:
    """An event from its line; a word is `text@from-to/confidence`, a time milliseconds, CH a channel; with `sure=...`
    at its end it says how sure it is that the turn is over, with `in=LANGUAGE` before that what was heard:

    `opened MODEL [guided [LANGUAGE...]]`, `started CH AT`, `may-end CH AT`, `resumed CH AT`,
    `interim CH FROM TO CONFIDENCE WORDS`,
    `final CH FROM TO CAUSE CONFIDENCE WORDS`, `utterance-ended CH AT`, `closed LENGTH CHANNELS`,
    `failed CLASS [retry=SECONDS] MESSAGE`; of speech that leaves `spoken SOUND [FROM-TO [TEXT]]`, `flushed`,
    `cleared`, `ended`, `all-spoken CHARACTERS LENGTH`.
    """
    name, *rest = text.split(" ")
    sure = float(rest.pop().removeprefix("sure=")) if rest and rest[-1].startswith("sure=") else None
    match name:
        case "opened":
            if rest[1:2] == ["guided"]:
                return Opened(rest[0], languages=tuple(rest[2:]) or ("en",), guided=True)
            return Opened(rest[0], unmet_speech=LACKING, languages=("en",))
        case "started":
            return SpeechStarted(int(rest[0]), int(rest[1]))
        case "interim":
            return Interim(int(rest[0]), int(rest[1]), int(rest[2]), _transcript(rest[3], rest[4:]), sure)
        case "final":
            cause = Cause(rest[3])
            return Final(int(rest[0]), int(rest[1]), int(rest[2]), _transcript(rest[4], rest[5:]), cause, sure)
        case "may-end":
            return TurnMayEnd(int(rest[0]), int(rest[1]))
        case "resumed":
            return SpeechResumed(int(rest[0]), int(rest[1]))
        case "utterance-ended":
            return UtteranceEnded(int(rest[0]), int(rest[1]))
        case "closed":
            return Closed(int(rest[0]), int(rest[1]), SHA256)
        case "spoken":
            times = re.fullmatch(r"(.*) (\d+)-(\d+)(?: (.*))?", " ".join(rest))
            if times is None:
                return Spoken(" ".join(rest).encode(), 0, 100)
            start_ms, end_ms = int(times[2]), int(times[3])
            said = tuple(CharacterTime(char, start_ms, end_ms) for char in times[4] or "")
            return Spoken(times[1].encode(), start_ms, end_ms, said)
        case "flushed":
            return Flushed()
        case "cleared":
            return Cleared()
        case "ended":
            return ContextEnded()
        case "all-spoken":
            return AllSpoken(int(rest[0]), int(rest[1]))
        case "failed":
            kind: type[errors.AntiphonError] = getattr(errors, rest[0])
            retry = int(rest.pop(1).removeprefix("retry=")) if rest[1].startswith("retry=") else None
            return Failed(kind(" ".join(rest[1:]), retry_after_s=retry))
    raise ValueError(text)


def _transcript(confidence: str, words: list[str]) -> Transcript:
    heard = []
    language = words.pop().removeprefix("in=") if words and words[-1].startswith("in=") else ""
    for word in words:
        match = _WORD.fullmatch(word)
        assert match is not None, word
        heard.append(Word(match[1], int(match[2]), int(match[3]), float(match[4] or 0.9)))
    return Transcript(" ".join(word.text for word in heard), float(confidence), tuple(heard), (), language)
