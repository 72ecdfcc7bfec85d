"""Every turn is answered, however late its words, its answers and its speech come, and whatever is said meanwhile.

A caller speaks, pauses, coughs, goes on, breaks in; the engines take random times over everything. Time passes as fast
as can be, so that replies are played to their end: what differs from run to run is the order in which things come. Each
run is repeatable but for the threads of engines.
"""

import asyncio
import random
import threading
import uuid

import pytest

from antiphon.core.audio import AudioFormat, Encoding, SpeechFormat
from antiphon.core.call import Call
from antiphon.core.conversation.inputs import AppendAudio, Configure
from antiphon.core.conversation.outputs import (
    AudioCommitted,
    Configured,
    Ending,
    Refused,
    ResponseEnded,
    ResponseStarted,
    TranscriptionDone,
    TurnStarted,
    TurnStopped,
)
from antiphon.core.conversation.spec import ConverseSpec, Eagerness, Transcription, Turns
from antiphon.core.events import Failed
from session_house import House, audio, until

CALLERS, UTTERANCES = 3, 8
TURNS = (
    Turns(silence_ms=300),
    Turns(silence_ms=300),
    Turns(eagerness=Eagerness.HIGH),
    Turns(silence_ms=300, interrupt=False),
)
QUIET = audio(0, 2500)  # longer than the most patient waits for
COUGH_MS = 250  # of which nothing is recognised


class Caller:
    def __init__(self, house, chance, turns):
        self.house, self.chance, self.turns = house, chance, turns
        self.spec = ConverseSpec(
            model="counter",
            input_format=AudioFormat(Encoding.LINEAR16, 16_000),
            speech_model="tone",
            output_format=SpeechFormat(sample_rate=16_000),
            transcription=Transcription(),
            turns=turns,
            speak=chance.random() < 0.8,
        )
        self.conversation = house.sessions.converse(Call(str(uuid.uuid4()), house.principal, "openai", self.spec))
        self.told = []
        self.task = asyncio.create_task(self.read())

    async def read(self):
        async for batch in self.conversation.events():
            self.told += batch
            if self.chance.random() < 0.3:
                await yielding(self.chance)

    async def speak(self):
        chance = self.chance
        for number in range(UTTERANCES):
            speech_ms = chance.choice([COUGH_MS - 50, 400, 900, 1300])
            pcm = audio(speech_ms, chance.choice([120, 320, 380, 700]))
            piece = chance.choice([640, 3200, len(pcm)])
            for at in range(0, len(pcm), piece):
                await self.conversation.feed(AppendAudio(pcm[at : at + piece]))
                await yielding(chance)
            if chance.random() < 0.2:
                self.spec = type(self.spec)(
                    **{
                        **{name: getattr(self.spec, name) for name in self.spec.__slots__},
                        "instructions": f"Be {number}.",
                    }
                )
                await self.conversation.feed(Configure(self.spec))
            if chance.random() < 0.3:
                await asyncio.sleep(chance.choice([0.001, 0.004]))
        await self.conversation.feed(AppendAudio(QUIET))

    def ids(self, kind, name="response_id"):
        return [getattr(event, name) for event in self.told if isinstance(event, kind)]

    def quiet(self):
        """Whether everything that was said has been heard, and everything that began has ended."""
        return (
            self.conversation.quiet
            and not any(stream.backlog >= 512 or stream.pause for stream in self.house.runner._streams)
            and not any(stream.pending for stream in self.house.runner._streams)
        )

    def check(self):
        told = self.told
        assert not any(isinstance(event, Failed | Refused) for event in told), told
        started, ended = self.ids(ResponseStarted), self.ids(ResponseEnded)
        assert sorted(started) == sorted(ended)
        assert len(set(started)) == len(started)
        texts = {event.item_id: event.transcript.text for event in told if isinstance(event, TranscriptionDone)}
        speaking, owed, replying, replies = None, None, None, 0
        for event in told:
            match event:
                case TurnStarted(item_id=item):
                    assert speaking is None, "a turn begins before the last has ended"
                    if self.turns.interrupt:
                        assert owed is None, "a turn was not answered before the next began"
                    speaking = item
                case TurnStopped(item_id=item):
                    assert item == speaking
                    speaking = None
                case AudioCommitted(item_id=item) if texts[item]:
                    owed = item
                case ResponseStarted():
                    assert replying is None
                    owed, replying, replies = None, event.response_id, replies + 1
                case ResponseEnded(ending=ending):
                    assert ending in (Ending.COMPLETED, Ending.INTERRUPTED), event
                    assert (ending is Ending.COMPLETED) or self.turns.interrupt
                    replying = None
                case Configured():
                    pass
        assert speaking is None
        assert owed is None, "the last turn was not answered"
        assert not replies or [e for e in told if isinstance(e, ResponseEnded)][-1].ending is Ending.COMPLETED


async def yielding(chance):
    for _ in range(chance.choice([0, 0, 1, 3, 10])):
        await asyncio.sleep(0)


def slow(house, chance, tick):
    """Engines that take their time, each time another one."""
    hear, generate, synthesise = house.recogniser._count, house.generator.generate, house.synthesiser.synthesise

    def heard(utterance):
        with tick:
            for _ in range(chance.choice([0, 0, 1, 6])):
                tick.wait(1)
        return "" if len(utterance.pcm) < (COUGH_MS + 300) * 32 else f"{hear(utterance)} is it."

    async def generated(spec, call):
        async for batch in generate(spec, call):
            await yielding(chance)
            yield batch

    async def synthesised(clause):
        async for piece in synthesise(clause):
            await asyncio.sleep(chance.choice([0, 0.001]))
            yield piece

    house.recogniser.hear = heard
    house.generator.generate, house.synthesiser.synthesise = generated, synthesised


async def passing(house, callers, tick):
    while True:
        await asyncio.sleep(0.0005)
        house.clock.advance_ms(20)
        with tick:
            tick.notify_all()
        for caller in callers:
            caller.conversation.expire()


@pytest.mark.parametrize("seed", range(24))
async def test_every_turn_is_answered(seed):
    chance = random.Random(seed)
    house = House()
    await house.runner.start()
    tick = threading.Condition()
    slow(house, chance, tick)
    house.generator.tokens = chance.choice([1, 5, 40])
    callers = [Caller(house, random.Random(seed * 100 + n), chance.choice(TURNS)) for n in range(CALLERS)]
    time_passes = asyncio.create_task(passing(house, callers, tick))
    try:
        await asyncio.gather(*(caller.speak() for caller in callers))
        for caller in callers:
            await until(caller.quiet)
            caller.check()
    finally:
        time_passes.cancel()
        for caller in callers:
            await caller.conversation.close(delivered=False)
            caller.task.cancel()
        await asyncio.gather(*(caller.task for caller in callers), return_exceptions=True)
        await until(lambda: not house.sessions.all)
        await house.close()
    assert any(caller.ids(ResponseEnded) for caller in callers)
