"""A conversation's machine by itself: scripts of steps and the acts that follow, and what holds in any order."""

import uuid

from hypothesis import given
from hypothesis import strategies as st
from test_conversation_properties import inputs, specs

from antiphon.conversation.items import MAX_ITEMS
from antiphon.conversation.machine import Machine
from antiphon.conversation.steps import (
    AbortPart,
    Admission,
    Alarm,
    ClosePart,
    Confirm,
    Confirmation,
    Drain,
    EndAfter,
    EndPart,
    Fail,
    Failure,
    FeedPart,
    Leave,
    OpenFailure,
    OpenPart,
    OpenRecordings,
    PartEnd,
    PartOutput,
    PausePart,
    Receipt,
    ResumePart,
    Retract,
    Tell,
    TellLimits,
    Tick,
    TunePart,
)
from antiphon.core.audio import AudioFormat, Encoding
from antiphon.core.conversation.inputs import (
    AddItem,
    AppendAudio,
    CancelResponse,
    ClearAudio,
    CommitAudio,
    Configure,
    RemoveItem,
    Respond,
    TruncateItem,
)
from antiphon.core.conversation.items import FIRST, AudioPart, MessageItem, TextPart
from antiphon.core.conversation.outputs import (
    Configured,
    Ending,
    ItemAdded,
    ItemDone,
    ItemRemoved,
    ItemTruncated,
    OutputEnded,
    OutputSpeech,
    OutputStarted,
    OutputText,
    Refused,
    ResponseEnded,
    ResponseStarted,
    TranscriptionFailed,
    TurnStarted,
)
from antiphon.core.conversation.spec import ConverseSpec, Eagerness, Transcription, Turns
from antiphon.core.errors import CapacityError, EngineError, LedgerUnavailable, PolicyError, Unauthenticated
from antiphon.core.events import (
    AllSpoken,
    Cause,
    ChoiceEnded,
    Closed,
    Completed,
    End,
    Failed,
    Final,
    FinishReason,
    Flush,
    Interim,
    Say,
    SpeechStarted,
    Spoken,
    TextDelta,
    TokenUsage,
    ToolCallDelta,
    ToolCallStarted,
    Transcript,
)
from antiphon.core.specs import GenerateSpec, Role, SpeakSpec, TranscribeSpec
from antiphon.core.units import NS_PER_MS

FORMAT = AudioFormat(Encoding.LINEAR16, 16_000)
SPEC = ConverseSpec(model="m", input_format=FORMAT, turns=Turns(silence_ms=300))
TYPED = ConverseSpec(model="m", input_format=FORMAT, speak=False, turns=None)
NOTHING = Transcript("", 0.0)


def pcm(ms):
    return bytes(32 * ms)


def said(text):
    return Transcript(text, 0.9)


