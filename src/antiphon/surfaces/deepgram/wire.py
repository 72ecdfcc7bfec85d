"""The messages of Deepgram's APIs, as its own SDK types them (`ListenV1*` and `SpeakV1*` of deepgram-sdk 7).

Fields are in Deepgram's order. Times are seconds.
"""

import msgspec

# Deepgram no longer has transaction keys, and sends this instead.
TRANSACTION_KEY = "deprecated"

# -- from the caller ---------------------------------------------------------------------------------------------------


class KeepAlive(msgspec.Struct, tag="KeepAlive", frozen=True):
    """A message that restarts the idle timeout, without audio and answer."""


class Finalize(msgspec.Struct, tag="Finalize", frozen=True):
    """A request for the finals of everything sent so far, of one channel or of all."""

    channel: int | None = None


class CloseStream(msgspec.Struct, tag="CloseStream", frozen=True):
    """A request for the last results, the metadata and the close."""


class Configure(msgspec.Struct, tag="Configure", frozen=True):
    """A request to change key terms or formatting during the stream."""

    keyterms: list[str] | None = None
    features: dict[str, bool] | None = None


ClientMessage = KeepAlive | Finalize | CloseStream | Configure
MOST_TEXT_BYTES = 4096  # of a text message that came as a binary one


class UrlRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The JSON body of a request whose audio is at a URL."""

    url: str


class Speak(msgspec.Struct, tag="Speak", frozen=True):
    """More text to be spoken."""

    text: str


class SpeakFlush(msgspec.Struct, tag="Flush", frozen=True):
    """A request to speak the text so far."""


class SpeakClear(msgspec.Struct, tag="Clear", frozen=True):
    """A request to drop the text that is not yet spoken."""


class SpeakClose(msgspec.Struct, tag="Close", frozen=True):
    """A request to speak the rest, then close."""


SpeakMessage = Speak | SpeakFlush | SpeakClear | SpeakClose | KeepAlive


class TextRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The JSON body of a request to speak a text, or the text at a URL."""

    text: str | None = None
    url: str | None = None


# -- to the caller -----------------------------------------------------------------------------------------------------


class ParameterWarning(msgspec.Struct, frozen=True):
    """A warning about an accepted parameter that is not fully honoured."""

    parameter: str
    type: str
    message: str


class ModelInfo(msgspec.Struct, frozen=True):
    name: str
    version: str
    arch: str


class Word(msgspec.Struct, frozen=True, omit_defaults=True):
    word: str
    start: float
    end: float
    confidence: float
    punctuated_word: str | None = None


class Sentence(msgspec.Struct, frozen=True):
    text: str
    start: float
    end: float


class Paragraph(msgspec.Struct, frozen=True):
    sentences: list[Sentence]
    num_words: int
    start: float
    end: float


class Paragraphs(msgspec.Struct, frozen=True):
    transcript: str
    paragraphs: list[Paragraph]


class Alternative(msgspec.Struct, frozen=True, omit_defaults=True):
    transcript: str
    confidence: float
    words: list[Word]
    paragraphs: Paragraphs | None = None


class Hit(msgspec.Struct, frozen=True):
    confidence: float
    start: float
    end: float
    snippet: str


class Search(msgspec.Struct, frozen=True):
    query: str
    hits: list[Hit]


class Channel(msgspec.Struct, frozen=True, omit_defaults=True):
    """One channel's result; `language_confidence` is 0..1."""

    search: list[Search] | None = None
    alternatives: list[Alternative] = []
    detected_language: str | None = None
    language_confidence: float | None = None


class ResultsMetadata(msgspec.Struct, frozen=True):
    request_id: str
    model_info: ModelInfo
    model_uuid: str


class Results(msgspec.Struct, tag="Results", frozen=True):
    """A live result; `channel_index` is the channel and the number of channels."""

    channel_index: tuple[int, int]
    duration: float
    start: float
    is_final: bool
    speech_final: bool
    channel: Channel
    metadata: ResultsMetadata
    from_finalize: bool


class SpeechStarted(msgspec.Struct, tag="SpeechStarted", frozen=True):
    channel: tuple[int, int]
    timestamp: float


class UtteranceEnd(msgspec.Struct, tag="UtteranceEnd", frozen=True):
    channel: tuple[int, int]
    last_word_end: float


