"""Endpointing: where utterances begin, pause and end, as a pure state machine over 32 ms speech probabilities.

Positions are in samples; there is no clock and no audio. The next state for each frame:

| state   | speech frame                            | silent frame                                               |
|---------|-----------------------------------------|------------------------------------------------------------|
| SILENCE | `EVIDENCE` in a row -> SPEECH: Start    | stays                                                      |
| SPEECH  | stays; too long -> Cut                  | `PAUSE_FRAMES` in a row -> PAUSE: Pause                    |
| PAUSE   | `EVIDENCE` in a row -> SPEECH: Resume   | stays                                                      |

In PAUSE, enough silence -> SILENCE: Stop; an utterance that is too long -> SILENCE: Part, if permitted.

A change of state comes before the check for length, which then follows with the next frame.

The thresholds have hysteresis: a frame is evidence of a start or a resumption from `SPEECH_ON`, and continues speech
from `SPEECH_OFF`. Evidence is the sum of the frames' log-odds, each capped (after Page's CUSUM test, 1954): two frames
of speech suffice, five of a breath do not.
"""

from dataclasses import dataclass
from enum import Enum, auto
from math import exp, log

from antiphon.core.audio import ms_to_samples

FRAME = 512  # samples; what the voice detector takes
SPEECH_ON = 0.6
SPEECH_OFF = 0.45
EVIDENCE = 2.6  # log-odds; a breath before speech reaches 2 in all, the first two frames of speech at least 2.7
CLEAR = 0.924  # no breath reaches it; log-odds of 2.5, the most that one frame counts, so that a click starts nothing
DOUBT = ms_to_samples(448)  # after which unclear speech counts as speech anyway
PAUSE_FRAMES = 3
TAIL = PAUSE_FRAMES * FRAME  # silence kept after an utterance's speech: all that is known of it at a pause
PRE_ROLL = ms_to_samples(224)  # before the first speech frame: quiet first consonants
LONGEST = ms_to_samples(15_000)
CUT_SEARCH = ms_to_samples(5_000)  # how far before the end of a too long utterance its quietest point may be


class EndpointState(Enum):
    """Whether there is an utterance, and whether its speaker is silent within it."""

    SILENCE = auto()
    SPEECH = auto()
    PAUSE = auto()


class Turn(Enum):
    """What a frame led to. `PART` and `CUT` split an utterance that is too long, in a pause or within speech."""

    START = auto()
    PAUSE = auto()
    RESUME = auto()
    STOP = auto()
    PART = auto()
    CUT = auto()


@dataclass(frozen=True, slots=True)
class Change:
    """`at` is the sample position of the change: where speech began or ended, or the present position for a `CUT`."""

    turn: Turn
    at: int