class Stage:
    """A machine, and what its acts have led to. Checks each act against those before it."""

    def __init__(self, spec=SPEC, disclosure=""):
        self.machine = Machine(str(uuid.UUID(int=7)), spec, disclosure)
        self.now_ns = 1_000 * NS_PER_MS
        self.refuses = None  # why parts cannot be opened
        self.open = {}  # part -> its spec
        self.ended = set()  # those that are open and have no more events
        self.fed = {}  # part -> inputs
        self.flushes = 0  # of the ear, to be answered
        self.finishing = None  # the part that shall end
        self.confirms = []
        self.unread, self.told, self.acts = [], [], []
        self.items = []
        self.error = None
        self.left = False
        self.carry_out(self.machine.start(self.now_ns))

    def step(self, event):
        acts = self.machine.step(event, self.now_ns)
        caused = [act for act in acts if isinstance(act, FeedPart | EndPart)]
        assert not caused or not isinstance(event, Tick | Receipt | Drain | Failure | Leave | PartEnd), event
        self.left = self.left or isinstance(event, Leave)
        self.carry_out(acts)
        return acts

    def carry_out(self, acts):
        answers = []
        for act in acts:
            self.acts.append(act)
            match act:
                case Tell(output):
                    self.hear(output)
                case TellLimits():
                    assert not self.error
                case Fail(error):
                    assert not self.error
                    assert not self.left
                    self.error = error
                case Retract(id):
                    self.unread = [o for o in self.unread if not (isinstance(o, OutputSpeech) and o.item_id == id)]
                case OpenPart(part, spec):
                    self.add(part, spec)
                    if self.refuses:
                        self.drop(part)
                        answers.append(OpenFailure(part, self.refuses))
                case OpenRecordings(spec, recordings):
                    if not self.refuses:
                        for recording in recordings:
                            self.add(recording.part, spec)
                    answers.append(Admission(recordings[0].part, self.refuses))
                case ClosePart(part):
                    self.drop(part)
                case FeedPart(part, given):
                    assert part in self.open or self.refuses
                    self.fed.setdefault(part, []).append(given)
                    self.flushes += isinstance(given, Flush)
                case EndPart(part):
                    assert part in self.open
                    self.finishing = part
                case TunePart(part) | EndAfter(part) | AbortPart(part) | PausePart(part) | ResumePart(part):
                    assert part in self.open or self.refuses
                case Confirm(generation=generation):
                    assert generation in self.open
                    self.confirms.append(act.response_id)
        for answer in answers:
            self.step(answer)

    def add(self, part, spec):
        assert not self.left
        assert part not in self.fed
        self.open[part] = spec
        self.fed[part] = []

    def drop(self, part):
        spec = self.open.pop(part)  # exactly once
        self.ended.discard(part)
        if isinstance(spec, TranscribeSpec) and spec.live:
            self.flushes = 0
            self.finishing = None

    def hear(self, output):
        assert not self.error, output
        assert not self.left, output
        self.told.append(output)
        self.unread.append(output)
        match output:
            case ItemAdded(item, after):
                assert item.id not in self.items
                assert after == FIRST or after in self.items
                self.items.insert(self.items.index(after) + 1 if after else 0, item.id)
            case ItemRemoved(id):
                self.items.remove(id)

    # -- what the world does -------------------------------------------------------------------------------------------

    def parts(self, kind, live=True):
        found = [part for part, spec in self.open.items() if isinstance(spec, kind) and part not in self.ended]
        return [part for part in found if kind is not TranscribeSpec or self.open[part].live is live]

    @property
    def ear(self):
        return next(iter(self.parts(TranscribeSpec)), None)

    def says(self, part, *events, **more):
        self.step(PartOutput(part, events, **more))

    def ends(self, part):
        self.ended.add(part)
        self.step(PartEnd(part))

    def writes(self, part, text="One two.", tokens=2):
        self.says(part, TextDelta(0, text, tokens), sent=TokenUsage(3, tokens))

    def completes(self, part):
        self.says(part, ChoiceEnded(0, FinishReason.STOP), Completed(TokenUsage(3, 2)))
        self.ends(part)

    def sounds(self, part, start_ms, end_ms, characters):
        self.says(part, Spoken(b"s", start_ms, end_ms), characters=characters)

    def sends(self):
        outputs, self.unread = tuple(self.unread), []
        self.step(Receipt(outputs))

    def passes(self, ms):
        self.now_ns += ms * NS_PER_MS
        self.step(Tick())

    def all(self, kind):
        return [output for output in self.told if isinstance(output, kind)]

    def hears_a_turn(self, text="Hello there."):
        self.step(AppendAudio(pcm(1000)))
        self.says(self.ear, SpeechStarted(0, 100), Final(0, 100, 900, said(text), Cause.ENDPOINT))

    def leaves(self):
        self.step(Leave())
        assert self.open == {}
        assert self.machine.step(Tick(), self.now_ns) == self.machine.step(Respond(), self.now_ns) == ()


def typed(text, id=""):
    return MessageItem(Role.USER, (TextPart(text),), id)


def read(stage, number=-1):
    """What the language model is given to read."""
    opened = [act.spec for act in stage.acts if isinstance(act, OpenPart) and isinstance(act.spec, GenerateSpec)]
    return [message.text for message in opened[number].prompt]


def closes(stage):
    return {act.part: act for act in stage.acts if isinstance(act, ClosePart)}


# -- scripts -----------------------------------------------------------------------------------------------------------


def test_a_turn_is_answered_aloud():
    stage = Stage()
    stage.hears_a_turn()
    (generation,) = stage.parts(GenerateSpec)
    assert read(stage) == ["Hello there."]
    stage.writes(generation)
    (synthesis,) = stage.parts(SpeakSpec)
    assert stage.fed[synthesis] == [Say("One two.")]
    stage.completes(generation)
    assert stage.fed[synthesis] == [Say("One two."), End()]
    assert not stage.all(ResponseEnded)
    stage.sounds(synthesis, 0, 400, 8)
    stage.says(synthesis, AllSpoken(8, 400))
    stage.ends(synthesis)
    (ended,) = stage.all(ResponseEnded)
    assert ended.ending is Ending.COMPLETED
    assert (ended.usage.tokens.output, ended.usage.input_ms, ended.usage.spoken_ms) == (2, 800, 400)
    assert closes(stage)[generation] == ClosePart(generation, delivered=True)
    assert synthesis in stage.open  # it may still be heard
    stage.sends()
    stage.passes(2401)
    assert closes(stage)[synthesis] == ClosePart(synthesis, delivered=True)
    stage.leaves()


