"""`POST /v1/chat/completions`: returns the next message of a conversation, whole or as server-sent events.

Every parameter is honoured, named in the answer's head as without effect, or refused. Those that only label a call for
its sender (`user`, `safety_identifier`, `prompt_cache_key`) change no answer; `metadata` is kept with the usage.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta

from antiphon.core.endpoints import AnswerRequest
from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.events import ChoiceEnded, ReasoningDelta, ScoredToken, TextDelta, ToolCallDelta, ToolCallStarted
from antiphon.core.specs import GenerateSpec, Sampling
from antiphon.core.wire import NOTHING, Opening, Step
from antiphon.surfaces.openai import extensions, wire
from antiphon.surfaces.openai import generation as shared
from antiphon.surfaces.openai.addressing import model_of
from antiphon.surfaces.openai.answers import Choice, Render, Streamed, Whole, encode, logprob, token_bytes
from antiphon.surfaces.openai.messages import Turn, conversation, marks_a_cache

ID_PREFIX = "chatcmpl-"


class ChatRequest(extensions.Extensions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body. `None` means absent or null."""

    messages: Annotated[list[Turn], Meta(min_length=1)]
    model: str | None = None
    stream: bool | None = None
    stream_options: shared.StreamOptions | None = None
    n: shared.Choices | None = None
    max_completion_tokens: shared.Tokens | None = None
    max_tokens: shared.Tokens | None = None
    temperature: shared.Temperature | None = None
    top_p: shared.TopP | None = None
    stop: shared.Stop | None = None
    seed: shared.Seed | None = None
    presence_penalty: shared.Penalty | None = None
    frequency_penalty: shared.Penalty | None = None
    logprobs: bool | None = None
    top_logprobs: shared.TopLogprobs | None = None
    response_format: shared.ResponseFormat | None = None
    tools: shared.ToolList | None = None
    tool_choice: str | shared.NamedTool | None = None
    parallel_tool_calls: bool | None = None
    metadata: shared.Metadata | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    store: bool | None = None
    service_tier: str | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    modalities: list[str] | None = None
    logit_bias: shared.LogitBias | None = None
    audio: Any = None
    function_call: Any = None
    functions: Any = None
    moderation: Any = None
    prediction: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    web_search_options: Any = None
    chat_template_kwargs: shared.Object | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    echo: bool | None = None
    include_reasoning: bool | None = None


_refuse_unsupported = shared.refuser(
    {
        "audio": "answers are text; speech is made of it at /v1/audio/speech",
        "function_call": "it has given way to 'tool_choice'",
        "functions": "they have given way to 'tools'",
        "moderation": "moderation is not supported",
        "web_search_options": "web search is not supported",
    }
)
_ANSWERS = {"add_generation_prompt": True, "continue_final_message": False, "echo": False}  # what makes it an answer
_continuing = shared.reader(_ANSWERS)
# Conveniences that are not offered here. What the engine that answers cannot do, the session reports.
_without_effect = shared.reader(("prediction", "prompt_cache_options", "prompt_cache_retention", "request_id"))
_DECODER = msgspec.json.Decoder(ChatRequest)


class ChatCompletions(wire.Endpoint):
    """The endpoint."""

    max_body_bytes = shared.MAX_BODY_BYTES

    def negotiate(self, opening: Opening, body: bytes) -> AnswerRequest:
        """Return the request as a spec. Raises a `CallerError`, whose `param` is the path of the field."""
        request = shared.decode(_DECODER, body)
        model = model_of(opening, request.model)
        _refuse(request)
        tools = shared.chat_tools(request.tools)
        stream = request.stream is True
        with_usage, counts = shared.usage_options(request.stream_options, stream)
        spec = GenerateSpec(
            model=model,
            prompt=conversation(request.messages),
            choices=request.n or 1,
            sampling=_sampling(request),
            format=extensions.structured(request, shared.chat_format(request.response_format)),
            tools=tools,
            tool_choice=shared.chat_tool_choice(request.tool_choice, tools),
            parallel_tool_calls=request.parallel_tool_calls is not False,
            stream=stream,
            tags=shared.tags(request.metadata),
            template_arguments=shared.json_text(request.chat_template_kwargs) if request.chat_template_kwargs else "",
            counts=counts,
            reasoning_effort=shared.effort(request.reasoning_effort, "reasoning_effort"),
            verbosity=shared.verbosity(request.verbosity, "verbosity"),
        )
        unused = tuple(_without_effect(request))
        if marks_a_cache(request.messages) or any(each.marks_a_cache for each in request.tools or ()):
            unused += ("cache_control",)
        tiered, thoughts = request.service_tier is not None, request.include_reasoning is not False
        if not stream:
            whole = Whole(self, opening, ID_PREFIX, spec.choices, _renderer(tiered, thoughts))
            return AnswerRequest(spec, whole.names(unused))
        streamed = ChatStream(self, opening, spec.choices, tiered, thoughts, with_usage, counts)
        return AnswerRequest(spec, streamed.names(unused))


