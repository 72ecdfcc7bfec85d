"""One response: the answer of a language model, spoken while it is being written. Pure state: acts go to the stage,
outputs to `outputs`.

1. Each piece of text goes to the voice at once; the voice begins with the first complete clause. Tool calls are
   reported at once, beside the speech.
2. A held reply is speculative: nobody knows yet whether the words that it answers are the last. The language model
   runs, and the voice up to its first piece; nothing is sent, heard or charged before `confirm`.
3. `finish` ends the reply at once and stops everything that still runs for it.
4. The first reply that is spoken begins with the disclosure that the stage holds. If that is not heard to its end, the
   next reply begins with it.
5. Speech is made a little before it is heard, and charged when it is sent; `settle` says how far it was heard.
"""

from collections.abc import Sequence
from dataclasses import replace

from antiphon.conversation.items import Aloud, input_ms, messages, shorten
from antiphon.conversation.stage import Owner, Stage
from antiphon.conversation.steps import NO_TOKENS, Confirm, PartOutput, PausePart, ResumePart
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
    ResponseUsage,
)
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.errors import AntiphonError, Cancelled, ContextLengthExceeded
from antiphon.core.events import (
    ChoiceEnded,
    Completed,
    End,
    Failed,
    FinishReason,
    Say,
    Spoken,
    TextDelta,
    TokenUsage,
    ToolCallDelta,
    ToolCallStarted,
)
from antiphon.core.specs import GenerateSpec, Role, SpeakSpec
from antiphon.core.units import NS_PER_MS

ENDINGS = {FinishReason.LENGTH: Ending.LENGTH, FinishReason.FILTERED: Ending.FILTERED}

FIRST_WORDS = 8  # of a reply, after which it is spoken even without a complete clause
AHEAD_MS = 1500  # how far speech is made ahead of its playback; more may be discarded, while other calls wait

_RUNNING = ItemStatus.IN_PROGRESS