DISCLOSURE = "You are speaking with an AI."
BOTH = f"{DISCLOSURE} One two."


def spoken(stage):
    """What the voice that speaks now has been given."""
    return [given.text for given in stage.fed[stage.parts(SpeakSpec)[-1]] if isinstance(given, Say)]


def answered(position_ms, whole=True):
    """Two replies, of which the first is heard for so long before the caller breaks in."""
    stage = Stage(disclosure=DISCLOSURE)
    stage.hears_a_turn()
    (generation,) = stage.parts(GenerateSpec)
    stage.writes(generation)
    stage.completes(generation)
    (synthesis,) = stage.parts(SpeakSpec)
    first = spoken(stage)
    stage.sounds(synthesis, 0, 500, len(DISCLOSURE) + 1)
    if whole:
        stage.sounds(synthesis, 500, 1000, len(BOTH))
    stage.sends()
    stage.now_ns += position_ms * NS_PER_MS
    stage.says(stage.ear, SpeechStarted(0, 950), Final(0, 950, 1900, said("And?"), Cause.ENDPOINT))
    stage.writes(stage.parts(GenerateSpec)[-1])
    return stage, first, spoken(stage)


def test_the_first_reply_begins_with_the_disclosure():
    stage, first, second = answered(700)
    assert (first, second) == ([BOTH], ["One two."])
    assert "".join(output.text for output in stage.all(OutputText)) == f"{BOTH}One two."
    assert read(stage)[1].startswith(DISCLOSURE)  # the model knows that it was said
    stage.leaves()


def test_a_disclosure_that_was_not_heard_is_said_again():
    for position_ms, whole in ((0, True), (499, True), (499, False), (500, False)):
        assert answered(position_ms, whole)[1:] == ([BOTH], [BOTH]), position_ms
    assert answered(500)[1:] == ([BOTH], ["One two."])


def test_a_disclosure_that_the_caller_cut_is_said_again():
    stage = Stage(ConverseSpec(model="m", input_format=FORMAT, turns=None), DISCLOSURE)
    for cut_ms, text in ((1100, BOTH), (None, BOTH), (None, "One two.")):
        stage.step(Respond())
        stage.writes(stage.parts(GenerateSpec)[0])
        stage.completes(stage.parts(GenerateSpec)[0])
        assert spoken(stage) == [text]
        (synthesis,) = stage.parts(SpeakSpec)
        stage.sounds(synthesis, 0, 2000, len(DISCLOSURE) + 1)
        stage.sounds(synthesis, 2000, 2500, len(text))
        stage.ends(synthesis)
        stage.sends()
        stage.now_ns += (cut_ms or 5000) * NS_PER_MS
        if cut_ms:
            stage.step(TruncateItem(stage.items[-1], cut_ms))
        else:
            stage.step(Tick())


def test_a_disclosure_of_a_reply_ahead_that_is_given_up_is_said_by_the_next():
    stage = Stage(disclosure=DISCLOSURE)
    stage.step(AppendAudio(pcm(1000)))
    stage.says(stage.ear, SpeechStarted(0, 100), Interim(0, 100, 900, said("Hello there."), paused=True))
    stage.writes(stage.parts(GenerateSpec)[0])
    assert spoken(stage) == [BOTH]
    stage.says(stage.ear, Interim(0, 100, 990, said("Hello there. I"), paused=False))
    stage.says(stage.ear, Final(0, 100, 1000, said("Hello there. I am."), Cause.ENDPOINT))
    stage.writes(stage.parts(GenerateSpec)[-1])
    assert spoken(stage) == [BOTH]


def test_replies_in_writing_have_none_and_replies_beside_do_not_count():
    stage = Stage(ConverseSpec(model="m", input_format=FORMAT, turns=None), DISCLOSURE)
    stage.step(Respond(TYPED))
    stage.writes(stage.parts(GenerateSpec)[0])
    assert [output.text for output in stage.all(OutputText)] == ["One two."]
    stage.completes(stage.parts(GenerateSpec)[0])
    for keep in (False, True):
        stage.step(Respond(keep=keep))
        stage.writes(stage.parts(GenerateSpec)[-1])
        assert spoken(stage) == [BOTH]


def test_who_breaks_in_pays_for_what_was_heard():
    stage = Stage()
    stage.hears_a_turn()
    (generation,) = stage.parts(GenerateSpec)
    stage.writes(generation, "One two three four.")
    (synthesis,) = stage.parts(SpeakSpec)
    stage.sounds(synthesis, 0, 1000, 19)
    stage.sends()
    stage.now_ns += 500 * NS_PER_MS
    stage.says(stage.ear, SpeechStarted(0, 950))
    assert [type(output) for output in stage.told[-4:]] == [OutputEnded, ItemDone, ResponseEnded, ItemTruncated]
    assert stage.all(ItemTruncated)[0].end_ms == 500
    aborted = [act.part for act in stage.acts if isinstance(act, AbortPart)]
    assert aborted == [generation, synthesis]
    stage.ends(generation)
    assert closes(stage)[generation] == ClosePart(generation, delivered=False)
    stage.step(TruncateItem(stage.items[-1], 400))
    assert closes(stage)[synthesis] == ClosePart(synthesis, delivered=False, played_ms=400)
    stage.leaves()


