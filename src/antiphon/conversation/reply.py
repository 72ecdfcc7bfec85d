"""One response: a language model's answer, spoken while it is still being written.

1. Each piece of text goes to the voice as it comes; the voice begins with the first clause that is whole. Calls of
   tools are told of at once, beside the speech.
2. A held reply is one to words of which nobody knows yet that they are the last. The language model works ahead, and
   the voice as far as its first piece; nothing is told, heard or charged before `confirm`.
3. `finish` ends it at once, whatever still runs, and tells so; what still runs is given up behind it.
4. Speech is made a little before it is heard, and charged when it leaves; `settle` tells the account how far it was
   heard.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from antiphon.calls.generation import Generation
from antiphon.calls.synthesis import Synthesis
from antiphon.conversation.items import Aloud, heard_ms, messages, shortened
from antiphon.conversation.turns import Playback
from antiphon.core.conversation.items import AudioPart, CallItem, Item, ItemStatus, MessageItem, TextPart
from antiphon.core.conversation.outputs import (
    ConversationOutput,
    Ending,
    OutputArguments,
    OutputEnded,
    OutputSpeech,
    OutputStarted,
    OutputText,
    ResponseEnded,
    Spent,
)
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.errors import AntiphonError, Cancelled, ContextLengthExceeded, InternalError
from antiphon.core.events import (
    ChoiceEnded,
    Completed,
    End,
    Failed,
    FinishReason,
    LanguageOutput,
    Say,
    Spoken,
    TextDelta,
    TokenUsage,
    ToolCallDelta,
    ToolCallStarted,
)
from antiphon.core.specs import GenerateSpec, Role, SpeakSpec

ENDINGS = {FinishReason.LENGTH: Ending.LENGTH, FinishReason.FILTERED: Ending.FILTERED}

FIRST_WORDS = 8  # of a reply, after which it is spoken even where no clause of it is whole

log = logging.getLogger(__name__)


class Means(Protocol):
    """What a reply needs of its conversation."""

    def generate(self, spec: GenerateSpec, held: bool) -> Generation:
        """Raises `AntiphonError`."""

    def speak(self, spec: SpeakSpec) -> Synthesis:
        """Raises `AntiphonError`."""

    def mint(self) -> str:
        """A new item's id."""

    async def room(self) -> None:
        """Waits until the caller has read enough for more to be said."""

    async def scarce(self, reply: "Reply") -> None:
        """Waits until more of its speech is needed soon, or it is over."""

    def told(self, reply: "Reply", output: ConversationOutput, aloud: Aloud | None) -> None:
        """The reply says something; `aloud` is how the item was said that ends."""