class Summary(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The summary at the end of a call. `models` and the keys of `model_info` are model UUIDs."""

    transaction_key: str
    request_id: str
    sha256: str
    created: str
    duration: float
    channels: int
    models: list[str]
    model_info: dict[str, ModelInfo]
    warnings: list[ParameterWarning] | None = None
    extra: dict[str, str] | None = None
    tags: list[str] | None = None


class Metadata(Summary, tag="Metadata", frozen=True, omit_defaults=True, kw_only=True):
    """The last message of a stream."""


class ConfigureSuccess(msgspec.Struct, tag="ConfigureSuccess", frozen=True, omit_defaults=True):
    request_id: str
    keyterms: tuple[str, ...] | None = None


class ConfigureFailure(msgspec.Struct, tag="ConfigureFailure", frozen=True):
    request_id: str
    code: str
    description: str


class Error(msgspec.Struct, tag="Error", frozen=True):
    """An error on an open stream; the close follows."""

    variant: str
    description: str


class SpeakMetadata(msgspec.Struct, tag="Metadata", frozen=True):
    """The first message of live speech."""

    request_id: str
    model_name: str
    model_version: str
    model_uuid: str


class SpeakFlushed(msgspec.Struct, tag="Flushed", frozen=True):
    """The end of the speech before a `Flush`. `sequence_id` numbers these and `Cleared`."""

    sequence_id: int


class SpeakCleared(msgspec.Struct, tag="Cleared", frozen=True):
    """The answer to `Clear`: no more audio of the text before it."""

    sequence_id: int


class SpeakWarning(msgspec.Struct, tag="Warning", frozen=True):
    """A request that was not carried out; the stream continues."""

    description: str
    code: str


class Utterance(msgspec.Struct, frozen=True):
    start: float
    end: float
    confidence: float
    channel: int
    transcript: str
    words: list[Word]
    id: str


class FileResults(msgspec.Struct, frozen=True, omit_defaults=True):
    channels: list[Channel]
    utterances: list[Utterance] | None = None


class Response(msgspec.Struct, frozen=True):
    """The answer to a file."""

    metadata: Summary
    results: FileResults


class Granted(msgspec.Struct, frozen=True):
    """A token in place of a key; `expires_in` is in seconds."""

    access_token: str
    expires_in: int


class HearingModel(msgspec.Struct, frozen=True):
    name: str
    canonical_name: str
    architecture: str
    languages: list[str]
    version: str
    uuid: str
    batch: bool = True
    streaming: bool = True
    formatted_output: bool = False


class VoiceMetadata(msgspec.Struct, frozen=True):
    tags: list[str]


class SpeakingModel(msgspec.Struct, frozen=True):
    name: str
    canonical_name: str
    architecture: str
    languages: list[str]
    version: str
    uuid: str
    metadata: VoiceMetadata


class ModelList(msgspec.Struct, frozen=True):
    stt: list[HearingModel]
    tts: list[SpeakingModel]


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every refused HTTP request and WebSocket opening."""

    err_code: str
    err_msg: str
    request_id: str


ServerMessage = Results | SpeechStarted | UtteranceEnd | Metadata | ConfigureSuccess | ConfigureFailure | Error
SpeakServerMessage = SpeakMetadata | SpeakFlushed | SpeakCleared | SpeakWarning

_client_messages: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)
_url_requests = msgspec.json.Decoder(UrlRequest)
_speak_messages: msgspec.json.Decoder[SpeakMessage] = msgspec.json.Decoder(SpeakMessage)
_text_requests = msgspec.json.Decoder(TextRequest)
_encoder = msgspec.json.Encoder()


def text_in(message: bytes) -> str | None:
    """Return the text of a binary message that is a text message: clients that send everything as bytes exist, and as
    audio it would shift all later samples by a byte. `None` if it is audio.
    """
    if len(message) > MOST_TEXT_BYTES or not (message.startswith(b"{") and b'"type"' in message):
        return None
    try:
        return message.decode() if message.rstrip().endswith(b"}") else None
    except UnicodeDecodeError:
        return None


def read_client_message(text: str) -> ClientMessage:
    """Return a client's message. Raises `msgspec.MsgspecError` for any other, `UnicodeError` if it is not text,
    `RecursionError` if it is nested too deep.
    """
    return _client_messages.decode(text)


def read_url_request(data: bytes) -> UrlRequest:
    """Return the request. Raises `msgspec.MsgspecError`, or `UnicodeError` if it is not text."""
    return _url_requests.decode(data)


def read_speak_message(text: str) -> SpeakMessage:
    """Return a client's message. Raises `msgspec.MsgspecError` for any other, `UnicodeError` if it is not text."""
    return _speak_messages.decode(text)


def read_text_request(data: bytes) -> TextRequest:
    """Return the request. Raises `msgspec.MsgspecError`, or `UnicodeError` if it is not text."""
    return _text_requests.decode(data)


def write(message: ServerMessage | SpeakServerMessage) -> str:
    return _encoder.encode(message).decode()


def write_body(body: Response | ErrorBody | Granted | ModelList | HearingModel | SpeakingModel) -> bytes:
    return _encoder.encode(body)