def test_speech_that_was_committed_before_it_was_found_interrupts_no_reply():
    """A recording is appended at once, committed and answered before the recognition has looked at it."""
    stage = Stage()
    stage.step(AppendAudio(pcm(1000)))
    stage.step(CommitAudio())
    stage.step(Respond())
    stage.step(AppendAudio(pcm(1000)))
    stage.says(stage.ear, SpeechStarted(0, 100), Interim(0, 100, 900, said("Hello there."), paused=False))
    assert not stage.all(TurnStarted)
    stage.says(stage.ear, Final(0, 100, 1000, said("Hello there."), Cause.FLUSH))
    stage.writes(stage.parts(GenerateSpec)[0])
    assert not stage.all(ResponseEnded)
    stage.says(stage.ear, SpeechStarted(0, 1200))  # what follows does
    assert len(stage.all(TurnStarted)) == 1
    assert stage.all(ResponseEnded)[0].ending is Ending.INTERRUPTED


def test_a_reply_that_still_runs_ends_where_it_is_truncated():
    stage = Stage()
    stage.hears_a_turn()
    (generation,) = stage.parts(GenerateSpec)
    stage.writes(generation, "One two three four.")
    (synthesis,) = stage.parts(SpeakSpec)
    stage.sounds(synthesis, 0, 1000, 19)
    stage.sends()
    stage.now_ns += 500 * NS_PER_MS
    for part, end_ms in ((1, 400), (0, 1001)):
        stage.step(TruncateItem(stage.items[-1], end_ms, part))
    assert [type(output) for output in stage.told[-2:]] == [Refused, Refused]
    assert not stage.all(ResponseEnded)
    stage.step(TruncateItem(stage.items[-1], 400))
    assert [type(output) for output in stage.told[-4:]] == [OutputEnded, ItemDone, ResponseEnded, ItemTruncated]
    assert (stage.all(ResponseEnded)[0].ending, stage.all(ItemTruncated)[0].end_ms) == (Ending.CANCELLED, 400)
    assert closes(stage)[synthesis] == ClosePart(synthesis, delivered=False, played_ms=400)
    stage.ends(generation)
    stage.step(Respond())
    assert len(stage.all(ResponseStarted)) == 2
    stage.leaves()


def test_a_reply_may_be_truncated_before_its_first_sound():
    stage = Stage()
    stage.hears_a_turn()
    stage.writes(stage.parts(GenerateSpec)[0])
    (synthesis,) = stage.parts(SpeakSpec)
    stage.step(TruncateItem(stage.items[-1], 0))
    assert stage.all(ItemTruncated)[0].end_ms == 0
    assert closes(stage)[synthesis] == ClosePart(synthesis, delivered=False, played_ms=0)


def test_speech_of_which_nothing_left_costs_nothing():
    stage = Stage()
    stage.hears_a_turn()
    stage.writes(stage.parts(GenerateSpec)[0])
    (synthesis,) = stage.parts(SpeakSpec)
    stage.step(CancelResponse())
    assert stage.all(ResponseEnded)[0].ending is Ending.CANCELLED
    assert closes(stage)[synthesis] == ClosePart(synthesis, delivered=False, played_ms=0)


def test_what_was_not_sent_is_retracted_where_the_caller_breaks_in():
    stage = Stage()
    stage.hears_a_turn()
    stage.writes(stage.parts(GenerateSpec)[0])
    stage.sounds(stage.parts(SpeakSpec)[0], 0, 1000, 8)
    stage.says(stage.ear, SpeechStarted(0, 950))
    assert not any(isinstance(output, OutputSpeech) for output in stage.unread)
    assert stage.all(ItemTruncated)[0].end_ms == 0


def test_a_reply_ahead_is_told_once_it_is_durable():
    stage = Stage()
    stage.step(AppendAudio(pcm(1000)))
    stage.says(stage.ear, SpeechStarted(0, 100), Interim(0, 100, 900, said("Hello there."), paused=True))
    (generation,) = stage.parts(GenerateSpec)
    stage.writes(generation)
    assert stage.acts[-2] == OpenPart(stage.parts(SpeakSpec)[0], stage.acts[-2].spec, held=True)
    assert not stage.all(OutputText)
    stage.says(stage.ear, Final(0, 100, 900, said("Hello there."), Cause.ENDPOINT))
    assert len(stage.parts(GenerateSpec)) == 1
    assert stage.all(ResponseStarted)
    assert not stage.all(OutputText)
    stage.step(Confirmation(stage.confirms[0]))
    assert [output.text for output in stage.all(OutputText)] == ["One two."]
    stage.leaves()


