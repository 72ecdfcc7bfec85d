"""Amazon Transcribe's other streams, which its SDKs open like those of `live.py`. They are refused by an exception that
the SDKs know; for an unknown path, some of them would report nothing but a status.
"""

from antiphon.core.endpoints import Accepted
from antiphon.core.errors import AntiphonError, UnsupportedParameter
from antiphon.core.specs import TranscribeSpec
from antiphon.core.wire import Opening, Step
from antiphon.surfaces.amazon import wire

PATHS = ("/medical-stream-transcription", "/medical-scribe-stream", "/call-analytics-stream-transcription")


class AbsentStream(wire.Endpoint):
    """One of them over HTTP/2."""

    def negotiate(self, opening: Opening, first: str | bytes | None = None) -> Accepted[TranscribeSpec]:
        raise UnsupportedParameter(
            "Medical, HealthScribe and call-analytics streams are not supported: use StartStreamTranscription."
        )


class AbsentSocket(AbsentStream):
    """One of them on a WebSocket."""

    def refuse(self, opening: Opening, error: AntiphonError) -> Step:
        return wire.failure(error)
