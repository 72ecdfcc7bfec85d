"""A stream without a server: speech is scripted, work waits on a list, results come when the test says."""

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import settings

from antiphon.core.errors import AntiphonError
from antiphon.core.events import Final, Interim, SpeechStarted, UtteranceEnded
from antiphon.core.ports import EngineCall, Hypothesis, Utterance
from antiphon.core.speech import Drained, SpeechEvent, StreamSpec
from antiphon.scheduler.endpoint import FRAME
from antiphon.scheduler.policy import WorkKind
from antiphon.scheduler.specs import Timing
from antiphon.scheduler.stream import NOBODYS, Stream
from antiphon.scheduler.work import Work
from antiphon.testing import FakeRecogniser

MS = 1_000_000
FRAME_NS = 32 * MS
# Property tests that give the same examples every time.
steady = settings(derandomize=True)

TIMING = Timing(first_ms=280, final_ms=700, refresh_ms=900, recording_ms=10_000)


class Board:
    """What waits, in order."""

    def __init__(self) -> None:
        self.waiting: list[Work] = []

    def put(self, work: Work) -> None:
        assert work not in self.waiting
        self.waiting.append(work)

    def drop(self, work: Work) -> None:
        self.waiting.remove(work)

    def forget(self, stream: Stream) -> None:
        self.waiting = [w for w in self.waiting if w.stream is not stream]


class Rig:
    """One stream. `say("sSSQ")` is a frame for each letter, 32 ms apart: S speech, s soft speech, Q quiet."""

    def __init__(self, spec: StreamSpec | None = None, call: EngineCall = NOBODYS, **fields) -> None:
        self.board = Board()
        self.heard: list[SpeechEvent | AntiphonError] = []
        self.stream = Stream(spec or StreamSpec(**fields), self.board, self.heard.append, None, TIMING, call)
        self.now_ns = 0
        self.recogniser = FakeRecogniser()
        self._script: list[float] = []

    # -- the caller ----------------------------------------------------------------------------------------------------

    def say(self, script: str, loudness: int = 1000) -> None:
        """A frame of audio for each letter, heard at once."""
        for letter in script:
            self.now_ns += FRAME_NS
            self.feed(FRAME, letter, loudness)
            self.listen()

    def feed(self, samples: int, script: str = "", loudness: int = 1000) -> None:
        """Audio only; `script` is what its frames will be taken for."""
        self.stream.feed(loudness.to_bytes(2, "little") * samples, self.now_ns)
        self._script += [{"S": 0.95, "s": 0.61, "Q": 0.1}[letter] for letter in script]

    def listen(self, most: int = 32) -> None:
        """One round of the voice detector."""
        run = self.stream.run(most)
        count = len(run) // (2 * FRAME)
        assert len(run) == count * 2 * FRAME
        heard, self._script = self._script[:count], self._script[count:]
        assert len(heard) == count, "the script is too short"
        self.stream.hear(heard, self.now_ns)

    def wait(self, silence_ms: int) -> None:
        """The session says how much silence ends this utterance."""
        self.stream.wait(silence_ms, self.now_ns)

    # -- the engine ----------------------------------------------------------------------------------------------------

    def start(self, work: Work) -> Utterance:
        """A worker takes it."""
        self.board.drop(work)
        self.stream.started(work)
        return work.utterance()

    def finish(self, work: Work, utterance: Utterance, text: str | None = None) -> Hypothesis:
        (result,) = self.recogniser.recognise([utterance])
        if text is not None:
            (result,) = FakeRecogniser(lambda _: text).recognise([utterance])
        self.stream.complete(work, result)
        return result

    def decode(self, text: str | None = None) -> Work:
        """The only work that waits, from start to end."""
        (work,) = self.board.waiting
        self.finish(work, self.start(work), text)
        return work

    def decode_all(self) -> None:
        while self.board.waiting:
            work = self.board.waiting[0]
            self.finish(work, self.start(work))

    # -- what came of it -----------------------------------------------------------------------------------------------

    @property
    def events(self) -> list:
        assert not any(isinstance(h, AntiphonError) for h in self.heard), self.heard
        return [h.event for h in self.heard]

    @property
    def finals(self) -> list[Final]:
        return [e for e in self.events if isinstance(e, Final)]

    @property
    def interims(self) -> list[Interim]:
        return [e for e in self.events if isinstance(e, Interim)]

    @property
    def waiting(self) -> list[tuple[WorkKind, int, int]]:
        """Kind, start and end in frames of what waits."""
        return [(w.kind, w.start // FRAME, w.end // FRAME) for w in self.board.waiting]

    @property
    def held_bytes(self) -> int:
        """Audio the stream keeps."""
        return len(self.stream._tape._pcm)

    def kinds(self) -> list[str]:
        """What happened, in short."""
        names = {Final: "final", Interim: "interim", SpeechStarted: "start", UtteranceEnded: "end", Drained: "drained"}
        return [names[type(e)] for e in self.events]


def overlaps(finals: Iterable[Final]) -> bool:
    """Whether any audio is in two finals. Empty ones, which answer a flush, hold none."""
    spoken = [f for f in finals if f.end_ms > f.start_ms]
    return any(later.start_ms < earlier.end_ms for earlier, later in pairwise(spoken))