def test_a_reply_ahead_that_cannot_be_recorded_is_not_told():
    stage = Stage()
    stage.step(AppendAudio(pcm(1000)))
    stage.says(stage.ear, SpeechStarted(0, 100), Interim(0, 100, 900, said("Hello there."), paused=True))
    stage.writes(stage.parts(GenerateSpec)[0])
    stage.says(stage.ear, Final(0, 100, 900, said("Hello there."), Cause.ENDPOINT))
    stage.step(Confirmation(stage.confirms[0], LedgerUnavailable("full")))
    assert not stage.all(OutputText)
    (ended,) = stage.all(ResponseEnded)
    assert (ended.ending, ended.items) == (Ending.FAILED, ())
    stage.leaves()


def test_a_reply_ahead_is_given_up_where_the_speaker_goes_on_and_costs_nothing():
    stage = Stage()
    stage.step(AppendAudio(pcm(1000)))
    stage.says(stage.ear, SpeechStarted(0, 100), Interim(0, 100, 900, said("Hello there."), paused=True))
    (generation,) = stage.parts(GenerateSpec)
    stage.writes(generation)
    (synthesis,) = stage.parts(SpeakSpec)
    stage.says(stage.ear, Interim(0, 100, 990, said("Hello there. I"), paused=False))
    assert any(isinstance(act, AbortPart) and act.part == generation for act in stage.acts)
    assert closes(stage)[synthesis] == ClosePart(synthesis, delivered=False, played_ms=0)
    assert not stage.all(ResponseStarted)


def test_a_sentence_that_hangs_in_the_air_is_given_time():
    stage = Stage(ConverseSpec(model="m", input_format=FORMAT, turns=Turns(eagerness=Eagerness.HIGH)))
    stage.step(AppendAudio(pcm(1000)))
    stage.says(stage.ear, SpeechStarted(0, 100), Interim(0, 100, 900, said("I would like to"), paused=True))
    assert stage.acts[-1] == EndAfter(stage.ear, 1200)
    assert not stage.parts(GenerateSpec)


def test_a_voice_that_is_ahead_is_paused_until_its_speech_is_scarce():
    stage = Stage(ConverseSpec(model="m", input_format=FORMAT, turns=None))
    stage.step(AddItem(typed("hi")))
    stage.step(Respond())
    stage.writes(stage.parts(GenerateSpec)[0])
    (synthesis,) = stage.parts(SpeakSpec)
    stage.sounds(synthesis, 0, 2000, 8)
    assert PausePart(synthesis) in stage.acts
    stage.sends()
    assert stage.acts[-1] == Alarm(stage.now_ns + 500 * NS_PER_MS)
    stage.passes(499)
    assert ResumePart(synthesis) not in stage.acts
    stage.passes(1)
    assert ResumePart(synthesis) in stage.acts


def test_a_response_waits_for_the_words_that_it_answers():
    stage = Stage(TYPED)
    stage.step(AppendAudio(pcm(500)))
    stage.step(CommitAudio())
    stage.step(Respond())
    assert not stage.parts(GenerateSpec)
    stage.says(stage.ear, Final(0, 0, 500, said("What is it?"), Cause.FLUSH))
    assert read(stage) == ["What is it?"]


def test_audio_in_an_item_is_recognised_by_parts_that_open_together_or_not_at_all():
    stage = Stage(TYPED)
    item = MessageItem(Role.USER, (AudioPart(pcm(300)), AudioPart(pcm(200))), "x")
    stage.refuses = CapacityError("full")
    stage.step(AddItem(item, event_id="e1"))
    assert stage.all(Refused) == [Refused(stage.refuses, "e1")]
    assert stage.items == []
    stage.refuses = None
    stage.step(AddItem(item))
    stage.step(Respond())
    first, second = stage.parts(TranscribeSpec, live=False)
    for part, text in ((second, "two"), (first, "one")):
        assert not stage.parts(GenerateSpec)
        stage.says(part, Final(0, 0, 300, said(text), Cause.END), Closed(300, 1, ""))
        stage.ends(part)
    assert read(stage) == ["one two"]
    assert closes(stage)[first].delivered


