"""`Recognize` of both versions: returns the transcript of a recording, over gRPC or REST with the same messages."""

from functools import partial
from typing import Any

from antiphon.core.endpoints import Accepted, NeedsResource
from antiphon.core.events import Closed, Failed, Final, Opened, Output
from antiphon.core.specs import TranscribeSpec
from antiphon.core.wire import NOTHING, Opening, Step, no_effect
from antiphon.surfaces.google import messages
from antiphon.surfaces.google.dialect import MAX_RECORDING_BYTES, Dialect, rewritten, written
from antiphon.surfaces.google.endpoint import WHOLE, Endpoint, Rest, bound
from antiphon.surfaces.google.recognizer import referring
from antiphon.surfaces.google.request import Request

SLACK_BYTES = 1 << 20  # for the other fields beside the recording
JSON_BYTES = MAX_RECORDING_BYTES * 4 // 3 + SLACK_BYTES  # in base64
REQUEST, RESPONSE = "RecognizeRequest", "RecognizeResponse"
V1_REST = bound("/v1/speech:recognize", WHOLE)
V2_REST = bound("/v2/{recognizer=projects/*/locations/*/recognizers/*}:recognize", WHOLE)


class Recognize(Endpoint):
    """The method."""

    def __init__(self, dialect: Dialect, *, rest: Rest | None = None) -> None:
        super().__init__(first=dialect.first, rest=rest)
        self.request = dialect.name(REQUEST)
        self._dialect = dialect
        self.max_body_bytes = JSON_BYTES if rest else MAX_RECORDING_BYTES + SLACK_BYTES

    def negotiate(
        self, opening: Opening, body: bytes
    ) -> Accepted[TranscribeSpec] | NeedsResource[Accepted[TranscribeSpec]]:
        message = self.read(opening, body)
        return referring(
            self._dialect.stored(message), self._dialect.configs(message), partial(self._accepted, opening, message)
        )

    def _accepted(self, opening: Opening, message: Any, base: Any) -> Accepted[TranscribeSpec]:
        request, audio = self._dialect.recognise(message, MAX_RECORDING_BYTES, base)
        return Accepted(request.spec(live=False), Recognizing(self, self._dialect, request, opening), media=audio)


class Recognizing:
    """The answer to one recording, made when the session has ended."""

    def __init__(self, endpoint: Endpoint, dialect: Dialect, request: Request, opening: Opening) -> None:
        self._endpoint = endpoint
        self._dialect = dialect
        self._request = request
        self._opening = opening
        self._finals: list[Final] = []

    def receive(self, message: str | bytes, now_ns: int) -> Step:
        """Do nothing; never called: the recording came with the request."""
        return NOTHING

    def deadline_ns(self) -> int | None:
        return None

    def expire(self, now_ns: int) -> Step:
        return NOTHING

    def emit(self, event: Output, now_ns: int) -> Step:
        match event:
            case Opened():
                self._request = self._request.answered(event)
            case Final():
                event = rewritten(self._request, event)
                if written(event.transcript, self._request.features.punctuation):
                    self._finals.append(event)
            case Closed():
                finals = sorted(self._finals, key=lambda final: (final.end_ms, final.channel))
                answer = self._answer(finals, closed=event)
                return self._endpoint.answer(self._opening, answer, no_effect(self._request.without_effect))
            case Failed():
                return self._endpoint.refuse(self._opening, event.error)
        return NOTHING

    def _answer(self, finals: list[Final], closed: Closed) -> Any:
        kind = messages.kind(self._dialect.name(RESPONSE))
        return kind(results=self._results(finals), **self._bill(closed))

    def _results(self, finals: list[Final]) -> list[Any]:
        results, channels = [], set()
        for final in finals:
            follows = final.channel in channels
            channels.add(final.channel)
            results.append(self._dialect.result(self._request, final, follows=follows, live=False))
        return results

    def _bill(self, closed: Closed) -> dict[str, Any]:
        return self._dialect.bill(self._request, self._opening.request_id, closed.audio_ms * closed.channels)
