"""Deepgram's transcription of recordings: `POST /v1/listen`, whose body is the audio or `{"url": ...}`.

The answer is sent when the session has ended: its finals as one transcript per channel, or the error.
"""

import msgspec

from antiphon.core.endpoints import Accepted
from antiphon.core.errors import BadMedia, CallerError
from antiphon.core.events import Closed, Failed, Final, Opened, Output, Transcript, main_language
from antiphon.core.specs import TranscribeSpec
from antiphon.core.wire import NOTHING, Body, Close, Head, Opening, Step, Url, no_effect
from antiphon.surfaces.deepgram import parameters, results, wire
from antiphon.surfaces.deepgram.endpoint import Endpoint, answer_headers, refusal
from antiphon.surfaces.deepgram.search import search

# Deepgram accepts 2 GB; here a body is in memory.
MAX_BODY_BYTES = 256 * 1024 * 1024


class PrerecordedListenEndpoint(Endpoint):
    """`POST /v1/listen`."""

    max_body_bytes = MAX_BODY_BYTES

    def negotiate(self, opening: Opening, body: Body) -> Accepted[TranscribeSpec]:
        request = parameters.read(opening.query, live=False)
        spec = TranscribeSpec(
            model=request.model,
            format=request.format,
            multichannel=request.multichannel,
            word_times=True,
            tags=request.tags,
            **parameters.hearing(request),
        )
        return Accepted(
            spec=spec,
            surface=PrerecordedListen(request, opening.request_id, opening.received_unix_ms),
            media=_media(opening.headers.get("content-type", ""), body),
        )


class PrerecordedListen:
    """One recording's answer."""

    def __init__(self, request: parameters.Request, request_id: str, received_unix_ms: int) -> None:
        self._request = request
        self._request_id = request_id
        self._received_unix_ms = received_unix_ms
        self._model = request.model
        self._finals: list[Final] = []
        self._answered = False

    def receive(self, message: str | bytes, now_ns: int) -> Step:
        """Do nothing; never called: the body came with the request."""
        return NOTHING

    def deadline_ns(self) -> int | None:
        return None

    def expire(self, now_ns: int) -> Step:
        return NOTHING

    def emit(self, event: Output, now_ns: int) -> Step:
        if self._answered:
            return NOTHING
        match event:
            case Opened():
                self._model = event.model
                self._request = self._request.answered(event)
            case Final():
                self._finals.append(event)
            case Closed():
                headers = answer_headers(self._request_id) + no_effect(self._request.without_effect)
                return self._answer(200, headers, wire.write_body(self._response(event)))
            case Failed():
                return self._answer(*refusal(self._request_id, event.error))
            case _:
                pass
        return NOTHING

    def _answer(self, status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> Step:
        self._answered = True
        return Step(sends=(Head(status, headers), body), close=Close())

    def _response(self, closed: Closed) -> wire.Response:
        request, split_ms = self._request, self._request.utt_split_ms
        channels = [self._transcripts(channel) for channel in range(closed.channels if request.multichannel else 1)]
        return wire.Response(
            metadata=results.summary(request, self._request_id, self._received_unix_ms, self._model, closed),
            results=wire.FileResults(
                channels=[self._channel(channel, transcripts) for channel, transcripts in enumerate(channels)],
                utterances=self._utterances(channels, split_ms) if split_ms is not None else None,
            ),
        )

    def _channel(self, channel: int, transcripts: list[Transcript]) -> wire.Channel:
        request = self._request
        finals = [final for final in self._finals if final.channel == channel]
        language, confidence = main_language(finals) if request.detect else (None, None)
        return wire.Channel(
            search(request.searches, [word for transcript in transcripts for word in transcript.words]),
            [results.whole(transcripts, punctuate=request.punctuate, paragraphs=request.paragraphs)],
            language or None,
            None if confidence is None or not language else round(confidence, results.CONFIDENCE_DIGITS),
        )

    def _transcripts(self, channel: int) -> list[Transcript]:
        finals = sorted((final for final in self._finals if final.channel == channel), key=lambda final: final.start_ms)
        rewriting = self._request.rewriting
        return [rewriting.apply(final.transcript) if rewriting else final.transcript for final in finals]

    def _utterances(self, channels: list[list[Transcript]], split_ms: int) -> list[wire.Utterance]:
        """Return the utterances of all channels, by their start."""
        found = [
            utterance
            for channel, transcripts in enumerate(channels)
            for utterance in results.utterances(
                [word for transcript in transcripts for word in transcript.words],
                channel=channel,
                split_ms=split_ms,
                punctuate=self._request.punctuate,
                request_id=self._request_id,
            )
        ]
        return sorted(found, key=lambda utterance: utterance.start)


def _media(content_type: str, body: Body) -> bytes | Url:
    """Return the URL in a JSON body; any other body is the audio, whatever its content type."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind.startswith("multipart/"):
        raise CallerError("Send the audio as the body itself, not as a form.")
    if kind != "application/json":
        if not body.data:
            raise BadMedia("The body is empty.")
        return body.data
    try:
        return Url(wire.read_url_request(body.data).url)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise CallerError("Content-type was application/json, but we could not process the JSON payload.") from error