class Reply(Owner):
    """One response. `outputs` holds what it says, with how an item was spoken when it ends. While it is `silent`, none
    may be sent.
    """

    def __init__(self, stage: Stage, spec: ConverseSpec, keep: bool = True, held: bool = False) -> None:
        self.id = stage.mint("resp")
        self.spec = spec
        self.keep = keep
        self.playback = Playback()
        self.over = False
        self.awaited_ns: int | None = None  # since when the caller has waited for the first sound
        self.message: MessageItem | None = None  # what it says
        self.made_ms = 0  # of its speech
        self.paused = False  # the voice, because so much was made ahead
        self.outputs: list[tuple[ConversationOutput, Aloud | None]] = []
        self._stage = stage
        self._held = held
        self._recording = False  # what was said while it was held is being made durable
        self._items: Sequence[Item] = ()  # that the model reads
        self._output: list[Item] = []  # by index
        self._open: set[int] = set()  # of those, which have not ended
        self._message_at = 0
        self._calls: dict[int, int] = {}  # the model's number of a call -> its index
        self._generation = ""  # the part that generates, once there is one ...
        self._synthesis = ""  # ... and the one that speaks
        self._too_long = False  # for the model, which is to read less
        self._written = False  # to its end
        self._voiced = False
        self._disclosure = ""  # with which it begins
        self._marks: dict[int, int] = {}  # characters -> milliseconds
        self._input_ms = 0  # of the caller's audio that the model read ...
        self._turn_ms = 0  # ... and of the turn that it answers, where that was not over yet
        self._reason = FinishReason.STOP
        self._sent = NO_TOKENS
        self._tokens: TokenUsage | None = None  # of all of it

    @property
    def silent(self) -> bool:
        return self._held or self._recording

    def speaks(self, id: str) -> bool:
        """Return whether the item is what it says aloud."""
        return self.spec.speak and self.message is not None and self.message.id == id

    # -- the work ------------------------------------------------------------------------------------------------------

    def read(self, items: Sequence[Item]) -> None:
        """Start the model on these items."""
        self._items, self._input_ms = items, input_ms(items)
        self._generation = self._stage.open(self, self._generating(items), self._held)

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

    def take(self, output: PartOutput) -> None:
        """Take events of the model or the voice."""
        if output.part == self._generation:
            self._sent = output.sent
        for event in output.events:
            if self.over:
                return
            match event:
                case TextDelta(text=text) if text:
                    self._write(text)
                case ToolCallStarted(index=number, id=call_id, name=name):
                    self._calls[number] = self._start_item(CallItem(call_id, name, "", self._stage.mint(), _RUNNING))
                case ToolCallDelta(index=number, arguments=arguments):
                    self._argue(self._calls[number], arguments)
                case ChoiceEnded(reason=reason):
                    self._choice_ended(reason)
                case Completed(usage):
                    self._tokens = usage
                case Spoken():
                    self._sound(event, output.characters)
                case Failed(error):
                    self._failed(error)

    def _failed(self, error: AntiphonError) -> None:
        longer = isinstance(error, ContextLengthExceeded) and not self._output
        self._too_long = longer and self.spec.retain is not None and len(self._items) > 1
        if not self._too_long:
            self.finish(Ending.FAILED, error)

    def part_ended(self, part: str) -> None:
        """Note that one of its parts has no more events."""
        if part == self._synthesis:
            self._voiced = True
        else:
            self._stage.close(part, delivered=self._tokens is not None)
            if self._too_long and not self.over:
                self._too_long = False
                self.read(shorten(self._items, self.spec.retain or 0.0))
                return
            self._written = True
        if self._written and (self._voiced or not self._synthesis):
            self.finish(ENDINGS.get(self._reason, Ending.COMPLETED))

    def _choice_ended(self, reason: FinishReason) -> None:
        self._reason = reason
        status = ItemStatus.INCOMPLETE if reason in ENDINGS else ItemStatus.COMPLETED
        for index in sorted(self._open):
            if isinstance(self._output[index], CallItem) or not self.spec.speak:
                self._end(index, status)
        self._stage.feed(self._synthesis, End())

    def _write(self, text: str) -> None:
        if self.message is None:
            text = self._disclose() + text
            part = AudioPart(transcript="") if self.spec.speak else TextPart("")
            self.message = MessageItem(Role.ASSISTANT, (part,), self._stage.mint(), _RUNNING)
            self._message_at = self._start_item(self.message)
        (part,) = self.message.parts
        whole = TextPart(part.text + text) if isinstance(part, TextPart) else _more(part, text)
        self.message = self._output[self._message_at] = replace(self.message, parts=(whole,))
        self._tell(OutputText(self.id, self._message_at, self.message.id, text, self.spec.speak))
        if self.spec.speak:
            if not self._synthesis:
                self._synthesis = self._stage.open(self, speech(self.spec), self._held)
            self._stage.feed(self._synthesis, Say(text))

    def _disclose(self) -> str:
        """Return what must be said first."""
        stage = self._stage
        if not self.spec.speak or not stage.disclosure:
            return ""
        self._disclosure = stage.disclosure
        if self.keep:  # whether speech beside the conversation is played is not known
            stage.disclosure = ""
        return f"{self._disclosure} "

    def note_playback(self, end_ms: int) -> None:
        """Note how far it was heard: the next reply begins with a disclosure that was not heard to its end."""
        disclosure, self._disclosure = self._disclosure, ""
        if disclosure and self.keep and not self._covers(len(disclosure), end_ms):
            self._stage.disclosure = disclosure

    def _covers(self, characters: int, end_ms: int) -> bool:
        """Return whether so many characters were sound within this time."""
        marks = sorted(each for each in self._marks if each >= characters)
        whole = len(marks) > 1 or self._voiced  # the last clause may still be growing
        return bool(marks) and whole and self._marks[marks[0]] <= end_ms

    def _argue(self, index: int, arguments: str) -> None:
        call = self._output[index]
        assert isinstance(call, CallItem)
        self._output[index] = replace(call, arguments=call.arguments + arguments)
        self._tell(OutputArguments(self.id, index, call.id, call.call_id, arguments))

    # -- speech --------------------------------------------------------------------------------------------------------

    def _sound(self, spoken: Spoken, characters: int) -> None:
        assert self.message is not None
        self.made_ms = spoken.end_ms
        self._marks[characters] = spoken.end_ms
        at, id = self._message_at, self.message.id
        self._tell(OutputSpeech(self.id, at, id, spoken.audio, spoken.start_ms, spoken.end_ms))
        if self.keep and not self.paused and self._is_ahead():
            self.paused = True
            self._stage.act(PausePart(self._synthesis))

    def _is_ahead(self) -> bool:
        """Return whether there is enough speech for now."""
        return self.made_ms - self.playback.position_ms(self._stage.now_ns) > AHEAD_MS

    @property
    def scarce_ns(self) -> int | None:
        """When a paused voice must continue, if known."""
        if not self.paused or self.playback.sent_ms < self.made_ms:
            return None
        return self.playback.until_ns - AHEAD_MS * NS_PER_MS

    def go_on(self) -> None:
        """Resume a paused voice if more speech is needed soon."""
        if self.paused and (self.over or not self._is_ahead()):
            self.paused = False
            self._stage.act(ResumePart(self._synthesis))

    def sent(self, speech: OutputSpeech) -> None:
        """Note that this speech was sent."""
        self.playback.sent(speech.end_ms, self._stage.now_ns)

    def settle(self, end_ms: int | None = None) -> None:
        """Close the speech. `end_ms` is how far it was heard, `None` for all of it. Takes effect once."""
        self.note_playback(self.playback.sent_ms if end_ms is None else end_ms)
        self._stage.close(self._synthesis, delivered=end_ms is None, played_ms=end_ms)

    # -- what it says --------------------------------------------------------------------------------------------------

    def confirm(self, turn_ms: int) -> None:
        """Make a held reply count: what was said so far is charged, then sent and spoken, as is all that follows.
        `turn_ms` is the length of the turn that it answers. `confirmed` must follow.
        """
        self._held, self._recording = False, True
        self._turn_ms = turn_ms
        self._stage.act(Confirm(self.id, self._generation, self._synthesis))

    def confirmed(self, error: AntiphonError | None) -> None:
        """Release what was said while the reply was held, or fail if it could not be made durable."""
        if not self._recording:
            return
        self._recording = False
        if error is not None:
            self._output, self._open, self.outputs, self.over = [], set(), [], False
            self.finish(Ending.FAILED, error)

    def _start_item(self, item: Item) -> int:
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
            aloud = Aloud(part.transcript or "", marks, self.made_ms)
            transcript = part.transcript if status is ItemStatus.COMPLETED else aloud.until(self.made_ms)
            item = replace(item, parts=(AudioPart(transcript=transcript, audio_ms=self.made_ms),))
        item = self._output[index] = replace(item, status=status)
        self._tell(OutputEnded(self.id, index, item), aloud)

    def finish(self, ending: Ending, error: AntiphonError | None = None) -> None:
        """End the reply, if it has not ended."""
        if self.over:
            return
        whole = ending is Ending.COMPLETED
        for index in sorted(self._open):
            self._end(index, ItemStatus.COMPLETED if whole else ItemStatus.INCOMPLETE)
        usage = ResponseUsage(self._tokens or self._sent, self._input_ms + self._turn_ms, self.made_ms)
        self._tell(ResponseEnded(self.id, ending, tuple(self._output), usage, error))
        if ending in (Ending.INTERRUPTED, Ending.CANCELLED):
            self.outputs = [output for output in self.outputs if not isinstance(output[0], OutputSpeech)]
        self.over = True
        self._give_up(ending, error or Cancelled("The response was cancelled."))

    def _give_up(self, ending: Ending, error: AntiphonError) -> None:
        """Stop what still runs for it."""
        if self._tokens is None:
            self._stage.abort(self._generation, error)
        if ending not in (Ending.COMPLETED, Ending.LENGTH, Ending.FILTERED):
            self._stage.abort(self._synthesis, error)
        self.go_on()
        if self._held:
            self.settle(0)

    def _tell(self, output: ConversationOutput, aloud: Aloud | None = None) -> None:
        self.outputs.append((output, aloud))


def speech(spec: ConverseSpec) -> SpeakSpec:
    """Return how replies are spoken."""
    return SpeakSpec(
        spec.speech_model,
        spec.voice,
        format=spec.output_format,
        speed=spec.speed,
        live=True,
        first_words=FIRST_WORDS,
        tags=spec.tags,
    )


def _more(part: AudioPart, text: str) -> AudioPart:
    return replace(part, transcript=(part.transcript or "") + text)
