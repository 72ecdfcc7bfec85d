"""Conversations on fakes: the runner, its threads and the event loop are real, time stands still until told."""

import asyncio
import threading
import uuid
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from event_loop import settle

from antiphon.calls.synthesis import Synthesis
from antiphon.conversation.conversation import PIECE_BYTES
from antiphon.conversation.items import MAX_CHARACTERS
from antiphon.conversation.replies import LEEWAY_MS
from antiphon.conversation.reply import AHEAD_MS
from antiphon.core.audio import AudioFormat, Encoding, SpeechFormat
from antiphon.core.call import Call
from antiphon.core.conversation.inputs import (
    AddItem,
    AppendAudio,
    CancelResponse,
    ClearAudio,
    CommitAudio,
    Configure,
    ReadItem,
    Reject,
    RemoveItem,
    Respond,
    TruncateItem,
)
from antiphon.core.conversation.items import (
    FIRST,
    AudioPart,
    CallItem,
    ItemStatus,
    Known,
    MessageItem,
    ResultItem,
    TextPart,
)
from antiphon.core.conversation.outputs import (
    AudioCleared,
    AudioCommitted,
    Began,
    Configured,
    Ending,
    IdleReached,
    ItemAdded,
    ItemRead,
    ItemRemoved,
    ItemTruncated,
    OutputArguments,
    OutputEnded,
    OutputSpeech,
    OutputText,
    RateLimits,
    Refused,
    ResponseEnded,
    ResponseStarted,
    TranscriptionDelta,
    TranscriptionDone,
    TranscriptionFailed,
    TurnStarted,
    TurnStopped,
)
from antiphon.core.conversation.spec import ConverseSpec, Eagerness, Transcription, Turns
from antiphon.core.errors import (
    BudgetExceeded,
    CallerError,
    Conflict,
    ContextLengthExceeded,
    Draining,
    EngineError,
    LedgerUnavailable,
    NotFound,
    PolicyError,
    TooLarge,
    Unauthenticated,
    UnsupportedParameter,
)
from antiphon.core.events import (
    ChoiceEnded,
    Failed,
    FinishReason,
    TextDelta,
    TokenUsage,
    ToolCallDelta,
    ToolCallStarted,
)
from antiphon.core.policy import Policy
from antiphon.core.specs import Role, Sampling, Tool, ToolChoice, ToolMode
from antiphon.core.usage import Dimension
from antiphon.scheduler.endpoint import FRAME
from session_house import audio, until

FORMAT = AudioFormat(Encoding.LINEAR16, 16_000)
SPEC = ConverseSpec(
    model="counter",
    input_format=FORMAT,
    speech_model="tone",
    output_format=SpeechFormat(sample_rate=16_000),
    turns=Turns(silence_ms=300),
)
TYPED = ConverseSpec(model="counter", input_format=FORMAT, speak=False, turns=None)
SAID = audio(900, 700)


class Caller:
    """Someone who talks to a conversation, and reads everything at once."""

    def __init__(self, house, spec=SPEC):
        self.house = house
        self.conversation = house.sessions.converse(Call(str(uuid.uuid4()), house.principal, "openai", spec))
        self.told = []
        self.reading = asyncio.Event()
        self.reading.set()
        self.task = asyncio.create_task(self._read())

    async def _read(self):
        async for batch in self.conversation.events():
            await self.reading.wait()
            self.told += batch

    async def does(self, *inputs):
        for given in inputs:
            await self.conversation.feed(given)

    async def says(self, pcm=SAID):
        for at in range(0, len(pcm), 3200):
            await self.conversation.feed(AppendAudio(pcm[at : at + 3200]))

    def all(self, kind):
        return [event for event in self.told if isinstance(event, kind)]

    async def sees(self, kind, count=1):
        """The latest of that kind, once there are so many."""
        await until(lambda: len(self.all(kind)) >= count or self.task.done())
        found = self.all(kind)
        assert len(found) >= count, self.told
        return found[count - 1]

    def kinds(self, *ignored):
        return [type(event).__name__ for event in self.told if not isinstance(event, ignored)]

    async def leaves(self):
        await self.conversation.close(delivered=False)
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@asynccontextmanager
async def calling(house, spec=SPEC):
    caller = Caller(house, spec)
    try:
        yield caller
    finally:
        await caller.leaves()
        await until(lambda: not house.sessions.all)


def typed(text, role=Role.USER, **rest):
    return MessageItem(role, (TextPart(text),), **rest)


def asked(house, number=-1):
    """What the language model was given to read."""
    return [(m.role.value, m.text) for m in house.generator.calls[number][0].prompt]


# -- a turn and its answer ---------------------------------------------------------------------------------------------


async def test_a_turn_is_heard_answered_and_spoken(house):
    async with calling(house) as caller:
        await caller.says()
        ended = await caller.sees(ResponseEnded)
        assert caller.kinds(OutputText, OutputSpeech) == [
            "Began",
            "TurnStarted",
            "TurnStopped",
            "AudioCommitted",
            "ItemAdded",
            "ItemDone",
            "ResponseStarted",
            "RateLimits",
            "OutputStarted",
            "ItemAdded",
            "OutputEnded",
            "ItemDone",
            "ResponseEnded",
        ]
        assert asked(house) == [("user", "one two three")]
        assert ended.ending is Ending.COMPLETED
        (item,) = ended.items
        assert item.parts == (AudioPart(transcript="one two three four five", audio_ms=ended.usage.spoken_ms),)
        assert "".join(e.text for e in caller.all(OutputText)) == "one two three four five"
        assert all(e.spoken for e in caller.all(OutputText))
        speech = caller.all(OutputSpeech)
        assert speech[0].start_ms == 0
        assert [e.start_ms for e in speech[1:]] == [e.end_ms for e in speech[:-1]]
        assert sum(len(e.audio) for e in speech) == ended.usage.spoken_ms * 32 > 0


