"""What an engine heard: whether to believe it, and as the transcript that a session is given. Pure."""

from antiphon.core.audio import ms_to_samples, samples_to_ms
from antiphon.core.events import Token, Transcript, Word
from antiphon.core.ports import Hypothesis
from antiphon.core.speech import StreamSpec
from antiphon.core.text import plain

EARLY = ms_to_samples(128)  # of speech, after which a second look would come too late to be the first interim
UNLIKELY, DOUBLED_UNLIKELY = 0.15, 0.5  # confidences of first interims that are not said, the latter of "You, you"
# What recognisers hear in the first sound of any word.
FILLERS = frozenset(("yeah", "okay", "oh", "uh", "um", "hmm", "mm", "mm-h", "mm-hmm", "you", "thank"))


def invented(hypothesis: Hypothesis, before: Hypothesis | None, elapsed: int) -> bool:
    """Whether what would be a first interim was probably never said: it is a filler or unlikely, so early that another
    look will be in time, or a word twice; and the engine did not hear the same a moment before. `elapsed` are the
    samples since the speech began.
    """
    words = plain(hypothesis.text).split()
    if before is not None and plain(before.text).split()[:1] == words[:1]:
        return False
    if len(words) > 1 and words[0] == words[1]:
        return hypothesis.confidence < DOUBLED_UNLIKELY
    return elapsed <= EARLY and (hypothesis.confidence < UNLIKELY or not FILLERS.isdisjoint(words[:1]))


def transcript_of(hypothesis: Hypothesis, start: int, spec: StreamSpec) -> Transcript:
    """What was heard from the sample `start` of a stream on, with times of the stream, as far as it asks for them."""
    offset = samples_to_ms(start)
    words = hypothesis.words
    if spec.timed:
        words = tuple(Word(w.text, offset + w.start_ms, offset + w.end_ms, w.confidence) for w in words)
    tokens: tuple[Token, ...] = ()
    if spec.tokens:
        columns = zip(hypothesis.tokens, hypothesis.pieces, hypothesis.logprobs, strict=True)
        tokens = tuple(Token(id=i, text=piece, logprob=logprob) for i, piece, logprob in columns)
    language, sure = hypothesis.language, hypothesis.language_confidence
    return Transcript(hypothesis.text, hypothesis.confidence, words, tokens, language, sure)
