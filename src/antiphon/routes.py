"""One table: which path has which shape, and which surface speaks there. A row is all that a new endpoint needs."""

from collections.abc import Iterator

from antiphon import __version__
from antiphon.core.endpoints import Endpoint
from antiphon.core.identity import Scope
from antiphon.core.jobs import JobKind
from antiphon.core.routing import CallRow, DialogueRow, LookupRow, Row
from antiphon.core.wire import Opening
from antiphon.surfaces.deepgram.endpoint import Endpoint as Deepgram
from antiphon.surfaces.deepgram.flux import FluxEndpoint
from antiphon.surfaces.deepgram.flux_speak import FluxSpeakEndpoint
from antiphon.surfaces.deepgram.grant import MAX_BODY_BYTES as MAX_GRANT_BYTES
from antiphon.surfaces.deepgram.grant import GrantEndpoint
from antiphon.surfaces.deepgram.live import LiveListenEndpoint
from antiphon.surfaces.deepgram.models import SpeechModels
from antiphon.surfaces.deepgram.prerecorded import PrerecordedListenEndpoint
from antiphon.surfaces.deepgram.speak import SpeakEndpoint
from antiphon.surfaces.deepgram.speak_live import LiveSpeakEndpoint
from antiphon.surfaces.elevenlabs import voices
from antiphon.surfaces.elevenlabs.account import Account
from antiphon.surfaces.elevenlabs.dialogue import TextToDialogue
from antiphon.surfaces.elevenlabs.dialogue_live import LiveDialogueEndpoint
from antiphon.surfaces.elevenlabs.live import LiveSpeechEndpoint
from antiphon.surfaces.elevenlabs.speech import TextToSpeech
from antiphon.surfaces.elevenlabs.wire import Endpoint as ElevenLabs
from antiphon.surfaces.open_inference.about import About
from antiphon.surfaces.open_inference.infer import Infer
from antiphon.surfaces.open_inference.wire import Endpoint as OpenInference
from antiphon.surfaces.openai import batches, files
from antiphon.surfaces.openai.absent import Absent
from antiphon.surfaces.openai.batch_lines import KIND as BATCH
from antiphon.surfaces.openai.batch_lines import BatchKind
from antiphon.surfaces.openai.chat import ChatCompletions
from antiphon.surfaces.openai.completions import Completions
from antiphon.surfaces.openai.document import Document, document
from antiphon.surfaces.openai.embeddings import Embeddings
from antiphon.surfaces.openai.kept_responses import CancelResponse, DeleteResponse, InputItems, RetrieveResponse
from antiphon.surfaces.openai.models import Models
from antiphon.surfaces.openai.realtime.live import MAX_MESSAGE_BYTES, RealtimeEndpoint
from antiphon.surfaces.openai.realtime.secrets import MAX_BODY_BYTES as MAX_SECRET_BYTES
from antiphon.surfaces.openai.realtime.secrets import ClientSecrets
from antiphon.surfaces.openai.response_socket import ResponsesSocket
from antiphon.surfaces.openai.responses import Responses
from antiphon.surfaces.openai.speech import Speech
from antiphon.surfaces.openai.transcriptions import Transcriptions
from antiphon.surfaces.openai.voices import SpeechModels as SpeakingModels
from antiphon.surfaces.openai.voices import Voices
from antiphon.surfaces.openai.wire import Endpoint as OpenAI
from antiphon.trust.ephemeral import TOKEN_PREFIX


def _open_inference() -> Iterator[Row]:
    about = About(__version__)
    yield CallRow("/v2/models/{model:path}/infer", "open-inference", Infer())
    for path in ("/v2", "/v2/health/live", "/v2/health/ready"):
        yield LookupRow(path, "open-inference", about, open=True)
    yield LookupRow("/v2/models/{model:path}", "open-inference", about)


def _responses(prefix: str) -> Iterator[Row]:
    socket = ResponsesSocket()
    yield DialogueRow(f"{prefix}/responses", "openai", socket, Scope.GENERATE, socket.max_message_bytes)
    yield CallRow(f"{prefix}/responses", "openai", Responses())
    kept = f"{prefix}/responses/{{id}}"
    yield LookupRow(kept, "openai", RetrieveResponse(), scope=Scope.GENERATE)
    yield LookupRow(kept, "openai", DeleteResponse(), "DELETE", Scope.GENERATE)
    yield LookupRow(f"{kept}/cancel", "openai", CancelResponse(), "POST", Scope.GENERATE)
    yield LookupRow(f"{kept}/input_items", "openai", InputItems(), scope=Scope.GENERATE)
    for name in ("compact", "input_tokens"):
        yield LookupRow(f"{prefix}/responses/{name}", "openai", Absent(), "POST", open=True)