def test_an_item_that_cannot_join_closes_what_was_opened_for_it():
    stage = Stage(TYPED)
    stage.step(AddItem(typed("a", "x")))
    stage.step(AddItem(MessageItem(Role.USER, (AudioPart(pcm(300)),), "x"), event_id="twice"))
    assert [refused.event_id for refused in stage.all(Refused)] == ["twice"]
    assert stage.parts(TranscribeSpec, live=False) == []


def test_the_id_of_a_turn_that_was_announced_is_taken():
    stage = Stage()
    stage.step(AppendAudio(pcm(1000)))
    stage.says(stage.ear, SpeechStarted(0, 100))
    (began,) = stage.all(TurnStarted)
    stage.step(AddItem(typed("a", began.item_id), event_id="mine"))
    assert [refused.event_id for refused in stage.all(Refused)] == ["mine"]
    stage.says(stage.ear, Final(0, 100, 900, said("Hello."), Cause.ENDPOINT))
    assert began.item_id in stage.items


def test_an_id_whose_audio_is_being_recognised_is_taken_though_its_item_was_removed():
    for again in (typed("b", "a"), MessageItem(Role.USER, (AudioPart(pcm(300)),), "a")):
        stage = Stage(TYPED)
        stage.step(AddItem(MessageItem(Role.USER, (AudioPart(pcm(200)),), "a")))
        (recording,) = stage.parts(TranscribeSpec, live=False)
        stage.step(RemoveItem("a"))
        stage.step(AddItem(again, event_id="e"))
        assert [refused.event_id for refused in stage.all(Refused)] == ["e"]
        stage.says(recording, Final(0, 0, 200, said("Hello."), Cause.END), Closed(200, 1, ""))
        stage.ends(recording)
        stage.step(AddItem(typed("b", "a")))
        assert stage.items == ["a"]
        stage.leaves()


def test_a_turn_that_was_removed_while_its_words_are_unknown_harms_nothing():
    stage = Stage(TYPED)
    stage.step(AppendAudio(pcm(200)))
    stage.step(CommitAudio())
    (turn,) = stage.items
    stage.step(RemoveItem(turn))
    stage.step(AddItem(typed("b", turn), event_id="e"))
    assert [refused.event_id for refused in stage.all(Refused)] == ["e"]
    stage.says(stage.ear, Final(0, 0, 200, said("Hello."), Cause.FLUSH))
    stage.step(AddItem(typed("b", turn)))
    assert stage.items == [turn]
    stage.leaves()


def test_a_caller_who_rewrote_a_reply_can_break_in_while_it_plays():
    stage = Stage()
    stage.hears_a_turn()
    (generation,) = stage.parts(GenerateSpec)
    stage.writes(generation)
    stage.completes(generation)
    (synthesis,) = stage.parts(SpeakSpec)
    stage.sounds(synthesis, 0, 1000, 8)
    stage.says(synthesis, AllSpoken(8, 1000))
    stage.ends(synthesis)
    stage.sends()
    reply = stage.items[-1]
    stage.step(RemoveItem(reply))
    stage.step(AddItem(MessageItem(Role.ASSISTANT, (TextPart("Three."),), reply)))
    stage.now_ns += 400 * NS_PER_MS
    stage.says(stage.ear, SpeechStarted(0, 950))
    assert stage.all(ItemTruncated) == []
    stage.passes(2601)
    assert closes(stage)[synthesis].played_ms == 400
    stage.leaves()


def test_a_caller_who_replaced_a_running_reply_keeps_its_own_item():
    stage = Stage(TYPED)
    stage.step(AddItem(typed("Hello.")))
    stage.step(Respond())
    (generation,) = stage.parts(GenerateSpec)
    stage.writes(generation)
    reply = stage.items[-1]
    stage.step(RemoveItem(reply))
    stage.step(AddItem(MessageItem(Role.ASSISTANT, (TextPart("Three."),), reply)))
    stage.completes(generation)
    assert [each.ending for each in stage.all(ResponseEnded)] == [Ending.COMPLETED]
    stage.step(Respond())
    assert read(stage) == ["Hello.", "Three."]
    stage.leaves()


def test_an_item_that_is_refused_removes_nothing_from_a_full_conversation():
    stage = Stage(TYPED)
    for number in range(MAX_ITEMS):
        stage.step(AddItem(typed("b", f"i{number}")))
    for after, id in ((None, "i9"), ("nothing", "new")):
        stage.step(AddItem(typed("b", id), after))
    assert len(stage.all(Refused)) == 2
    assert len(stage.items) == MAX_ITEMS
    stage.step(AddItem(typed("b", "new"), "i0"))  # whose place is the first, once it is gone
    assert stage.items[:2] == ["new", "i1"]
    stage.leaves()


