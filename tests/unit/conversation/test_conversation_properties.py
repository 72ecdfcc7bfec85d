"""Whatever a caller does, in whatever order: every input is answered or changes nothing, every response ends, and when
the caller has gone nothing is left.
"""

import asyncio
import uuid

from hypothesis import given, settings
from hypothesis import strategies as st

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
    RemoveItem,
    Respond,
    TruncateItem,
)
from antiphon.core.conversation.items import FIRST, AudioPart, CallItem, Known, MessageItem, ResultItem, TextPart
from antiphon.core.conversation.outputs import (
    AudioCommitted,
    Configured,
    ItemAdded,
    ItemDone,
    ItemRead,
    ItemRemoved,
    ItemTruncated,
    OutputEnded,
    OutputStarted,
    Refused,
    ResponseEnded,
    ResponseStarted,
    TranscriptionDone,
    TranscriptionFailed,
)
from antiphon.core.conversation.spec import ConverseSpec, Eagerness, Transcription, Turns
from antiphon.core.errors import EngineError, InternalError
from antiphon.core.events import Failed
from antiphon.core.specs import Role, Tool, ToolChoice, ToolMode
from session_house import House, audio, until

FORMAT = AudioFormat(Encoding.LINEAR16, 16_000)
TOOL = Tool("look", parameters="{}")
IDS = st.sampled_from(["a", "b", "c", "nothing", "last"])  # "last" is the newest of the conversation's own
SILENCE = Turns(silence_ms=300)
TURNS = [SILENCE, SILENCE, None, Turns(silence_ms=300, interrupt=False, idle_ms=900), Turns(eagerness=Eagerness.HIGH)]

specs = st.builds(
    ConverseSpec,
    model=st.sampled_from(["counter", "counter", "counter", "nobody"]),
    answers=st.sampled_from([True, True, True, False]),
    input_format=st.just(FORMAT),
    speech_model=st.just("tone"),
    output_format=st.just(SpeechFormat(sample_rate=16_000)),
    turns=st.sampled_from(TURNS),
    speak=st.booleans(),
    transcription=st.sampled_from([None, Transcription(), Transcription(tokens=True)]),
    tools=st.sampled_from([(), (TOOL,)]),
    tool_choice=st.sampled_from([ToolChoice(), ToolChoice(ToolMode.REQUIRED)]),
    retain=st.sampled_from([None, 0.5, 1.0]),
)
parts = st.sampled_from([TextPart("hello"), TextPart(""), AudioPart(audio(300)), AudioPart(b"\x00")])
items = st.one_of(
    st.builds(MessageItem, st.just(Role.USER), st.tuples(parts)),
    st.builds(MessageItem, st.sampled_from([Role.USER, Role.ASSISTANT]), st.tuples(parts), IDS),
    st.builds(CallItem, st.sampled_from(["x", "y"]), st.just("look"), st.just("{}")),
    st.builds(ResultItem, st.sampled_from(["x", "y"]), st.just("it")),
)
event_ids = st.uuids().map(str)
speech = st.builds(
    AppendAudio, st.sampled_from([audio(600, 500), audio(400), audio(300, 200), audio(0, 400)]), event_ids
)
inputs = st.one_of(
    speech,
    speech,
    st.builds(AppendAudio, st.sampled_from([b"\x01", b""]), event_ids),
    st.builds(CommitAudio, event_ids),
    st.builds(ClearAudio, event_ids),
    st.builds(Configure, specs, event_ids),
    st.builds(AddItem, items, event_id=event_ids),
    st.builds(AddItem, items, IDS | st.just(FIRST), event_ids),
    st.builds(ReadItem, IDS, event_ids),
    st.builds(RemoveItem, IDS, event_ids),
    st.builds(TruncateItem, IDS | st.just("last"), st.integers(-1, 300), st.integers(0, 1), event_ids),
    st.builds(Respond, event_id=event_ids),
    st.builds(
        Respond,
        spec=st.none() | specs,
        items=st.none() | st.lists(items | st.builds(Known, IDS), max_size=2).map(tuple),
        keep=st.booleans(),
        event_id=event_ids,
    ),
    st.builds(CancelResponse, event_id=event_ids),
)
moments = st.sampled_from(["turn", "turn", "wait", "wait", "later", "expire", "engine", "slow", "voice", "ear"])
steps = st.lists(inputs | moments, min_size=5, max_size=30)


