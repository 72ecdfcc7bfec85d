"""What stands in the place of what is hidden."""

import hashlib

from antiphon.core.redaction import Entity, Redaction, Span, Substitution

HASHED = "####"
MAX_NUMBERED = 10_000  # texts of one call that are told apart


class Labels:
    """One call's. Of those that are numbered the same text has the same number; only its hash is kept."""

    def __init__(self, wanted: Redaction) -> None:
        self._wanted = wanted
        self._names = dict(wanted.labels)
        self._numbers: dict[str, dict[bytes, int]] = {}

    def kind(self, span: Span) -> Entity:
        """The likeliest kind of those that are to be hidden or told."""
        return next((kind for kind in span.kinds if kind in self._wanted.sought), span.kinds[0])

    def hides(self, span: Span) -> bool:
        return span.kinds == (Entity.CUSTOM,) or not self._wanted.entities.isdisjoint(span.kinds)

    def name(self, span: Span) -> str:
        kind = self.kind(span)
        return self._wanted.one_label or self._names.get(kind, kind.value.upper())

    def label(self, span: Span, text: str, *, lasts: bool = True) -> str:
        """For the text of a span. One that does not last (of an interim) takes no number from what follows."""
        if self._wanted.substitution is Substitution.HASH:
            return HASHED
        name = self.name(span)
        if not self._wanted.numbered:
            return f"[{name}]"
        known = self._numbers.setdefault(name, {})
        plain = "".join(char for char in text.lower() if char.isalnum())
        digest = hashlib.blake2b(plain.encode(), digest_size=16).digest()
        number = known.get(digest, len(known) + 1)
        if lasts and len(known) < MAX_NUMBERED:
            known[digest] = number
        return f"[{name}_{number}]"
