"""The search of whole texts and JSON documents, and the replacement of what is found, with the help of a model.

A text in a document is searched together with the words of its name there, which may say what it is.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence

from antiphon.core.redaction import Redaction, Span
from antiphon.trust.redaction import documents
from antiphon.trust.redaction.documents import Piece, Show
from antiphon.trust.redaction.finding import find
from antiphon.trust.redaction.labels import Labels

BESIDE_CHARS = 8_192  # more is searched in a thread

# A name such as `args` or `first_name`, of which a model that reads nothing around it can make somebody's.
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")


def pieces_of(document: str, *, schema: bool = False) -> Sequence[Piece]:
    """Return the different pieces of a JSON document, or of a text that is none."""
    found: dict[Piece, None] = {}

    def gather(piece: Piece) -> str:
        found[piece] = None
        return piece.text

    rewritten(document, gather, schema=schema)
    return tuple(found)


def rewritten(document: str, show: Show, *, schema: bool = False) -> str:
    """Return the document with each of its pieces as it is to be shown; as it was written if none changes."""
    try:
        return documents.rewritten(document, show, schema=schema)
    except documents.Unreadable:
        return show(Piece(document))


async def shown(
    pieces: Sequence[Piece], wanted: Redaction, labels: Labels, tags: Sequence[Sequence[Span]]
) -> Mapping[Piece, str]:
    """Return each piece's text, redacted. `tags` are a model's spans in each."""

    def search() -> Mapping[Piece, str]:
        return {piece: hidden(piece, wanted, labels, tagged) for piece, tagged in zip(pieces, tags, strict=True)}

    long = sum(len(piece.judged) for piece in pieces) > BESIDE_CHARS
    return await asyncio.to_thread(search) if long else search()


def hidden(piece: Piece, wanted: Redaction, labels: Labels, tagged: Iterable[Span]) -> str:
    """Return the piece's text, redacted."""
    text, begin = piece.judged, len(piece.judged) - len(piece.text)
    if piece.names and _IDENTIFIER.fullmatch(piece.text):
        tagged = ()
    out, at = "", begin
    for span in find(text, wanted, tagged):
        if span.end > begin and labels.hides(span):
            start = max(span.start, begin)
            out += text[at:start] + labels.label(span, text[start : span.end])
            at = span.end
    return out + text[at:]