def test_an_id_that_the_caller_took_is_not_minted():
    foreseen, stage = Stage(), Stage()
    foreseen.hears_a_turn()
    turn = foreseen.all(TurnStarted)[0].item_id
    stage.step(AddItem(typed("a", turn)))
    stage.hears_a_turn()
    assert stage.items[0] == turn != stage.items[1]


def test_another_format_is_heard_once_the_ear_has_come_to_its_end():
    stage = Stage(TYPED)
    ear = stage.ear
    stage.step(AppendAudio(pcm(500)))
    stage.step(CommitAudio())
    mulaw = ConverseSpec(model="m", input_format=AudioFormat(Encoding.MULAW, 8000), speak=False, turns=None)
    stage.step(Configure(mulaw, "e1"))
    assert stage.acts[-1] == EndPart(ear)
    stage.step(ClearAudio("e2"))
    assert [refused.event_id for refused in stage.all(Refused)] == ["e2"]
    stage.says(ear, Final(0, 0, 500, said("Before."), Cause.FLUSH))
    stage.ends(ear)
    assert stage.all(Configured) == [Configured(mulaw, "e1")]
    assert stage.machine.spec == mulaw
    assert stage.ear not in (None, ear)
    assert stage.open[stage.ear].format == mulaw.input_format


def test_an_ear_whose_engine_fails_is_followed_by_another():
    stage = Stage(ConverseSpec(model="m", input_format=FORMAT, turns=None, transcription=Transcription()))
    ear = stage.ear
    stage.step(AppendAudio(pcm(500)))
    stage.step(CommitAudio())
    stage.says(ear, Failed(EngineError("gone")))
    stage.ends(ear)
    assert [failed.item_id for failed in stage.all(TranscriptionFailed)] == stage.items
    assert stage.ear not in (None, ear)
    stage.says(stage.ear, Failed(PolicyError("no")))
    stage.ends(stage.ear)
    assert isinstance(stage.error, PolicyError)


def test_a_reply_whose_parts_find_no_place_fails():
    stage = Stage()
    stage.refuses = CapacityError("full")
    stage.hears_a_turn()
    (ended,) = stage.all(ResponseEnded)
    assert (ended.ending, ended.error) == (Ending.FAILED, stage.refuses)
    stage.refuses = None
    stage.step(Respond())
    assert stage.parts(GenerateSpec)


def test_nothing_is_told_after_the_conversation_failed_and_all_is_closed_when_the_caller_leaves():
    stage = Stage()
    stage.hears_a_turn()
    stage.writes(stage.parts(GenerateSpec)[0])
    stage.step(Failure(Unauthenticated("no")))
    assert isinstance(stage.error, Unauthenticated)
    stage.sounds(stage.parts(SpeakSpec)[0], 0, 400, 8)
    stage.step(CancelResponse())
    stage.leaves()


def test_who_leaves_amid_a_reply_pays_for_what_was_heard():
    stage = Stage()
    stage.hears_a_turn()
    stage.writes(stage.parts(GenerateSpec)[0])
    (synthesis,) = stage.parts(SpeakSpec)
    stage.sounds(synthesis, 0, 1000, 8)
    stage.sends()
    stage.now_ns += 300 * NS_PER_MS
    stage.leaves()
    assert closes(stage)[synthesis] == ClosePart(synthesis, delivered=False, played_ms=300)


def test_a_drain_waits_for_the_reply():
    stage = Stage(TYPED)
    stage.step(Respond())
    stage.step(Drain())
    stage.step(Respond(keep=False, event_id="late"))
    assert [refused.event_id for refused in stage.all(Refused)] == ["late"]
    assert not stage.error
    (generation,) = stage.parts(GenerateSpec)
    stage.completes(generation)
    assert stage.all(ResponseEnded)[0].ending is Ending.COMPLETED
    assert stage.error.code == "draining"


def test_who_says_nothing_for_long_is_asked():
    stage = Stage(ConverseSpec(model="m", input_format=FORMAT, speak=False, turns=Turns(idle_ms=5000)))
    stage.hears_a_turn()
    stage.completes(stage.parts(GenerateSpec)[0])
    stage.passes(4999)
    assert not stage.parts(GenerateSpec)
    stage.passes(1)
    assert stage.parts(GenerateSpec)
    assert [type(output).__name__ for output in stage.told if "Idle" in type(output).__name__] == ["IdleReached"]


def test_the_same_steps_lead_to_the_same_acts():
    runs = []
    for _ in range(2):
        stage = Stage()
        stage.hears_a_turn()
        stage.writes(stage.parts(GenerateSpec)[0])
        stage.leaves()
        runs.append([repr(act) for act in stage.acts])
    assert runs[0] == runs[1]


# -- in any order ------------------------------------------------------------------------------------------------------

