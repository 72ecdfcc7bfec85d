"""Any speech, any order of results, any flush: what a stream says is always whole, in order and bounded."""

from hypothesis import given
from hypothesis import strategies as st
from rig import MS, Rig, overlaps, steady

from antiphon.core.errors import EngineError
from antiphon.core.events import Final, Interim, UtteranceEnded
from antiphon.core.speech import Drained, StreamSpec
from antiphon.scheduler.endpoint import FRAME
from antiphon.scheduler.policy import WorkKind

specs = st.builds(
    StreamSpec,
    live=st.booleans(),
    interims=st.booleans(),
    endpointing_ms=st.sampled_from([None, 10, 300, 1500]),
    utterance_end_ms=st.sampled_from([None, 1000]),
    speech_events=st.booleans(),
    timed=st.booleans(),
    tokens=st.booleans(),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("speech"), st.integers(1, 60)),
        st.tuples(st.just("quiet"), st.integers(1, 60)),
        st.tuples(st.just("speech"), st.integers(400, 520)),  # longer than an utterance may be
        st.tuples(st.just("samples"), st.integers(1, FRAME)),
        st.tuples(st.just("flush"), st.just(0)),
        st.tuples(st.just("start"), st.integers(0, 9)),
        st.tuples(st.just("finish"), st.integers(0, 9)),
        st.tuples(st.just("empty"), st.integers(0, 9)),
        st.tuples(st.just("fail interim"), st.integers(0, 9)),
    ),
    max_size=40,
)


class Player:
    """Plays steps on a rig and checks after each what must always hold."""

    def __init__(self, spec: StreamSpec) -> None:
        self.rig = Rig(spec)
        self.running = []

    def play(self, step: str, n: int) -> None:
        rig = self.rig
        if step in ("speech", "quiet"):
            letter = step[0].upper()
            rig.now_ns += n * 32 * MS
            rig.feed(n * FRAME, letter * n)
            self.listen()
        elif step == "samples":
            # Two frames' worth of script is more than enough for what a few samples complete.
            rig.feed(n, "")
            self.listen()
        elif step == "flush":
            rig.stream.flush(rig.now_ns)
            self.listen()
        elif step == "start" and rig.board.waiting:
            work = rig.board.waiting[n % len(rig.board.waiting)]
            utterance = rig.start(work)
            assert len(utterance.pcm) == 2 * (work.end - work.start) > 0
            self.running.append((work, utterance))
        elif self.running:
            work, utterance = self.running[n % len(self.running)]
            if step in ("finish", "empty"):
                self.running.remove((work, utterance))
                rig.finish(work, utterance, "" if step == "empty" else None)
            elif step == "fail interim" and not work.segment:
                self.running.remove((work, utterance))
                rig.stream.fail(work, EngineError("no"))
            self.listen()
        self.check()

    def listen(self) -> None:
        rig = self.rig
        while rig.stream.ready:
            frames = min(32, (rig.stream.backlog) // FRAME)
            rig._script += [0.1] * max(0, frames - len(rig._script))
            rig.listen()
        rig.listen()

    def drain(self) -> None:
        rig = self.rig
        rig.stream.end(rig.now_ns)
        self.listen()
        while rig.board.waiting or self.running:
            self.play("start", 0)
            self.play("finish", 0)

    def check(self) -> None:
        rig = self.rig
        unfinished = [w for w in rig.board.waiting if not w.segment]
        assert len(unfinished) <= 1  # a newer one replaces it
        assert len(rig.board.waiting) <= 9
        assert rig.stream.pending <= 64 + 8
        for work in rig.board.waiting:
            assert 0 <= work.start < work.end <= rig.stream.received
            assert 0 <= work.new_audio_ms <= work.audio_ms <= 15_200
            assert (work.kind is WorkKind.RECORDING) == (not rig.stream.spec.live)
        assert not overlaps(rig.finals)


@steady
@given(specs, steps)
def test_whatever_happens_every_utterance_has_one_final_in_order_and_the_end_is_the_end(spec, script):
    player = Player(spec)
    rig = player.rig
    for step, n in script:
        player.play(step, n)
    player.drain()
    events = rig.events
    assert [e for e in events if isinstance(e, Drained)] == events[-1:] == [Drained(0)]
    assert rig.stream.pending == 0
    ends = [f.end_ms for f in rig.finals]
    assert ends == sorted(ends)
    if not (spec.live and spec.interims):
        assert rig.interims == []
    if spec.utterance_end_ms is None:
        assert not any(isinstance(e, UtteranceEnded) for e in events)
    final_end_ms = spoken_end_ms = 0
    open_start_ms = None
    for event in events:
        if isinstance(event, UtteranceEnded):
            assert 0 <= event.last_word_end_ms <= final_end_ms
        if isinstance(event, Final):
            final_end_ms = max(final_end_ms, event.end_ms)
            if event.end_ms > event.start_ms:
                assert open_start_ms in (None, event.start_ms)  # an interim's own final is the next
                spoken_end_ms, open_start_ms = event.end_ms, None
        elif isinstance(event, Interim):
            assert event.end_ms > event.start_ms >= 0
            assert event.start_ms >= spoken_end_ms  # never about what is final already
            open_start_ms = event.start_ms
            assert event.transcript.text


@steady
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 80)), max_size=30), st.sampled_from([None, 300]))
def test_no_speech_is_outside_every_final(runs, endpointing_ms):
    player = Player(StreamSpec(endpointing_ms=endpointing_ms))
    rig = player.rig
    spoken = []
    at = 0
    for speech, frames in runs:
        if speech and frames >= 2:
            spoken.append((at * 32, (at + frames) * 32))
        player.play("speech" if speech and frames >= 2 else "quiet", frames)
        at += frames
    player.drain()
    for start_ms, end_ms in spoken:
        covered = sum(max(0, min(end_ms, f.end_ms) - max(start_ms, f.start_ms)) for f in rig.finals)
        assert covered >= end_ms - start_ms - 2  # milliseconds are rounded down at each end
