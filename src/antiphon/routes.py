"""One table: which path is carried by which transport and spoken by which surface."""

from collections.abc import Iterator
from dataclasses import dataclass

from antiphon import __version__
from antiphon.core.errors import NotFound
from antiphon.core.identity import Scope
from antiphon.core.ports import (
    InquiryEndpoint,
    JsonEndpoint,
    KeptEndpoint,
    ListEndpoint,
    LiveEndpoint,
    SecretEndpoint,
    SpentEndpoint,
    UnaryEndpoint,
    VoicesEndpoint,
)
from antiphon.surfaces.deepgram.live import LiveListenEndpoint
from antiphon.surfaces.deepgram.prerecorded import PrerecordedListenEndpoint
from antiphon.surfaces.deepgram.speak import SpeakEndpoint
from antiphon.surfaces.deepgram.speak_live import LiveSpeakEndpoint
from antiphon.surfaces.elevenlabs import voices
from antiphon.surfaces.elevenlabs.account import Account
from antiphon.surfaces.elevenlabs.live import LiveSpeechEndpoint
from antiphon.surfaces.elevenlabs.speech import TextToSpeech
from antiphon.surfaces.open_inference.about import About
from antiphon.surfaces.open_inference.infer import Infer
from antiphon.surfaces.openai.chat import ChatCompletions
from antiphon.surfaces.openai.completions import Completions
from antiphon.surfaces.openai.document import document
from antiphon.surfaces.openai.embeddings import Embeddings
from antiphon.surfaces.openai.kept_responses import CancelResponse, DeleteResponse, InputItems, RetrieveResponse
from antiphon.surfaces.openai.models import Models
from antiphon.surfaces.openai.realtime.live import MAX_MESSAGE_BYTES, RealtimeEndpoint
from antiphon.surfaces.openai.realtime.secrets import ClientSecrets
from antiphon.surfaces.openai.responses import Responses
from antiphon.surfaces.openai.speech import Speech
from antiphon.surfaces.openai.transcriptions import Transcriptions
from antiphon.surfaces.openai.wire import encode, error_body


@dataclass(frozen=True, slots=True)
class Live:
    """A WebSocket. `scope` is what a key must be allowed to open it; `message_bytes` how large a message the vendor's
    protocol lets be, where that is more than the configuration does.
    """

    path: str
    surface: str
    endpoint: LiveEndpoint
    scope: Scope = Scope.TRANSCRIBE
    message_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Unary:
    """`POST` with a recording."""

    path: str
    surface: str
    endpoint: UnaryEndpoint


@dataclass(frozen=True, slots=True)
class Json:
    """`POST` of a JSON object to a model. `scope` is what a key must be allowed to call it."""

    path: str
    surface: str
    endpoint: JsonEndpoint
    scope: Scope = Scope.GENERATE


@dataclass(frozen=True, slots=True)
class Listing:
    """`GET` a list."""

    path: str
    surface: str
    endpoint: ListEndpoint


@dataclass(frozen=True, slots=True)
class VoiceListing:
    """`GET` who can speak."""

    path: str
    surface: str
    endpoint: VoicesEndpoint


@dataclass(frozen=True, slots=True)
class Spending:
    """`GET` what a project was charged for."""

    path: str
    surface: str
    endpoint: SpentEndpoint


@dataclass(frozen=True, slots=True)
class Shared:
    """One path of two vendors: `theirs` is who sends `header`."""

    header: str
    theirs: VoiceListing
    ours: Listing


@dataclass(frozen=True, slots=True)
class Secret:
    """`POST` for a secret that opens one call. `scope` is what a key must be allowed to make one."""

    path: str
    surface: str
    endpoint: SecretEndpoint
    scope: Scope


@dataclass(frozen=True, slots=True)
class Kept:
    """About one kept answer."""

    method: str
    path: str
    surface: str
    endpoint: KeptEndpoint


@dataclass(frozen=True, slots=True)
class Inquiring:
    """`GET` what the server, or a model of tensors, says of itself."""

    path: str
    surface: str
    endpoint: InquiryEndpoint


@dataclass(frozen=True, slots=True)
class Document:
    """`GET` what anybody may read, JSON."""

    path: str
    body: bytes


def _open_inference() -> Iterator[Json | Inquiring]:
    yield Json("/v2/models/{model:path}/infer", "open-inference", Infer())
    for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/{model:path}"):
        yield Inquiring(path, "open-inference", About(__version__))


