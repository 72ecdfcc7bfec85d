"""The table of routes: the kind of endpoint at each path, and the surface that answers. A new endpoint needs only a
row.
"""

from collections.abc import Callable, Iterator
from functools import partial

from antiphon import __version__
from antiphon.core.endpoints import Endpoint
from antiphon.core.identity import Scope
from antiphon.core.jobs import JobKind
from antiphon.core.routing import CallRow, DialogueRow, LookupRow, Row
from antiphon.core.wire import Opening
from antiphon.surfaces.amazon.absent import PATHS as AMAZON_ABSENT
from antiphon.surfaces.amazon.absent import AbsentSocket, AbsentStream
from antiphon.surfaces.amazon.live import SocketEndpoint
from antiphon.surfaces.amazon.live import StreamEndpoint as AmazonStream
from antiphon.surfaces.amazon.signing import is_signed
from antiphon.surfaces.amazon.wire import Endpoint as Amazon
from antiphon.surfaces.assemblyai import transcripts
from antiphon.surfaces.assemblyai.endpoint import Endpoint as AssemblyAI
from antiphon.surfaces.assemblyai.live import StreamEndpoint as AssemblyAIStream
from antiphon.surfaces.assemblyai.sync import AUDIO, SyncEndpoint, Warm
from antiphon.surfaces.assemblyai.tokens import TokenEndpoint
from antiphon.surfaces.assemblyai.transcript_call import KIND as ASSEMBLYAI_TRANSCRIPT
from antiphon.surfaces.assemblyai.transcript_call import PATH as TRANSCRIPT
from antiphon.surfaces.assemblyai.transcript_call import TranscribeCall, TranscriptKind
from antiphon.surfaces.assemblyai.transcript_list import ListTranscripts
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
from antiphon.surfaces.elevenlabs import transcript_jobs, voices, webhooks
from antiphon.surfaces.elevenlabs.account import Account
from antiphon.surfaces.elevenlabs.dialogue import TextToDialogue
from antiphon.surfaces.elevenlabs.dialogue_live import LiveDialogueEndpoint
from antiphon.surfaces.elevenlabs.live import LiveSpeechEndpoint
from antiphon.surfaces.elevenlabs.speech import TextToSpeech
from antiphon.surfaces.elevenlabs.speech_to_text import SpeechToText
from antiphon.surfaces.elevenlabs.speech_to_text import TranscribeCall as ScribeCall
from antiphon.surfaces.elevenlabs.speech_to_text_live import RealtimeSpeechToText
from antiphon.surfaces.elevenlabs.tokens import MAX_BODY_BYTES as MAX_TOKEN_BYTES
from antiphon.surfaces.elevenlabs.tokens import SingleUseTokens
from antiphon.surfaces.elevenlabs.transcript_jobs import TRANSCRIPTS as SCRIBE_TRANSCRIPTS
from antiphon.surfaces.elevenlabs.wire import Endpoint as ElevenLabs
from antiphon.surfaces.google import batch, operation, operations, stored
from antiphon.surfaces.google.batch import BatchRecognize, LongRunningRecognize
from antiphon.surfaces.google.dialect import V1, V2
from antiphon.surfaces.google.endpoint import WHOLE, LookupMethod, Rest, bound
from antiphon.surfaces.google.endpoint import Absent as AbsentAtGoogle
from antiphon.surfaces.google.endpoint import Endpoint as AtGoogle
from antiphon.surfaces.google.families import FAMILIES, FIRST_FAMILIES, Family
from antiphon.surfaces.google.live import StreamingRecognize
from antiphon.surfaces.google.messages import pool
from antiphon.surfaces.google.recognise import V1_REST, V2_REST, Recognize
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
    yield CallRow(f"{prefix}/audio/translations", "openai", Transcriptions(True), Scope.TRANSCRIBE, form=True)
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
    """Yield the routes of Realtime. The scopes that a session needs depend on its settings, and are checked when it
    opens.
    """
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
    # For callers whose scheme is Deepgram's `Token`, or whose token is one of Deepgram's form.
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


