"""Conversations that go on and on, on fakes, whose clock runs as fast as it can: turns that are broken into, tools that
are called, replies that are truncated and cancelled. What a conversation holds levels off, and its end leaves nothing.

`ANTIPHON_TURNS` is how many turns there are, each of which takes some ten seconds: an hour is 360.
"""

import asyncio
import gc
import os
import random
import tracemalloc
import uuid
from collections import Counter

import pytest

from antiphon.conversation import hearing, items
from antiphon.core.audio import AudioFormat, Encoding, SpeechFormat
from antiphon.core.call import Call
from antiphon.core.conversation.inputs import AddItem, AppendAudio, CancelResponse, Respond, TruncateItem
from antiphon.core.conversation.items import CallItem, ResultItem
from antiphon.core.conversation.outputs import (
    Ending,
    ItemAdded,
    ItemRemoved,
    ItemTruncated,
    OutputSpeech,
    Refused,
    ResponseEnded,
    ResponseStarted,
    TranscriptionDone,
)
from antiphon.core.conversation.spec import ConverseSpec, Transcription, Turns
from antiphon.core.events import (
    ChoiceEnded,
    Failed,
    FinishReason,
    TextDelta,
    TokenUsage,
    ToolCallDelta,
    ToolCallStarted,
)
from antiphon.core.specs import Tool
from session_house import House, audio, until

TURNS = int(os.environ.get("ANTIPHON_TURNS", "200"))
MOST_ITEMS, MOST_AUDIO, HELD_MS = 60, 1 << 20, 20_000  # far below what is usual, so that they are reached soon
SPEC = ConverseSpec(
    model="counter",
    input_format=AudioFormat(Encoding.LINEAR16, 16_000),
    speech_model="tone",
    output_format=SpeechFormat(sample_rate=16_000),
    transcription=Transcription(),
    turns=Turns(silence_ms=300),
    tools=(Tool("look", parameters="{}"),),
)
SAID = audio(900, 700)
BEGUN = audio(300)  # of a turn, which is enough to be noticed


class Talk:
    """One who talks without end. What was told is counted and not kept."""

    def __init__(self, house, chance):
        self.house = house
        self.chance = chance
        self.conversation = house.sessions.converse(Call(str(uuid.uuid4()), house.principal, "openai", SPEC))
        self.counts = Counter()
        self.endings = Counter()
        self.failures = []
        self.reply = None  # the item that was last spoken, and how long it is
        self.called = None
        self.reading = asyncio.create_task(self._read())

    async def _read(self):
        async for batch in self.conversation.events():
            for event in batch:
                self.counts[type(event)] += 1
                match event:
                    case Failed() | Refused():
                        self.failures.append(event)
                    case OutputSpeech(item_id=id, end_ms=end_ms):
                        self.reply = id, end_ms
                    case ItemAdded(item=CallItem(call_id=call_id)):
                        self.called = call_id
                    case ResponseEnded(ending=ending):
                        self.endings[ending] += 1

    async def says(self, pcm=SAID):
        for at in range(0, len(pcm), 3200):
            await self.conversation.feed(AppendAudio(pcm[at : at + 3200]))

    def quiet(self):
        return self.counts[ResponseStarted] == self.counts[ResponseEnded] > 0 and not self.conversation._unread

    async def turn(self):
        heard = self.counts[TranscriptionDone]
        await self.says()
        await until(lambda: self.counts[TranscriptionDone] > heard)
        await getattr(self, self.chance.choice(("listen", "listen", "interrupt", "truncate", "cancel", "call")))()
        await until(self.quiet)
        self.house.clock.advance_ms(self.chance.randrange(2_000, 8_000))
        self.conversation.expire()
        self.house.generator.calls.clear()
        self.house.synthesiser.clauses.clear()
        self.house.recogniser.calls.clear()
        self.house.detector.calls.clear()
        self.house.ledger.entries.clear()

    async def listen(self):
        await until(self.quiet)

    async def interrupt(self):
        """Speaks into the reply, when a part of it was played."""
        await until(self.quiet)
        self.house.clock.advance_ms(self.chance.randrange(30, 150))
        truncated, heard = self.counts[ItemTruncated], self.counts[TranscriptionDone]
        await self.says()
        await until(lambda: self.counts[ItemTruncated] > truncated and self.counts[TranscriptionDone] > heard)

    async def truncate(self):
        await until(self.quiet)
        id, end_ms = self.reply
        truncated = self.counts[ItemTruncated]
        await self.conversation.feed(TruncateItem(id, self.chance.randrange(end_ms), 0))
        await until(lambda: self.counts[ItemTruncated] > truncated)

    async def cancel(self):
        """Amid the reply."""
        await until(self.quiet)
        self.house.generator.holds_at = 2
        self.house.generator.gate.clear()
        started = self.counts[ResponseStarted]
        await self.conversation.feed(Respond())
        await until(lambda: self.counts[ResponseStarted] > started and self.house.generator.held)
        await self.conversation.feed(CancelResponse())
        self.house.generator.gate.set()

    async def call(self):
        """The model calls a tool, whose result it answers."""
        await until(self.quiet)
        self.called = None
        self.house.generator.script = lambda spec: CALL
        await self.conversation.feed(Respond())
        await until(lambda: self.called and self.quiet())
        self.house.generator.script = self.house.generator._count
        await self.conversation.feed(AddItem(ResultItem(self.called, "nothing")))
        await self.conversation.feed(Respond())


