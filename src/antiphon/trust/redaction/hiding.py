"""The search of whole texts and JSON documents, and the replacement of what is found, with the help of a model.

A text in a document is searched together with the words of its key, which may say what it is.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass

from antiphon.core.redaction import Redaction, Span
from antiphon.trust.redaction import documents
from antiphon.trust.redaction.finding import find
from antiphon.trust.redaction.labels import Labels


@dataclass(frozen=True, slots=True)
class Piece:
    """A text to search, and the words before it that are searched with it."""

    text: str
    lead: str = ""

    @property
    def judged(self) -> str:
        return f"{self.lead} {self.text}" if self.lead else self.text


def pieces_of(document: str, but: Container[str] = ()) -> list[Piece]:
    """Return the pieces of a JSON document, without the values of some keys; or of a text that is none."""
    try:
        found = list(documents.texts_of(documents.parse(document)))
    except documents.Unreadable:
        return [Piece(document)]
    return [_piece(key, said) for key, said in found if key not in but]


def rewritten(document: str, shown: Callable[[Piece], str], but: Container[str] = ()) -> str:
    """Return the document with each of these pieces replaced; as it was written if none changes."""
    if all(shown(piece) == piece.text for piece in pieces_of(document, but)):
        return document
    try:
        value = documents.parse(document)
    except documents.Unreadable:
        return shown(Piece(document))
    return documents.written(value, lambda key, said: said if key in but else shown(_piece(key, said)))


def _piece(key: str, said: str) -> Piece:
    return Piece(said, documents.words_of(key))


def hidden(piece: Piece, wanted: Redaction, labels: Labels, tagged: Iterable[Span]) -> str:
    """Return the piece's text, redacted."""
    text, begin = piece.judged, len(piece.judged) - len(piece.text)
    out, at = "", begin
    for span in find(text, wanted, tagged):
        if span.end > begin and labels.hides(span):
            start = max(span.start, begin)
            out += text[at:start] + labels.label(span, text[start : span.end])
            at = span.end
    return out + text[at:]


def unique(pieces: Iterable[Piece]) -> Sequence[Piece]:
    return tuple(dict.fromkeys(pieces))