def _scribe() -> Iterator[Row]:
    yield CallRow("/v1/speech-to-text", "elevenlabs", SpeechToText(), Scope.TRANSCRIBE, form=True, by_secret=True)
    yield DialogueRow("/v1/speech-to-text/realtime", "elevenlabs", RealtimeSpeechToText())
    one = f"{SCRIBE_TRANSCRIPTS}/{{transcription_id}}"
    yield LookupRow(one, "elevenlabs", transcript_jobs.GetTranscript(), scope=Scope.TRANSCRIBE)
    yield LookupRow(one, "elevenlabs", transcript_jobs.DeleteTranscript(), "DELETE", Scope.TRANSCRIBE)
    hooks, most_bytes = webhooks.WEBHOOKS, webhooks.MAX_BODY_BYTES
    yield LookupRow(hooks, "elevenlabs", webhooks.ListWebhooks(), scope=Scope.KEYS)
    for method, path, change in (
        ("POST", hooks, webhooks.CreateWebhook()),
        ("PATCH", f"{hooks}/{{webhook_id}}", webhooks.UpdateWebhook()),
        ("DELETE", f"{hooks}/{{webhook_id}}", webhooks.DeleteWebhook()),
    ):
        body_bytes = 0 if method == "DELETE" else most_bytes
        yield LookupRow(path, "elevenlabs", change, method, Scope.KEYS, max_body_bytes=body_bytes)
    for token_type, scope in (
        ("realtime_scribe", Scope.TRANSCRIBE),
        ("batch_scribe", Scope.TRANSCRIBE),
        ("tts_websocket", Scope.SPEAK),
    ):
        path, tokens = f"/v1/single-use-token/{token_type}", SingleUseTokens(token_type)
        yield LookupRow(path, "elevenlabs", tokens, "POST", scope, max_body_bytes=MAX_TOKEN_BYTES)


_NOT_STORED = "Settings of a location are not stored: use options in the request."
_LOCATION, _ADAPTATION = "projects/*/locations/*", f"{V1.package}.Adaptation"
Method = Callable[..., LookupMethod]


def _stored_rest(family: Family) -> Iterator[tuple[str, str, str, Method]]:
    """Yield the methods of a type of stored resources, over REST."""
    base = "/v1" if family.first else "/v2"
    parent, name = f"{base}/{{parent={_LOCATION}}}/{family.collection}", f"{_LOCATION}/{family.collection}/*"
    for verb, path, body, method in (
        ("POST", parent, WHOLE if family.first else family.field, stored.Create),
        ("GET", parent, "", stored.List),
        ("GET", f"{base}/{{name={name}}}", "", stored.Get),
        ("PATCH", f"{base}/{{{family.field}.name={name}}}", family.field, stored.Update),
        ("DELETE", f"{base}/{{name={name}}}", "", stored.Delete),
        ("POST", f"{base}/{{name={name}}}:undelete", WHOLE, stored.Undelete),
    ):
        if method in stored.methods(family):
            yield verb, path, body, partial(method, family)


_GOOGLE_REST: tuple[tuple[str, str, str, Method], ...] = (
    ("POST", f"/v2/{{recognizer={_LOCATION}/recognizers/*}}:batchRecognize", WHOLE, BatchRecognize),
    *(row for family in (*FAMILIES, *FIRST_FAMILIES) for row in _stored_rest(family)),
    ("GET", f"/v2/{{name={_LOCATION}}}/operations", "", operations.ListOperations),
    ("GET", f"/v2/{{name={_LOCATION}/operations/*}}", "", operations.GetOperation),
    ("POST", f"/v2/{{name={_LOCATION}/operations/*}}:cancel", WHOLE, operations.CancelOperation),
    ("DELETE", f"/v2/{{name={_LOCATION}/operations/*}}", "", operations.DeleteOperation),
    ("POST", "/v1/speech:longrunningrecognize", WHOLE, LongRunningRecognize),
    ("GET", "/v1/operations", "", operations.ListOperations),
    ("GET", "/v1/operations/{name=**}", "", operations.GetOperation),
)
_GOOGLE_LOOKUPS: tuple[tuple[str, Method], ...] = (
    (f"{V2.package}.Speech", BatchRecognize),
    (f"{V1.package}.Speech", LongRunningRecognize),
    *((f"{V2.package}.Speech", partial(each, family)) for family in FAMILIES for each in stored.methods(family)),
    *((_ADAPTATION, partial(each, family)) for family in FIRST_FAMILIES for each in stored.methods(family)),
    *((f"{operations.PACKAGE}.Operations", each) for each in operations.METHODS),
)


