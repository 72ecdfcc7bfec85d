"""Wire scripts for Google's surfaces: small text files that say what comes in, and exactly what must go out.

What comes in, messages in the text form of protobuf:
    ? VERSION [rest]        a new call of that version: a stream, a recording with `call`, or one over REST with `rest`
    : NAME: VALUE           a header (or metadata) of the next call
    > TEXT                  a message; of a stream the first opens it
    >> N                    a message with N bytes of audio
    | TEXT                  the body of a call over REST
    /                       no more comes
    + [NOUN] TEXT           the recognizer that is stored from now on; or the `PhraseSet` or `CustomClass`
    - LANGUAGE HEARD        the model that would answer does not hear it
    @ +MS                   so much time passes; if a deadline was reached, it expires
    ! EVENT                 an event of the session, see `_event`
What must go out, and is compared character by character:
    < LINE                  a message to the caller; over REST the status line, a header, the body
    = INPUTS                inputs to the session, or what is asked for
    x CODE REASON           the status, with its trailers below
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import text_format

from antiphon.core import errors
from antiphon.core.capabilities import SpeechAbility, UnsupportedLanguage
from antiphon.core.endpoints import Accepted, NeedsFirst, NeedsResource
from antiphon.core.events import (
    Audio,
    Cause,
    Closed,
    Failed,
    Final,
    Input,
    Interim,
    Opened,
    Output,
    SpeechStarted,
    Transcript,
    Word,
)
from antiphon.core.resources import Resource
from antiphon.core.specs import TranscribeSpec
from antiphon.core.units import NS_PER_MS
from antiphon.core.wire import HALF_CLOSED, Head, Opening, Step
from antiphon.surfaces.google import messages
from antiphon.surfaces.google.dialect import V1, V2, Dialect
from antiphon.surfaces.google.live import StreamingRecognize
from antiphon.surfaces.google.recognise import V1_REST, V2_REST, Recognize
from antiphon.surfaces.google.status import DETAILS, Code
from wire_player import WirePlayer

REQUEST_ID = "8c8ebea9-dbec-45fa-a035-e4632cb05b5f"
SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
DIALECTS = {"v1": V1, "v2": V2}
RESTS = {"v1": V1_REST[1], "v2": V2_REST[1]}
PATHS = {"v1": "/v1/speech:recognize", "v2": "/v2/projects/p/locations/global/recognizers/_:recognize"}


NOUNS = {"Recognizer": "google.recognizer", "PhraseSet": "google.phrase_set", "CustomClass": "google.custom_class"}


@dataclass
class Player(WirePlayer):
    """`sent` is what went out over gRPC, with the names of the messages."""

    now_ns: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    endpoint: Any = None
    surface: Any = None
    opening: Opening = field(default_factory=lambda: Opening("POST", "/"))
    dialect: Dialect = V2
    sent: list[tuple[str, bytes]] = field(default_factory=list)
    shape: str = ""
    stored: dict[str, bytes] = field(default_factory=dict)  # by kind

    def _line(self, mark: str, rest: str) -> Iterator[str]:
        match mark:
            case "?":
                version, _, self.shape = rest.partition(" ")
                self.dialect = DIALECTS[version]
                live = not self.shape
                rest = RESTS[version] if self.shape == "rest" else None
                self.endpoint = StreamingRecognize(self.dialect) if live else Recognize(self.dialect, rest=rest)
                self.opening = Opening("POST", PATHS[version], (), dict(self.headers), (), REQUEST_ID)
                self.headers.clear()
                self.surface = None
                if live:
                    needs = self.endpoint.negotiate(self.opening)
                    assert isinstance(needs, NeedsFirst)
            case ">":
                yield from self._message(self._written(rest))
            case ">>":
                field_ = self.dialect.names.audio
                message = messages.kind(self.dialect.name("StreamingRecognizeRequest"))(**{field_: bytes(int(rest))})
                yield from self._message(message.SerializeToString())
            case "|":
                yield from self._message(rest.encode())
            case "/":
                yield from self._message(HALF_CLOSED)
            case "+":
                noun, _, text = rest.partition(" ") if rest.startswith(tuple(NOUNS)) else ("Recognizer", "", rest)
                message = messages.kind(f"{V2.package}.{noun}")()
                self.stored[NOUNS[noun]] = text_format.Parse(text, message).SerializeToString()
            case "-":
                asked, heard = rest.split()
                self.surface = None
                yield from self._step(self.endpoint.refuse(self.opening, UnsupportedLanguage(asked, [heard])))
            case "@":
                self.now_ns += int(rest) * NS_PER_MS
                deadline_ns = self.surface.deadline_ns()
                if deadline_ns is not None and self.now_ns >= deadline_ns:
                    yield from self._step(self.surface.expire(self.now_ns))
            case "!":
                assert self.surface is not None, "no call was accepted"
                yield from self._step(self.surface.emit(_event(rest), self.now_ns))
            case _:
                raise ValueError(mark)

    def _written(self, text: str) -> bytes:
        name = "RecognizeRequest" if self.shape else "StreamingRecognizeRequest"
        written: bytes = text_format.Parse(text, messages.kind(self.dialect.name(name))()).SerializeToString()
        return written

    def _message(self, message: str | bytes) -> Iterator[str]:
        if self.surface is None:
            try:
                accepted = self.endpoint.negotiate(self.opening, message)
                while isinstance(accepted, NeedsResource):
                    yield f"= {accepted.kind} {accepted.name}"
                    accepted = self._resolved(accepted)
            except errors.AntiphonError as error:
                yield from self._step(self.endpoint.refuse(self.opening, error))
                return
            self.surface = accepted.surface
            yield f"= {_asked(accepted)}"
            if self.shape:
                return
        yield from self._step(self.surface.receive(message, self.now_ns))

    def _resolved(self, needs: NeedsResource[Any]) -> Any:
        """Raises `AntiphonError`."""
        if needs.kind not in self.stored:
            raise errors.NotFound(f"{needs.name!r} not found.", param="name")
        body = self.stored[needs.kind]
        noun = next(noun for noun, kind in NOUNS.items() if kind == needs.kind)
        deleted = messages.read(f"{V2.package}.{noun}", body).HasField("delete_time")
        return needs.resolve(Resource(needs.name, body, deleted))

    def _step(self, step: Step) -> Iterator[str]:
        if step.inputs:
            yield "= " + " ".join(map(_input, step.inputs))
        for send in step.sends:
            if isinstance(send, Head):
                yield f"< {send.status}"
                yield from (f"< {name}: {value}" for name, value in send.headers)
            elif self.shape == "rest":
                assert isinstance(send, bytes)
                yield f"< {send.decode()}"
            else:
                assert isinstance(send, bytes)
                name = self.dialect.name("RecognizeResponse" if self.shape else "StreamingRecognizeResponse")
                self.sent.append((name, send))
                yield f"< {_shown(messages.read(name, send))}"
        if step.close is not None and self.shape != "rest":
            yield f"x {Code(step.close.code).name} {step.close.reason}".rstrip()
            for name, value in step.close.trailers:
                if name == DETAILS:
                    assert isinstance(value, bytes)
                    for detail in messages.read("google.rpc.Status", value).details:
                        kind = detail.type_url.rpartition("/")[2]
                        yield f"x   {kind} {_shown(messages.read(kind, detail.value))}"
                else:
                    yield f"x   {name}: {value!r}"


def _shown(message: Any) -> str:
    text: str = text_format.MessageToString(message, as_one_line=True)
    return " ".join(text.split())


def _asked(accepted: Accepted[TranscribeSpec]) -> str:
    spec = accepted.spec
    form = spec.format
    flags = ("multichannel", "interims", "speech_events", "word_times")
    said = [spec.model, form.encoding, f"{form.sample_rate}Hz", f"{form.channels}ch"]
    said += [name for name in flags if getattr(spec, name)]
    said += [f"{name}={getattr(spec, name)!r}" for name in ("languages", "keyterms", "prompt") if getattr(spec, name)]
    return " ".join((*said, f"endpointing={spec.endpointing_ms}", *([repr(accepted.media)] if accepted.media else [])))


def _input(value: Input) -> str:
    return f"Audio({len(value.data)})" if isinstance(value, Audio) else type(value).__name__


def _event(text: str) -> Output:
    """An event from its line; a word is `text@from-to`, before the first may be the `[language]`, a time milliseconds,
    CH a channel:

    `opened MODEL [what it cannot do]`, `started CH AT`, `interim CH FROM TO WORDS`, `final CH FROM TO CAUSE WORDS`,
    `closed LENGTH CHANNELS`, `failed CLASS [retry=SECONDS] MESSAGE`.
    """
    name, *rest = text.split(" ")
    match name:
        case "opened":
            return Opened(rest[0], unmet_speech=frozenset(map(SpeechAbility, rest[1:])))
        case "started":
            return SpeechStarted(int(rest[0]), int(rest[1]))
        case "interim":
            return Interim(int(rest[0]), int(rest[1]), int(rest[2]), _transcript(rest[3:]))
        case "final":
            return Final(int(rest[0]), int(rest[1]), int(rest[2]), _transcript(rest[4:]), Cause(rest[3]))
        case "closed":
            return Closed(int(rest[0]), int(rest[1]), SHA256)
        case "failed":
            kind: type[errors.AntiphonError] = getattr(errors, rest[0])
            retry = int(rest.pop(1).removeprefix("retry=")) if rest[1].startswith("retry=") else None
            return Failed(kind(" ".join(rest[1:]), retry_after_s=retry))
    raise ValueError(text)


def _transcript(words: list[str]) -> Transcript:
    language = words.pop(0)[1:-1] if words and words[0].startswith("[") else ""
    heard = []
    for word in words:
        said, _, times = word.rpartition("@")
        start, _, end = times.partition("-")
        heard.append(Word(said, int(start), int(end), 0.75))
    return Transcript(" ".join(word.text for word in heard), 0.5, tuple(heard), language=language)
