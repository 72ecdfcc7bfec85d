"""An hour of conversation, told in seconds: nothing is left behind by its turns."""

import asyncio
import gc
from collections import Counter

import pytest

from antiphon.calls.generation import Generation
from antiphon.calls.recognition import Recognition
from antiphon.calls.synthesis import Synthesis
from antiphon.conversation.reply import Reply
from antiphon.core.audio import AudioFormat, Encoding, SpeechFormat
from antiphon.core.call import Call
from antiphon.core.conversation.inputs import AppendAudio
from antiphon.core.conversation.outputs import ResponseEnded
from antiphon.core.conversation.spec import ConverseSpec, Transcription, Turns
from antiphon.core.events import Failed
from session_house import House, audio, until

HOUR_MS = 3_600_000
TURNS = 100  # one every 36 seconds; in every other one the caller breaks in
SPEC = ConverseSpec(
    model="counter",
    input_format=AudioFormat(Encoding.LINEAR16, 16_000),
    speech_model="tone",
    output_format=SpeechFormat(sample_rate=16_000),
    turns=Turns(silence_ms=300),
    transcription=Transcription(),
)


def alive():
    """How many there are of what a turn brings."""
    gc.collect()
    kinds = (Reply, Generation, Synthesis, Recognition, asyncio.Task, asyncio.Future, asyncio.TimerHandle)
    found = [each for each in gc.get_objects() if isinstance(each, kinds)]
    # Timers that were cancelled are the event loop's to forget.
    return Counter(
        type(each).__name__ for each in found if not (isinstance(each, asyncio.TimerHandle) and each.cancelled())
    )


@pytest.mark.long
async def test_an_hour_of_conversation_leaves_nothing_behind():
    house = House()
    await house.runner.start()
    conversation = house.sessions.converse(
        Call("6f1fc0b5-5f0f-4a57-8a55-1f8a7d9f2a01", house.principal, "openai", SPEC)
    )
    ended, failed = [], []

    async def read():
        async for batch in conversation.events():
            ended.extend(event.ending for event in batch if isinstance(event, ResponseEnded))
            failed.extend(event for event in batch if isinstance(event, Failed))

    reading = asyncio.create_task(read())
    early = Counter()
    for turn in range(TURNS):
        await conversation.feed(AppendAudio(audio(600, 500)))
        await until(lambda turn=turn: len(ended) > turn)
        house.clock.advance_ms(30 if turn % 2 else HOUR_MS // TURNS)
        conversation.expire()
        if turn == TURNS // 5:
            await until(lambda: len(house.sessions.all) <= 3)
            early = alive()
    await until(lambda: len(house.sessions.all) <= 3)
    late = alive()
    await conversation.close(delivered=False)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await until(lambda: not house.sessions.all)
    await house.close()
    assert failed == []
    assert len(ended) == TURNS
    assert all(late[name] <= early[name] + 3 for name in late), (early, late)
    assert house.ledger.entries
