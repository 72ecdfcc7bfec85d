"""One table: which path is carried by which transport and spoken by which surface."""

from dataclasses import dataclass

from antiphon.core.ports import JsonEndpoint, ListEndpoint, LiveEndpoint, UnaryEndpoint
from antiphon.surfaces.deepgram.live import LiveListenEndpoint
from antiphon.surfaces.deepgram.prerecorded import PrerecordedListenEndpoint
from antiphon.surfaces.openai.models import Models
from antiphon.surfaces.openai.transcriptions import Transcriptions


@dataclass(frozen=True, slots=True)
class Live:
    """A WebSocket."""

    path: str
    surface: str
    endpoint: LiveEndpoint


@dataclass(frozen=True, slots=True)
class Unary:
    """`POST` with a recording."""

    path: str
    surface: str
    endpoint: UnaryEndpoint


@dataclass(frozen=True, slots=True)
class Json:
    """`POST` of a JSON object to a language or embedding model."""

    path: str
    surface: str
    endpoint: JsonEndpoint


@dataclass(frozen=True, slots=True)
class Listing:
    """`GET` a list."""

    path: str
    surface: str
    endpoint: ListEndpoint


ROUTES: tuple[Live | Unary | Json | Listing, ...] = (
    Live("/v1/listen", "deepgram", LiveListenEndpoint()),
    Unary("/v1/listen", "deepgram", PrerecordedListenEndpoint()),
    Unary("/v1/audio/transcriptions", "openai", Transcriptions()),
    Listing("/v1/models", "openai", Models()),
    Listing("/v1/models/{id}", "openai", Models()),
)