def _openai(prefix: str) -> Iterator[Row]:
    yield CallRow(f"{prefix}/audio/transcriptions", "openai", Transcriptions(), Scope.TRANSCRIBE, form=True)
    yield CallRow(f"{prefix}/audio/speech", "openai", Speech(), Scope.SPEAK)
    yield CallRow(f"{prefix}/chat/completions", "openai", ChatCompletions())
    yield CallRow(f"{prefix}/completions", "openai", Completions())
    yield CallRow(f"{prefix}/embeddings", "openai", Embeddings())
    if not prefix.endswith("}"):
        yield LookupRow(f"{prefix}/models", "openai", Models())
        yield LookupRow(f"{prefix}/models/{{id:path}}", "openai", Models())
        yield LookupRow(f"{prefix}/audio/voices", "openai", Voices(), open=True)
        yield LookupRow(f"{prefix}/audio/models", "openai", SpeakingModels(), open=True)


def _batches(prefix: str) -> Iterator[Row]:
    generate, one = Scope.GENERATE, f"{prefix}/files/{{id}}"
    most_bytes = files.MAX_FILE_BYTES
    yield LookupRow(
        f"{prefix}/files", "openai", files.CreateFile(), "POST", generate, max_body_bytes=most_bytes, form=True
    )
    yield LookupRow(f"{prefix}/files", "openai", files.ListFiles(), scope=generate)
    yield LookupRow(one, "openai", files.RetrieveFile(), scope=generate)
    yield LookupRow(one, "openai", files.DeleteFile(), "DELETE", generate)
    yield LookupRow(f"{one}/content", "openai", files.FileContent(), scope=generate)
    create, most_bytes = f"{prefix}/batches", batches.MAX_BODY_BYTES
    yield LookupRow(create, "openai", batches.CreateBatch(), "POST", generate, max_body_bytes=most_bytes)
    yield LookupRow(f"{prefix}/batches", "openai", batches.ListBatches(), scope=generate)
    yield LookupRow(f"{prefix}/batches/{{id}}", "openai", batches.RetrieveBatch(), scope=generate)
    cancel = f"{prefix}/batches/{{id}}/cancel"
    yield LookupRow(cancel, "openai", batches.CancelBatch(), "POST", generate, max_body_bytes=most_bytes)


def _realtime(prefix: str) -> Iterator[Row]:
    """What else than recognition a session asks for, its key must be allowed, too; that is seen when it opens."""
    yield DialogueRow(f"{prefix}/realtime", "openai", RealtimeEndpoint(), message_bytes=MAX_MESSAGE_BYTES)
    secrets = f"{prefix}/realtime/client_secrets"
    yield LookupRow(secrets, "openai", ClientSecrets(), "POST", Scope.TRANSCRIBE, max_body_bytes=MAX_SECRET_BYTES)


def _deepgram() -> Iterator[Row]:
    yield DialogueRow("/v1/listen", "deepgram", LiveListenEndpoint())
    yield CallRow("/v1/listen", "deepgram", PrerecordedListenEndpoint(), Scope.TRANSCRIBE, form=True)
    yield DialogueRow("/v2/listen", "deepgram", FluxEndpoint())
    yield DialogueRow("/v1/speak", "deepgram", LiveSpeakEndpoint(), Scope.SPEAK)
    yield CallRow("/v1/speak", "deepgram", SpeakEndpoint(), Scope.SPEAK)
    yield DialogueRow("/v2/speak", "deepgram", FluxSpeakEndpoint(), Scope.SPEAK)
    yield CallRow("/v2/speak", "deepgram", SpeakEndpoint(), Scope.SPEAK)
    yield LookupRow("/v1/auth/grant", "deepgram", GrantEndpoint(), "POST", max_body_bytes=MAX_GRANT_BYTES)
    # Of callers whose scheme is Deepgram's `Token`, or whose token is one of its own.
    for path in ("/v1/models", "/v1/models/{id:path}"):
        for begins in ("token ", f"bearer {TOKEN_PREFIX}"):
            yield LookupRow(path, "deepgram", SpeechModels(), header=("authorization", begins))


