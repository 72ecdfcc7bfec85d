"""One channel of the audio that a caller sends: its stream at the engine, when its samples arrived, and the speaker's
present pause. An engine speaks in positions of samples; here its events get the times at which that audio arrived.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from antiphon.calls import turn_rules
from antiphon.core.arrivals import Arrivals
from antiphon.core.audio import samples_to_ms
from antiphon.core.events import (
    Cause,
    End,
    Final,
    Flush,
    Interim,
    Progress,
    SpeechResumed,
    SpeechStarted,
    TurnMayEnd,
    UtteranceEnded,
)
from antiphon.core.specs import TurnRules
from antiphon.core.speech import Drained, SpeechEvent, SpeechStream, Wait
from antiphon.core.units import NS_PER_MS
from antiphon.core.usage import Dimension, Meter
from antiphon.slo.measure import Measured, UtteranceTimer


@dataclass(frozen=True, slots=True)
class TimedEvent:
    """An event with the times when its speech began and ended to arrive."""

    event: SpeechStarted | Interim | Final | TurnMayEnd | SpeechResumed | UtteranceEnded | Progress | Drained
    onset_ns: int
    spoken_ns: int
    spoken: int  # the position at which its speech ended


@dataclass(slots=True)
class InputChannel:
    """One channel. `pause` is where the speech before the present pause ended, by the last interim that the caller
    got.
    """

    stream: SpeechStream
    arrivals: Arrivals = field(default_factory=Arrivals)
    pause: int | None = None
    drained: bool = False
    timer: UtteranceTimer = field(default_factory=UtteranceTimer)
    _ends_after_ms: int | None = None  # of silence, by the text before the present pause ...
    _text: str = ""  # ... which is this

    def tell(self, mark: Flush | End, now_ns: int) -> None:
        """Flush or end the stream, after the audio that it has."""
        self.arrivals.mark(now_ns)
        self.stream.tell(mark)

    def wait(self, silence_ms: int) -> None:
        """End the utterance in the present pause, if there is one, after that silence."""
        if self.pause is not None:
            self.stream.tell(Wait(self.pause, silence_ms))

    def progress(self, number: int) -> TimedEvent:
        """Return how far the recognition of this channel is."""
        received_ms, settled_ms = samples_to_ms(self.arrivals.received), samples_to_ms(self.stream.settled)
        return TimedEvent(Progress(number, received_ms, settled_ms, self.stream.speech_peak()), 0, 0, 0)

    def add_times(self, speech: SpeechEvent) -> TimedEvent:
        """Return an event of the stream with the times at which its speech arrived."""
        event, arrivals = speech.event, self.arrivals
        if isinstance(event, Final) and event.cause in (Cause.FLUSH, Cause.END):
            spoken_ns = arrivals.marked_ns(speech.spoken)
        else:
            spoken_ns = arrivals.at_ns(speech.spoken) + speech.wished_ms * NS_PER_MS
        return TimedEvent(event, arrivals.at_ns(speech.onset), spoken_ns, speech.spoken)

    def judge(self, event: Interim | Final, turns: TurnRules) -> Interim | Final:
        """Return the event with the confidence that the turn is over. At a pause, also decide how much silence ends the
        turn.
        """
        text = event.transcript.text
        if isinstance(event, Final):
            silence_ms, self._ends_after_ms = self._ends_after_ms, None
            ended = event.cause is not Cause.ENDPOINT
            # The final may have another mark at its end than the text that ended the turn.
            texts = (text,) if silence_ms is None else (text, self._text)
            sure = 1.0 if ended else max(turn_rules.sure_after(each, silence_ms or turns.timeout_ms) for each in texts)
        elif self.pause is not None:
            sure = turn_rules.sure_after(text, event.end_ms - samples_to_ms(self.pause))
            self._text = text
            self._ends_after_ms, early_ms = turn_rules.silences_ms(text, turns)
            self.stream.tell(Wait(self.pause, self._ends_after_ms, early_ms))
        else:
            sure = 0.0
        return replace(event, turn_over=sure)

    def measure(self, timed: TimedEvent, sent_ns: int, interims: bool) -> Measured | None:
        """Note when an event was sent, and return the measurement of its utterance if it is a final with words.
        `interims` says whether any were requested.
        """
        match timed.event:
            case Interim(transcript=transcript):
                self.timer.interim(transcript.text, sent_ns)
            case Final(transcript=transcript):
                measured = self.timer.final(transcript.text, timed.onset_ns, timed.spoken_ns, sent_ns, interims)
                return measured if transcript.text else None
        return None


def lengths_ms(channels: Sequence[InputChannel]) -> dict[Meter, int]:
    """Return how much audio of each channel has come, as it is charged."""
    return {
        Meter(Dimension.STT_AUDIO_MS, number): samples_to_ms(channel.arrivals.received)
        for number, channel in enumerate(channels)
    }
