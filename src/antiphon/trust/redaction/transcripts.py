"""The redaction of transcripts: interims, finals, and the context from one utterance to the next.

Rules:
- A final is searched together with the end of the previous one, so that a number with a pause in it is found.
- An interim does not show a run of numerals that may grow, and hides shorter runs than a final.
- Words keep their times; a hidden span is one word, from the start of its first word to the end of its last.
- The model's tokens are left out: they would spell the hidden text.
- If the words do not match the text, the call fails.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from antiphon.core.events import Final, Interim, Transcript, Word
from antiphon.core.redaction import Identified, Redaction, Span
from antiphon.core.rewriting import Rewritten
from antiphon.core.text import word_span
from antiphon.trust.redaction.finding import find
from antiphon.trust.redaction.holding import open_from
from antiphon.trust.redaction.labels import Labels
from antiphon.trust.redaction.runs import MIN_CODE
from antiphon.trust.redaction.tokens import tokens_of

MIN_INTERIM = 3  # digits, from which on an interim hides a run
TAIL_WORDS = 16  # of an utterance, as context of the next one
TAIL_MS = 10_000  # of pause, after which there is no context


@dataclass(frozen=True, slots=True)
class _Tail:
    text: str = ""
    end_ms: int = 0


class Unfit(Exception):
    """The words of a transcript do not match its text."""


class Transcripts:
    """The transcripts of one call, each channel separately."""

    def __init__(self, wanted: Redaction, labels: Labels) -> None:
        self._wanted = wanted
        self._labels = labels
        self._tails: dict[int, _Tail] = {}

    def judged(self, event: Interim | Final) -> str:
        """Return the text to search: the event's own, after the end of the previous utterance."""
        return self._before(event) + event.transcript.text

    def interim(self, event: Interim, tagged: Iterable[Span] = ()) -> Interim:
        text, before = self.judged(event), len(self._before(event))
        tokens = tokens_of(text)
        shown = open_from(tokens)
        end = len(text) if shown == len(tokens) else max(before, tokens[shown].start)
        spans = _clipped(find(text, self._wanted, tagged, MIN_INTERIM, tokens), before)
        end = _between_words(event.transcript.text, end - before, spans)
        kept = [span for span in spans if span.start < end]
        transcript, stable = self._rewritten(event.transcript, kept, end, event.stable_words, lasts=False)
        return replace(event, transcript=transcript, stable_words=stable)

    def final(self, event: Final, tagged: Iterable[Span] = ()) -> Final:
        text, before = self.judged(event), len(self._before(event))
        spans = _clipped(find(text, self._wanted, tagged, MIN_CODE, goes_on=True), before)
        words = text.split()[-TAIL_WORDS:]
        if event.transcript.text:
            self._tails[event.channel] = _Tail(" ".join(words).rstrip(".,;:?! "), event.end_ms)
        transcript, _ = self._rewritten(event.transcript, spans, len(event.transcript.text), 0, lasts=True)
        return replace(event, transcript=transcript)

    def _before(self, event: Interim | Final) -> str:
        tail = self._tails.get(event.channel)
        if tail is None or not tail.text or event.start_ms - tail.end_ms > TAIL_MS:
            return ""
        return f"{tail.text} "

    def _rewritten(
        self, transcript: Transcript, spans: Sequence[Span], end: int, stable: int, *, lasts: bool
    ) -> tuple[Transcript, int]:
        """Return the transcript up to the character `end`, redacted, and how many of its words are stable."""
        hidden = [span for span in spans if self._labels.hides(span)]
        placed = list(_placed(transcript)) if transcript.words else []
        if not spans and end >= len(transcript.text):
            return (replace(transcript, tokens=()) if transcript.tokens else transcript), stable
        puts = [
            (span, self._labels.label(span, transcript.text[span.start : span.end], lasts=lasts)) for span in hidden
        ]
        text, at = "", 0
        for span, label in puts:
            text += transcript.text[at : span.start] + label
            at = span.end
        text += transcript.text[at : max(at, end)]
        words, kept = _words(placed, puts, end, stable)
        entities = tuple(self._identified(transcript, placed, span, puts) for span in spans)
        return replace(
            transcript,
            text=text.rstrip() if end < len(transcript.text) else text,
            words=words,
            tokens=(),
            entities=entities,
        ), kept

    def _identified(
        self,
        transcript: Transcript,
        placed: Sequence[tuple[int, int, Word]],
        span: Span,
        puts: Sequence[tuple[Span, str]],
    ) -> Identified:
        label = dict(puts).get(span)
        words = [word for start, end, word in placed if start < span.end and end > span.start]
        sure = sum(word.confidence for word in words) / len(words) if words else transcript.confidence
        start_ms, end_ms = (words[0].start_ms, words[-1].end_ms) if words else (0, 0)
        text = transcript.text[span.start : span.end] if label is None else label
        place = span.start + sum(len(put) - (each.end - each.start) for each, put in puts if each.end <= span.start)
        return Identified(self._labels.kind(span), text, start_ms, end_ms, sure, label is not None, place)