class Endpointer:
    """The endpointing of one channel. `silence_ms` ends an utterance, `None` never does. Without `wait`, an utterance
    ends one frame after the pause began at the earliest.
    """

    def __init__(self, silence_ms: int | None, longest: int = LONGEST, threshold: float = 0.5) -> None:
        self._longest = longest
        self._run = 0  # frames in a row that contradict the present state
        self._evidence = 0.0  # for speech, in those frames
        self._floor = 0  # no utterance starts before this
        self.state = EndpointState.SILENCE
        self.position = 0  # end of the last frame
        self.start = 0  # of the utterance, pre-roll included
        self.onset = 0  # of its speech
        self.clear = 0  # where it is certainly more than a breath; ahead of `position` while that is open
        self.speech_end = 0  # end of the last frame of speech, in any utterance
        self.tune(silence_ms, PRE_ROLL, threshold=threshold)

    @property
    def pause(self) -> int | None:
        """Where the speech before the present pause ended; `None` outside a pause."""
        return self.speech_end if self.state is EndpointState.PAUSE else None

    @property
    def earliest(self) -> int:
        """Where the utterance starts; without one, where the next one starts at the earliest."""
        if self.state is not EndpointState.SILENCE:
            return self.start
        return max(self._floor, self.position - self._run * FRAME - self.pre_roll)

    def tune(self, silence_ms: int | None, pre_roll: int, parts: bool = True, threshold: float = 0.5) -> None:
        """Set the silence that ends an utterance, the samples before its speech that belong to it (`pre_roll`), and the
        `threshold` (0 to 1) from which a frame is more likely speech than not. Without `parts`, only silence ends an
        utterance in a pause, however long it is.
        """
        self._bias = log(threshold / (1 - threshold))  # log-odds against speech
        self._parts = parts
        self._silence = self._patience = None if silence_ms is None else ms_to_samples(silence_ms)
        self.pre_roll = pre_roll

    def wait(self, silence_ms: int) -> Change | None:
        """End the utterance after this much silence, unless speech resumes. Works in a pause only. If so much silence
        was heard already it ends now: a caller that sent all audio at once sends no more frames.
        """
        if self.state is not EndpointState.PAUSE:
            return None
        self._patience = ms_to_samples(silence_ms)
        return self._out_of_patience()

    def push(self, probability: float) -> Change | None:
        """Add a frame, given its speech probability. Returns the change, if any."""
        if self._bias:
            probability = _biased(probability, self._bias)
        begin = self.position
        self.position += FRAME
        if self.state is EndpointState.SILENCE:
            return self._in_silence(probability, begin)
        change = (
            self._in_speech(probability) if self.state is EndpointState.SPEECH else self._in_pause(probability, begin)
        )
        if probability >= CLEAR:
            self.clear = min(self.clear, begin)
        if change:
            return change
        if self.position - self.start < self._longest:
            return None
        if self.state is EndpointState.PAUSE:
            if not self._parts:
                return None
            self.reset(self.speech_end + TAIL)
            return Change(Turn.PART, self.speech_end)
        return Change(Turn.CUT, self.position)

    def reset(self, floor: int) -> None:
        """Return to silence because the utterance ended. The next one starts at `floor` or later."""
        self.state = EndpointState.SILENCE
        self._run, self._evidence = 0, 0.0
        self._floor = floor

    def forget(self, before: int) -> None:
        """Start no utterance before that position: its audio is gone."""
        self._floor = max(self._floor, before)

    def split(self, at: int) -> None:
        """Start the next utterance at `at`, where this one was cut."""
        self.start = self.onset = self.clear = at

    def _in_speech(self, probability: float) -> Change | None:
        if probability >= SPEECH_OFF:
            self.speech_end = self.position
            self._run = 0
            return None
        self._run += 1
        if self._run < PAUSE_FRAMES:
            return None
        self.state = EndpointState.PAUSE
        self._run, self._evidence = 0, 0.0
        return Change(Turn.PAUSE, self.speech_end)

    def _in_pause(self, probability: float, begin: int) -> Change | None:
        resumed = self._starts(probability, begin)
        if resumed is not None:
            self.state = EndpointState.SPEECH
            self.speech_end = self.position
            self._patience = self._silence
            return Change(Turn.RESUME, resumed)
        return self._out_of_patience()

    def _out_of_patience(self) -> Change | None:
        """Stop, if the pause has lasted long enough."""
        if self._patience is None or self.position - self.speech_end < self._patience:
            return None
        run, evidence = self._run, self._evidence
        self.reset(self.speech_end + TAIL)
        self._run, self._evidence = run, evidence  # perhaps the first frames of the next utterance
        return Change(Turn.STOP, self.speech_end)

    def _in_silence(self, probability: float, begin: int) -> Change | None:
        started = self._starts(probability, begin)
        if started is None:
            return None
        self.state = EndpointState.SPEECH
        self.onset = max(self._floor, started)
        self.start = max(self._floor, self.onset - self.pre_roll)
        self._patience = self._silence
        self.clear = begin if probability >= CLEAR else self.onset + DOUBT
        self.speech_end = self.position
        return Change(Turn.START, self.onset)

    def _starts(self, probability: float, begin: int) -> int | None:
        """Return where speech began, once there is enough evidence of it."""
        if probability < SPEECH_ON:
            self._run, self._evidence = 0, 0.0
            return None
        self._run += 1
        odds = min(probability, CLEAR)
        self._evidence += log(odds / (1 - odds))
        if self._evidence < EVIDENCE:
            return None
        began = begin - (self._run - 1) * FRAME
        self._run, self._evidence = 0, 0.0
        return began


def _biased(probability: float, bias: float) -> float:
    """Return the probability with its log-odds reduced by `bias`."""
    if not 0.0 < probability < 1.0:
        return probability
    return 1 / (1 + exp(bias - log(probability / (1 - probability))))
