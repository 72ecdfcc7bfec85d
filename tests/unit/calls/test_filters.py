"""Filters between a session and whoever hears it: what passes, what is held back, and what is charged for that."""

import asyncio
import inspect

import pytest

from antiphon.calls.filters import Chain, FilterError
from antiphon.calls.metered import MeteredSession
from antiphon.core.errors import InternalError
from antiphon.core.events import (
    AllSpoken,
    Audio,
    ChoiceEnded,
    Completed,
    End,
    Failed,
    Final,
    FinishReason,
    Opened,
    Spoken,
    TextDelta,
    TokenUsage,
)
from antiphon.core.usage import Dimension
from canary import CANARY, INSTEAD, Failing, Replacing, holds
from session_house import audio, batches_of, closed, events_of, until

STOP = ChoiceEnded(0, FinishReason.STOP)
OUTPUT = Dimension.LLM_OUTPUT_TOKENS


class Late:
    """Holds back everything until the end."""

    def __init__(self):
        self.held = []

    def push(self, events):
        self.held += events
        return ()

    def finish(self):
        return tuple(self.held)


def speaks(*texts):
    """A script: each text is a batch of three tokens."""
    usage = TokenUsage(4, 3 * len(texts))
    return lambda spec: [*((TextDelta(0, text, 3),) for text in texts), (STOP,), (usage,)]


# -- the chain ---------------------------------------------------------------------------------------------------------


async def test_what_is_held_back_goes_before_the_last_event():
    chain = Chain((Late(), Replacing()))
    assert await chain.push((TextDelta(0, "can", 1),)) == ()
    assert await chain.push((TextDelta(0, "ary", 1),)) == ()
    done = Completed(TokenUsage(1, 2))
    assert await chain.push((STOP, done)) == (TextDelta(0, INSTEAD, 2), STOP, done)


async def test_a_filter_gets_what_the_one_before_left():
    seen = []

    class Seeing(Failing):
        def push(self, events):
            seen.append(events)
            return events

    chain = Chain((Replacing(), Seeing()))
    await chain.push((TextDelta(0, f"a {CANARY}", 1),))
    await chain.push((TextDelta(0, "ca", 1),))
    assert not holds(seen)
    assert len(seen) == 1


async def test_what_a_filter_raises_is_not_repeated():
    with pytest.raises(FilterError) as failed:
        await Chain((Failing(),)).push((TextDelta(0, CANARY, 1),))
    assert str(failed.value) == "ValueError"
    assert failed.value.__suppress_context__


# -- sessions ----------------------------------------------------------------------------------------------------------


async def test_each_call_has_filters_of_its_own(house):
    made = []

    def filters(call):
        made.append(call.principal.project)
        return (Replacing(),)

    house.filters = filters
    for _ in range(2):
        generation = house.generate()
        await events_of(generation)
        await generation.close(delivered=True)
    assert made == ["acme", "acme"]


@pytest.mark.parametrize("stream", [True, False])
async def test_what_is_said_is_filtered_and_charged_whole(house, stream):
    house.filters = lambda call: (Replacing(),)
    house.generator.script = speaks("the can", "ary s", f"ings, {CANARY}")
    generation = house.generate(stream=stream)
    events = await events_of(generation)
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert text == f"the {INSTEAD} sings, {INSTEAD}"
    assert events[-1] == Completed(TokenUsage(4, 9))
    assert sum(event.tokens for event in events if isinstance(event, TextDelta)) == 9
    await generation.close(delivered=True)
    assert house.tokens() == {Dimension.LLM_INPUT_TOKENS: 4, OUTPUT: 9}


async def test_what_is_held_back_is_not_charged_for(house):
    house.filters = lambda call: (Late(),)
    house.generator.script = speaks("one", "two", "three")
    house.generator.holds_at = 3
    house.generator.gate.clear()
    generation = house.generate()
    produced = generation.events()
    task = asyncio.create_task(anext(produced))
    await until(lambda: house.generator.held)
    assert not house.durable()
    generation.fail(InternalError("enough"))
    assert isinstance((await task)[0], Failed)
    await produced.aclose()
    await generation.close(delivered=False)
    assert not house.durable()


@pytest.mark.parametrize(("stream", "charged"), [(True, 3), (False, None)])
async def test_a_filter_that_fails_ends_a_generation(house, stream, charged, caplog):
    """What was sent before is charged, and no more; a whole answer is free."""
    house.filters = lambda call: (Failing(),)
    house.generator.script = speaks("one", CANARY, "three")
    generation = house.generate(stream=stream)
    events = await events_of(generation)
    assert isinstance(events[-1], Failed)
    assert type(events[-1].error) is InternalError
    assert not holds(events)
    assert CANARY not in events[-1].error.message
    assert CANARY not in caplog.text
    await generation.close(delivered=True)
    assert house.durable().get(OUTPUT) == charged
    assert not house.generator.running