MOMENTS = """
    began guess pause turn flushed deaf ear-ends write call complete fail sound voice-ends voice-fails recording sent
    later tick confirm unrecorded full
"""
moments = st.tuples(st.sampled_from(MOMENTS.split()), st.integers(0, 3))
FAULT = EngineError("asked for")


def happen(stage, moment, number):
    """What a part may do now, if there is such a part."""

    def one(found):
        return found[number % len(found)] if found else None

    ear, generation = stage.ear, one(stage.parts(GenerateSpec))
    voice = one([part for part in stage.parts(SpeakSpec) if stage.fed[part]])
    recording = one(stage.parts(TranscribeSpec, live=False))
    match moment:
        case "began" if ear:
            stage.says(ear, SpeechStarted(0, 50 * number))
        case "guess" | "pause" if ear:
            stage.says(ear, Interim(0, 0, 300, said("one " * number), paused=moment == "pause"))
        case "turn" if ear:
            stage.says(ear, Final(0, 0, 300, said("one two") if number else NOTHING, Cause.ENDPOINT))
        case "flushed" if ear and stage.flushes:
            stage.flushes -= 1
            stage.says(ear, Final(0, 0, 300, said("flushed"), Cause.FLUSH))
        case "deaf" if ear:
            stage.says(ear, Failed(FAULT))
            stage.ends(ear)
        case "ear-ends" if stage.finishing and not stage.flushes:
            stage.ends(stage.finishing)
        case "write" if generation:
            stage.writes(generation, "one two. " * number, number)
        case "call" if generation:
            stage.says(generation, ToolCallStarted(0, number, f"c{number}", "look"), ToolCallDelta(0, number, "{}", 1))
        case "complete" if generation:
            stage.completes(generation)
        case "fail" if generation:
            stage.says(generation, Failed(FAULT))
            stage.ends(generation)
        case "sound" if voice:
            made = stage.now_ns // NS_PER_MS
            stage.sounds(voice, made, made + 700, len(stage.fed[voice]))
        case "voice-ends" if voice and stage.fed[voice][-1] == End():
            stage.ends(voice)
        case "voice-fails" if voice:
            stage.says(voice, Failed(FAULT))
            stage.ends(voice)
        case "recording" if recording:
            end = Closed(300, 1, "") if number else Failed(FAULT)
            stage.says(recording, Final(0, 0, 300, said("word"), Cause.END), end)
            stage.ends(recording)
        case "sent":
            stage.sends()
        case "later":
            stage.passes(700)
        case "tick":
            stage.step(Tick())
        case "confirm" | "unrecorded" if stage.confirms:
            stage.step(Confirmation(stage.confirms.pop(0), LedgerUnavailable("full") if moment != "confirm" else None))
        case "full":
            stage.refuses = None if stage.refuses or not number else CapacityError("full")


def come_to_an_end(stage):
    """Everything that has begun is brought to its end."""
    stage.refuses = None
    for _ in range(200):
        busy = stage.flushes or stage.finishing or stage.confirms or stage.parts(GenerateSpec)
        voices = [part for part in stage.parts(SpeakSpec) if stage.fed[part]]
        if stage.error or not (busy or voices or stage.parts(TranscribeSpec, live=False)):
            return
        for moment in ("flushed", "ear-ends", "confirm", "complete", "recording", "sent"):
            happen(stage, moment, 1)
        for voice in voices:
            if voice in stage.open and voice not in stage.ended:
                stage.ends(voice)
    raise AssertionError("it does not come to an end")


@given(
    specs.filter(lambda spec: spec.model == "counter"),
    st.lists(inputs | moments | moments, max_size=40),
    st.sampled_from(["leave", "end", "drain", "fail"]),
)
def test_in_any_order_the_acts_make_sense(spec, script, ending):
    stage = Stage(spec, "This is an AI.")
    for step in script:
        if isinstance(step, tuple):
            happen(stage, *step)
        else:
            stage.step(step)
    if ending == "drain":
        stage.step(Drain())
    if ending == "fail":
        stage.step(Failure(Unauthenticated("no")))
    if ending == "end":
        come_to_an_end(stage)
        if stage.error is None:
            started = [output.response_id for output in stage.all(ResponseStarted)]
            ended = [output.response_id for output in stage.all(ResponseEnded)]
            assert sorted(started) == sorted(ended)
            assert len(set(ended)) == len(ended)
            begun = [output.item.id for output in stage.all(OutputStarted)]
            assert sorted(begun) == sorted(output.item.id for output in stage.all(OutputEnded))
    done = [output.item.id for output in stage.all(ItemDone)]
    assert set(done) <= {output.item.id for output in stage.all(ItemAdded)}
    turns = [output.item_id for output in stage.all(TurnStarted)]
    assert len(turns) == len(stage.all(TurnStarted))
    stage.leaves()
