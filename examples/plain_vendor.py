"""An example vendor, written by docs/adding-a-vendor.md: speech to text that is said plainly, live and from files.

    curl -H "x-plain-key: KEY" --data-binary @speech.wav http://127.0.0.1:8080/plain/listen

Live, binary messages are 16-bit little-endian mono audio at 16 kHz, and the text `end` is the end. What comes back is a
line for each utterance, or `error CODE: why`.
"""

from antiphon.core.audio import AudioFormat, Encoding
from antiphon.core.endpoints import Accepted
from antiphon.core.errors import AntiphonError, CallerError
from antiphon.core.events import Audio, Closed, End, Failed, Final, Output
from antiphon.core.identity import Scope
from antiphon.core.routing import CallRow, DialogueRow, Row
from antiphon.core.specs import TranscribeSpec
from antiphon.core.wire import NOTHING, Bearer, Body, Close, Head, Opening, Response, Step, bearer

PLAIN = (("content-type", "text/plain; charset=utf-8"),)
WRONG, FAILED = 1008, 1011  # RFC 6455, section 7.4.1


class Endpoint:
    """Where the key stands, and how a call is refused."""

    def credential(self, opening: Opening, first: str | bytes | None = None) -> Bearer | None:
        return bearer(opening.headers.get("x-plain-key", ""))

    def refuse(self, opening: Opening, error: AntiphonError) -> Step:
        return Response(error.status, PLAIN, line_of(error).encode())


class LiveEndpoint(Endpoint):
    """`GET /plain/listen` as a dialogue."""

    def negotiate(self, opening: Opening, first: str | bytes | None = None) -> Accepted[TranscribeSpec]:
        audio = AudioFormat(Encoding.LINEAR16, 16_000, 1)
        spec = TranscribeSpec(model_of(opening), audio, live=True, incremental=True, endpointing_ms=300)
        return Accepted(spec, Live())


class Live:
    """One live stream."""

    def receive(self, message: str | bytes, now_ns: int) -> Step:
        if isinstance(message, bytes):
            return Step(inputs=(Audio(message),))
        if message == "end":
            return Step(inputs=(End(),))
        return self.emit(Failed(CallerError("A text is 'end'.")), now_ns)

    def emit(self, event: Output, now_ns: int) -> Step:
        match event:
            case Final() if event.transcript.text:
                return Step(sends=(event.transcript.text,))
            case Closed():
                return Step(close=Close())
            case Failed():
                return Step(sends=(line_of(event.error),), close=Close(WRONG if event.error.status < 500 else FAILED))
        return NOTHING

    def deadline_ns(self) -> int | None:
        return None

    def expire(self, now_ns: int) -> Step:
        return NOTHING


class FileEndpoint(Endpoint):
    """`POST /plain/listen` as a call; the body is a file of any kind."""

    max_body_bytes = 100 << 20

    def negotiate(self, opening: Opening, body: Body) -> Accepted[TranscribeSpec]:
        if not body.data:
            raise CallerError("The body is the recording.")
        return Accepted(TranscribeSpec(model_of(opening), AudioFormat(Encoding.CONTAINER)), Whole(self, opening))


class Whole(Live):
    """One file's answer."""

    def __init__(self, endpoint: Endpoint, opening: Opening) -> None:
        self._endpoint = endpoint
        self._opening = opening
        self._lines: list[str] = []

    def emit(self, event: Output, now_ns: int) -> Step:
        match event:
            case Final():
                self._lines.append(event.transcript.text)
            case Closed():
                return Step(sends=(Head(200, PLAIN), "\n".join([*self._lines, ""])), close=Close())
            case Failed():
                return self._endpoint.refuse(self._opening, event.error)
        return NOTHING


def model_of(opening: Opening) -> str:
    """What the caller calls the model; every public name of the configuration answers."""
    return dict(opening.query).get("model", "nova-3")


def line_of(error: AntiphonError) -> str:
    return f"error {error.code}: {error.message}"


ROWS: tuple[Row, ...] = (
    DialogueRow("/plain/listen", "plain", LiveEndpoint()),
    CallRow("/plain/listen", "plain", FileEndpoint(), Scope.TRANSCRIBE, form=True),
)
