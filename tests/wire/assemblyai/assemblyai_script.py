"""Wire scripts for AssemblyAI's surfaces: small text files that say what comes in, and exactly what must go out.

What comes in:
    ? NAME=VALUE&...        a new opening (a request, for recordings), with that query
    : NAME: VALUE           a header of the next opening; `settled` is what was settled with its token
    > TEXT                  a text message, or the `config` of a recording
    >> N                    a binary message, or a recording, of N bytes
    @ +MS                   so much time passes; if a deadline was reached, it expires
    ! EVENT                 an event of the session, see `_event`
What must go out, and is compared character by character:
    < LINE                  a message to the caller, or the status line, a header, the body
    = INPUTS                inputs to the session, or what is asked of it
    x CODE REASON           the close
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from assemblyai.streaming.v3 import models

from antiphon.core import errors
from antiphon.core.capabilities import SpeechAbility
from antiphon.core.endpoints import Accepted
from antiphon.core.events import (
    Audio,
    Cause,
    Closed,
    Failed,
    Final,
    Guide,
    Interim,
    Opened,
    Output,
    Progress,
    Retune,
    SpeechResumed,
    SpeechStarted,
    Transcript,
    TurnMayEnd,
    UtteranceEnded,
    Word,
)
from antiphon.core.units import NS_PER_MS
from antiphon.core.wire import Body, Head, Opening, ShortToken, Step
from antiphon.surfaces.assemblyai.endpoint import Endpoint
from antiphon.surfaces.assemblyai.live import StreamEndpoint
from antiphon.surfaces.assemblyai.sync import SyncEndpoint
from antiphon.surfaces.assemblyai.tokens import TokenEndpoint
from vendor_types import check
from wire_player import WirePlayer

REQUEST_ID = "8c8ebea9-dbec-45fa-a035-e4632cb05b5f"
RECEIVED_UNIX_MS = 1_724_974_675_202
HEARING = ("language", "languages", "detect", "prompt", "keyterms")  # as fields of the spec
SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

_WORD = re.compile(r"(\S+)@(\d+)-(\d+)(?:/([\d.]+))?")


def check_event(message: dict[str, Any]) -> None:
    """One message of a stream is as the SDK types it. It takes Unix seconds where it has a time."""
    if message["type"] == "Begin":
        assert isinstance(message["expires_at"], int)
        message = {**message, "expires_at": datetime.fromtimestamp(message["expires_at"], UTC)}
    check(getattr(models, f"{message['type']}Event"), message)


@dataclass
class Player(WirePlayer):
    """`sent` is the text of what went out. `kind` is "stream", "sync" or "token"."""

    kind: str
    now_ns: int = 0
    surface: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    pending: Opening | None = None
    config: str = ""
    sent: list[str] = field(default_factory=list)

    def _line(self, mark: str, rest: str) -> Iterator[str]:
        match mark:
            case "?":
                yield from self._open(rest)
            case ">" | ">>":
                message = rest if mark == ">" else bytes(int(rest))
                if self.kind == "stream":
                    yield from self._step(self.surface.receive(message, self.now_ns))
                elif isinstance(message, str):
                    self.config = message
                else:
                    yield from self._record(message)
            case "@":
                self.now_ns += int(rest) * NS_PER_MS
                deadline_ns = self.surface.deadline_ns()
                if deadline_ns is not None and self.now_ns >= deadline_ns:
                    yield from self._step(self.surface.expire(self.now_ns))
            case "!":
                yield from self._step(self.surface.emit(_event(rest), self.now_ns))
            case _:
                raise ValueError(mark)

    def _open(self, query: str) -> Iterator[str]:
        settled = self.headers.pop("settled", None)
        self.pending = Opening(
            "POST" if self.kind == "sync" else "GET",
            {"stream": "/v3/ws", "sync": "/v1/transcribe/live", "token": "/v3/token"}[self.kind],
            tuple(parse_qsl(query, keep_blank_values=True)),
            dict(self.headers),
            (),
            REQUEST_ID,
            RECEIVED_UNIX_MS,
            None if settled is None else settled.encode(),
        )
        self.headers.clear()
        self.surface = None
        if self.kind == "stream":
            yield from self._stream(self.pending)
        elif self.kind == "token":
            yield from self._token(self.pending)

    def _stream(self, opening: Opening) -> Iterator[str]:
        endpoint = StreamEndpoint()
        try:
            accepted = endpoint.negotiate(opening)
        except errors.AntiphonError as error:
            yield from self._step(endpoint.refuse(opening, error))
            return
        yield "< 101"
        yield from self._accepted(accepted)

    def _token(self, opening: Opening) -> Iterator[str]:
        endpoint = TokenEndpoint()
        try:
            asked = endpoint.ask(opening, b"")
        except errors.AntiphonError as error:
            yield from self._refused(endpoint, error)
            return
        assert isinstance(asked, ShortToken)
        yield f"= {asked.lifetime_s} s once={asked.once} settled={asked.settled.decode()}"
        yield from self._step(asked.tell("ek_1"))

    def _record(self, audio: bytes) -> Iterator[str]:
        endpoint = SyncEndpoint()
        assert self.pending is not None
        fields = (("config", self.config),) if self.config else ()
        self.config = ""
        try:
            accepted = endpoint.negotiate(self.pending, Body(audio, fields, "a.wav", has_file=True))
        except errors.AntiphonError as error:
            yield from self._refused(endpoint, error)
            return
        yield from self._accepted(accepted)

    def _accepted(self, accepted: Accepted[Any]) -> Iterator[str]:
        self.surface = accepted.surface
        for name, value in accepted.headers_without((SpeechAbility.GUIDANCE,)):
            yield f"< {name}: {value}"
        spec, form = accepted.spec, accepted.spec.format
        hearing = [f"{name}={value!r}" for name in HEARING if (value := getattr(spec, name))]
        if hearing:
            yield f"= {' '.join(hearing)}"
        told = f"{form.encoding} {form.sample_rate} Hz x{form.channels}"
        yield f"= {spec.model} {told} {spec.turns or f'timed={spec.word_times}'}"

    def _refused(self, endpoint: Endpoint, error: errors.AntiphonError) -> Iterator[str]:
        assert self.pending is not None
        yield from self._step(endpoint.refuse(self.pending, error))

    def _step(self, step: Step) -> Iterator[str]:
        if step.inputs:
            yield "= " + " ".join(map(_input, step.inputs))
        for send in step.sends:
            if isinstance(send, Head):
                yield f"< {send.status}"
                yield from (f"< {name}: {value}" for name, value in send.headers)
                continue
            text = send if isinstance(send, str) else send.decode()
            self.sent.append(text)
            yield f"< {text}"
        if step.close is not None and self.kind == "stream":
            yield f"x {step.close.code} {step.close.reason}".rstrip()


def _input(value: Any) -> str:
    if isinstance(value, Audio):
        return f"Audio({len(value.data)})"
    return str(value) if isinstance(value, Retune | Guide) else type(value).__name__


def _event(text: str) -> Output:
    """An event from its line; a word is `text@from-to/confidence`, a time milliseconds; with `sure=...` at its end it
    says how sure it is that the turn is over, and with `in=LANGUAGE/CONFIDENCE` before that what was heard. A model
    that opens hears English and cannot be guided, or with `hears=LANGUAGE,...` those and can:

    `opened MODEL`, `started AT`, `may-end AT`, `resumed AT`, `interim FROM TO WORDS`, `final FROM TO CAUSE WORDS`,
    `utterance-ended AT`, `progress RECEIVED SETTLED PROBABILITY`, `closed LENGTH`,
    `failed CLASS [retry=SECONDS] MESSAGE`.
    """
    name, *rest = text.split(" ")
    sure = float(rest.pop().removeprefix("sure=")) if rest and rest[-1].startswith("sure=") else None
    match name:
        case "opened":
            if len(rest) == 1:
                return Opened(rest[0], languages=("en",), unmet_speech=frozenset((SpeechAbility.GUIDANCE,)))
            return Opened(rest[0], languages=tuple(rest[1].removeprefix("hears=").split(",")), guided=True)
        case "started":
            return SpeechStarted(0, int(rest[0]))
        case "interim":
            return Interim(0, int(rest[0]), int(rest[1]), _transcript(rest[2:]), sure)
        case "final":
            return Final(0, int(rest[0]), int(rest[1]), _transcript(rest[3:]), Cause(rest[2]), sure)
        case "may-end":
            return TurnMayEnd(0, int(rest[0]))
        case "resumed":
            return SpeechResumed(0, int(rest[0]))
        case "utterance-ended":
            return UtteranceEnded(0, int(rest[0]))
        case "progress":
            return Progress(0, int(rest[0]), int(rest[1]), float(rest[2]))
        case "closed":
            return Closed(int(rest[0]), 1, SHA256)
        case "failed":
            kind: type[errors.AntiphonError] = getattr(errors, rest[0])
            retry = int(rest.pop(1).removeprefix("retry=")) if rest[1].startswith("retry=") else None
            return Failed(kind(" ".join(rest[1:]), retry_after_s=retry))
    raise ValueError(text)


def _transcript(words: list[str]) -> Transcript:
    heard = []
    language, _, likely = (
        words.pop().removeprefix("in=").partition("/") if words and words[-1].startswith("in=") else ("", "", "")
    )
    for word in words:
        match = _WORD.fullmatch(word)
        assert match is not None, word
        heard.append(Word(match[1], int(match[2]), int(match[3]), float(match[4] or 0.9)))
    return Transcript(" ".join(word.text for word in heard), 0.9, tuple(heard), (), language, float(likely or 1))
