"""The labels that replace hidden texts."""

import hashlib
import re

from antiphon.core.redaction import Entity, Redaction, Span, Substitution

HASHED = "####"
_EXACT = frozenset({Entity.EMAIL, Entity.URL, Entity.PASSWORD, Entity.CUSTOM})
_SIGNS = frozenset(
    {
        *(Entity.PHONE, Entity.CARD, Entity.CARD_CODE, Entity.PIN, Entity.BANK, Entity.NATIONAL_ID, Entity.PASSPORT),
        *(Entity.LICENCE, Entity.HEALTH_RECORD, Entity.ACCOUNT, Entity.NUMBER),
    }
)
_WORD = re.compile(r"[^\W_]+")
MAX_NUMBERED = 10_000  # different texts of one call that get a number of their own


class Labels:
    """The labels of one call. If they are numbered, the same text has the same number; only a hash of it is stored."""

    def __init__(self, wanted: Redaction) -> None:
        self._wanted = wanted
        self._names = dict(wanted.labels)
        self._numbers: dict[str, dict[bytes, int]] = {}

    def kind(self, span: Span) -> Entity:
        """Return the likeliest kind of a span among those to hide or report."""
        return next((kind for kind in span.kinds if kind in self._wanted.sought), span.kinds[0])

    def hides(self, span: Span) -> bool:
        return span.kinds == (Entity.CUSTOM,) or not self._wanted.entities.isdisjoint(span.kinds)

    def name(self, span: Span) -> str:
        kind = self.kind(span)
        return self._wanted.one_label or self._names.get(kind, kind.value.upper())

    def label(self, span: Span, text: str, *, lasts: bool = True) -> str:
        """Return the label for the text of a span. With `lasts` false (an interim), it does not use up a number."""
        if self._wanted.substitution is Substitution.HASH:
            return HASHED
        name = self.name(span)
        begin, end = self._wanted.brackets[0], self._wanted.brackets[-1]
        if not self._wanted.numbered:
            return f"{begin}{name}{end}"
        known = self._numbers.setdefault(name, {})
        digest = hashlib.blake2b(same_text(text, self.kind(span)).encode(), digest_size=16).digest()
        number = known.get(digest, len(known) + 1)
        if lasts and len(known) < MAX_NUMBERED:
            known[digest] = number
        return f"{begin}{name}_{number}{end}"


def same_text(text: str, kind: Entity) -> str:
    """Return what is the same for all spellings of a text of that kind. Of what is dictated or grouped in many ways
    only letters and digits count, of the rest also where its words end: 1/12/2024 is not 11/2/2024.
    """
    if kind in _EXACT:
        return text
    if kind in _SIGNS:
        return "".join(char for char in text.lower() if char.isalnum()) or text
    return " ".join(_WORD.findall(text.lower())) or text
