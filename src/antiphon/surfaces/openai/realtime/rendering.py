"""The outputs of a conversation, as events of the Realtime API.

The state of a running response is what its last event repeats of its first, and which of its messages have begun.
"""

from base64 import b64encode
from collections.abc import Iterator
from itertools import count
from typing import Any

from msgspec import UNSET

from antiphon.core.conversation import outputs
from antiphon.core.conversation.items import CallItem, MessageItem, TextPart
from antiphon.core.conversation.outputs import Ending
from antiphon.core.errors import AntiphonError
from antiphon.core.events import Token
from antiphon.surfaces.openai.answers import logprob
from antiphon.surfaces.openai.realtime import items, shown, wire
from antiphon.surfaces.openai.wire import DurationUsage, Logprob, error_body

# OpenAI's own units of audio: a token for each 100 ms of input and each 50 ms of output, rounded up.
INPUT_TOKEN_MS, OUTPUT_TOKEN_MS = 100, 50
MAX_DELTA_BYTES = 48_000  # of speech in one event, a second in the largest format

_STATUSES: dict[Ending, tuple[Any, str | None]] = {
    Ending.COMPLETED: ("completed", None),
    Ending.INTERRUPTED: ("cancelled", "turn_detected"),
    Ending.CANCELLED: ("cancelled", "client_cancelled"),
    Ending.LENGTH: ("incomplete", "max_output_tokens"),
    Ending.FILTERED: ("incomplete", "content_filter"),
    Ending.FAILED: ("failed", None),
}