async def test_the_first_reply_begins_with_the_disclosure_of_the_policy(house):
    house.keys.policy = lambda project: Policy(disclosure="This is an AI.")
    async with calling(house) as caller:
        await caller.says()
        first = await caller.sees(ResponseEnded)
        (part,) = first.items[0].parts
        assert part.transcript == "This is an AI. one two three four five"
        assert part.audio_ms == first.usage.spoken_ms
        assert first.usage.tokens.output == 5  # it is charged as speech alone


async def test_it_is_measured_how_long_the_caller_waited_and_how_soon_the_reply_stopped(house):
    says_long(house)
    async with calling(house) as caller:
        await caller.says()
        await caller.sees(ResponseEnded)
        await caller.says(audio(400))
        await caller.sees(ItemTruncated)
    metrics = house.metrics()
    assert "antiphon_voice_to_voice_seconds_count 1.0" in metrics
    assert 'antiphon_voice_to_voice_seconds_bucket{le="0.25"} 0.0' in metrics  # the silence that ends a turn is in it
    assert 'antiphon_voice_to_voice_seconds_bucket{le="0.8"} 1.0' in metrics
    assert 'antiphon_barge_in_seconds_bucket{le="0.2"} 0.0' in metrics  # all of it came at once
    assert 'antiphon_barge_in_seconds_bucket{le="0.5"} 1.0' in metrics


async def test_the_events_of_a_turn_name_one_item(house):
    async with calling(house) as caller:
        await caller.says()
        await caller.sees(ResponseEnded)
        (turn,) = {e.item_id for e in (*caller.all(TurnStarted), *caller.all(TurnStopped), *caller.all(AudioCommitted))}
        mine, its = caller.all(ItemAdded)
        assert mine.item.id == turn
        assert (mine.after, its.after) == (FIRST, turn)
        assert mine.item.parts[0].transcript is None  # nobody asked to be told
        assert mine.item.parts[0].audio == b""
        assert mine.item.parts[0].audio_ms == caller.all(TurnStopped)[0].at_ms - caller.all(TurnStarted)[0].at_ms


async def test_what_was_heard_is_told_where_it_is_wanted(house):
    spec = ConverseSpec(answers=False, input_format=FORMAT, transcription=Transcription(), turns=Turns(silence_ms=300))
    async with calling(house, spec) as caller:
        await caller.says()
        done = await caller.sees(TranscriptionDone)
        assert done.transcript.text == "one two three"
        assert "".join(e.text for e in caller.all(TranscriptionDelta)) == "one two three"
        await caller.does(Respond(event_id="e1"))
        assert (await caller.sees(Refused)).event_id == "e1"
        assert not caller.all(ResponseStarted)


async def test_each_part_has_an_account_of_its_own(house):
    async with calling(house) as caller:
        await caller.says()
        ended = await caller.sees(ResponseEnded)
        audio_ms = len(SAID) // 32
    tokens = house.tokens()
    assert tokens[Dimension.STT_AUDIO_MS] == audio_ms
    assert tokens[Dimension.LLM_OUTPUT_TOKENS] == ended.usage.tokens.output == 5
    sessions = {entry.session for entry in house.ledger.entries}
    assert len(sessions) == 3
    assert all(uuid.UUID(session) for session in sessions)


@pytest.mark.parametrize("text", ["😀", "***", "..."])
async def test_a_reply_without_anything_to_say_costs_no_speech(house, text):
    house.generator.script = lambda spec: [
        (TextDelta(0, text, 1),),
        (ChoiceEnded(0, FinishReason.STOP),),
        (TokenUsage(3, 1),),
    ]
    async with calling(house) as caller:
        await caller.says()
        ended = await caller.sees(ResponseEnded)
        assert ended.ending is Ending.COMPLETED
    tokens = house.tokens()
    assert tokens[Dimension.LLM_OUTPUT_TOKENS] == 1
    assert not tokens.get(Dimension.TTS_CHARACTERS)
    assert not tokens.get(Dimension.TTS_AUDIO_MS)


async def test_an_answer_in_writing(house):
    async with calling(house, TYPED) as caller:
        await caller.does(AddItem(typed("hello you"), event_id="1"), Respond(metadata=(("k", "v"),)))
        ended = await caller.sees(ResponseEnded)
        assert caller.all(ResponseStarted)[0].metadata == (("k", "v"),)
        assert ended.items[0].parts == (TextPart("one two three four five"),)
        assert not any(e.spoken for e in caller.all(OutputText))
        assert not caller.all(OutputSpeech)
        await caller.does(Respond())
        await caller.sees(ResponseEnded, 2)
        assert asked(house) == [("user", "hello you"), ("assistant", "one two three four five")]


async def test_a_reply_beyond_a_budget_fails_alone_and_limits_of_rate_are_told(house):
    await house.budget("calls requests 2 day", limits="requests_per_minute=10")  # one of them listens
    async with calling(house, TYPED) as caller:
        await caller.does(AddItem(typed("hello you")), Respond())
        assert (await caller.sees(ResponseEnded)).ending is Ending.COMPLETED
        assert [(each.name, each.remaining) for each in caller.all(RateLimits)[0].limits] == [("requests", 9)]
        await caller.does(Respond())
        ended = await caller.sees(ResponseEnded, 2)
        assert ended.ending is Ending.FAILED
        assert isinstance(ended.error, BudgetExceeded)
        await caller.does(AddItem(typed("are you there?"), event_id="2"))
        await caller.sees(ItemAdded, 3)
    assert house.used() == {"calls": (1, 0, 1)}


async def test_a_budget_that_is_used_up_by_listening_ends_the_conversation_with_what_was_heard(house):
    await house.budget("audio audio_ms 31000 day")
    async with calling(house) as caller:
        for _ in range(20):
            await caller.says()
        await caller.sees(Failed)
        assert isinstance(caller.told[-1].error, BudgetExceeded)
    assert house.used()["audio"] == (31_000, 0, 0)