def _responses(prefix: str) -> Iterator[Json | Kept]:
    yield Json(f"{prefix}/responses", "openai", Responses())
    yield Kept("GET", f"{prefix}/responses/{{id}}", "openai", RetrieveResponse())
    yield Kept("DELETE", f"{prefix}/responses/{{id}}", "openai", DeleteResponse())
    yield Kept("POST", f"{prefix}/responses/{{id}}/cancel", "openai", CancelResponse())
    yield Kept("GET", f"{prefix}/responses/{{id}}/input_items", "openai", InputItems())


def _openai(prefix: str) -> Iterator[Unary | Json | Listing | Shared]:
    yield Unary(f"{prefix}/audio/transcriptions", "openai", Transcriptions())
    yield Json(f"{prefix}/audio/speech", "openai", Speech(), Scope.SPEAK)
    yield Json(f"{prefix}/chat/completions", "openai", ChatCompletions())
    yield Json(f"{prefix}/completions", "openai", Completions())
    yield Json(f"{prefix}/embeddings", "openai", Embeddings())
    if not prefix.endswith("}"):
        models = Listing(f"{prefix}/models", "openai", Models())
        speaking = VoiceListing(models.path, "elevenlabs", voices.Models())
        yield Shared("xi-api-key", speaking, models) if prefix == "/v1" else models
        yield Listing(f"{prefix}/models/{{id:path}}", "openai", Models())


def _realtime(prefix: str) -> Iterator[Live | Secret]:
    """What else than recognition a session asks for, its key must be allowed, too; that is seen when it opens."""
    yield Live(f"{prefix}/realtime", "openai", RealtimeEndpoint(), message_bytes=MAX_MESSAGE_BYTES)
    yield Secret(f"{prefix}/realtime/client_secrets", "openai", ClientSecrets(), Scope.TRANSCRIBE)


def _elevenlabs() -> Iterator[Live | Json | VoiceListing | Spending]:
    voice = "/v1/text-to-speech/{voice_id}"
    yield Json(voice, "elevenlabs", TextToSpeech(stream=False, timed=False), Scope.SPEAK)
    yield Json(f"{voice}/stream", "elevenlabs", TextToSpeech(stream=True, timed=False), Scope.SPEAK)
    yield Json(f"{voice}/with-timestamps", "elevenlabs", TextToSpeech(stream=False, timed=True), Scope.SPEAK)
    yield Json(f"{voice}/stream/with-timestamps", "elevenlabs", TextToSpeech(stream=True, timed=True), Scope.SPEAK)
    yield Live(f"{voice}/stream-input", "elevenlabs", LiveSpeechEndpoint(many=False), Scope.SPEAK)
    yield Live(f"{voice}/multi-stream-input", "elevenlabs", LiveSpeechEndpoint(many=True), Scope.SPEAK)
    yield VoiceListing("/v1/voices", "elevenlabs", voices.AllVoices())
    yield VoiceListing("/v1/voices/{voice_id}", "elevenlabs", voices.OneVoice())
    yield VoiceListing("/v2/voices", "elevenlabs", voices.SearchVoices())
    yield Spending("/v1/user", "elevenlabs", Account(user=True))
    yield Spending("/v1/user/subscription", "elevenlabs", Account(user=False))


Route = Live | Secret | Unary | Json | Listing | VoiceListing | Spending | Shared | Kept | Inquiring | Document

# Below these, a path that is not in the table is answered in OpenAI's words, whose SDKs read the body of an error.
STRAY_PREFIXES = ("/v1/", "/openai/")

ROUTES: tuple[Route, ...] = (
    Live("/v1/listen", "deepgram", LiveListenEndpoint()),
    Unary("/v1/listen", "deepgram", PrerecordedListenEndpoint()),
    Live("/v1/speak", "deepgram", LiveSpeakEndpoint(), Scope.SPEAK),
    Json("/v1/speak", "deepgram", SpeakEndpoint(), Scope.SPEAK),
    *_openai("/v1"),
    *_responses("/v1"),
    *_realtime("/v1"),
    # Azure's addresses of the same API.
    *_openai("/openai/v1"),
    *_responses("/openai/v1"),
    *_responses("/openai"),
    *_realtime("/openai/v1"),
    Live("/openai/realtime", "openai", RealtimeEndpoint(), message_bytes=MAX_MESSAGE_BYTES),
    *_openai("/openai/deployments/{deployment:path}"),
    Listing("/openai/models", "openai", Models()),
    Listing("/openai/models/{id:path}", "openai", Models()),
    *_elevenlabs(),
    *_open_inference(),
    Document("/openapi.json", document(__version__)),
)


def stray_body(message: str) -> bytes:
    return encode(error_body(NotFound(message)))
