"""`POST /v1/completions`: returns the continuation of a raw text, whole or as server-sent events.

The legacy endpoint: one prompt, as text, which the model gets unchanged, without a conversation around it.
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
from antiphon.surfaces.openai.answers import Choice, Streamed, Whole, encode, logprob

ID_PREFIX = "cmpl-"
DEFAULT_MAX_TOKENS = 16  # OpenAI's own, for this endpoint only


class CompletionRequest(extensions.Extensions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body. `None` means absent or null."""

    prompt: str | list[Any] | None = None
    model: str | None = None
    stream: bool | None = None
    stream_options: shared.StreamOptions | None = None
    n: shared.Choices | None = None
    best_of: int | None = None
    max_tokens: shared.Tokens | None = None
    temperature: shared.Temperature | None = None
    top_p: shared.TopP | None = None
    stop: shared.Stop | None = None
    seed: shared.Seed | None = None
    presence_penalty: shared.Penalty | None = None
    frequency_penalty: shared.Penalty | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    logit_bias: shared.LogitBias | None = None
    echo: bool | None = None
    suffix: str | None = None
    user: str | None = None
    response_format: shared.ResponseFormat | None = None


_DECODER = msgspec.json.Decoder(CompletionRequest)


class Completions(wire.Endpoint):
    """The endpoint."""

    max_body_bytes = shared.MAX_BODY_BYTES

    def negotiate(self, opening: Opening, body: bytes) -> AnswerRequest:
        """Return the request as a spec. Raises a `CallerError`, whose `param` is the path of the field."""
        request = shared.decode(_DECODER, body)
        model = model_of(opening, request.model)
        choices = request.n or 1
        _refuse(request, choices)
        stream = request.stream is True
        with_usage, counts = shared.usage_options(request.stream_options, stream)
        sampling = Sampling(
            max_tokens=request.max_tokens or DEFAULT_MAX_TOKENS,
            temperature=request.temperature,
            top_p=request.top_p,
            stop=shared.stops(request.stop),
            seed=request.seed,
            presence_penalty=request.presence_penalty,
            frequency_penalty=request.frequency_penalty,
            logprobs=request.logprobs is not None,
            top_logprobs=request.logprobs or 0,
            logit_bias=shared.logit_bias(request.logit_bias),
            **extensions.sampling(request),
        )
        format = extensions.structured(request, shared.chat_format(request.response_format))
        spec = GenerateSpec(model, _prompt(request.prompt), choices, sampling, format, stream=stream, counts=counts)
        unused = ("request_id",) if request.request_id is not None else ()
        if stream:
            return AnswerRequest(spec, CompletionStream(self, opening, choices, with_usage, counts).names(unused))
        return AnswerRequest(spec, Whole(self, opening, ID_PREFIX, choices, _completion).names(unused))


def _refuse(request: CompletionRequest, choices: int) -> None:
    """Refuse parameters of which at most one value is honoured."""
    if request.best_of not in (None, choices):
        raise UnsupportedParameter("All completions are returned, so 'best_of' must equal 'n'.", param="best_of")
    if request.echo:
        raise UnsupportedParameter("Echoing the prompt is not supported.", param="echo")
    if request.suffix:
        raise UnsupportedParameter("Inserting text before a suffix is not supported.", param="suffix")


def _prompt(prompt: str | list[Any] | None) -> str:
    """Return the prompt: a text, or a list of one."""
    if isinstance(prompt, list):
        if len(prompt) != 1 or not isinstance(prompt[0], str):
            raise UnsupportedParameter("'prompt' must be a single text.", param="prompt")
        prompt = prompt[0]
    if not prompt:
        raise CallerError("The prompt is empty.", param="prompt")
    return prompt


def _completion(answer: Whole, choices: Sequence[Choice], usage: wire.CompletionUsage) -> wire.TextCompletion:
    return wire.TextCompletion(
        id=answer.id,
        created=answer.created_unix_s,
        model=answer.opened.model,
        choices=[_choice(*pair) for pair in enumerate(choices)],
        usage=usage,
        system_fingerprint=answer.opened.fingerprint or UNSET,
    )


def _choice(index: int, choice: Choice) -> wire.TextChoice:
    logprobs = _logprobs(choice.scored, 0) if choice.scored else None
    return wire.TextChoice(index, "".join(choice.texts), logprobs, choice.reason)


def _logprobs(scored: Sequence[ScoredToken], offset: int) -> wire.TextLogprobs:
    """Return log probabilities. `offset`: characters before the first token. The top ones include the chosen one."""
    tokens = [token.text for token in scored]
    tops = [
        {each.text: logprob(each.logprob) for each in token.top} | {token.text: logprob(token.logprob)}
        for token in scored
    ]
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token)
    return wire.TextLogprobs(tokens, [logprob(token.logprob) for token in scored], tops, offsets)


class CompletionStream(Streamed):
    """Chunks with more text, and nothing but text."""

    BEFORE = b'{"index":%d,"text":'
    AFTER = b""

    def __init__(self, endpoint: wire.Endpoint, opening: Opening, choices: int, with_usage: bool, counts: bool) -> None:
        super().__init__(endpoint, opening, ID_PREFIX, choices, {"object": "text_completion"}, with_usage, counts)
        self._lengths = [0] * choices  # of the tokens so far, in characters

    def _text(self, event: TextDelta) -> Step:
        logprobs = b"null"
        if event.scored:
            logprobs = encode(_logprobs(event.scored, self._lengths[event.choice]))
            self._lengths[event.choice] += sum(len(token.text) for token in event.scored)
        return self._chunk(event.choice, encode(event.text) + b',"logprobs":' + logprobs)

    def _beside(self, event: ReasoningDelta | ToolCallStarted | ToolCallDelta) -> Step:
        return NOTHING

    def _ended(self, event: ChoiceEnded) -> Step:
        return self._last(event.choice, b'"","logprobs":null', event.reason)