async def test_a_commit_of_the_callers_own(house):
    spec = ConverseSpec(**{**_fields(TYPED), "transcription": Transcription()})
    async with calling(house, spec) as caller:
        await caller.says(audio(900))
        await caller.does(CommitAudio(), Respond())
        await caller.sees(ResponseEnded)
        assert asked(house) == [("user", "one two three")]
        assert not caller.all(TurnStarted)
        assert caller.all(TranscriptionDone)[0].item_id == caller.all(AudioCommitted)[0].item_id
        await caller.does(CommitAudio(event_id="again"))
        assert (await caller.sees(Refused)).event_id == "again"


async def test_much_audio_at_once_is_taken_in_turns_with_everybody_else(house):
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with calling(house, TYPED) as caller:
        other = asyncio.create_task(others())
        await caller.does(AppendAudio(bytes(PIECE_BYTES * 8)), CommitAudio())
        other.cancel()
        assert (await caller.sees(ItemAdded)).item.parts[0].audio_ms == PIECE_BYTES * 8 // 32
        assert turns >= 7


async def test_what_is_cleared_is_not_heard(house):
    async with calling(house, TYPED) as caller:
        await caller.says(audio(900))
        await caller.does(ClearAudio(event_id="c"))
        await caller.says(audio(600))
        await caller.does(CommitAudio(), Respond())
        await caller.sees(ResponseEnded)
        assert caller.all(AudioCleared) == [AudioCleared("c")]
        assert asked(house) == [("user", "one two")]


# -- tools -------------------------------------------------------------------------------------------------------------

TOOL = Tool("weather", parameters="{}")


async def test_a_tool_is_called_and_its_result_read(house):
    spec = ConverseSpec(**{**_fields(TYPED), "tools": (TOOL,), "tool_choice": ToolChoice(ToolMode.REQUIRED)})
    async with calling(house, spec) as caller:
        await caller.does(AddItem(typed("how is it")), Respond())
        ended = await caller.sees(ResponseEnded)
        (call,) = ended.items
        assert isinstance(call, CallItem)
        assert call.arguments == "".join(e.arguments for e in caller.all(OutputArguments))
        await caller.does(AddItem(ResultItem(call.call_id, "rain")), Respond())
        await caller.sees(ResponseEnded, 2)
        assert asked(house) == [("user", "how is it"), ("assistant", ""), ("tool", "rain")]
        await caller.does(AddItem(ResultItem("unknown", "x"), event_id="no"))
        assert (await caller.sees(Refused)).event_id == "no"


async def test_a_tool_is_told_of_while_the_words_before_it_are_spoken(house):
    house.synthesiser.gate.clear()
    house.generator.script = lambda spec: [
        (TextDelta(0, "Let me look at it. ", 4),),
        (ToolCallStarted(0, 0, "c1", "weather"), ToolCallDelta(0, 0, "{}", 1)),
        (ChoiceEnded(0, FinishReason.TOOL_CALLS),),
        (TokenUsage(3, 5),),
    ]
    async with calling(house) as caller:
        await caller.does(AddItem(typed("hi")), Respond())
        ended = await caller.sees(OutputEnded)
        assert isinstance(ended.item, CallItem)
        assert not caller.all(OutputSpeech)
        house.synthesiser.gate.set()
        done = await caller.sees(ResponseEnded)
        assert [type(item) for item in done.items] == [MessageItem, CallItem]
        assert all(item.status is ItemStatus.COMPLETED for item in done.items)


# -- breaking in -------------------------------------------------------------------------------------------------------

LONG = "One two three four five six. Seven eight nine ten eleven twelve. Thirteen fourteen fifteen sixteen seventeen."


def says_long(house):
    house.generator.script = lambda spec: [
        *((TextDelta(0, f"{word} ", 1),) for word in LONG.split()),
        (ChoiceEnded(0, FinishReason.STOP),),
        (TokenUsage(3, 17),),
    ]


async def test_speech_stops_a_reply_that_is_being_made(house):
    house.generator.holds_at = 3
    house.generator.gate.clear()
    async with calling(house) as caller:
        await caller.does(AddItem(typed("hi")), Respond())
        await caller.sees(OutputText, 3)
        await caller.says(audio(400))
        ended = await caller.sees(ResponseEnded)
        assert ended.ending is Ending.INTERRUPTED
        assert ended.items[0].status is ItemStatus.INCOMPLETE
        await until(lambda: house.generator.cancelled)
        assert caller.kinds().index("TurnStarted") < caller.kinds().index("ResponseEnded")


