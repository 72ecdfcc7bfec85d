"""The order in which a stream's results are sent.

Finals are sent in the order of their utterances, in whatever order they are recognised. An interim waits for the finals
of earlier speech, and a newer one replaces it meanwhile.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from antiphon.core.audio import ms_to_samples, samples_to_ms
from antiphon.core.errors import AntiphonError
from antiphon.core.events import Final, Interim, UtteranceEnded
from antiphon.core.speech import Drained, SpeechEvent, StreamSpec
from antiphon.scheduler.endpoint import TAIL, Endpointer, EndpointState
from antiphon.scheduler.hypotheses import transcript_of
from antiphon.scheduler.work import Segment


class Delivery:
    """The results of one stream. `emit` sends them; `ends` knows where the speaker is now."""

    def __init__(self, spec: StreamSpec, ends: Endpointer, emit: Callable[[SpeechEvent | AntiphonError], None]) -> None:
        self._spec = spec
        self._ends = ends
        self._emit = emit
        self._segments: deque[Segment] = deque()
        self._interim: SpeechEvent | None = None
        self._gap_from: int | None = None  # end of the last word, if `UtteranceEnded` is still to come
        self._closed = False

    def __len__(self) -> int:
        """Return how many finals have not been sent."""
        return len(self._segments)

    @property
    def starts(self) -> list[int]:
        """Where the utterances start whose finals have not been sent."""
        return [segment.start for segment in self._segments]

    def put(self, segment: Segment) -> None:
        """Add an utterance that has ended: its final is next, and its interims are dropped."""
        self._segments.append(segment)
        self._interim = None

    def put_interim(self, speech: SpeechEvent) -> None:
        """Send an interim once the earlier finals are sent."""
        self._interim = speech
        self._send_interim()

    def send(self, speech: SpeechEvent) -> None:
        """Send an event at once."""
        if not self._closed:
            self._emit(speech)

    def send_finals(self) -> None:
        """Send the recognised finals, up to the first that is not recognised yet."""
        while self._segments and self._segments[0].hypothesis is not None:
            segment = self._segments.popleft()
            if segment.drained:
                self.end_utterance()
                self.send(SpeechEvent(Drained(self._spec.channel)))
                return
            self._send_final(segment)
        self._send_interim()
        self.end_utterance()

    def end_utterance(self) -> None:
        """Send `UtteranceEnded` if there was enough silence since the last word, and nothing that is still spoken or
        decoded may contain a later one.
        """
        if self._gap_from is None:
            return
        gap = ms_to_samples(self._spec.utterance_end_ms or 0)
        quiet = self._ends.state is EndpointState.SILENCE and not self._segments
        if quiet and self._ends.position - self._gap_from >= gap:
            self.send(SpeechEvent(UtteranceEnded(self._spec.channel, samples_to_ms(self._gap_from))))
            self._gap_from = None

    def close(self) -> None:
        """Send nothing more."""
        self._closed = True
        self._segments.clear()

    def _send_final(self, segment: Segment) -> None:
        assert segment.hypothesis is not None
        transcript = transcript_of(segment.hypothesis, segment.start, self._spec)
        start_ms, end_ms = samples_to_ms(segment.start), samples_to_ms(segment.end)
        final = Final(self._spec.channel, start_ms, end_ms, transcript, segment.cause)
        self.send(SpeechEvent(final, segment.onset, segment.spoken, segment.wished_ms))
        if transcript.text and self._spec.utterance_end_ms is not None:
            timed = self._spec.timed and transcript.words
            self._gap_from = (
                ms_to_samples(transcript.words[-1].end_ms) if timed else max(segment.start, segment.end - TAIL)
            )

    def _send_interim(self) -> None:
        if self._interim and not self._segments:
            self.send(self._with_pause(self._interim))
            self._interim = None

    def _with_pause(self, speech: SpeechEvent) -> SpeechEvent:
        """Return an interim that says whether the speaker has paused and all words before the pause are in it."""
        pause = self._ends.pause
        if pause is None or not isinstance(speech.event, Interim) or speech.event.end_ms <= samples_to_ms(pause):
            return speech
        return replace(speech, event=replace(speech.event, paused=True), spoken=pause)
