"""The redaction of a text that comes in pieces: words that may become part of something to hide are held back.

Rules:
- The last words are held until so many follow that nothing to hide can begin with them, or the sentence ends.
- A run of numerals or letters at the end is held until the next word, and a found span is held as a whole.
- The held text is bounded in characters; beyond that it is searched as if it were complete. After a search that let
  nothing leave it is searched again when it has grown by a part: a long row of numbers is held as a whole.
- Text that was sent is remembered for a while, because it is the context of the next words.
"""

import re
from collections.abc import Sequence

from antiphon.core.redaction import Redaction, Span
from antiphon.trust.redaction.finding import find
from antiphon.trust.redaction.holding import open_from
from antiphon.trust.redaction.labels import Labels
from antiphon.trust.redaction.tokens import tokens_of

HELD_WORDS = 7
TAGGED_WORDS = 14  # with a model, whose cost is the same for one word as for these
MAX_HELD_CHARS = 4096
GROWTH = 1.25  # of what is held, until it is searched again
CONTEXT_CHARS = 200

_SENTENCE = re.compile(r"[.!?:;\n]+[\"')\]]*\s+(?=\S)|\n+")


class TextStream:
    """One text. The spans given to `release` come from a model that read `judged`."""

    def __init__(self, wanted: Redaction, labels: Labels, *, tagged: bool) -> None:
        self._wanted = wanted
        self._labels = labels
        self._tagged = tagged
        self._context = ""
        self._held = ""
        self._searched_chars = 0  # of what is held, when nothing of it could leave
        self._tokens = 0

    @property
    def waits(self) -> bool:
        return bool(self._held or self._tokens)

    @property
    def judged(self) -> str:
        return self._context + self._held

    def add(self, text: str, tokens: int) -> None:
        self._held += text
        self._tokens += tokens

    def due(self) -> bool:
        """Return whether enough text is held that some of it can leave."""
        words = self._held.count(" ") + self._held.count("\n")
        if len(self._held) > MAX_HELD_CHARS:
            return True
        if len(self._held) < GROWTH * self._searched_chars:
            return False
        enough = TAGGED_WORDS if self._tagged else HELD_WORDS
        return words >= enough or (words > 0 and _SENTENCE.search(self._held) is not None)

    def release(self, tagged: Sequence[Span] = (), *, all_of_it: bool = False) -> tuple[str, int]:
        """Return the text that leaves now, redacted, and the number of model tokens it stands for."""
        whole, begin = self.judged, len(self._context)
        all_of_it = all_of_it or len(self._held) > MAX_HELD_CHARS
        # The beginning of a word may be another word: "th" of "then" after "four" is not "fourth".
        text = whole if all_of_it else whole[: _end_of_words(whole)]
        tokens = tokens_of(text)
        tagged = [span for span in tagged if span.end <= len(text)]
        spans = find(text, self._wanted, tagged, tokens=tokens)
        end = len(text)
        if not all_of_it:
            end = self._safe(text, begin)
            first = open_from(tokens)
            if first < len(tokens):
                end = min(end, tokens[first].start)
            for span in reversed(spans):
                if span.end > end and span.start < end:
                    end = span.start
            if end <= begin:
                self._searched_chars = len(self._held)
                return "", 0
        self._searched_chars = 0
        out, at = "", begin
        for span in spans:
            if span.end <= begin or span.start >= end or not self._labels.hides(span):
                continue
            start = max(span.start, begin)
            out += text[at:start] + self._labels.label(span, text[span.start : span.end])
            at = span.end
        out += text[at:end]
        self._context, self._held = whole[:end][-CONTEXT_CHARS:], whole[end:]
        model_tokens, self._tokens = self._tokens, 0
        return out, model_tokens

    def _safe(self, text: str, begin: int) -> int:
        """Return where the words begin that must be held in any case; after a sentence only those of the next one."""
        starts = [match.start() for match in re.finditer(r"\S+", text) if match.start() >= begin]
        words = starts[-HELD_WORDS] if len(starts) >= HELD_WORDS else begin
        ends = [match.end() for match in _SENTENCE.finditer(text, begin)]
        return max([words, *ends])


def _end_of_words(text: str) -> int:
    """Return where the last word begins, which may not be complete."""
    end = len(text)
    while end > 0 and not text[end - 1].isspace():
        end -= 1
    return end
