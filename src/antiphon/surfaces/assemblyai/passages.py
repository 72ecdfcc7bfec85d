"""A transcript in parts: sentences, paragraphs, captions, and the places of given words. Pure.

A sentence ends with its punctuation mark, and where the channel changes. In a transcript without marks it ends at a
pause.
"""

from collections.abc import Iterable, Iterator, Sequence

from antiphon.core.rewriting import core
from antiphon.core.subtitles import Cue
from antiphon.core.text import join
from antiphon.surfaces.assemblyai.transcript_wire import Match, Passage, Word
from antiphon.surfaces.assemblyai.turns import CONFIDENCE_DIGITS

SENTENCE_PAUSE_MS = 1_000  # in a transcript without punctuation
PARAGRAPH_PAUSE_MS, PARAGRAPH_SENTENCES = 2_000, 5
CAPTION_CHARS = 80
_ENDS = (".", "?", "!", "。", "？", "！", "؟", "।")
_CLOSING = "\"'”’»)]」』"
_TITLES = frozenset(("mr.", "mrs.", "ms.", "dr.", "st.", "prof."))


def sentences(words: Sequence[Word]) -> list[Passage]:
    return [passage(run) for run in _sentences(words)]


def paragraphs(words: Sequence[Word]) -> list[Passage]:
    """Return paragraphs; each ends at a pause, a change of channel, or its longest number of sentences."""
    groups: list[list[list[Word]]] = []
    for sentence in _sentences(words):
        last = groups[-1] if groups else []
        rested = bool(last) and sentence[0].start - last[-1][-1].end >= PARAGRAPH_PAUSE_MS
        if not last or rested or len(last) == PARAGRAPH_SENTENCES or last[-1][-1].channel != sentence[0].channel:
            groups.append([sentence])
        else:
            last.append(sentence)
    return [passage([word for sentence in group for word in sentence]) for group in groups]


def captions(words: Sequence[Word], most_chars: int) -> Iterator[Cue]:
    """Yield captions: sentences, split so that each has at most `most_chars` characters; a longer word stands alone."""
    for sentence in _sentences(words):
        run: list[Word] = []
        text = ""
        for word in sentence:
            longer = join((text, word.text))
            if run and len(longer) > most_chars:
                yield run[0].start, run[-1].end, text
                run, longer = [], word.text
            run.append(word)
            text = longer
        yield run[0].start, run[-1].end, text


def matches(words: Sequence[Word], wanted: Sequence[str]) -> list[Match]:
    """Return the places of these words and phrases, compared without case and punctuation."""
    texts = [core(word.text).lower() for word in words]
    starts: dict[str, list[int]] = {}
    for at, text in enumerate(texts):
        starts.setdefault(text, []).append(at)
    found = []
    for phrase in dict.fromkeys(wanted):
        parts = [core(part).lower() for part in phrase.split()]
        places = [at for at in starts.get(parts[0], ()) if texts[at : at + len(parts)] == parts] if parts else []
        if places:
            times = [(words[at].start, words[at + len(parts) - 1].end) for at in places]
            found.append(Match(phrase, len(places), times, places))
    return found


def passage(words: Sequence[Word], text: str = "") -> Passage:
    """Return a passage of these words, which have one channel."""
    confidence = round(sum(word.confidence for word in words) / len(words), CONFIDENCE_DIGITS)
    first = words[0]
    text = text or text_of(words)
    return Passage(text, first.start, words[-1].end, confidence, list(words), first.speaker, first.channel)


def text_of(words: Iterable[Word | Passage]) -> str:
    """Return the text of words or passages, joined as their scripts are."""
    return join(each.text for each in words)


def _sentences(words: Sequence[Word]) -> Iterator[list[Word]]:
    marked = any(_ends(word) for word in words)
    run: list[Word] = []
    for word in words:
        if run:
            last = run[-1]
            over = _ends(last) if marked else word.start - last.end >= SENTENCE_PAUSE_MS
            if over or last.channel != word.channel:
                yield run
                run = []
        run.append(word)
    if run:
        yield run


def _ends(word: Word) -> bool:
    tail = word.text.rstrip(_CLOSING)
    return tail.endswith(_ENDS) and tail.lower() not in _TITLES
