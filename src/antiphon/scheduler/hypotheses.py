"""Hypotheses: whether to believe one, and how it becomes a session's transcript. Pure."""

from antiphon.core.audio import ms_to_samples, samples_to_ms
from antiphon.core.events import Token, Transcript, Word
from antiphon.core.ports import Hypothesis
from antiphon.core.speech import StreamSpec
from antiphon.core.text import plain

EARLY = ms_to_samples(128)  # of speech, after which a second decoding would be too late for the first interim
UNLIKELY, DOUBLED_UNLIKELY = 0.15, 0.5  # confidences below which first interims are not sent; the latter for "You, you"
# What recognisers hear in the first sound of any word.
FILLERS = frozenset(("yeah", "okay", "oh", "uh", "um", "hmm", "mm", "mm-h", "mm-hmm", "you", "thank"))


def is_invented(hypothesis: Hypothesis, before: Hypothesis | None, elapsed: int) -> bool:
    """Return whether a first interim was probably never spoken: a filler or unlikely, while there is time for another
    decoding, or one word twice; unless the hypothesis `before` has the same first word. `elapsed` is in samples since
    the speech began.
    """
    words = plain(hypothesis.text).split()
    if before is not None and plain(before.text).split()[:1] == words[:1]:
        return False
    if len(words) > 1 and words[0] == words[1]:
        return hypothesis.confidence < DOUBLED_UNLIKELY
    return elapsed <= EARLY and (hypothesis.confidence < UNLIKELY or not FILLERS.isdisjoint(words[:1]))


def transcript_of(hypothesis: Hypothesis, start: int, spec: StreamSpec) -> Transcript:
    """Return the transcript of a hypothesis that starts at the sample `start`, with what the spec asks for. Times are
    the stream's.
    """
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