def _between_words(text: str, end: int, spans: Iterable[Span]) -> int:
    """Return the nearest word boundary, so that no word is cut: after the punctuation behind a hidden span, or before
    the word.
    """
    hidden = next((span for span in spans if span.start < end <= span.end), None)
    if hidden is not None:
        end = hidden.end
        while end < len(text) and not text[end].isspace() and not text[end].isalnum():
            end += 1
        return end
    while 0 < end < len(text) and not text[end - 1].isspace():
        end -= 1
    return end


def _clipped(spans: Iterable[Span], before: int) -> list[Span]:
    """Return the spans in the text itself, by positions in it; `before` is the length of the context."""
    return [Span(max(0, s.start - before), s.end - before, s.kinds) for s in spans if s.end > before]


def _placed(transcript: Transcript) -> Iterable[tuple[int, int, Word]]:
    """Yield every word with its start and end in the text. Raises `Unfit`."""
    at = 0
    for word in transcript.words:
        start = transcript.text.find(word.text, at)
        if start < 0 or transcript.text[at:start].strip():
            raise Unfit
        at = start + len(word.text)
        yield start, at, word
    if transcript.text[at:].strip():
        raise Unfit


def _words(
    placed: Sequence[tuple[int, int, Word]], puts: Sequence[tuple[Span, str]], end: int, stable: int
) -> tuple[tuple[Word, ...], int]:
    words: list[Word] = []
    kept = 0
    at = 0
    while at < len(placed):
        start, stop, word = placed[at]
        if start >= end:
            break
        touching = [put for put in puts if put[0].start < stop and put[0].end > start]
        if not touching:
            words.append(word)
            at += 1
        else:
            last = at
            reach = touching[-1][0].end
            while last + 1 < len(placed) and placed[last + 1][0] < reach:
                last += 1
                more = [put for put in puts if put[0].start < placed[last][1] and put[0].end > placed[last][0]]
                touching += (put for put in more if put not in touching)
                reach = max(reach, touching[-1][0].end)
            words.append(
                _one([each[2] for each in placed[at : last + 1]], start, placed[last][1], touching, placed, at)
            )
            at = last + 1
        if at <= stable:
            kept = len(words)
    return tuple(words), kept


def _one(
    words: Sequence[Word],
    start: int,
    end: int,
    puts: Sequence[tuple[Span, str]],
    placed: Sequence[tuple[int, int, Word]],
    first: int,
) -> Word:
    """Return one word that replaces several, with the visible text around the labels."""
    text, at = "", start
    spoken = " " * start
    for begin, stop, word in placed[first : first + len(words)]:
        spoken = spoken.ljust(begin) + word.text
        assert stop == len(spoken)
    for span, label in puts:
        text += spoken[at : max(at, span.start)] + label
        at = max(at, span.end)
    text += spoken[at:end]
    text = " ".join(text.split())
    begin, stop = word_span(text)
    begin = begin - 1 if begin and text[begin - 1] in "[{" else begin
    stop = stop + 1 if text[stop : stop + 1] in ("]", "}") else stop
    confidence = sum(word.confidence for word in words) / len(words)
    return Rewritten(text, words[0].start_ms, words[-1].end_ms, confidence, text[begin:stop] or text)
