"""The utterance that is being spoken, and when an interim of it is worth decoding. Pure."""

from dataclasses import dataclass, field

from antiphon.core.agreement import Agreement
from antiphon.core.audio import ms_to_samples
from antiphon.core.ports import Hypothesis
from antiphon.scheduler.endpoint import Endpointer
from antiphon.scheduler.work import Work

FIRST_AUDIO = ms_to_samples(96)  # of speech, before a first interim is worth decoding
SURE_AUDIO = ms_to_samples(64)  # of clear speech: an interim that heard less may have heard but a breath ...
RETRY_AUDIO = ms_to_samples(96)  # ... and is followed, like an empty one, by another first when so much more came
REFRESH_AUDIO = ms_to_samples(320)  # new audio, before a better interim is worth decoding ...
REFRESH_SHARE = 8  # ... and this part of the utterance, whose decoding takes the longer the longer it is
# Hypotheses in a row that must have a word alike. With Moonshine tiny, of the words that are stable then 0.3 % change
# later, and 4 % with one hypothesis less.
AGREEING = 4
UNSURE = 1  # last words of a hypothesis, which the next sound may still change


@dataclass(slots=True)
class OpenUtterance:
    """What is known of an utterance that has not ended. Positions are in samples."""

    onset: int = 0
    first_due_ns: int = 0
    hypothesis: Hypothesis | None = None
    hypothesis_end: int = 0
    tried_end: int = 0  # where the last decoding ended, whether or not it came to anything
    has_interim: bool = False
    waiting: Work | None = None  # at most one of these two
    running: Work | None = None
    agreement: Agreement = field(default_factory=lambda: Agreement(AGREEING, UNSURE))

    def is_sure(self, clear: int) -> bool:
        """Whether there was an interim that covers enough speech to be one; it is clear speech from `clear` on."""
        return self.has_interim and self.hypothesis_end - clear >= SURE_AUDIO

    def has_news(self, ends: Endpointer) -> bool:
        """Whether there is enough new audio for an interim."""
        end = ends.position
        if self.tried_end <= ends.start:
            return end - ends.onset >= FIRST_AUDIO
        refresh = max(REFRESH_AUDIO, (end - ends.start) // REFRESH_SHARE)
        return end - self.tried_end >= (refresh if self.is_sure(ends.clear) else RETRY_AUDIO)