@pytest.mark.parametrize("live", [True, False])
async def test_a_filter_that_fails_ends_a_transcription(house, live):
    """A stream is charged for what was heard before."""
    house.filters = lambda call: (Failing(),)
    house.recogniser.hear = lambda utterance: CANARY if len(utterance.pcm) > 32 * 1200 else "one"
    session = house.open(live=live)
    first, second = audio(600, 500), audio(2000, 500)
    if live:
        await session.feed(Audio(first + second))
        await session.feed(End())
    else:
        await session.play(first + second)
    events = await events_of(session)
    assert [type(event) for event in events] == [Opened, Final, Failed]
    assert type(events[-1].error) is InternalError
    assert not holds(events)
    assert house.filter_failures == [(session.call.id, "ValueError")]
    await session.close(delivered=True)
    # A recording's price is known, so it is paid with its first result.
    assert sum(house.charged().values()) == (events[1].end_ms if live else 3600)


class OneBehind:
    """Lets each event go with the one after it."""

    def __init__(self):
        self.held = ()

    def push(self, events):
        events, self.held = self.held + events[:-1], events[-1:]
        return events

    def finish(self):
        return self.held


async def test_what_was_held_back_is_charged_for_when_it_leaves(house):
    """Whatever it leaves with."""
    house.filters = lambda call: (OneBehind(),)
    session = house.open(interims=True, speech_events=True)
    produced = session.events()
    await session.feed(Audio(audio(900, 700, 900, 700)))
    first = None
    while first is None:
        events = await anext(produced)
        first = next((event for event in events if isinstance(event, Final)), None)
    assert house.charged() == {0: first.end_ms}
    await produced.aclose()
    await session.close(delivered=False)


async def test_a_recording_that_is_told_whole_is_free_where_a_filter_fails(house):
    house.filters = lambda call: (Failing(),)
    house.recogniser.hear = lambda utterance: CANARY
    session = house.open(live=False, incremental=False)
    await session.play(audio(600, 500))
    assert isinstance((await events_of(session))[-1], Failed)
    await session.close(delivered=True)
    assert not house.charged()


@pytest.mark.parametrize("stream", [True, False])
async def test_a_filter_that_fails_ends_speech(house, stream):
    house.filters = lambda call: (Failing(sound=True),)
    session = house.speak(text="one two three.", stream=stream)
    events = await events_of(session)
    assert [type(event) for event in events] == [Opened, Failed]
    await session.close(delivered=True)
    assert not house.durable()


async def test_speech_is_filtered_and_charged(house):
    house.filters = lambda call: (Replacing(),)
    session = house.speak(text=f"one {CANARY} two.", timings=True)
    events = await events_of(session)
    spoken = [event for event in events if isinstance(event, Spoken)]
    assert not holds(spoken)
    assert sum(len(event.audio) for event in spoken)
    assert isinstance(events[-1], AllSpoken)
    await session.close(delivered=True)
    assert house.tokens()[Dimension.TTS_CHARACTERS] == events[-1].characters


async def test_embeddings_and_tensors_pass_too(house):
    failing = Failing()
    house.filters = lambda call: (failing,)
    embedded = house.embed("one two")
    assert isinstance((await events_of(embedded))[-1], Completed)
    await embedded.close(delivered=True)
    assert house.tokens() == {Dimension.EMBEDDING_TOKENS: 2}
    assert len(failing.pushed) == 2


async def test_without_filters_nothing_stands_between(house):
    """No chain, so no layer: a batch is what the session made, not a copy."""
    generation = house.generate()
    assert generation._chain is None
    batches = []
    told = generation._produce

    async def noted():
        async for batch in told():
            batches.append(batch)
            yield batch

    generation._produce = noted
    assert all(got is made for got, made in zip(await batches_of(generation), batches, strict=True))
    await generation.close(delivered=True)
    await closed()


def test_every_kind_of_session_is_filtered_and_charged_in_one_place():
    """No session has `events` of its own, and none charges in what it makes them of."""
    kinds = MeteredSession.__subclasses__()
    assert {kind.__name__ for kind in kinds} == {"Recognition", "Generation", "Synthesis"}
    for kind in kinds:
        assert "events" not in vars(kind)
        makers = [
            getattr(kind, name) for name in ("_told", "_generated", "_embedded", "_inferred") if hasattr(kind, name)
        ]
        assert not any(".charge(" in inspect.getsource(maker) for maker in makers)
