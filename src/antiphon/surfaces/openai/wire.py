"""OpenAI's message shapes, as its official SDK types them, and the common part of its endpoints: where the key is, and
the shape of errors. Fields that the caller did not ask for are left out of answers, never null.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from antiphon.core.budgets import RateExceeded, RateLimit
from antiphon.core.capabilities import Ability, Incapable, SpeechAbility, UnsupportedLanguage
from antiphon.core.errors import AntiphonError, BadMedia, BudgetExceeded, CapacityError, Unauthenticated
from antiphon.core.wire import Bearer, Opening, Response, bearer

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
EVENTS = "text/event-stream; charset=utf-8"

MAX_SHOWN = 64

encode = msgspec.json.encode


# -- usage -------------------------------------------------------------------------------------------------------------


class DurationUsage(Struct, frozen=True, tag="duration"):
    """Audio as the server counted it, in seconds, not rounded."""

    seconds: float


class InputTokenDetails(Struct, frozen=True):
    audio_tokens: int
    text_tokens: int = 0


class TokenUsage(Struct, frozen=True, tag="tokens"):
    """The only usage that the streamed `done` event can have."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_token_details: InputTokenDetails


class PromptTokensDetails(Struct, frozen=True):
    cached_tokens: int


class CompletionTokensDetails(Struct, frozen=True):
    reasoning_tokens: int


class CompletionUsage(Struct, frozen=True):
    """The tokens of a chat or a completion, of all its choices together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


# -- answers -----------------------------------------------------------------------------------------------------------


class Logprob(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]


class Transcription(Struct, frozen=True):
    """`response_format=json`."""

    text: str
    usage: DurationUsage
    logprobs: list[Logprob] | UnsetType = UNSET


class Segment(Struct, frozen=True):
    """A stretch of speech. Times are seconds; `seek` is hundredths of a second, Whisper's frames."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class TimedWord(Struct, frozen=True):
    word: str
    start: float
    end: float


class TranscriptionVerbose(Struct, frozen=True):
    """`response_format=verbose_json`."""

    task: Literal["transcribe"]
    language: str
    duration: float
    text: str
    usage: DurationUsage
    segments: list[Segment] | UnsetType = UNSET
    words: list[TimedWord] | UnsetType = UNSET


class Translation(Struct, frozen=True):
    """`response_format=json` of a translation."""

    text: str


class TranslationVerbose(Struct, frozen=True):
    """`response_format=verbose_json` of a translation; `language` is that of the text."""

    task: Literal["translate"]
    language: str
    duration: float
    text: str
    segments: list[Segment]


class TextDelta(Struct, frozen=True, tag="transcript.text.delta"):
    delta: str
    logprobs: list[Logprob] | UnsetType = UNSET


class TextDone(Struct, frozen=True, tag="transcript.text.done"):
    text: str
    usage: TokenUsage
    logprobs: list[Logprob] | UnsetType = UNSET


class TopLogprob(Struct, frozen=True):
    """One of the most probable tokens; `bytes` is null if it is a part of a character."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob, frozen=True):
    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(Struct, frozen=True):
    content: list[TokenLogprob]
    refusal: None = None


class FunctionCall(Struct, frozen=True):
    name: str
    arguments: str


class ToolCall(Struct, frozen=True):
    id: str
    function: FunctionCall
    type: Literal["function"] = "function"


class ToolCallStart(Struct, frozen=True):
    """The beginning of a call in a stream; its arguments follow."""

    index: int
    id: str
    function: FunctionCall
    type: Literal["function"] = "function"


class FunctionArguments(Struct, frozen=True):
    arguments: str


class ToolCallMore(Struct, frozen=True):
    index: int
    function: FunctionArguments


class ChatMessage(Struct, frozen=True):
    """A message; `content` and `refusal` may be null, as generated clients require the keys. OpenAI has no
    `reasoning_content`; clients of open models read the model's reasoning there.
    """

    content: str | None
    refusal: None = None
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    role: Literal["assistant"] = "assistant"


class ChatChoice(Struct, frozen=True):
    index: int
    message: ChatMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: str


class ChatCompletion(Struct, frozen=True):
    id: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: CompletionUsage
    system_fingerprint: str | UnsetType = UNSET
    service_tier: Literal["default"] | UnsetType = UNSET
    object: Literal["chat.completion"] = "chat.completion"


class TextLogprobs(Struct, frozen=True):
    """The log probabilities of a completion's tokens. `text_offset`: where each begins in the output, in characters."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(Struct, frozen=True):
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: str


class TextCompletion(Struct, frozen=True):
    id: str
    created: int
    model: str
    choices: list[TextChoice]
    usage: CompletionUsage
    system_fingerprint: str | UnsetType = UNSET
    object: Literal["text_completion"] = "text_completion"