def _elevenlabs() -> Iterator[Row]:
    for path, stream, timed in (
        ("", False, False),
        ("/stream", True, False),
        ("/with-timestamps", False, True),
        ("/stream/with-timestamps", True, True),
    ):
        speech, dialogue = TextToSpeech(stream=stream, timed=timed), TextToDialogue(stream, timed)
        yield CallRow(f"/v1/text-to-speech/{{voice_id}}{path}", "elevenlabs", speech, Scope.SPEAK)
        yield CallRow(f"/v1/text-to-dialogue{path}", "elevenlabs", dialogue, Scope.SPEAK)
    for path, live in (
        ("/v1/text-to-speech/{voice_id}/stream-input", LiveSpeechEndpoint(many=False)),
        ("/v1/text-to-speech/{voice_id}/multi-stream-input", LiveSpeechEndpoint(many=True)),
        ("/v1/text-to-dialogue/multi-stream-input", LiveDialogueEndpoint()),
    ):
        yield DialogueRow(path, "elevenlabs", live, Scope.SPEAK)
    yield LookupRow("/v1/models", "elevenlabs", voices.Models(), header=("xi-api-key", ""))
    yield LookupRow("/v1/voices", "elevenlabs", voices.AllVoices())
    yield LookupRow("/v1/voices/{voice_id}", "elevenlabs", voices.OneVoice())
    yield LookupRow("/v2/voices", "elevenlabs", voices.SearchVoices())
    yield LookupRow("/v1/user", "elevenlabs", Account(user=True))
    yield LookupRow("/v1/user/subscription", "elevenlabs", Account(user=False))


ROUTES: tuple[Row, ...] = (
    *_deepgram(),
    *_elevenlabs(),
    *_openai("/v1"),
    *_responses("/v1"),
    *_realtime("/v1"),
    *_batches("/v1"),
    # Azure's addresses of the same API.
    *_openai("/openai/v1"),
    *_responses("/openai/v1"),
    *_responses("/openai"),
    *_realtime("/openai/v1"),
    *_batches("/openai/v1"),
    *_batches("/openai"),
    DialogueRow("/openai/realtime", "openai", RealtimeEndpoint(), message_bytes=MAX_MESSAGE_BYTES),
    *_openai("/openai/deployments/{deployment:path}"),
    LookupRow("/openai/models", "openai", Models()),
    LookupRow("/openai/models/{id:path}", "openai", Models()),
    *_open_inference(),
    LookupRow("/openapi.json", "openai", Document(document(__version__)), open=True),
)

# The kinds of jobs, by name.
JOB_KINDS: dict[str, JobKind] = {BATCH: BatchKind()}

# Whose the other paths are: below these names (those of the vendors' SDKs), the first that fits.
_DEEPGRAM = "agent auth listen projects read speak"
_ELEVENLABS = """
assets audio-effects audio-isolation audio-native convai dubbing flows forced-alignment history music productions
pronunciation-dictionaries service-accounts shared-voices similar-voices single-use-token sound-generation
speech-engine speech-to-speech speech-to-text studio text-to-dialogue text-to-speech text-to-voice usage user
voice-changer voice-generation voices workspace workspaces"""
STRAYS: tuple[tuple[tuple[str, ...], Endpoint], ...] = (
    (("/v2/listen", "/v2/speak", *(f"/v1/{name}" for name in _DEEPGRAM.split())), Deepgram()),
    (("/v2/voices", "/v2/phone-numbers", *(f"/v1/{name}" for name in _ELEVENLABS.split())), ElevenLabs()),
    (("/v2",), OpenInference()),
    (("/openai",), OpenAI()),
)


def whose(opening: Opening) -> Endpoint:
    """In whose words a path that is not in the table is refused: where it says nothing, the credential does."""
    for names, endpoint in STRAYS:
        if any(opening.path == name or opening.path.startswith(f"{name}/") for name in names):
            return endpoint
    if "xi-api-key" in opening.headers:
        return ElevenLabs()
    schemes = (opening.headers.get("authorization", "").strip().partition(" ")[0], *opening.subprotocols[:1])
    return Deepgram() if "token" in map(str.lower, schemes) else OpenAI()
