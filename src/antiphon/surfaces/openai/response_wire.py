"""The shapes of the Responses API, as OpenAI's official SDK types them (`openai.types.responses`).

A response has null where OpenAI's schema requires the key; optional parameters are left out unless they were given.
"""

from typing import Any, Literal

from msgspec import UNSET, Raw, Struct, UnsetType

Status = Literal["in_progress", "completed", "incomplete", "failed", "cancelled"]
Object = dict[str, Any]


# -- items -------------------------------------------------------------------------------------------------------------


class TopLogprob(Struct, frozen=True):
    token: str
    bytes: list[int]
    logprob: float


class Logprob(TopLogprob, frozen=True):
    top_logprobs: list[TopLogprob]


class OutputText(Struct, frozen=True, tag="output_text"):
    text: str
    annotations: tuple[()] = ()
    logprobs: list[Logprob] = []


class ReasoningText(Struct, frozen=True, tag="reasoning_text"):
    text: str


class MessageItem(Struct, frozen=True, tag="message"):
    id: str
    status: Status
    content: list[OutputText]
    role: Literal["assistant"] = "assistant"


class ReasoningItem(Struct, frozen=True, tag="reasoning"):
    id: str
    status: Status
    content: list[ReasoningText]
    summary: tuple[()] = ()


class FunctionCallItem(Struct, frozen=True, tag="function_call"):
    id: str
    status: Status
    call_id: str
    name: str
    arguments: str


Item = MessageItem | ReasoningItem | FunctionCallItem


# -- the response ------------------------------------------------------------------------------------------------------


class Failure(Struct, frozen=True):
    code: str
    message: str


class Incomplete(Struct, frozen=True):
    reason: Literal["max_output_tokens", "content_filter"]


class InputDetails(Struct, frozen=True):
    cached_tokens: int
    cache_write_tokens: int = 0  # which a provider charges for filling its cache


class OutputDetails(Struct, frozen=True):
    reasoning_tokens: int


class Usage(Struct, frozen=True):
    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class TextConfig(Struct, frozen=True):
    format: Object
    verbosity: str = "medium"


class ReasoningConfig(Struct, frozen=True):
    effort: str | None = None
    summary: None = None


class Response(Struct, frozen=True):
    """A response: the request's fields, constant, then the answer's, which change."""

    id: str
    created_at: int
    model: str
    status: Status = "in_progress"
    background: bool = False
    completed_at: int | None = None
    error: Failure | None = None
    incomplete_details: Incomplete | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    metadata: dict[str, str] = {}
    output: list[Item] = []
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    prompt_cache_key: str | UnsetType = UNSET
    reasoning: ReasoningConfig = ReasoningConfig()
    safety_identifier: str | UnsetType = UNSET
    service_tier: Literal["default"] | UnsetType = UNSET
    store: bool = False
    temperature: float | None = None
    text: TextConfig = TextConfig({"type": "text"})
    tool_choice: str | Object = "auto"
    tools: list[Object] = []
    top_logprobs: int = 0
    top_p: float | None = None
    truncation: Literal["disabled"] = "disabled"
    usage: Usage | None = None
    user: str | UnsetType = UNSET
    object: Literal["response"] = "response"


# -- events ------------------------------------------------------------------------------------------------------------


class Event(Struct, frozen=True):
    sequence_number: int


class ResponseEvent(Event, frozen=True):
    response: Response


class Created(ResponseEvent, frozen=True, tag="response.created"): ...


class InProgress(ResponseEvent, frozen=True, tag="response.in_progress"): ...


class Completed(ResponseEvent, frozen=True, tag="response.completed"): ...


class WasIncomplete(ResponseEvent, frozen=True, tag="response.incomplete"): ...


class WasFailed(ResponseEvent, frozen=True, tag="response.failed"): ...


class ErrorEvent(Event, frozen=True, tag="error"):
    code: str | None
    message: str
    param: str | None


class ItemEvent(Event, frozen=True):
    output_index: int
    item: Item


class ItemAdded(ItemEvent, frozen=True, tag="response.output_item.added"): ...


class ItemDone(ItemEvent, frozen=True, tag="response.output_item.done"): ...


class WithinItem(Event, frozen=True):
    item_id: str
    output_index: int


class WithinPart(WithinItem, frozen=True):
    content_index: int


class PartEvent(WithinPart, frozen=True):
    part: OutputText | ReasoningText


class PartAdded(PartEvent, frozen=True, tag="response.content_part.added"): ...


class PartDone(PartEvent, frozen=True, tag="response.content_part.done"): ...


class TextDelta(WithinPart, frozen=True, tag="response.output_text.delta"):
    delta: str
    logprobs: list[Logprob]


class TextDone(WithinPart, frozen=True, tag="response.output_text.done"):
    text: str
    logprobs: list[Logprob]


class ReasoningDelta(WithinPart, frozen=True, tag="response.reasoning_text.delta"):
    delta: str


class ReasoningDone(WithinPart, frozen=True, tag="response.reasoning_text.done"):
    text: str


class ArgumentsDelta(WithinItem, frozen=True, tag="response.function_call_arguments.delta"):
    delta: str


class ArgumentsDone(WithinItem, frozen=True, tag="response.function_call_arguments.done"):
    arguments: str


# -- over a WebSocket --------------------------------------------------------------------------------------------------


class SocketErrorObject(Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str
    headers: dict[str, str] | UnsetType = UNSET


class SocketError(Struct, frozen=True, tag="error"):
    """A request without an answer. `status` is its status over HTTP."""

    status: int
    error: SocketErrorObject
    stream_id: str | UnsetType = UNSET


class SteerError(Struct, frozen=True):
    code: Literal["steering_not_supported"]
    message: str
    type: Literal["invalid_request_error"] = "invalid_request_error"


class Steer(Struct, frozen=True):
    """The input that should steer a response, unchanged."""

    input: Raw
    previous_response_id: str


class SteerFailed(Event, frozen=True, tag="response.steer.failed"):
    error: SteerError
    steer: Steer


# -- what is kept ------------------------------------------------------------------------------------------------------


class Deleted(Struct, frozen=True):
    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class InputItems(Struct, frozen=True):
    data: list[Object]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"
