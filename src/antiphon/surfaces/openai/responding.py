"""One response while it is generated: whole, streamed, or in the background.

Nothing is sent before the first output, so an error until then has its own status. Later it is an `error` event and
then `response.failed`; in the background, `GET` will show it. The response so far and the input's items are kept, so
that both can be shown again.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

from msgspec import Struct, structs

from antiphon.core.capabilities import Ability
from antiphon.core.errors import AntiphonError, BudgetExceeded, CallerError, Cancelled, CapacityError
from antiphon.core.events import (
    ChoiceEnded,
    Completed,
    Failed,
    FinishReason,
    LanguageOutput,
    Opened,
    ReasoningDelta,
    TextDelta,
    TokenUsage,
    ToolCallDelta,
    ToolCallStarted,
)
from antiphon.core.specs import Message
from antiphon.core.units import NS_PER_S
from antiphon.core.wire import NOTHING, Close, Keep, Opening, Step
from antiphon.surfaces.openai import response_wire as wire
from antiphon.surfaces.openai.answers import Answer, encode
from antiphon.surfaces.openai.response_output import Output
from antiphon.surfaces.openai.wire import EVENTS, JSON, Endpoint, error_body

ID_PREFIX = "resp_"

_INCOMPLETE: dict[FinishReason, Literal["max_output_tokens", "content_filter"]] = {
    FinishReason.LENGTH: "max_output_tokens",
    FinishReason.FILTERED: "content_filter",
}


class Kept(Struct, frozen=True):
    """The kept data of a response, to show it again."""

    response: wire.Response
    input: Sequence[dict[str, Any]]


class Turn(Struct, frozen=True):
    """The caller's input: `messages` continue the conversation, `listed` are the items as shown."""

    messages: Sequence[Message]
    listed: Sequence[dict[str, Any]]


class Responding(Answer):
    """A response that is sent when it is complete. `fields` are those of its request that it repeats."""

    content_type = JSON

    def __init__(self, endpoint: Endpoint, opening: Opening, fields: dict[str, Any], turn: Turn) -> None:
        super().__init__(endpoint, opening, ID_PREFIX, self.content_type)
        self._output = Output(opening.request_id.replace("-", ""))
        self._response = wire.Response(self.id, self.created_unix_s, **fields)
        self._turn = turn
        self._opened_ns = 0
        self._reason = FinishReason.STOP

    def emit(self, event: LanguageOutput, now_ns: int) -> Step:
        match event:
            case TextDelta():
                return self._tell(self._output.say(event))
            case ToolCallDelta():
                return self._tell(self._output.argue(event))
            case ReasoningDelta():
                return self._tell(self._output.think(event))
            case ToolCallStarted():
                return self._tell(self._output.call(event))
            case ChoiceEnded():
                self._reason = event.reason
                return self._tell(self._output.end(event.reason))
            case Opened():
                self.opened = event
                self._opened_ns = now_ns
                self._response = structs.replace(self._response, model=event.model, store=event.kept)
                if Ability.REASONING_EFFORT in event.unmet:
                    self._response = structs.replace(self._response, reasoning=wire.ReasoningConfig())
                if Ability.VERBOSITY in event.unmet:
                    text = wire.TextConfig(self._response.text.format)
                    self._response = structs.replace(self._response, text=text)
                return self._begun()
            case Completed():
                return self._completed(event.usage, now_ns)
            case Failed():
                self._output.break_off()
                self._response = structs.replace(
                    self._response,
                    status="cancelled" if isinstance(event.error, Cancelled) else "failed",
                    output=self._output.items(),
                    error=None if isinstance(event.error, Cancelled) else _failure(event.error),
                    completed_at=None,
                    incomplete_details=None,
                )
                return self._failed(event.error)
        return NOTHING

    def _completed(self, usage: TokenUsage, now_ns: int) -> Step:
        reason = _INCOMPLETE.get(self._reason)
        took_s = (now_ns - self._opened_ns) // NS_PER_S
        self._response = structs.replace(
            self._response,
            status="incomplete" if reason else "completed",
            completed_at=None if reason else self.created_unix_s + took_s,
            incomplete_details=wire.Incomplete(reason) if reason else None,
            output=self._output.items(),
            usage=wire.Usage(
                usage.input,
                wire.InputDetails(usage.cached),
                usage.output,
                wire.OutputDetails(usage.reasoning),
                usage.input + usage.output,
            ),
        )
        step = self._ended()
        if not self._kept:
            return step
        answer = (self._output.message(),) if self._output.items() else ()
        return Step((), step.sends, step.close, self._keep((*self._turn.messages, *answer)))

    def _keep(self, conversation: tuple[Message, ...] = ()) -> Keep:
        return Keep(self.id, encode(Kept(self._response, self._turn.listed)), conversation)

    @property
    def _kept(self) -> bool:
        return self.opened.kept or self.opened.remembered

    def _unmet(self) -> Sequence[str]:
        """Return nothing: the response itself says what was done."""
        return ()

    # What differs. ----------------------------------------------------------------------------------------------------

    def _begun(self) -> Step:
        return NOTHING

    def _tell(self, events: Sequence[wire.Event]) -> Step:
        return NOTHING

    def _ended(self) -> Step:
        return self._send(encode(self._response), Close())

    def _failed(self, error: AntiphonError) -> Step:
        self._headed = False  # nothing was sent, or it could not be kept and so was not sent
        return self._fail(error)


class Streaming(Responding):
    """A response that is streamed as typed events."""

    content_type = EVENTS

    def _begun(self) -> Step:
        """Encode the events that precede the first output, so that they are numbered first."""
        numbers = self._output.numbers
        self._start = _event(wire.Created(next(numbers), self._response))
        self._start += _event(wire.InProgress(next(numbers), self._response))
        return NOTHING

    def _tell(self, events: Sequence[wire.Event]) -> Step:
        data = b"".join([_event(event) for event in events])
        if self._headed:
            return self._send(data) if data else NOTHING
        return self._send(self._start + data)

    def _ended(self) -> Step:
        kind = wire.WasIncomplete if self._response.status == "incomplete" else wire.Completed
        return self._send(_event(kind(next(self._output.numbers), self._response)), Close())

    def _failed(self, error: AntiphonError) -> Step:
        if not self._headed:
            return self._fail(error)
        fields = error_body(error).error
        event = wire.ErrorEvent(next(self._output.numbers), fields.code, fields.message, fields.param)
        failed = wire.WasFailed(next(self._output.numbers), self._response)
        return self._send(_event(event) + _event(failed), Close())


class InBackground(Responding):
    """A response that is answered at once as begun, and then only kept."""

    def _begun(self) -> Step:
        step = self._send(encode(self._response), Close())
        return Step((), step.sends, step.close, self._keep())

    def _ended(self) -> Step:
        return NOTHING

    def _failed(self, error: AntiphonError) -> Step:
        return Step(keep=self._keep())


def _event(event: wire.Event) -> bytes:
    return _name(type(event)) + encode(event) + b"\n\n"


@cache
def _name(kind: type[wire.Event]) -> bytes:
    return f"event: {kind.__struct_config__.tag}\ndata: ".encode()


def _failure(error: AntiphonError) -> wire.Failure:
    """Return the error with one of a response's codes."""
    if error.status == CapacityError.status or isinstance(error, BudgetExceeded):
        return wire.Failure("rate_limit_exceeded", error.message)
    return wire.Failure("invalid_prompt" if isinstance(error, CallerError) else "server_error", error.message)
