"""The utterance that is being spoken, and when it is worth decoding for an interim. Pure."""

from dataclasses import dataclass, field

from antiphon.core.agreement import LocalAgreement
from antiphon.core.audio import ms_to_samples
from antiphon.core.ports import Hypothesis
from antiphon.scheduler.endpoint import Endpointer
from antiphon.scheduler.work import Work

FIRST_AUDIO = ms_to_samples(96)  # of speech, before a first interim is worth decoding
SURE_AUDIO = ms_to_samples(64)  # of clear speech: an interim of less may be of a mere breath ...
RETRY_AUDIO = ms_to_samples(96)  # ... and is followed, like an empty one, by another after this much more audio
REFRESH_AUDIO = ms_to_samples(320)  # new audio, before another interim is worth decoding ...
REFRESH_SHARE = 8  # ... and this part of the utterance, since longer ones take longer to decode
# Hypotheses in a row that must agree on a word. With Moonshine tiny, 0.3 % of the words that are stable then change
# later, and 4 % with one hypothesis less.
AGREEING = 4
UNSURE = 1  # last words of a hypothesis, which the next sound may change


@dataclass(slots=True)
class OpenUtterance:
    """The state of an utterance that has not ended. Positions are in samples."""

    onset: int = 0
    first_due_ns: int = 0
    hypothesis: Hypothesis | None = None
    hypothesis_end: int = 0
    tried_end: int = 0  # end of the last decoding, with or without a result
    has_interim: bool = False
    waiting: Work | None = None  # at most one of these two
    running: Work | None = None
    agreement: LocalAgreement = field(default_factory=lambda: LocalAgreement(AGREEING, UNSURE))

    def is_sure(self, clear: int) -> bool:
        """Return whether an interim covered enough speech; speech is clear from `clear` on."""
        return self.has_interim and self.hypothesis_end - clear >= SURE_AUDIO

    def has_news(self, ends: Endpointer) -> bool:
        """Return whether there is enough new audio for an interim."""
        end = ends.position
        if self.tried_end <= ends.start:
            return end - ends.onset >= FIRST_AUDIO
        refresh = max(REFRESH_AUDIO, (end - ends.start) // REFRESH_SHARE)
        return end - self.tried_end >= (refresh if self.is_sure(ends.clear) else RETRY_AUDIO)
