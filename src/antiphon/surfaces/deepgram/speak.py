"""Deepgram's speech over HTTP: `POST /v1/speak`, whose body is `{"text": ...}` or the text itself.

Nothing is sent before the first audio, so an error until then has its own status. Later there is no place for it: the
connection is aborted, and no client takes the part for the whole. A text at a URL is not fetched.
"""

import msgspec

from antiphon.core.endpoints import AnswerRequest
from antiphon.core.errors import AntiphonError, CallerError, TooLarge
from antiphon.core.events import AllSpoken, Failed, Opened, SpeechOutput, Spoken
from antiphon.core.specs import SpeakSpec
from antiphon.core.wire import BROKEN_OFF, NOTHING, SYNTHETIC, Close, Head, Opening, Step, lifecycle, no_effect
from antiphon.surfaces.deepgram import results, speak_parameters, wire
from antiphon.surfaces.deepgram.endpoint import Endpoint, PayloadError, UnsupportedContentType, refusal

# Deepgram's own limits.
MAX_BODY_BYTES = 2_000_000
MAX_CHARACTERS = 2_000

# Deepgram's own message.
NOT_ONE_TEXT = "Failed to deserialize JSON payload. Please specify exactly one of `text` or `url` in the JSON body."


class SpeakEndpoint(Endpoint):
    """`POST /v1/speak`."""

    max_body_bytes = MAX_BODY_BYTES

    def negotiate(self, opening: Opening, body: bytes) -> AnswerRequest:
        text = _text(opening.headers.get("content-type", ""), body)
        if len(text) > MAX_CHARACTERS:
            raise TooLarge(f"Input text exceeds maximum character limit of {MAX_CHARACTERS}.")
        if not text.strip():
            raise CallerError("Input text contains no characters.")
        spec = speak_parameters.read(opening.query, text)
        unused = no_effect(speak_parameters.unused(opening.query))
        return AnswerRequest(spec, SpokenText(opening.request_id, spec, unused))


class SpokenText:
    """The answer to one text: its speech, while it is generated."""

    def __init__(self, request_id: str, spec: SpeakSpec, unused: tuple[tuple[str, str], ...] = ()) -> None:
        self._unused = unused
        self._request_id = request_id
        self._spec = spec
        self._opened = Opened(spec.model)
        self._headed = False

    def emit(self, event: SpeechOutput, now_ns: int) -> Step:
        match event:
            case Opened():
                self._opened = event
            case Spoken() if event.audio:
                return self._send(event.audio)
            case AllSpoken():
                return self._send(b"", Close())
            case Failed():
                return self._fail(event.error)
        return NOTHING

    def _send(self, audio: bytes, close: Close | None = None) -> Step:
        sends = (audio,) if audio else ()
        if self._headed:
            return Step((), sends, close)
        self._headed = True
        return Step((), (Head(200, self._headers()), *sends), close)

    def _headers(self) -> tuple[tuple[str, str], ...]:
        model = self._opened.model
        return (
            ("content-type", speak_parameters.content_type(self._spec.format)),
            ("dg-model-name", model),
            ("dg-model-uuid", results.model_uuid(model)),
            ("dg-char-count", str(len(self._spec.text))),
            ("dg-request-id", self._request_id),
            *SYNTHETIC,
            *lifecycle(self._opened),
            *self._unused,
        )

    def _fail(self, error: AntiphonError) -> Step:
        if self._headed:
            return Step(close=BROKEN_OFF)
        status, headers, body = refusal(self._request_id, error)
        return Step((), (Head(status, headers), body), Close())


def _text(content_type: str, body: bytes) -> str:
    """Return the text to speak. Errors have Deepgram's messages."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/plain":
        try:
            return body.decode()
        except UnicodeError:
            raise PayloadError("Failed to decode payload as UTF-8.") from None
    if kind != "application/json":
        raise UnsupportedContentType(
            "`Content-Type` header is not supported. `Content-Type` must be either `text/plain` or `application/json`."
        )
    try:
        request = wire.read_text_request(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise PayloadError(NOT_ONE_TEXT) from None
    if request.text is None and request.url is not None:
        raise PayloadError("Fetching text from a `url` is not supported; send it as `text`.")
    if request.text is None or request.url is not None:
        raise PayloadError(NOT_ONE_TEXT)
    return request.text