class Run:
    """One conversation, all of whose outputs are read."""

    def __init__(self, house, spec):
        self.house = house
        self.conversation = house.sessions.converse(Call(str(uuid.uuid4()), house.principal, "openai", spec))
        self.told = []
        self.reading = asyncio.create_task(self._read())

    async def _read(self):
        async for batch in self.conversation.events():
            self.told += batch

    async def step(self, step):
        house = self.house
        match step:
            case "wait":
                await asyncio.sleep(0.004)
            case "turn":
                await self.conversation.feed(AppendAudio(audio(600, 500)))
                await asyncio.sleep(0.02)
            case "later":
                house.clock.advance_ms(400)
            case "expire":
                self.conversation.expire()
            case "engine":
                house.generator.error = None if house.generator.error else EngineError("asked for")
            case "slow":  # until the next time
                house.generator.holds_at = 2
                (house.generator.gate.clear if house.generator.gate.is_set() else house.generator.gate.set)()
            case "voice":
                house.synthesiser.error = None if house.synthesiser.error else EngineError("asked for")
            case "ear":
                house.recogniser.fails = lambda utterance: True
                await asyncio.sleep(0.005)
                house.recogniser.fails = lambda utterance: False
            case _:
                await self.conversation.feed(self._named(step))

    def _named(self, given):
        """With the newest of the conversation's own items for "last"."""
        own = [e.item.id for e in self.told if isinstance(e, ItemAdded)]
        if getattr(given, "item_id", "") == "last" and own:
            return type(given)(**{**{f: getattr(given, f) for f in given.__slots__}, "item_id": own[-1]})
        return given

    def ids(self, kind, name):
        return [getattr(event, name) for event in self.told if isinstance(event, kind)]

    def quiet(self):
        """Whether everything that began has ended."""
        begun, ended = self.ids(ResponseStarted, "response_id"), self.ids(ResponseEnded, "response_id")
        return not self.conversation._unread and len(begun) == len(ended)


def check(run, given):
    told = run.told
    assert not any(isinstance(e, Failed) for e in told), told
    assert not any(isinstance(e, Refused) and isinstance(e.error, InternalError) for e in told), told
    # The caller may leave in the middle of a response that a turn led to; all else was waited for.
    started, ended = run.ids(ResponseStarted, "response_id"), run.ids(ResponseEnded, "response_id")
    assert set(ended) <= set(started)
    assert len(set(started)) == len(started)
    assert len(set(ended)) == len(ended)
    opened = [e.item.id for e in told if isinstance(e, OutputStarted) and e.response_id in ended]
    assert sorted(opened) == sorted(e.item.id for e in told if isinstance(e, OutputEnded) and e.response_id in ended)
    added, done = run.ids(ItemAdded, "item"), run.ids(ItemDone, "item")
    assert {i.id for i in done} <= {i.id for i in added}
    refused = run.ids(Refused, "event_id")
    assert len(set(refused) - {""}) == len([r for r in refused if r])
    answers = {
        Configure: (Configured, "event_id"),
        ReadItem: (ItemRead, None),
        RemoveItem: (ItemRemoved, None),
        TruncateItem: (ItemTruncated, None),
        CommitAudio: (AudioCommitted, None),
    }
    for kind, (answer, _) in answers.items():
        asked = [e for e in given if isinstance(e, kind)]
        told_so = [e for e in told if isinstance(e, answer)]
        assert len([e for e in asked if e.event_id not in refused]) <= len(told_so)
    heard = run.ids(TranscriptionDone, "item_id") + run.ids(TranscriptionFailed, "item_id")
    assert len({(e.item_id, e.part) for e in told if isinstance(e, TranscriptionDone | TranscriptionFailed)}) == len(
        heard
    )


async def live(spec, script):
    house = House()
    await house.runner.start()
    before = asyncio.all_tasks()
    try:
        run = Run(house, spec)
        for step in script:
            await run.step(step)
        house.generator.error = house.synthesiser.error = None
        house.generator.gate.set()
        await until(run.quiet)
        await run.conversation.close(delivered=True)
        run.reading.cancel()
        await asyncio.gather(run.reading, return_exceptions=True)
        await until(lambda: not house.sessions.all)
        check(run, [step for step in script if not isinstance(step, str)])
        assert asyncio.all_tasks() == before
        assert not house.generator.running
    finally:
        await house.close()


@settings(max_examples=60, derandomize=True)
@given(specs.filter(lambda spec: spec.model == "counter"), steps)
def test_any_order_of_inputs_comes_to_an_end(spec, script):
    asyncio.run(live(spec, script))