def _google() -> Iterator[Row]:
    """Yield the methods with one request, over REST."""
    for dialect, (path, rest) in ((V2, V2_REST), (V1, V1_REST)):
        yield CallRow(path, "google", Recognize(dialect, rest=rest), Scope.TRANSCRIBE)
    for method, template, body, make in _GOOGLE_REST:
        path, rest = bound(template, body)
        endpoint = make(first=path.startswith("/v1/"), rest=rest)
        most_bytes = endpoint.max_body_bytes if body else 0
        yield LookupRow(path, "google", endpoint, method, Scope.TRANSCRIBE, max_body_bytes=most_bytes)


def _google_grpc() -> Iterator[Row]:
    for dialect in (V2, V1):
        service = f"/{dialect.package}.Speech"
        yield DialogueRow(f"{service}/StreamingRecognize", "google", StreamingRecognize(dialect))
        yield CallRow(f"{service}/Recognize", "google", Recognize(dialect), Scope.TRANSCRIBE)
    for service, make in _GOOGLE_LOOKUPS:
        endpoint = make(first=service.startswith(V1.package))
        path, most_bytes = f"/{service}/{endpoint.method}", endpoint.max_body_bytes
        yield LookupRow(path, "google", endpoint, "POST", Scope.TRANSCRIBE, max_body_bytes=most_bytes)
    for name in ("GetConfig", "UpdateConfig"):
        yield LookupRow(f"/{V2.package}.Speech/{name}", "google", AbsentAtGoogle(_NOT_STORED), "POST", open=True)


def _assemblyai() -> Iterator[Row]:
    yield DialogueRow("/v3/ws", "assemblyai", AssemblyAIStream())
    yield LookupRow("/v3/token", "assemblyai", TokenEndpoint(), scope=Scope.TRANSCRIBE)
    yield LookupRow("/v1/warm", "assemblyai", Warm(), open=True)
    for path in ("/v1/transcribe/live", "/v1/transcribe/stream", "/v1/transcribe"):  # also under its older names
        yield CallRow(path, "assemblyai", SyncEndpoint(), Scope.TRANSCRIBE, form=True, file=AUDIO)
    scope = Scope.TRANSCRIBE
    most_bytes = transcripts.MAX_UPLOAD_BYTES
    yield LookupRow("/v2/upload", "assemblyai", transcripts.Upload(), "POST", scope, max_body_bytes=most_bytes)
    create, most_bytes = transcripts.CreateTranscript(), transcripts.MAX_BODY_BYTES
    yield LookupRow(TRANSCRIPT, "assemblyai", create, "POST", scope, max_body_bytes=most_bytes)
    yield LookupRow(TRANSCRIPT, "assemblyai", ListTranscripts(), scope=scope)
    one = f"{TRANSCRIPT}/{{id}}"
    yield LookupRow(one, "assemblyai", transcripts.RetrieveTranscript(), scope=scope)
    yield LookupRow(one, "assemblyai", transcripts.DeleteTranscript(), "DELETE", scope)
    for view, endpoint in (
        ("sentences", transcripts.SentencesView()),
        ("paragraphs", transcripts.ParagraphsView()),
        ("srt", transcripts.Subtitles()),
        ("vtt", transcripts.Subtitles()),
        ("word-search", transcripts.WordSearch()),
        ("redacted-audio", transcripts.RedactedAudio()),
        (f"redacted-audio/{transcripts.COPY}", transcripts.RedactedAudioCopy()),
    ):
        yield LookupRow(f"{one}/{view}", "assemblyai", endpoint, scope=scope)


ROUTES: tuple[Row, ...] = (
    *_assemblyai(),
    DialogueRow("/stream-transcription", "amazon", AmazonStream(), duplex=True),
    DialogueRow("/stream-transcription-websocket", "amazon", SocketEndpoint()),
    *(DialogueRow(path, "amazon", AbsentStream(), duplex=True) for path in AMAZON_ABSENT),
    *(DialogueRow(f"{path}-websocket", "amazon", AbsentSocket()) for path in AMAZON_ABSENT),
    *_deepgram(),
    *_elevenlabs(),
    *_scribe(),
    *_openai("/v1"),
    *_responses("/v1"),
    *_realtime("/v1"),
    *_batches("/v1"),
    # Azure's paths of the same API.
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
    *_google(),
    *_open_inference(),
    LookupRow("/openapi.json", "openai", Document(document(__version__)), open=True),
)