def _refuse(request: ChatRequest) -> None:
    """Refuse parameters of which at most one value is honoured."""
    _refuse_unsupported(request)
    if request.store:
        raise UnsupportedParameter("Storing chat completions is not supported.", param="store")
    for name, value in _continuing(request).items():
        if value is not _ANSWERS[name]:
            raise UnsupportedParameter("Continuing the last message is not supported.", param=name)
    if request.modalities is not None and request.modalities != ["text"]:
        raise UnsupportedParameter("Only text output is supported.", param="modalities")
    shared.one_of(request.service_tier, ("auto", "default"), "service_tier")


def _sampling(request: ChatRequest) -> Sampling:
    if None not in (request.max_tokens, bound := request.max_completion_tokens) and request.max_tokens != bound:
        raise CallerError("'max_completion_tokens' replaces 'max_tokens'.", param="max_tokens")
    if request.top_logprobs and not request.logprobs:
        raise CallerError("'top_logprobs' needs 'logprobs': true.", param="top_logprobs")
    return Sampling(
        max_tokens=request.max_completion_tokens or request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        stop=shared.stops(request.stop),
        seed=request.seed,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        logprobs=request.logprobs is True,
        top_logprobs=request.top_logprobs or 0,
        logit_bias=shared.logit_bias(request.logit_bias),
        **extensions.sampling(request),
    )


# -- whole -------------------------------------------------------------------------------------------------------------


def _renderer(tiered: bool, thoughts: bool) -> Render:
    """Return the renderer of whole answers; `tiered`: the caller chose a service tier, so the answer names it;
    `thoughts`: the caller wants the model's reasoning, too.
    """

    def render(answer: Whole, choices: Sequence[Choice], usage: wire.CompletionUsage) -> wire.ChatCompletion:
        return wire.ChatCompletion(
            id=answer.id,
            created=answer.created_unix_s,
            model=answer.opened.model,
            choices=[_choice(*pair, thoughts) for pair in enumerate(choices)],
            usage=usage,
            system_fingerprint=answer.opened.fingerprint or UNSET,
            service_tier="default" if tiered else UNSET,
        )

    return render


def _choice(index: int, choice: Choice, thoughts: bool) -> wire.ChatChoice:
    text = "".join(choice.texts)
    calls = [
        wire.ToolCall(call.id, wire.FunctionCall(call.name, "".join(call.arguments))) for call in choice.calls.values()
    ]
    message = wire.ChatMessage(
        content=text if text or not calls else None,
        reasoning_content=("".join(choice.thoughts) if thoughts else "") or UNSET,
        tool_calls=calls or UNSET,
    )
    logprobs = _logprobs(choice.scored) if choice.scored else None
    return wire.ChatChoice(index, message, logprobs, choice.reason)


def _logprobs(scored: Sequence[ScoredToken]) -> wire.ChoiceLogprobs:
    return wire.ChoiceLogprobs(
        [
            wire.TokenLogprob(
                token.text,
                logprob(token.logprob),
                token_bytes(token),
                [wire.TopLogprob(each.text, logprob(each.logprob), token_bytes(each)) for each in token.top],
            )
            for token in scored
        ]
    )


# -- streamed ----------------------------------------------------------------------------------------------------------


class ChatStream(Streamed):
    """Chunks with deltas; the first one of each choice has the role.

    Those come first, in the order of the choices, because the official SDK's stream helper relies on it.
    """

    BEFORE = b'{"index":%d,"delta":{'
    AFTER = b"}"

    def __init__(
        self,
        endpoint: wire.Endpoint,
        opening: Opening,
        choices: int,
        tiered: bool,
        thoughts: bool,
        with_usage: bool,
        counts: bool,
    ) -> None:
        fields = {"object": "chat.completion.chunk"} | ({"service_tier": "default"} if tiered else {})
        super().__init__(endpoint, opening, ID_PREFIX, choices, fields, with_usage, counts)
        self._thoughts = thoughts

    def _first(self) -> bytes:
        return b"".join([start + b'"role":"assistant"' + self._before for start in self._starts])

    def _text(self, event: TextDelta) -> Step:
        news = b'"content":' + encode(event.text)
        if event.scored:
            news += b'},"logprobs":' + encode(_logprobs(event.scored))
            return self._send(self._starts[event.choice] + news + self._running[1:])  # its delta ends before
        return self._chunk(event.choice, news)

    def _beside(self, event: ReasoningDelta | ToolCallStarted | ToolCallDelta) -> Step:
        match event:
            case ReasoningDelta() if not self._thoughts:
                return NOTHING
            case ReasoningDelta():
                return self._chunk(event.choice, b'"reasoning_content":' + encode(event.text))
            case ToolCallStarted():
                news = encode(wire.ToolCallStart(event.index, event.id, wire.FunctionCall(event.name, "")))
            case ToolCallDelta():
                news = encode(wire.ToolCallMore(event.index, wire.FunctionArguments(event.arguments)))
        return self._chunk(event.choice, b'"tool_calls":[' + news + b"]")

    def _ended(self, event: ChoiceEnded) -> Step:
        return self._last(event.choice, b"", event.reason)