CALL = (
    (TextDelta(0, "let me see.", 3),),
    (ToolCallStarted(0, 0, "call_1", "look"),),
    (ToolCallDelta(0, 0, "{}", 1),),
    (ChoiceEnded(0, FinishReason.TOOL_CALLS),),
    (TokenUsage(5, 4),),
)


@pytest.fixture
async def house(monkeypatch):
    monkeypatch.setattr(items, "MAX_ITEMS", MOST_ITEMS)
    monkeypatch.setattr(items, "MAX_AUDIO_BYTES", MOST_AUDIO)
    monkeypatch.setattr(hearing, "HELD_MS", HELD_MS)
    house = House()
    await house.runner.start()
    yield house
    await house.close()


def weigh():
    """Bytes in use, and objects."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0], len(gc.get_objects())


@pytest.mark.long
async def test_a_conversation_without_end_levels_off(house, caplog):
    before = asyncio.all_tasks()
    talk = Talk(house, random.Random(1))
    tracemalloc.start()
    try:
        for _ in range(TURNS // 3):
            await talk.turn()
        level = weigh()
        for _ in range(TURNS - TURNS // 3):
            await talk.turn()
        after = weigh()
    finally:
        tracemalloc.stop()
    assert talk.failures == []
    assert len(house.sessions.all) <= 6  # itself, its ear, a reply, one ahead of it, and a voice that is still heard
    assert after[0] < level[0] + (1 << 20), (level, after)
    assert after[1] < level[1] + 2_000, (level, after)
    assert talk.counts[ItemAdded] - talk.counts[ItemRemoved] <= MOST_ITEMS
    assert talk.counts[ItemRemoved] > TURNS
    assert talk.endings[Ending.CANCELLED] > TURNS / 20
    assert talk.counts[ItemTruncated] > TURNS / 10
    await talk.conversation.close(delivered=True)
    talk.reading.cancel()
    await asyncio.gather(talk.reading, return_exceptions=True)
    await until(lambda: not house.sessions.all)
    await until(lambda: asyncio.all_tasks() == before)
    assert not house.generator.running
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_conversations_one_after_the_other_leave_nothing(house, caplog):
    """However they are left: after a turn, amid one, amid a reply."""
    before = asyncio.all_tasks()
    chance = random.Random(2)

    async def one():
        talk = Talk(house, chance)
        for _ in range(chance.randrange(2)):
            await talk.turn()
        if chance.random() < 0.5:
            await talk.says(chance.choice((BEGUN, SAID)))
        if chance.random() < 0.5:
            await asyncio.sleep(chance.uniform(0, 0.01))
        assert talk.failures == []
        await talk.conversation.close(delivered=False)
        talk.reading.cancel()
        await asyncio.gather(talk.reading, return_exceptions=True)

    async def some(count):
        for _ in range(count):
            await one()
        await until(lambda: not house.sessions.all and asyncio.all_tasks() == before)
        house.ledger.entries.clear()
        return weigh()

    tracemalloc.start()
    try:
        level = await some(TURNS // 6)
        after = await some(TURNS // 3)
    finally:
        tracemalloc.stop()
    assert after[0] < level[0] + (1 << 19), (level, after)
    assert after[1] < level[1] + 500, (level, after)
    assert not house.generator.running
    assert 'antiphon_sessions_open{surface="openai"} 0.0' in house.metrics()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