class Reply:
    """`items` gives what the model shall read, once it is known. `run` must be awaited, as a task of its own."""

    def __init__(
        self,
        id: str,
        spec: ConverseSpec,
        means: Means,
        items: Callable[[], Awaitable[Sequence[Item]]],
        keep: bool = True,
        held: bool = False,
    ) -> None:
        self.id = id
        self.spec = spec
        self.keep = keep
        self.playback = Playback()
        self.over = False
        self.awaited_ns: int | None = None  # since when the caller of the turn that it answers waits for a sound
        self.message: MessageItem | None = None  # what it says
        self._means = means
        self._read = items
        self._held = held
        self._recording = False  # what was said while it was held is being made durable
        self._untold: list[tuple[ConversationOutput, Aloud | None]] = []  # until that is told
        self._output: list[Item] = []  # by index
        self._open: set[int] = set()  # of those, which have not ended
        self._message_at = 0
        self._calls: dict[int, int] = {}  # the model's number of a call -> its index
        self._generation: Generation | None = None
        self._speaking: Synthesis | None = None
        self._speech: asyncio.Task[None] | None = None
        self._said = 0  # characters that the voice has
        self._marks: dict[int, int] = {}  # characters -> milliseconds
        self._made_ms = 0
        self._heard_ms = 0  # of the caller's audio that the model read ...
        self._turn_ms = 0  # ... and of the turn that it answers, where that was not over yet
        self._reason = FinishReason.STOP
        self._tokens: TokenUsage | None = None
        self._settled = False

    @property
    def made_ms(self) -> int:
        """Of its speech."""
        return self._made_ms

    # -- the work ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """To its end, whatever that is."""
        try:
            items = await self._read()
            while not self.over and not await self._written(items):
                items = shortened(items, self.spec.retain or 0.0)
            if self._speech is not None:
                await self._speech
            self.finish(ENDINGS.get(self._reason, Ending.COMPLETED))
        except AntiphonError as error:
            self.finish(Ending.FAILED, error)
        except Exception as error:
            log.error("reply failed", exc_info=error)
            self.finish(Ending.FAILED, InternalError("The server failed; this has been logged."))
        finally:
            if self._speech is not None and not self._speech.done():
                self._speech.cancel()
                await asyncio.gather(self._speech, return_exceptions=True)
            if self._held:
                await self.settle(0)

    async def _written(self, items: Sequence[Item]) -> bool:
        """What the model writes, to its end; whether it could read that much. Raises `AntiphonError`."""
        self._heard_ms = heard_ms(items)
        generation = self._generation = self._means.generate(self._generating(items), self._held)
        delivered = False
        try:
            async with aclosing(generation.events()) as events:
                async for batch in events:
                    for event in batch:
                        if self.over:
                            return True
                        if isinstance(event, Failed):
                            longer = isinstance(event.error, ContextLengthExceeded) and not self._output
                            if longer and self.spec.retain is not None and len(items) > 1:
                                return False
                            raise event.error
                        await self._take(event)
                        delivered = isinstance(event, Completed)
                    await self._means.room()
        finally:
            generation.end(delivered)
        return True

    def _generating(self, items: Sequence[Item]) -> GenerateSpec:
        spec = self.spec
        return GenerateSpec(
            spec.model,
            messages(spec.instructions, items),
            sampling=spec.sampling,
            tools=spec.tools,
            tool_choice=spec.tool_choice,
            parallel_tool_calls=spec.parallel_tool_calls,
            stream=True,
            tags=spec.tags,
        )

    async def _take(self, event: LanguageOutput) -> None:
        match event:
            case TextDelta(text=text) if text:
                await self._write(text)
            case ToolCallStarted(index=number, id=call_id, name=name):
                self._calls[number] = self._begin(CallItem(call_id, name, "", self._means.mint(), _RUNNING))
            case ToolCallDelta(index=number, arguments=arguments):
                self._argue(self._calls[number], arguments)
            case ChoiceEnded(reason=reason):
                self._reason = reason
                status = ItemStatus.INCOMPLETE if reason in ENDINGS else ItemStatus.COMPLETED
                for index in sorted(self._open):
                    if isinstance(self._output[index], CallItem) or not self.spec.speak:
                        self._end(index, status)
                if self._speaking is not None:
                    await self._speaking.feed(End())
            case Completed(usage):
                self._tokens = usage

    async def _write(self, text: str) -> None:
        if self.message is None:
            part = AudioPart(transcript="") if self.spec.speak else TextPart("")
            self.message = MessageItem(Role.ASSISTANT, (part,), self._means.mint(), _RUNNING)
            self._message_at = self._begin(self.message)
        (part,) = self.message.parts
        whole = TextPart(part.text + text) if isinstance(part, TextPart) else _more(part, text)
        self.message = self._output[self._message_at] = replace(self.message, parts=(whole,))
        self._tell(OutputText(self.id, self._message_at, self.message.id, text, self.spec.speak))
        await self._say()

    def _argue(self, index: int, arguments: str) -> None:
        call = self._output[index]
        assert isinstance(call, CallItem)
        self._output[index] = replace(call, arguments=call.arguments + arguments)
        self._tell(OutputArguments(self.id, index, call.id, call.call_id, arguments))

    # -- speech --------------------------------------------------------------------------------------------------------

    async def _say(self) -> None:
        """The voice gets what it has not of the text."""
        if self.message is None or not self.spec.speak or self.over:
            return
        (part,) = self.message.parts
        assert isinstance(part, AudioPart)
        whole = part.transcript or ""
        text, self._said = whole[self._said :], len(whole)
        if self._speaking is None:
            self._speaking = self._means.speak(speech(self.spec))
            if not self._held:
                self._speaking.confirm()
            self._speech = asyncio.create_task(self._spoken(self._speaking), name=f"speech {self.id}")
        if text:
            await self._speaking.feed(Say(text))

    async def _spoken(self, speaking: Synthesis) -> None:
        """Tells of the speech as it is made. Where it fails, so does the reply."""
        async with aclosing(speaking.events()) as events:
            async for batch in events:
                for event in batch:
                    if isinstance(event, Failed):
                        self.finish(Ending.FAILED, event.error)
                    if self.over:
                        return
                    if isinstance(event, Spoken) and self.message is not None:
                        self._made_ms = event.end_ms
                        self._marks[speaking.characters] = event.end_ms
                        at, id = self._message_at, self.message.id
                        self._tell(OutputSpeech(self.id, at, id, event.audio, event.start_ms, event.end_ms))
                        if self.keep:
                            await self._means.scarce(self)
                await self._means.room()

    def sent(self, speech: OutputSpeech, now_ns: int) -> None:
        """That has left."""
        self.playback.sent(speech.end_ms, now_ns)

    async def settle(self, heard_ms: int | None = None) -> None:
        """It is heard no more; `heard_ms` is how far it was, where that was not to its end. Once."""
        speaking = self._speaking
        if speaking is None or self._settled:
            return
        self._settled = True
        if self._speech is not None and not self._speech.done():  # or what it still makes would be charged after all
            self._speech.cancel()
            await asyncio.wait((self._speech,))
        try:
            if heard_ms is not None:
                await speaking.played(heard_ms)
        except AntiphonError as error:
            log.error(
                "the charge for unheard speech could not be corrected",
                exc_info=error,
                extra={"session": speaking.call.id},
            )
        finally:
            await speaking.close(delivered=heard_ms is None)

    # -- what it says --------------------------------------------------------------------------------------------------

    async def confirm(self, heard_ms: int) -> None:
        """It is wanted: what was said so far is charged, then told and spoken, and so is everything from now on.
        `heard_ms` is how long the turn took that it answers.
        """
        self._held, self._recording = False, True
        self._turn_ms = heard_ms
        if self._speaking is not None:
            self._speaking.confirm()
        try:
            if self._generation is not None:
                await self._generation.confirm()
        except AntiphonError as error:  # nothing of it may be told
            self._output, self._open, self._untold, self.over = [], set(), [], False
            self.finish(Ending.FAILED, error)
        except asyncio.CancelledError:
            await self.settle(0)
            raise
        self._recording = False
        untold, self._untold = self._untold, []
        for output, aloud in untold:
            self._means.told(self, output, aloud)

    def _begin(self, item: Item) -> int:
        index = len(self._output)
        self._output.append(item)
        self._open.add(index)
        self._tell(OutputStarted(self.id, index, item))
        return index

    def _end(self, index: int, status: ItemStatus) -> None:
        self._open.discard(index)
        item = self._output[index]
        aloud: Aloud | None = None
        if isinstance(item, MessageItem) and self.spec.speak:
            (part,) = item.parts
            assert isinstance(part, AudioPart)
            marks = tuple((ms, characters) for characters, ms in self._marks.items())
            aloud = Aloud(part.transcript or "", marks, self._made_ms)
            said = part.transcript if status is ItemStatus.COMPLETED else aloud.until(self._made_ms)
            item = replace(item, parts=(AudioPart(transcript=said, audio_ms=self._made_ms),))
        item = self._output[index] = replace(item, status=status)
        self._tell(OutputEnded(self.id, index, item), aloud)

    def finish(self, ending: Ending, error: AntiphonError | None = None) -> None:
        """It ends now, if it has not yet."""
        if self.over:
            return
        whole = ending is Ending.COMPLETED
        for index in sorted(self._open):
            self._end(index, ItemStatus.COMPLETED if whole else ItemStatus.INCOMPLETE)
        tokens = self._tokens or (self._generation.sent if self._generation else TokenUsage(0, 0))
        spent = Spent(tokens, self._heard_ms + self._turn_ms, self._made_ms)
        self._tell(ResponseEnded(self.id, ending, tuple(self._output), spent, error))
        if ending in (Ending.INTERRUPTED, Ending.CANCELLED):
            self._untold = [told for told in self._untold if not isinstance(told[0], OutputSpeech)]
        self.over = True
        given_up = error or Cancelled("The response was cancelled.")
        if self._generation is not None and self._tokens is None:
            self._generation.fail(given_up)
        if self._speaking is not None and ending not in (Ending.COMPLETED, Ending.LENGTH, Ending.FILTERED):
            self._speaking.fail(given_up)

    def _tell(self, output: ConversationOutput, aloud: Aloud | None = None) -> None:
        if self.over:
            return
        if self._held or self._recording:
            self._untold.append((output, aloud))
        else:
            self._means.told(self, output, aloud)


def speech(spec: ConverseSpec) -> SpeakSpec:
    """How its replies are spoken."""
    return SpeakSpec(
        spec.speech_model,
        spec.voice,
        format=spec.output_format,
        speed=spec.speed,
        live=True,
        first_words=FIRST_WORDS,
        tags=spec.tags,
    )


_RUNNING = ItemStatus.IN_PROGRESS


def _more(part: AudioPart, text: str) -> AudioPart:
    return replace(part, transcript=(part.transcript or "") + text)