class Rendering:
    """The rendering of one session. Ids are made from `stem`; `conversation` is known once it has begun."""

    def __init__(self, stem: str) -> None:
        self.conversation = ""
        self._ids = (f"event_{stem}{number}" for number in count())
        self._responses: dict[str, wire.Response] = {}
        self._begun: set[tuple[str, str]] = set()  # (response, item) of messages whose part was sent

    def next_id(self) -> str:
        return next(self._ids)

    def events(self, output: outputs.ConversationOutput) -> Iterator[wire.Event]:
        """Return the events of an output; the session's own events are not made here."""
        match output:
            case outputs.ResponseStarted():
                yield self._started(output)
            case outputs.OutputStarted():
                item = items.shown(output.item)
                yield wire.OutputItemAdded(self.next_id(), output.response_id, output.index, item)
            case outputs.OutputText():
                yield from self._begin(output, output.spoken)
                kind = wire.TranscriptDelta if output.spoken else wire.TextDelta
                yield kind(self.next_id(), output.response_id, output.item_id, output.index, 0, output.text)
            case outputs.OutputSpeech():
                yield from self._begin(output, True)
                yield from self._speech(output)
            case outputs.OutputArguments():
                place = output.response_id, output.item_id, output.index
                yield wire.ArgumentsDelta(self.next_id(), *place, output.call_id, output.arguments)
            case outputs.OutputEnded():
                yield from self._ended(output)
            case outputs.ResponseEnded():
                yield self._done(output)
            case outputs.ItemAdded():
                yield wire.ItemAdded(self.next_id(), output.after or None, items.shown(output.item))
            case outputs.ItemDone():
                yield wire.ItemDone(self.next_id(), output.after or None, items.shown(output.item))
            case outputs.ItemRead():
                yield wire.ItemRetrieved(self.next_id(), items.shown(output.item))
            case outputs.ItemRemoved():
                yield wire.ItemDeleted(self.next_id(), output.item_id)
            case outputs.ItemTruncated():
                yield wire.ItemTruncated(self.next_id(), output.item_id, output.part, output.end_ms)
            case _:
                yield from self._turn(output)

    # -- the caller's turn ---------------------------------------------------------------------------------------------

    def _turn(self, output: outputs.ConversationOutput) -> Iterator[wire.Event]:
        match output:
            case outputs.TurnStarted():
                yield wire.SpeechStarted(self.next_id(), output.item_id, output.at_ms)
            case outputs.TurnStopped():
                yield wire.SpeechStopped(self.next_id(), output.item_id, output.at_ms)
            case outputs.AudioCommitted():
                yield wire.Committed(self.next_id(), output.item_id, output.after or None)
            case outputs.AudioCleared():
                yield wire.BufferCleared(self.next_id())
            case outputs.IdleReached():
                yield wire.TimeoutTriggered(self.next_id(), output.item_id, output.start_ms, output.end_ms)
            case outputs.TranscriptionDelta():
                yield wire.TranscriptionDelta(self.next_id(), output.item_id, output.text, content_index=output.part)
            case outputs.TranscriptionDone():
                transcript = output.transcript
                usage = DurationUsage(output.audio_ms / 1000)
                logprobs = [_logprob(token) for token in transcript.tokens] if transcript.tokens else UNSET
                place = output.item_id, transcript.text.strip(), usage, logprobs, output.part
                yield wire.TranscriptionCompleted(self.next_id(), *place)
            case outputs.TranscriptionFailed():
                yield wire.TranscriptionFailed(self.next_id(), output.item_id, _failure(output.error), output.part)
            case outputs.RateLimits():
                limits: list[Any] = [
                    wire.RateLimit(each.name, each.limit, each.remaining, each.reset_ms / 1000)  # type: ignore[arg-type]
                    for each in output.limits
                ]
                yield wire.RateLimitsUpdated(self.next_id(), limits)

    # -- responses -----------------------------------------------------------------------------------------------------

    def _started(self, output: outputs.ResponseStarted) -> wire.Event:
        spec = output.spec
        response = wire.Response(
            id=output.response_id,
            conversation_id=self.conversation if output.keep else None,
            output_modalities=shown.modalities(spec),
            audio=wire.ResponseAudio(wire.VoiceOutput(shown.format_out(spec.output_format), spec.voice or None)),
            max_output_tokens=shown.most_tokens(spec),
            metadata=dict(output.metadata) or None,
        )
        self._responses[output.response_id] = response
        return wire.ResponseCreated(self.next_id(), response)

    def _begin(self, output: outputs.OutputText | outputs.OutputSpeech, spoken: bool) -> Iterator[wire.Event]:
        """Return the event of the message's part, before its first delta."""
        key = output.response_id, output.item_id
        if key not in self._begun:
            self._begun.add(key)
            part = wire.AudioPart("") if spoken else wire.TextPart("")
            yield wire.PartAdded(self.next_id(), output.response_id, output.item_id, output.index, 0, part)

    def _speech(self, output: outputs.OutputSpeech) -> Iterator[wire.Event]:
        place = output.response_id, output.item_id, output.index, 0
        for start in range(0, len(output.audio), MAX_DELTA_BYTES):
            delta = b64encode(output.audio[start : start + MAX_DELTA_BYTES]).decode()
            yield wire.AudioDelta(self.next_id(), *place, delta)

    def _ended(self, output: outputs.OutputEnded) -> Iterator[wire.Event]:
        item = output.item
        if isinstance(item, CallItem):
            place = output.response_id, item.id, output.index
            yield wire.ArgumentsDone(self.next_id(), *place, item.call_id, item.name, item.arguments)
        elif isinstance(item, MessageItem):
            yield from self._message_ended(output, item)
        yield wire.OutputItemDone(self.next_id(), output.response_id, output.index, items.shown(item))

    def _message_ended(self, output: outputs.OutputEnded, item: MessageItem) -> Iterator[wire.Event]:
        """Return the ends of the message's parts; an empty message has none."""
        key = output.response_id, item.id
        if key not in self._begun:
            return
        self._begun.remove(key)
        place = output.response_id, item.id, output.index, 0
        (part,) = item.parts
        if isinstance(part, TextPart):
            yield wire.TextDone(self.next_id(), *place, part.text)
            yield wire.PartDone(self.next_id(), *place, wire.TextPart(part.text))
            return
        transcript = part.transcript or ""
        yield wire.AudioDone(self.next_id(), *place)
        yield wire.TranscriptDone(self.next_id(), *place, transcript)
        yield wire.PartDone(self.next_id(), *place, wire.AudioPart(transcript))

    def _done(self, output: outputs.ResponseEnded) -> wire.Event:
        began = self._responses.pop(output.response_id)
        status, reason = _STATUSES[output.ending]
        details = None
        if output.error is not None:
            details = wire.StatusDetails(status, error=_failure(output.error))
        elif reason is not None:
            details = wire.StatusDetails(status, reason)
        response = wire.Response(
            began.id,
            began.conversation_id,
            began.output_modalities,
            began.audio,
            began.max_output_tokens,
            began.metadata,
            [items.shown(item) for item in output.items],
            status,
            details,
            _usage(output.usage),
        )
        return wire.ResponseDone(self.next_id(), response)


def _usage(usage: outputs.ResponseUsage) -> wire.Usage:
    input_audio_tokens = -(-usage.input_ms // INPUT_TOKEN_MS)
    spoken = -(-usage.spoken_ms // OUTPUT_TOKEN_MS)
    tokens = usage.tokens
    read = wire.InputTokens(tokens.input, input_audio_tokens, tokens.cached, wire.CachedTokens(tokens.cached))
    written = wire.OutputTokens(tokens.output, spoken)
    input_tokens, output_tokens = tokens.input + input_audio_tokens, tokens.output + spoken
    return wire.Usage(input_tokens + output_tokens, input_tokens, output_tokens, read, written)


def _logprob(token: Token) -> Logprob:
    return Logprob(token.text, logprob(token.logprob), list(token.text.encode()))


def _failure(error: AntiphonError) -> wire.Failure:
    fields = error_body(error).error
    return wire.Failure(fields.type, fields.code, fields.message)