# The methods over gRPC, and their descriptions for tools.
GRPC_ROUTES: tuple[Row, ...] = tuple(_google_grpc())
GRPC_DESCRIPTORS = pool
# The kinds of jobs, by name, and calls that only jobs can make.
_OF_BATCH, _OF_OPERATION = f"/{V2.package}.Speech/BatchRecognize", f"/{V1.package}.Speech/LongRunningRecognize"
JOB_KINDS: dict[str, JobKind] = {
    BATCH: BatchKind(),
    ASSEMBLYAI_TRANSCRIPT: TranscriptKind(),
    transcript_jobs.KIND: transcript_jobs.TranscriptKind(),
    operation.KIND: batch.RecognitionKind(_OF_BATCH, first=False),
    operation.FIRST_KIND: batch.RecognitionKind(_OF_OPERATION, first=True),
}
JOB_CALLS: tuple[Row, ...] = (
    CallRow(TRANSCRIPT, "assemblyai", TranscribeCall(), Scope.TRANSCRIBE),
    CallRow(SCRIBE_TRANSCRIPTS, "elevenlabs", ScribeCall(), Scope.TRANSCRIBE),
    CallRow(_OF_BATCH, "google", batch.FileOfBatch(), Scope.TRANSCRIBE),
    CallRow(_OF_OPERATION, "google", batch.RecordingOfOperation(), Scope.TRANSCRIBE),
)

# The vendors of other paths, by beginnings of one or two parts that their SDKs use; the longer one counts.
_ASSEMBLYAI = ("/v1/transcribe", "/v1/warm", "/v2/realtime", "/v2/transcript", "/v2/upload", "/v3")
_DEEPGRAM = "agent auth listen projects read speak"
_ELEVENLABS = """
assets audio-effects audio-isolation audio-native convai dubbing flows forced-alignment history music productions
pronunciation-dictionaries service-accounts shared-voices similar-voices single-use-token sound-generation
speech-engine speech-to-speech speech-to-text studio text-to-dialogue text-to-speech text-to-voice usage user
voice-changer voice-generation voices workspace workspaces"""
STRAYS: tuple[tuple[tuple[str, ...], Endpoint], ...] = (
    (_ASSEMBLYAI, AssemblyAI()),
    (("/v2/listen", "/v2/speak", *(f"/v1/{name}" for name in _DEEPGRAM.split())), Deepgram()),
    (("/v2/voices", "/v2/phone-numbers", *(f"/v1/{name}" for name in _ELEVENLABS.split())), ElevenLabs()),
    (("/v2/projects", "/v2/operations"), AtGoogle(rest=Rest())),
    (("/v1/operations", "/v1/speech:longrunningrecognize"), AtGoogle(first=True, rest=Rest())),
    (("/stream-transcription", "/stream-transcription-websocket"), Amazon()),
    (("/v2",), OpenInference()),
    (("/openai",), OpenAI()),
)
_STRAY_VENDORS = {beginning: vendor for beginnings, vendor in STRAYS for beginning in beginnings}


def surfaces() -> frozenset[str]:
    """Return the names of all surfaces."""
    return frozenset(row.surface for row in (*ROUTES, *GRPC_ROUTES))


def whose(opening: Opening) -> Endpoint:
    """Return the vendor in whose format an unknown path is refused: by the path, otherwise by the credential."""
    parts = opening.path.split("/", 3)
    for beginning in ("/".join(parts[:3]), "/".join(parts[:2])):
        if beginning in _STRAY_VENDORS:
            return _STRAY_VENDORS[beginning]
    if is_signed(opening):
        return Amazon()
    if "x-goog-api-key" in opening.headers:
        return AtGoogle(rest=Rest())
    if "xi-api-key" in opening.headers:
        return ElevenLabs()
    schemes = (opening.headers.get("authorization", "").strip().partition(" ")[0], *opening.subprotocols[:1])
    return Deepgram() if "token" in map(str.lower, schemes) else OpenAI()
