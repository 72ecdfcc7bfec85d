"""`Recognize` of both versions: a recording in, its transcript out; over gRPC, or over REST with the same messages."""

import re
from urllib.parse import unquote

from antiphon.core.endpoints import Accepted
from antiphon.core.errors import CallerError
from antiphon.core.events import Closed, Failed, Final, Output
from antiphon.core.specs import TranscribeSpec
from antiphon.core.wire import NOTHING, Close, Head, Opening, Step, no_effect
from antiphon.surfaces.google import messages
from antiphon.surfaces.google.dialect import MAX_RECORDING_BYTES, Dialect, rewritten, written
from antiphon.surfaces.google.endpoint import JSON_HEADERS, NUMBERS, Endpoint
from antiphon.surfaces.google.request import Asked
from antiphon.surfaces.google.status import Code

SLACK_BYTES = 1 << 20  # for what is around the recording
JSON_BYTES = MAX_RECORDING_BYTES * 4 // 3 + SLACK_BYTES  # in base64
REQUEST, RESPONSE = "RecognizeRequest", "RecognizeResponse"
_NAMED = re.compile(r"/v2/(projects/.+):recognize")


class Recognize(Endpoint):
    """The method."""

    def __init__(self, dialect: Dialect, *, rest: bool) -> None:
        super().__init__(first=dialect.first, rest=rest)
        self._dialect = dialect
        self.max_body_bytes = JSON_BYTES if rest else MAX_RECORDING_BYTES + SLACK_BYTES

    def negotiate(self, opening: Opening, body: bytes) -> Accepted[TranscribeSpec]:
        name = self._dialect.name(REQUEST)
        message = messages.read_json(name, body) if self.rest else messages.read(name, body)
        if self.rest and not self._dialect.first:
            named = _NAMED.fullmatch(opening.path)
            if named is None:
                raise CallerError("The path does not name a recognizer.", param="recognizer")
            message.recognizer = unquote(named[1])
        asked, audio = self._dialect.recognise(message, MAX_RECORDING_BYTES)
        return Accepted(asked.spec(live=False), Recognizing(self, self._dialect, asked, opening), media=audio)


class Recognizing:
    """One recording's answer: written once, when the session has ended."""

    def __init__(self, endpoint: Recognize, dialect: Dialect, asked: Asked, opening: Opening) -> None:
        self._endpoint = endpoint
        self._dialect = dialect
        self._asked = asked
        self._opening = opening
        self._finals: list[Final] = []

    def receive(self, message: str | bytes, now_ns: int) -> Step:
        """Never called: the recording came with the request."""
        return NOTHING

    def deadline_ns(self) -> int | None:
        return None

    def expire(self, now_ns: int) -> Step:
        return NOTHING

    def emit(self, event: Output, now_ns: int) -> Step:
        match event:
            case Final():
                event = rewritten(self._asked, event)
                if written(event.transcript, self._asked.features.punctuation):
                    self._finals.append(event)
            case Closed():
                return self._answer(event)
            case Failed():
                return self._endpoint.refuse(self._opening, event.error)
        return NOTHING

    def _answer(self, closed: Closed) -> Step:
        finals = sorted(self._finals, key=lambda final: (final.end_ms, final.channel))
        results, heard = [], set()
        for final in finals:
            follows = final.channel in heard
            heard.add(final.channel)
            results.append(self._dialect.result(self._asked, final, follows=follows, live=False))
        bill = self._dialect.bill(self._opening.request_id, closed.audio_ms * closed.channels)
        answer = messages.kind(self._dialect.name(RESPONSE))(results=results, **bill)
        told = no_effect(self._asked.without_effect)
        if not self._endpoint.rest:
            return Step(sends=(answer.SerializeToString(),), close=Close(Code.OK, trailers=told))
        numbers = ("$alt", NUMBERS) in self._opening.query
        body = messages.write_json(answer, numbers=numbers)
        return Step(sends=(Head(200, JSON_HEADERS + told), body), close=Close())