class Model(Struct, frozen=True):
    id: str
    created: int
    owned_by: str
    object: Literal["model"] = "model"


class ModelList(Struct, frozen=True):
    data: list[Model]
    object: Literal["list"] = "list"


# -- errors ------------------------------------------------------------------------------------------------------------


class ErrorObject(Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(Struct, frozen=True):
    """The body of every refusal. Inside an event stream, the SDKs raise on any event that has this `error`."""

    error: ErrorObject


INSUFFICIENT_QUOTA = "insufficient_quota"
# OpenAI's codes that differ from ours.
_CODES = {
    "unauthenticated": "invalid_api_key",
    "over_capacity": "rate_limit_exceeded",
    "invalid_request": "invalid_value",
    "budget_exceeded": INSUFFICIENT_QUOTA,
    "rate_limited": "rate_limit_exceeded",
}
_QUOTA_STATUS = 429
NO_RETRY = (("x-should-retry", "false"),)  # else the SDKs try twice again after a 429


def error_body(error: AntiphonError) -> ErrorBody:
    if error.status >= 500:
        kind = "server_error"
    elif isinstance(error, BudgetExceeded):
        kind = INSUFFICIENT_QUOTA
    elif isinstance(error, CapacityError):
        kind = "requests"  # the limit that was reached, in OpenAI's terms: requests, not tokens
    else:
        kind = "invalid_request_error"
    # The decoder does not know the field that the audio came in; here it is always `file`.
    param = "file" if error.param is None and isinstance(error, BadMedia) else error.param
    return ErrorBody(ErrorObject(_message(error), kind, param, _CODES.get(error.code, error.code)))


def status_of(error: AntiphonError) -> int:
    """Return OpenAI's status of an error."""
    return _QUOTA_STATUS if isinstance(error, BudgetExceeded) else error.status


def rate_headers(rates: tuple[RateLimit, ...]) -> tuple[tuple[str, str], ...]:
    """Return the headers that tell a caller its limits of rate."""
    return tuple(
        (f"x-ratelimit-{field}-{each.name}", value)
        for each in rates
        for field, value in (
            ("limit", str(each.limit)),
            ("remaining", str(each.remaining)),
            ("reset", f"{each.reset_ms / 1000:g}s"),
        )
    )


def _message(error: AntiphonError) -> str:
    if isinstance(error, BudgetExceeded):
        return f"You exceeded your current quota, please check your plan and billing details. {error.message}"
    if isinstance(error, UnsupportedLanguage):
        if len(error.languages) == 1:
            return f"The only supported language is '{error.languages[0]}'."
        return f"The language {error.language[:MAX_SHOWN]!r} is not supported with this model."
    return _incapable(error) if isinstance(error, Incapable) else error.message


def _incapable(error: Incapable) -> str:
    """Return OpenAI's message for what a model cannot do."""
    match error.ability:
        case Ability.RAW_TEXT:
            return "This is a chat model and not supported in the v1/completions endpoint. Use v1/chat/completions."
        case Ability.IMAGES:
            return "This model does not take images."
        case SpeechAbility.TRANSLATION:
            return f"The model '{error.model[:MAX_SHOWN]}' does not support translation."
    return f"Unsupported parameter: '{error.param}' is not supported with this model."


def json_response(opening: Opening, status: int, body: Any, extra: tuple[tuple[str, str], ...] = ()) -> Response:
    return Response(status, headers(opening, JSON) + extra, encode(body))


def headers(opening: Opening, content_type: str) -> tuple[tuple[str, str], ...]:
    return (("content-type", content_type), ("x-request-id", opening.request_id))


class Endpoint:
    """The common part of OpenAI's endpoints."""

    def credential(self, opening: Opening, first: str | bytes | None = None) -> Bearer | None:
        """Return the key of `Authorization: Bearer KEY`, the scheme in any case (RFC 9110, section 11.1), or Azure's
        `api-key: KEY`.
        """
        scheme, _, key = opening.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            key = opening.headers.get("api-key", "")
        return bearer(key)

    def refuse(self, opening: Opening, error: AntiphonError) -> Response:
        extra: tuple[tuple[str, str], ...] = ()
        if error.retry_after_s is not None:
            extra += (("retry-after", str(error.retry_after_s)),)
        if isinstance(error, Unauthenticated):
            extra += (("www-authenticate", "Bearer"),)
        if isinstance(error, RateExceeded):
            extra += rate_headers(error.rates)
        if isinstance(error, BudgetExceeded):
            extra += NO_RETRY
        return json_response(opening, status_of(error), error_body(error), extra)
