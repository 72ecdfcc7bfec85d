"""Endpointing: where utterances begin, pause and end, as a pure state machine over 32 ms speech probabilities.

It knows positions in samples, no clock and no audio. What each state does with a frame:

| state   | speech frame                            | silent frame                                               |
|---------|-----------------------------------------|------------------------------------------------------------|
| SILENCE | `EVIDENCE` in a row -> SPEECH: Start    | stays                                                      |
| SPEECH  | stays; too long -> Cut                  | `PAUSE_FRAMES` in a row -> PAUSE: Pause                    |
| PAUSE   | `EVIDENCE` in a row -> SPEECH: Resume   | stays                                                      |

In PAUSE, silence as long as the endpoint -> SILENCE: Stop; an utterance too long -> SILENCE: Part, if it may.

A change of state comes before the check for length, which then follows with the next frame.

The thresholds have hysteresis: a frame speaks for a begin or a resumption at `SPEECH_ON`, and keeps speech alive at
`SPEECH_OFF`. Evidence is the sum of the frames' log-odds, each capped (after Page's CUSUM test, 1954): two frames of
speech are enough, five of a breath are not.
"""

from dataclasses import dataclass
from enum import Enum, auto
from math import exp, log

from antiphon.core.audio import ms_to_samples

FRAME = 512  # samples; what the voice detector takes
SPEECH_ON = 0.6
SPEECH_OFF = 0.45
EVIDENCE = 2.6  # log-odds; a breath before speech comes to 2 in all, the first two frames of speech to 2.7 and more
CLEAR = 0.924  # no breath is that; log-odds of 2.5, the most one frame may count, so that a click begins nothing
DOUBT = ms_to_samples(448)  # after which unclear speech is speech all the same
PAUSE_FRAMES = 3
TAIL = PAUSE_FRAMES * FRAME  # silence that an utterance keeps after its speech: what is known of it at a pause
PRE_ROLL = ms_to_samples(224)  # before the first speech frame: quiet first consonants
LONGEST = ms_to_samples(15_000)
CUT_SEARCH = ms_to_samples(5_000)  # how far back from the longest utterance its quietest point is looked for


class EndpointState(Enum):
    SILENCE = auto()
    SPEECH = auto()
    PAUSE = auto()


class Turn(Enum):
    """What a frame led to. `PART` and `CUT` part an utterance that became too long, in a pause or in mid-speech."""

    START = auto()
    PAUSE = auto()
    RESUME = auto()
    STOP = auto()
    PART = auto()
    CUT = auto()


@dataclass(frozen=True, slots=True)
class Change:
    """`at` is the sample position the turn is about: where speech began or ended, for a `CUT` where it is now."""

    turn: Turn
    at: int


class Endpointer:
    """One channel's state. `silence_ms` is the silence that ends an utterance, `None` for never; without `wait` an
    utterance ends with the frame after a pause at the soonest.
    """

    def __init__(self, silence_ms: int | None, longest: int = LONGEST) -> None:
        self._longest = longest
        self._run = 0  # frames in a row that speak against the present state
        self._evidence = 0.0  # for speech, in those frames
        self._floor = 0  # no utterance starts before this
        self.state = EndpointState.SILENCE
        self.position = 0  # end of the last frame
        self.start = 0  # of the utterance, pre-roll included
        self.onset = 0  # of its speech
        self.clear = 0  # from where on it is no mere breath; ahead of `position` for as long as that is open
        self.speech_end = 0  # end of the last frame of speech, in any utterance
        self.tune(silence_ms, PRE_ROLL)

    @property
    def pause(self) -> int | None:
        """Where the speech before the present pause ended; `None` while there is no pause in an utterance."""
        return self.speech_end if self.state is EndpointState.PAUSE else None

    def tune(self, silence_ms: int | None, pre_roll: int, parts: bool = True, threshold: float = 0.5) -> None:
        """From now on that silence ends an utterance, and so many samples before its speech belong to it. Without
        `parts`, nothing but that silence ends it in a pause, however long it is. From `threshold` on (0..1) a frame is
        as likely speech as not.
        """
        self._bias = log(threshold / (1 - threshold))  # log-odds against speech
        self._parts = parts
        self._silence = self._patience = None if silence_ms is None else ms_to_samples(silence_ms)
        self.pre_roll = pre_roll

    def wait(self, silence_ms: int) -> Change | None:
        """In a pause: that silence ends the utterance, unless speech resumes before. What has been heard of it counts,
        so the utterance may end now: who sent everything at once sends no other frame.
        """
        if self.state is not EndpointState.PAUSE:
            return None
        self._patience = ms_to_samples(silence_ms)
        return self._out_of_patience()

    def push(self, probability: float) -> Change | None:
        """One more frame, by its speech probability."""
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
        """Back to silence, at a stop or when the caller ends the utterance; the next starts at `floor` or later."""
        self.state = EndpointState.SILENCE
        self._run, self._evidence = 0, 0.0
        self._floor = floor

    def split(self, at: int) -> None:
        """The utterance was cut at `at`; what follows is the next one."""
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
        """In a pause that has lasted long enough."""
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
        """Where speech began, once there is evidence enough that it did."""
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
    """A probability with so many log-odds taken off."""
    if not 0.0 < probability < 1.0:
        return probability
    return 1 / (1 + exp(bias - log(probability / (1 - probability))))