async def test_of_a_reply_that_was_sent_counts_what_was_heard(house):
    says_long(house)
    async with calling(house) as caller:
        await caller.does(AddItem(typed("hi"), event_id=""), Respond())
        ended = await caller.sees(ResponseEnded)
        house.clock.advance_ms(ended.usage.spoken_ms // 2)
        await caller.says(audio(400))
        cut = await caller.sees(ItemTruncated)
        assert abs(cut.end_ms - ended.usage.spoken_ms // 2) <= 1
        await caller.does(ReadItem(cut.item_id))
        heard = (await caller.sees(ItemRead)).item.parts[0].transcript
        assert LONG.startswith(heard)
        assert 0.3 < len(heard) / len(LONG) < 0.7
        assert LONG[len(heard)] == " "
    assert house.tokens()[Dimension.TTS_AUDIO_MS] == cut.end_ms


async def test_speech_that_was_not_sent_yet_is_not_sent_after_all(house):
    says_long(house)
    async with calling(house) as caller:
        await caller.sees(Began)
        caller.reading.clear()
        await caller.does(AddItem(typed("hi")), Respond())
        conversation = caller.conversation
        await until(lambda: any(isinstance(e, ResponseEnded) for e in conversation._unread))
        await caller.says(audio(400))
        await until(lambda: any(isinstance(e, ItemTruncated) for e in conversation._unread))
        caller.reading.set()
        cut = await caller.sees(ItemTruncated)
        sent = caller.all(OutputSpeech)
        assert sum(e.end_ms - e.start_ms for e in sent) < caller.all(ResponseEnded)[0].usage.spoken_ms
        assert cut.end_ms <= max((e.end_ms for e in sent), default=0)


async def test_the_caller_says_better_how_far_it_heard(house):
    says_long(house)
    async with calling(house) as caller:
        await caller.does(AddItem(typed("hi")), Respond())
        ended = await caller.sees(ResponseEnded)
        house.clock.advance_ms(ended.usage.spoken_ms)
        house.clock.advance_ms(-300)
        await caller.says(audio(400))
        cut = await caller.sees(ItemTruncated)
        end_ms = cut.end_ms - 200
        await caller.does(TruncateItem(cut.item_id, end_ms))
        assert (await caller.sees(ItemTruncated, 2)).end_ms == end_ms
        await until(lambda: house.tokens()[Dimension.TTS_AUDIO_MS] == end_ms)
        await caller.does(TruncateItem(cut.item_id, ended.usage.spoken_ms + 1, event_id="far"))
        assert (await caller.sees(Refused)).event_id == "far"


async def test_who_says_that_nothing_was_heard_pays_for_the_time_that_passed(house):
    says_long(house)
    async with calling(house) as caller:
        await caller.does(AddItem(typed("hi")), Respond())
        ended = await caller.sees(ResponseEnded)
        house.clock.advance_ms(60_000)
        await caller.does(TruncateItem(ended.items[0].id, 0))
        await caller.sees(ItemTruncated)
    assert house.tokens()[Dimension.TTS_AUDIO_MS] == ended.usage.spoken_ms - LEEWAY_MS > 0


async def test_what_has_been_played_cannot_be_interrupted(house):
    says_long(house)
    async with calling(house) as caller:
        await caller.does(AddItem(typed("hi")), Respond())
        ended = await caller.sees(ResponseEnded)
        house.clock.advance_ms(ended.usage.spoken_ms + 1)
        await caller.says(audio(400))
        await caller.sees(TurnStarted)
        await caller.does(ReadItem(ended.items[0].id))
        await caller.sees(ItemRead)
        assert not caller.all(ItemTruncated)
    assert house.tokens()[Dimension.TTS_AUDIO_MS] == ended.usage.spoken_ms


async def test_a_reply_that_may_not_be_interrupted_goes_on_and_the_turn_is_answered_after_it(house):
    house.generator.holds_at = 2
    house.generator.gate.clear()
    spec = ConverseSpec(**{**_fields(SPEC), "turns": Turns(silence_ms=300, interrupt=False)})
    async with calling(house, spec) as caller:
        await caller.does(AddItem(typed("hi")), Respond())
        await caller.sees(OutputText)
        await caller.says()
        await caller.sees(TurnStopped)
        assert not caller.all(ResponseEnded)
        house.generator.gate.set()
        await caller.sees(ResponseEnded, 2)
        assert {e.ending for e in caller.all(ResponseEnded)} == {Ending.COMPLETED}


async def test_the_caller_cancels(house):
    house.generator.holds_at = 2
    house.generator.gate.clear()
    async with calling(house, TYPED) as caller:
        await caller.does(CancelResponse(event_id="none"))
        assert isinstance((await caller.sees(Refused)).error, NotFound)
        await caller.does(AddItem(typed("hi")), Respond())
        await caller.sees(OutputText, 2)
        await caller.does(CancelResponse())
        ended = await caller.sees(ResponseEnded)
        assert ended.ending is Ending.CANCELLED
        assert ended.items[0].parts == (TextPart("one two"),)
        house.generator.gate.set()
        await caller.does(Respond())
        await caller.sees(ResponseEnded, 2)


async def test_what_a_voice_still_makes_of_a_cancelled_reply_is_not_charged(house, caplog):
    house.synthesiser.gate.clear()
    async with calling(house, replace(SPEC, turns=None)) as caller:
        await caller.does(AddItem(typed("hi")), Respond())
        await until(lambda: house.synthesiser.clauses)
        await caller.does(CancelResponse())
        await caller.sees(ResponseEnded)
        house.synthesiser.gate.set()
    assert not caller.all(OutputSpeech)
    assert not {Dimension.TTS_AUDIO_MS, Dimension.TTS_CHARACTERS} & set(house.tokens())
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_who_goes_on_before_the_words_of_the_turn_are_there_has_begun_another_turn(house):
    known = threading.Event()
    house.recogniser.hear = lambda utterance: "That is all." if known.wait(10) else ""
    async with calling(house) as caller:
        await caller.says(audio(900, 400))  # over by its silence
        await caller.says(audio(600))
        (stream,) = house.runner._streams
        await until(lambda: stream.pending and not stream.pause and stream.backlog < FRAME)
        await until(lambda: caller.kinds() == ["Began", "TurnStarted"])
        known.set()
        await caller.says(audio(0, 700))
        await caller.sees(ResponseEnded, 2)
        turns = [each for each in caller.told if isinstance(each, TurnStarted | TurnStopped | ResponseStarted)]
        assert [type(each) for each in turns] == [TurnStarted, TurnStopped, ResponseStarted] * 2
        assert turns[0].item_id == turns[1].item_id != turns[3].item_id == turns[4].item_id
        assert [each.ending for each in caller.all(ResponseEnded)] == [Ending.INTERRUPTED, Ending.COMPLETED]


async def test_a_cough_into_a_reply_does_not_leave_the_turn_without_an_answer(house):
    house.recogniser.hear = lambda utterance: "" if len(utterance.pcm) < 32 * 700 else "That is all."
    house.generator.holds_at = 2
    house.generator.gate.clear()
    async with calling(house) as caller:
        await caller.says()
        await caller.sees(OutputText)
        await caller.says(audio(300, 700))
        assert (await caller.sees(ResponseEnded)).ending is Ending.INTERRUPTED
        house.generator.gate.set()
        assert (await caller.sees(ResponseEnded, 2)).ending is Ending.COMPLETED
        assert ("user", "That is all.") in asked(house)


async def test_speech_is_made_a_little_before_it_is_heard_and_not_all_at_once(house):
    house.generator.tokens = 200
    async with calling(house, replace(SPEC, turns=None)) as caller:
        await caller.does(AddItem(typed("hi")), Respond())
        for played_ms in range(0, 3000, 500):
            await until(lambda: made_ms(caller) > played_ms + AHEAD_MS)  # noqa: B023
            for _ in range(20):
                await asyncio.sleep(0)
            assert made_ms(caller) < played_ms + AHEAD_MS + 500
            assert not caller.all(ResponseEnded)
            house.clock.advance_ms(500)
            caller.conversation.expire()
        await caller.does(CancelResponse())
        assert (await caller.sees(ResponseEnded)).ending is Ending.CANCELLED


def made_ms(caller):
    return max((speech.end_ms for speech in caller.all(OutputSpeech)), default=0)


# -- ahead of the end --------------------------------------------------------------------------------------------------


async def test_the_language_model_starts_at_the_pause_and_is_not_asked_twice(house):
    async with calling(house) as caller:
        await caller.says(audio(900, 200))  # silent for long enough to be a pause, not to end the turn
        await until(lambda: house.generator.calls)
        assert not caller.all(TurnStopped)
        assert house.tokens().keys() <= {Dimension.STT_AUDIO_MS}
        await caller.says(audio(0, 500))
        ended = await caller.sees(ResponseEnded)
        assert len(house.generator.calls) == 1
        assert ended.usage.tokens.output == 5
        assert ended.usage.input_ms == caller.all(ItemAdded)[0].item.parts[0].audio_ms


async def test_the_voice_makes_one_piece_ahead_and_no_more(house):
    async with calling(house) as caller:
        await caller.says(audio(900, 200))
        await until(lambda: house.generator.calls and house.synthesiser.clauses)
        for _ in range(20):
            await asyncio.sleep(0)
        (speaking,) = (session for session in house.sessions.all if isinstance(session, Synthesis))
        assert not caller.all(OutputSpeech)
        assert not caller.all(TurnStopped)
        assert house.tokens().keys() <= {Dimension.STT_AUDIO_MS}
        assert speaking.characters > 0
        await caller.says(audio(900, 200))  # and so it was for nothing
        await until(lambda: speaking not in house.sessions.all)
        assert house.synthesiser.dropped > 0
        await caller.says(audio(0, 500))
        await caller.sees(ResponseEnded)
        assert caller.all(OutputSpeech)
    (charged,) = {e.session for e in house.ledger.entries if e.quantity.dimension is Dimension.TTS_AUDIO_MS}
    assert charged != speaking.call.id


async def test_what_was_said_ahead_is_told_once_it_is_durable(house):
    house.ledger.note_gate.clear()
    async with calling(house) as caller:
        await caller.says(audio(900, 200))
        await until(lambda: house.generator.calls and house.synthesiser.clauses)
        await caller.says(audio(0, 500))
        await caller.sees(ResponseStarted)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not caller.all(OutputText)
        house.ledger.note_gate.set()
        ended = await caller.sees(ResponseEnded)
        assert ended.ending is Ending.COMPLETED
        assert "".join(output.text for output in caller.all(OutputText)) == "one two three four five"
    assert house.tokens()[Dimension.LLM_OUTPUT_TOKENS] == 5


@pytest.mark.parametrize("error", [LedgerUnavailable("full"), RuntimeError("a defect")], ids=repr)
async def test_what_was_said_ahead_is_not_told_where_it_cannot_be_recorded(house, error):
    house.ledger.note_gate.clear()
    async with calling(house) as caller:
        await caller.says(audio(900, 200))
        await until(lambda: house.generator.calls and house.synthesiser.clauses)
        await caller.says(audio(0, 500))
        await caller.sees(ResponseStarted)
        house.ledger.error = error
        house.ledger.note_gate.set()
        assert (await caller.sees(ResponseEnded)).ending is Ending.FAILED
        assert not caller.all(OutputText)


async def test_who_leaves_while_what_was_said_ahead_is_recorded_leaves_nothing_open(house):
    house.ledger.note_gate.clear()
    async with calling(house) as caller:
        await caller.says(audio(900, 200))
        await until(lambda: house.generator.calls and house.synthesiser.clauses)
        await caller.says(audio(0, 500))
        await caller.sees(ResponseStarted)
    house.ledger.note_gate.set()
    await until(lambda: not house.sessions.all)


async def test_what_was_done_ahead_for_nothing_is_not_charged(house):
    async with calling(house) as caller:
        await caller.says(audio(900, 200))
        await until(lambda: house.generator.calls)
        await caller.says(audio(900, 700))
        await caller.sees(ResponseEnded)
        assert len(house.generator.calls) >= 2
        assert asked(house)[0][1].count(" ") > 2
    assert house.tokens()[Dimension.LLM_OUTPUT_TOKENS] == 5
    assert len({e.session for e in house.ledger.entries if e.quantity.dimension is Dimension.LLM_OUTPUT_TOKENS}) == 1


async def test_what_is_added_meanwhile_is_read_although_the_model_had_started(house):
    async with calling(house) as caller:
        await caller.says(audio(900, 200))
        await until(lambda: house.generator.calls)
        await caller.does(AddItem(typed("Answer in French.", Role.SYSTEM)))
        await caller.says(audio(0, 500))
        await caller.sees(ResponseEnded)
        assert asked(house) == [("system", "Answer in French."), ("user", "one two three")]
    assert house.tokens()[Dimension.LLM_OUTPUT_TOKENS] == 5


@pytest.mark.parametrize("eagerness", [None, Eagerness.HIGH])
async def test_a_sentence_that_hangs_in_the_air_is_answered_ahead_where_silence_alone_ends_it(house, eagerness):
    house.recogniser.hear = lambda utterance: "I would like to"
    async with calling(house, replace(SPEC, turns=Turns(eagerness=eagerness, silence_ms=300))) as caller:
        await caller.says(audio(900, 200))
        await until(lambda: any(each.pcm.endswith(bytes(96)) for call in house.recogniser.calls for each in call))
        if eagerness is None:
            await until(lambda: house.generator.calls)
        await settle()
        assert bool(house.generator.calls) == (eagerness is None)
        await caller.says(audio(0, 2000))
        await caller.sees(ResponseEnded)


async def test_a_sentence_that_hangs_in_the_air_is_waited_for(house):
    house.recogniser.hear = lambda utterance: (
        "I would like to" if len(utterance.pcm) < 32 * 2000 else "I would like to go."
    )
    spec = ConverseSpec(**{**_fields(SPEC), "turns": Turns(eagerness=Eagerness.MEDIUM)})
    async with calling(house, spec) as caller:
        await caller.says(audio(900, 1500))
        assert not caller.all(TurnStopped)
        await caller.says(audio(900, 100))
        for _ in range(30):  # fewer than the four seconds that a sentence without its end would get
            await caller.says(audio(0, 100))
            await asyncio.sleep(0.001)
        await caller.sees(ResponseEnded)
        assert asked(house) == [("user", "I would like to go.")]


async def test_who_sends_a_turn_and_its_silence_at_once_and_then_no_more_is_answered(house):
    all_heard = threading.Event()
    house.recogniser.hear = lambda utterance: "That is all." if all_heard.wait(10) else ""
    spec = ConverseSpec(**{**_fields(SPEC), "turns": Turns(eagerness=Eagerness.MEDIUM)})
    async with calling(house, spec) as caller:
        await caller.does(AppendAudio(audio(900, 700)))
        (stream,) = house.runner._streams
        await until(lambda: stream.pause and stream.backlog < FRAME)
        assert not caller.all(TurnStopped)
        all_heard.set()  # only now is it known what was said
        ended = await caller.sees(ResponseEnded)
        assert ended.ending is Ending.COMPLETED
        assert asked(house) == [("user", "That is all.")]
        assert len(caller.all(TurnStopped)) == 1
        assert len(house.generator.calls) == 1


async def test_settings_that_say_nothing_of_turns_do_not_make_the_end_of_one_wait(house):
    house.recogniser.hear = lambda utterance: "That is all."
    spec = ConverseSpec(**{**_fields(SPEC), "turns": Turns(eagerness=Eagerness.LOW)})
    async with calling(house, spec) as caller:
        await caller.does(AppendAudio(audio(900, 500)))
        await until(lambda: house.generator.calls)  # so the end has been guessed
        await caller.does(Configure(replace(spec, instructions="Be short.")), AppendAudio(audio(0, 600)))
        await caller.sees(ResponseEnded)
        assert asked(house) == [("system", "Be short."), ("user", "That is all.")]


# -- idle --------------------------------------------------------------------------------------------------------------


async def test_who_says_nothing_for_long_is_asked(house):
    spec = ConverseSpec(**{**_fields(SPEC), "turns": Turns(silence_ms=300, idle_ms=5000)})
    async with calling(house, spec) as caller:
        await caller.says()
        ended = await caller.sees(ResponseEnded)
        await caller.says(audio(0, 1000))
        house.clock.advance_ms(ended.usage.spoken_ms + 4999)
        caller.conversation.expire()
        assert not caller.all(IdleReached)
        house.clock.advance_ms(1)
        caller.conversation.expire()
        idle = await caller.sees(IdleReached)
        assert caller.all(AudioCommitted)[-1].item_id == idle.item_id
        await caller.sees(ResponseEnded, 2)
        assert idle.end_ms == 2600


# -- items -------------------------------------------------------------------------------------------------------------


async def test_items_are_added_read_and_removed(house):
    async with calling(house, TYPED) as caller:
        await caller.does(
            AddItem(typed("b", id="b")),
            AddItem(typed("a", id="a"), after=FIRST),
            AddItem(typed("c", id="c"), after="a"),
            AddItem(typed("d", id="a"), event_id="twice"),
            AddItem(typed("d"), after="nowhere", event_id="nowhere"),
            ReadItem("c"),
            RemoveItem("c"),
            ReadItem("c", event_id="gone"),
            Respond(),
        )
        await caller.sees(ResponseEnded)
        assert [(e.item.id, e.after) for e in caller.all(ItemAdded)][:3] == [("b", FIRST), ("a", FIRST), ("c", "a")]
        assert caller.all(ItemRead)[0].item == typed("c", id="c")
        assert caller.all(ItemRemoved) == [ItemRemoved("c")]
        refused = caller.all(Refused)
        assert [(type(e.error), e.event_id) for e in refused] == [
            (Conflict, "twice"),
            (NotFound, "nowhere"),
            (NotFound, "gone"),
        ]
        assert asked(house) == [("user", "a"), ("user", "b")]


async def test_audio_in_an_item_is_recognised_and_read(house):
    async with calling(house, TYPED) as caller:
        item = MessageItem(Role.USER, (TextPart("listen:"), AudioPart(audio(600))), "x")
        await caller.does(AddItem(item), Respond())
        await caller.sees(ResponseEnded)
        assert asked(house) == [("user", "listen: one two")]
        await caller.does(ReadItem("x"))
        assert (await caller.sees(ItemRead)).item.parts[1].audio == audio(600)
        await caller.does(AddItem(MessageItem(Role.ASSISTANT, (AudioPart(b"12"),)), event_id="no"))
        assert (await caller.sees(Refused)).event_id == "no"


async def test_the_audio_of_a_turn_can_be_read(house):
    async with calling(house, TYPED) as caller:
        await caller.says(audio(300))
        await caller.does(CommitAudio())
        added = await caller.sees(ItemAdded)
        await caller.does(ReadItem(added.item.id))
        assert (await caller.sees(ItemRead)).item.parts[0].audio == audio(300)


# -- out of band -------------------------------------------------------------------------------------------------------


async def test_a_response_beside_the_conversation(house):
    house.generator.holds_at = 1
    house.generator.gate.clear()
    async with calling(house, TYPED) as caller:
        await caller.does(AddItem(typed("first", id="f")), AddItem(typed("second")), Respond())
        await caller.does(Respond(event_id="busy"))
        assert isinstance((await caller.sees(Refused)).error, Conflict)
        spec = ConverseSpec(**{**_fields(TYPED), "instructions": "Be short."})
        await caller.does(Respond(spec, (Known("f"), typed("third")), keep=False))
        await caller.does(Respond(items=(Known("nothing"),), keep=False, event_id="nothing"))
        assert (await caller.sees(Refused, 2)).event_id == "nothing"
        house.generator.gate.set()
        await caller.sees(ResponseEnded, 2)
        assert asked(house) == [("system", "Be short."), ("user", "first"), ("user", "third")]
        assert len(caller.all(ItemAdded)) == 3  # two of the caller's, one of the conversation's own response
        assert [e.keep for e in caller.all(ResponseStarted)] == [True, False]


# -- what goes wrong ---------------------------------------------------------------------------------------------------


async def test_a_response_that_fails_leaves_the_conversation(house):
    house.generator.error = EngineError("this was asked for")
    async with calling(house, TYPED) as caller:
        await caller.does(AddItem(typed("hi")), Respond())
        ended = await caller.sees(ResponseEnded)
        assert (ended.ending, ended.error) == (Ending.FAILED, house.generator.error)
        house.generator.error = None
        await caller.does(Respond())
        assert (await caller.sees(ResponseEnded, 2)).ending is Ending.COMPLETED


async def test_a_voice_that_fails_fails_the_response(house):
    house.synthesiser.error = EngineError("this was asked for")
    async with calling(house) as caller:
        await caller.says()
        ended = await caller.sees(ResponseEnded)
        assert (ended.ending, ended.error) == (Ending.FAILED, house.synthesiser.error)


async def test_an_ear_that_fails_begins_anew(house):
    house.recogniser.fails = lambda utterance: True
    spec = ConverseSpec(**{**_fields(TYPED), "transcription": Transcription()})
    async with calling(house, spec) as caller:
        await caller.says(audio(600))
        await caller.does(CommitAudio())
        failed = await caller.sees(TranscriptionFailed)
        assert failed.item_id == caller.all(AudioCommitted)[0].item_id
        house.recogniser.fails = lambda utterance: False
        await caller.sees(Refused)
        await caller.says(audio(900))
        await caller.does(CommitAudio(), Respond())
        await caller.sees(ResponseEnded)
        assert asked(house) == [("user", "one two three")]


async def test_a_bound_on_tokens_makes_the_response_incomplete(house):
    spec = ConverseSpec(**{**_fields(SPEC), "sampling": Sampling(max_tokens=3)})
    async with calling(house, spec) as caller:
        await caller.says()
        ended = await caller.sees(ResponseEnded)
        assert ended.ending is Ending.LENGTH
        assert ended.items[0].status is ItemStatus.INCOMPLETE
        assert ended.items[0].parts[0].transcript == "one two three"


async def test_the_oldest_items_are_left_out_where_the_model_reads_no_more(house):
    def short_sighted(spec):
        if sum(len(m.text) for m in spec.prompt) > 10:
            raise ContextLengthExceeded("too long")
        return house.generator._count(spec)

    house.generator.script = short_sighted
    async with calling(house, TYPED) as caller:
        await caller.does(*(AddItem(typed(f"item {n}")) for n in range(4)), Respond())
        assert (await caller.sees(ResponseEnded)).ending is Ending.COMPLETED
        assert asked(house) == [("user", "item 3")]
        await caller.does(Configure(ConverseSpec(**{**_fields(TYPED), "retain": None})), Respond())
        ended = await caller.sees(ResponseEnded, 2)
        assert isinstance(ended.error, ContextLengthExceeded)


async def test_a_spec_that_cannot_be_is_refused_and_the_old_one_stays(house):
    async with calling(house, TYPED) as caller:
        for change in ({"model": "nobody"}, {"speed": 9.0}, {"turns": Turns(threshold=2.0)}):
            await caller.does(Configure(ConverseSpec(**{**_fields(TYPED), **change}), event_id="bad"))
        await caller.sees(Refused, 3)
        assert caller.conversation.spec == replace(TYPED, voice="buzz")
        await caller.does(Configure(SPEC, event_id="good"))
        assert await caller.sees(Configured) == Configured(replace(SPEC, voice="buzz"), "good")
        await caller.says()
        await caller.sees(ResponseEnded)


async def test_another_input_format_is_heard_from_then_on(house):
    async with calling(house, TYPED) as caller:
        await caller.says(audio(600))
        await caller.does(CommitAudio())
        mulaw = ConverseSpec(**{**_fields(TYPED), "input_format": AudioFormat(Encoding.MULAW, 8000)})
        await caller.does(Configure(mulaw), AppendAudio(b"\x00\x80" * 4 * 900), CommitAudio(), Respond())
        await caller.sees(ResponseEnded)
        assert [e.item.parts[0].audio_ms for e in caller.all(ItemAdded)[:2]] == [600, 900]
        assert asked(house)[0] == ("user", "one two")


@pytest.mark.parametrize(
    "change", [{"model": "nobody"}, {"voice": "nobody"}, {"transcription": Transcription("nobody")}]
)
async def test_a_conversation_needs_what_it_names(house, change):
    with pytest.raises(CallerError):
        Caller(house, ConverseSpec(**{**_fields(SPEC), **change}))
    assert not house.sessions.all


async def test_a_project_whose_speech_must_be_signed_is_answered_in_writing_only(house):
    house.requires_signatures()
    with pytest.raises(PolicyError, match="signed"):
        Caller(house, SPEC)
    assert not house.sessions.all
    written = replace(SPEC, speak=False)
    async with calling(house, written) as caller:
        await caller.does(Configure(SPEC, event_id="aloud"), Respond(SPEC, event_id="once"))
        await caller.sees(Refused, 2)
        assert [(type(e.error), e.event_id) for e in caller.all(Refused)] == [
            (PolicyError, "aloud"),
            (PolicyError, "once"),
        ]
        assert caller.conversation.spec == replace(written, voice="buzz")
        await caller.says()
        assert (await caller.sees(ResponseEnded)).ending is Ending.COMPLETED
    async with calling(house, replace(SPEC, answers=False)) as caller:
        await caller.says()
        await caller.sees(TurnStopped)


async def test_containers_are_refused(house):
    with pytest.raises(UnsupportedParameter):
        Caller(house, ConverseSpec(model="counter", input_format=AudioFormat()))


async def test_a_dead_key_ends_the_conversation(house):
    async with calling(house) as caller:
        caller.conversation.fail(Unauthenticated("no"))
        await caller.task
        assert isinstance(caller.told[-1], Failed)
        await caller.does(Respond())
        assert isinstance(caller.told[-1], Failed)


async def test_a_drain_lets_the_reply_end(house):
    house.generator.holds_at = 2
    house.generator.gate.clear()
    async with calling(house, TYPED) as caller:
        await caller.does(AddItem(typed("hi")), Respond())
        await caller.sees(OutputText)
        caller.conversation.drain()
        await caller.does(Respond(keep=False, event_id="late"))
        assert isinstance((await caller.sees(Refused)).error, Draining)
        house.generator.gate.set()
        await caller.task
        assert caller.all(ResponseEnded)[0].ending is Ending.COMPLETED
        assert isinstance(caller.told[-1].error, Draining)


async def test_a_drain_lets_the_reply_be_spoken_to_its_end(house):
    house.generator.holds_at = 2
    house.generator.gate.clear()
    async with calling(house, replace(SPEC, turns=None)) as caller:
        await caller.does(AddItem(typed("hi")), Respond())
        await caller.sees(OutputText)
        await until(lambda: len(house.sessions.all) == 4)
        draining = asyncio.create_task(house.sessions.all.drain(10))
        await settle()
        house.generator.gate.set()
        await caller.task
        assert [clause.text for clause in house.synthesiser.clauses] == ["one two three four five"]
    await draining


async def test_a_conversation_that_has_become_too_long_forgets_its_beginning(house):
    house.generator.tokens = 20
    async with calling(house) as caller:
        long = "a" * (MAX_CHARACTERS - 1)
        await caller.does(AddItem(typed(long, id="long")))
        await caller.does(AddItem(typed("too much", id="more"), event_id="e1"))
        assert isinstance((await caller.sees(Refused)).error, TooLarge)
        for turn in range(2):
            await caller.says()
            await caller.sees(ResponseEnded, turn + 1)
            house.clock.advance_ms(10_000)
        assert [e.item_id for e in caller.all(ItemRemoved)] == ["long"]


async def test_who_leaves_pays_for_what_was_heard_and_played(house):
    says_long(house)
    async with calling(house) as caller:
        await caller.says()
        ended = await caller.sees(ResponseEnded)
        house.clock.advance_ms(ended.usage.spoken_ms // 4)
    tokens = house.tokens()
    assert tokens[Dimension.STT_AUDIO_MS] == len(SAID) // 32
    assert tokens[Dimension.TTS_AUDIO_MS] == ended.usage.spoken_ms // 4


async def test_a_caller_who_does_not_read_holds_the_reply_up(house):
    house.generator.tokens = 2000
    async with calling(house, TYPED) as caller:
        await caller.sees(Began)
        caller.reading.clear()
        await caller.does(AddItem(typed("hi")), Respond())
        await asyncio.sleep(0.1)
        assert len(caller.conversation._unread) < 400
        caller.reading.set()
        await caller.sees(ResponseEnded)
        assert len(caller.all(OutputText)) == 2000


def _fields(spec):
    return {name: getattr(spec, name) for name in ConverseSpec.__slots__}


async def test_answers_keep_the_order_of_what_they_answer(house):
    async with calling(house, TYPED) as caller:
        item = MessageItem(Role.SYSTEM, (TextPart("Be brief."),), "s1")
        no = CallerError("That makes no sense.")
        await caller.does(
            AddItem(item),
            Reject(no, "e1"),
            Configure(TYPED, "e2"),
            Reject(no, "e3"),
            ReadItem("nobody", "e4"),
            ClearAudio(),
        )
        await caller.sees(AudioCleared)
        answers = [each for each in caller.told if isinstance(each, ItemAdded | Refused | Configured | AudioCleared)]
        assert [getattr(each, "event_id", "") for each in answers] == ["", "e1", "e2", "e3", "e4", ""]


async def test_what_makes_no_sense_disturbs_nothing(house):
    async with calling(house, SPEC) as caller:
        await caller.says()
        await caller.does(Reject(CallerError("That makes no sense."), "e1"))
        assert (await caller.sees(ResponseEnded)).ending is Ending.COMPLETED


async def test_who_listens_and_who_speaks_are_named(house):
    spec = replace(TYPED, transcription=Transcription(), voice="")
    async with calling(house, spec) as caller:
        began = await caller.sees(Began)
        assert (began.spec.voice, began.spec.transcription.model) == ("buzz", "tiny")
        await caller.does(Configure(replace(spec, instructions="Hi"), base=spec))
        configured = await caller.sees(Configured)
        assert (configured.spec.voice, configured.spec.instructions) == ("buzz", "Hi")
        await caller.does(Configure(replace(spec, voice="alloy"), base=spec), Respond())
        assert (await caller.sees(ResponseStarted)).spec.voice == "alloy"
    async with calling(house, ConverseSpec(answers=False)) as caller:
        assert (await caller.sees(Began)).spec.voice == ""
