"""Wire scripts for ElevenLabs' surfaces: small text files that say what comes in, and exactly what must go out.

What comes in:
    ? METHOD PATH           a call; `WS` is the opening of a WebSocket
    : NAME: VALUE           a header of the next call
    + NAME=VALUE            a field of the form of the next request
    > TEXT                  a message, or the body of the request, which is then read; of a form, its file
    @ MS                    so much time passes; if a deadline was reached, it expires
    ! EVENT                 an event of the session, or an error, as Python writes it; `said(...)` are characters
    % ERROR                 why the session does not open, as Python writes it
What must go out, and is compared character by character:
    < LINE                  a message to the caller, or the status line, a header, the body
    = VALUE                 what is asked for, or an input to the session
    x CODE REASON           the close
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import parse_qsl

from antiphon.core import capabilities, errors, events, redaction
from antiphon.core.endpoints import Accepted, ProjectSpending
from antiphon.core.errors import AntiphonError
from antiphon.core.events import CharacterTime
from antiphon.core.specs import SpeakSpec, TranscribeSpec
from antiphon.core.units import NS_PER_MS
from antiphon.core.wire import Bearer, Body, Head, ModelCard, Opening, Response, Step, VoiceCard
from antiphon.surfaces.elevenlabs.account import Account
from antiphon.surfaces.elevenlabs.dialogue import TextToDialogue
from antiphon.surfaces.elevenlabs.dialogue_live import LiveDialogueEndpoint
from antiphon.surfaces.elevenlabs.live import LiveSpeechEndpoint
from antiphon.surfaces.elevenlabs.speech import TextToSpeech
from antiphon.surfaces.elevenlabs.speech_to_text import SpeechToText
from antiphon.surfaces.elevenlabs.speech_to_text_live import RealtimeSpeechToText
from antiphon.surfaces.elevenlabs.voices import AllVoices, Models, OneVoice, SearchVoices
from wire_player import WirePlayer

REQUEST_ID = "8c8ebea9-dbec-45fa-a035-e4632cb05b5f"
RECEIVED_UNIX_MS = 1_796_083_200_000  # 1 December 2026

VOICES = [
    VoiceCard("21m00Tcm4TlvDq8ikWAM", "joe", "en-US", 22_050),
    VoiceCard("amy", "amy", "en-GB", 16_000),
    VoiceCard("joe", "joe", "en-US", 22_050),
]
MODELS = [ModelCard("eleven_multilingual_v2", "piper-2026", 0), ModelCard("piper-2026", "piper-2026", 0)]
SPENT = ProjectSpending("default", 1234)


def said(text: str, start_ms: int, each_ms: int) -> tuple[CharacterTime, ...]:
    """Its characters, one after the other."""
    starts = range(start_ms, start_ms + len(text) * each_ms, each_ms)
    return tuple(CharacterTime(char, start, start + each_ms) for char, start in zip(text, starts, strict=True))


NAMES: dict[str, Any] = {
    **vars(redaction),
    **vars(capabilities),
    **vars(events),
    **vars(errors),
    "said": said,
}


@dataclass
class Player(WirePlayer):
    now_ns: int = 0
    surface: Any = None
    waiting: tuple[Any, Opening] | None = None
    opened: tuple[Any, ...] = ()  # the endpoint, and its opening
    headers: dict[str, str] = field(default_factory=dict)
    sent: list[tuple[str, str]] = field(default_factory=list)  # the pattern of the path, and what was said there
    path: str = ""
    fields: list[tuple[str, str]] = field(default_factory=list)

    def _line(self, mark: str, rest: str) -> Iterator[str]:
        match mark:
            case "?":
                yield from self._call(rest)
            case "+":
                name, _, value = rest.partition("=")
                self.fields.append((name, value))
            case ">" if self.waiting is not None:
                endpoint, opening = self.waiting
                self.waiting = None
                body: Any = rest.encode()
                if isinstance(endpoint, SpeechToText):
                    body, self.fields = Body(body, tuple(self.fields), has_file=bool(body)), []
                yield from self._open(endpoint, opening, lambda: endpoint.negotiate(opening, body))
            case ">":
                yield from self._step(self.surface.receive(rest, self.now_ns))
            case "@":
                self.now_ns += int(rest) * NS_PER_MS
                deadline_ns = self.surface.deadline_ns()
                if deadline_ns is not None and deadline_ns <= self.now_ns:
                    yield from self._step(self.surface.expire(self.now_ns))
            case "%":
                yield from self._refuse(*self.opened, eval(rest, dict(NAMES)))
            case "!":
                event = eval(rest, dict(NAMES))
                event = events.Failed(event) if isinstance(event, AntiphonError) else event
                yield from self._step(self.surface.emit(event, self.now_ns))
            case _:
                raise ValueError(mark)

    def _call(self, rest: str) -> Iterator[str]:
        method, _, url = rest.partition(" ")
        path, _, query = url.partition("?")
        headers, self.headers = self.headers, {}
        pairs = tuple(parse_qsl(query, keep_blank_values=True))
        opening = Opening(method, path, pairs, headers, (), REQUEST_ID, RECEIVED_UNIX_MS)
        self.path, endpoint = route_of(opening)
        if isinstance(credential := endpoint.credential(opening), Bearer):
            yield f"= credential {credential.secret}"
        if method == "POST":
            self.waiting = endpoint, opening
        elif method == "WS":
            yield from self._open(endpoint, opening, lambda: endpoint.negotiate(opening))
        else:
            answer = tell(endpoint, opening)
            self.sent.append((self.path, answer.body.decode()))
            yield from _response(answer)

    def _open(self, endpoint: Any, opening: Opening, negotiate: Callable[[], Any]) -> Iterator[str]:
        try:
            call = negotiate()
        except AntiphonError as error:
            yield from self._refuse(endpoint, opening, error)
            return
        self.surface, self.opened = call.surface, (endpoint, opening)
        yield f"= {_changed(call.spec)}"
        if getattr(call, "media", None) is not None:
            yield f"= {call.media}"
        headers = call.headers_without(()) if isinstance(call, Accepted) else getattr(call, "headers", ())
        for name, value in headers:
            yield f"< {name}: {value}"

    def _refuse(self, endpoint: Any, opening: Opening, error: AntiphonError) -> Iterator[str]:
        refused = endpoint.refuse(opening, error)
        yield from _response(refused) if isinstance(refused, Response) else self._step(refused)

    def _step(self, step: Step) -> Iterator[str]:
        yield from (f"= {_given(given)}" for given in step.inputs)
        for message in step.sends:
            if isinstance(message, Head):
                yield from _head(message)
            else:
                text = message if isinstance(message, str) else message.decode()
                self.sent.append((self.path, text))
                yield "< " + text.replace("\n", "\\n")
        if step.close:
            yield f"x {step.close.code} {step.close.reason}".rstrip()


def _given(given: Any) -> str:
    return f"Audio of {len(given.data)} bytes" if isinstance(given, events.Audio) else str(given)


def _changed(spec: SpeakSpec | TranscribeSpec) -> str:
    """The spec, without what is as usual."""
    usual = type(spec)(spec.model)
    told = {each.name: getattr(spec, each.name) for each in fields(spec)}
    changed = {name: value for name, value in told.items() if name == "model" or value != getattr(usual, name)}
    if isinstance(spec, SpeakSpec):
        form = spec.format
        changed["format"] = f"{form.codec}/{form.container}/{form.sample_rate}/{form.bit_rate}"
    else:
        changed["format"] = f"{spec.format.encoding}/{spec.format.sample_rate}"
        if spec.redaction is not None:
            hidden, told = (",".join(sorted(kinds)) for kinds in (spec.redaction.entities, spec.redaction.identified))
            changed["redaction"] = f"[{hidden}] hidden, [{told}] told"
    return f"{type(spec).__name__} " + " ".join(f"{name}={value}" for name, value in changed.items())


def _response(response: Response) -> Iterator[str]:
    yield from _head(Head(response.status, response.headers))
    yield f"< {response.body.decode()}"


def _head(head: Head) -> Iterator[str]:
    yield f"< HTTP {head.status}"
    for name, value in head.headers:
        yield f"< {name}: {value}"


SPEECH = "/v1/text-to-speech/{voice_id}"
DIALOGUE = "/v1/text-to-dialogue"
ENDPOINTS: dict[tuple[str, str], Any] = {
    ("POST", SPEECH): TextToSpeech(stream=False, timed=False),
    ("POST", f"{SPEECH}/stream"): TextToSpeech(stream=True, timed=False),
    ("POST", f"{SPEECH}/with-timestamps"): TextToSpeech(stream=False, timed=True),
    ("POST", f"{SPEECH}/stream/with-timestamps"): TextToSpeech(stream=True, timed=True),
    ("WS", f"{SPEECH}/stream-input"): LiveSpeechEndpoint(many=False),
    ("WS", f"{SPEECH}/multi-stream-input"): LiveSpeechEndpoint(many=True),
    ("POST", DIALOGUE): TextToDialogue(stream=False, timed=False),
    ("POST", f"{DIALOGUE}/stream"): TextToDialogue(stream=True, timed=False),
    ("POST", f"{DIALOGUE}/with-timestamps"): TextToDialogue(stream=False, timed=True),
    ("POST", f"{DIALOGUE}/stream/with-timestamps"): TextToDialogue(stream=True, timed=True),
    ("WS", f"{DIALOGUE}/multi-stream-input"): LiveDialogueEndpoint(),
    ("POST", "/v1/speech-to-text"): SpeechToText(),
    ("WS", "/v1/speech-to-text/realtime"): RealtimeSpeechToText(),
    ("GET", "/v1/voices"): AllVoices(),
    ("GET", "/v1/voices/{voice_id}"): OneVoice(),
    ("GET", "/v2/voices"): SearchVoices(),
    ("GET", "/v1/models"): Models(),
    ("GET", "/v1/user"): Account(user=True),
    ("GET", "/v1/user/subscription"): Account(user=False),
}


def route_of(opening: Opening) -> tuple[str, Any]:
    """The pattern of that path, and the endpoint."""
    return next(
        (pattern, endpoint)
        for (method, pattern), endpoint in ENDPOINTS.items()
        if method == opening.method and _fits(pattern, opening.path)
    )


def _fits(pattern: str, path: str) -> bool:
    wanted, found = pattern.split("/"), path.split("/")
    return len(wanted) == len(found) and all(
        each.startswith("{") or each == there for each, there in zip(wanted, found, strict=True)
    )


def tell(endpoint: Any, opening: Opening) -> Response:
    """The answer to a `GET`, or its refusal."""
    try:
        if isinstance(endpoint, Account):
            assert 0 < endpoint.since_unix_ms(opening) <= opening.received_unix_ms
            return endpoint.answer(opening, SPENT)
        answer: Response = endpoint.answer(opening, VOICES, MODELS)
        return answer
    except AntiphonError as error:
        return endpoint.refuse(opening, error)
