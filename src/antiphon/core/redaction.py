"""What to hide in answers: kinds of personal data, and their replacements.

A project's policy sets the minimum; a caller can only add to it (`Redaction.joined`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from antiphon.core.audio import Codec


class Entity(StrEnum):
    """A kind of personal data. Vendors have other names for them; each surface has a table."""

    NAME = "name"
    EMAIL = "email"
    PHONE = "phone"
    CARD = "card"
    CARD_CODE = "card_code"
    CARD_EXPIRY = "card_expiry"
    PIN = "pin"
    BANK = "bank"  # numbers of accounts and routing, IBAN
    NATIONAL_ID = "national_id"  # a social security or tax number
    PASSPORT = "passport"
    LICENCE = "licence"  # of a driver or a vehicle
    HEALTH_RECORD = "health_record"
    ACCOUNT = "account"  # a member's, a customer's, a policy's, a case's
    ADDRESS = "address"
    PLACE = "place"
    DATE_OF_BIRTH = "date_of_birth"
    DATE = "date"
    IP = "ip"
    URL = "url"
    PASSWORD = "password"
    NUMBER = "number"  # an identifier of an unknown kind
    CUSTOM = "custom"  # texts that the project itself lists


ALL = frozenset(Entity) - {Entity.CUSTOM}
# The kinds that only a model finds well.
OF_THE_MODEL = frozenset({Entity.NAME, Entity.PLACE, Entity.ADDRESS})


class Substitution(StrEnum):
    """The replacement of hidden text."""

    ENTITY_NAME = "entity_name"  # its kind: `[PHONE]`
    HASH = "hash"  # `####`, for any length


@dataclass(frozen=True, slots=True)
class Redaction:
    """The redaction of one call. `labels` are a vendor's words for kinds, `numbered` ones have a number: `[PHONE_1]`,
    the same for the same text. `one_label` replaces all of them, and `brackets` are around each. `words` are further
    texts to hide, in any case, and `patterns` regular expressions.

    Kinds that are only `identified` are reported (`Transcript.entities`) and not hidden.
    """

    entities: frozenset[Entity] = frozenset()
    substitution: Substitution = Substitution.ENTITY_NAME
    labels: tuple[tuple[Entity, str], ...] = ()
    one_label: str = ""
    brackets: str = "[]"
    numbered: bool = False
    words: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    identified: frozenset[Entity] = frozenset()

    @property
    def hides(self) -> bool:
        return bool(self.entities or self.words or self.patterns)

    @property
    def sought(self) -> frozenset[Entity]:
        return self.entities | self.identified

    def joined(self, least: "Redaction | None") -> "Redaction":
        """Return this redaction together with a policy's minimum. The caller's labels stay; hashes never
        become labels.
        """
        if least is None:
            return self
        hashed = Substitution.HASH in (self.substitution, least.substitution)
        return replace(
            self,
            entities=self.entities | least.entities,
            substitution=Substitution.HASH if hashed else self.substitution,
            words=(*self.words, *least.words),
            patterns=(*self.patterns, *least.patterns),
        )


@dataclass(frozen=True, slots=True)
class Span:
    """Personal data in a text. `kinds` are the possible ones, the likeliest first: it is hidden if any of them is to
    be.
    """

    start: int
    end: int
    kinds: tuple[Entity, ...]


class Cover(StrEnum):
    """What is heard in place of hidden words."""

    BEEP = "beep"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class RedactedAudio:
    """A wish for a copy of the recording in which nobody hears what is hidden in its transcript. `codec` is MP3, or
    LINEAR16 in a WAV file.
    """

    codec: Codec = Codec.MP3
    cover: Cover = Cover.BEEP


@dataclass(frozen=True, slots=True)
class Identified:
    """Personal data in a transcript, reported with its time and its `place` in the text. If it is `hidden`, its text is
    the replacement.
    """

    entity: Entity
    text: str
    start_ms: int
    end_ms: int
    confidence: float
    hidden: bool = False
    place: int = 0


class Tagger(Protocol):
    """A finder of names and places in texts."""

    async def tag(self, texts: Sequence[str]) -> list[tuple[Span, ...]]:
        """Return the spans in each text, in order. Raises `EngineError`, `CapacityError`."""


def parse_entities(names: Iterable[str]) -> frozenset[Entity]:
    """Return the kinds with these names; `all` is all. Raises `ValueError` for an unknown name."""
    found: frozenset[Entity] = frozenset()
    for name in names:
        found |= ALL if name == "all" else {Entity(name)}
    if Entity.CUSTOM in found:
        raise ValueError(Entity.CUSTOM)
    return found
