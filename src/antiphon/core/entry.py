"""One line of the usage ledger.

An entry is written once, under the key (project, session, sequence), and never changed: a mistake is corrected by
another entry that refers to it. A `USAGE` entry is durable before its result is sent, so the last result of a session
without a closing entry may not have been delivered; the closing entry, written after the last delivery, says which.
Quantities are measured by the server, as unrounded integers.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from antiphon.core.usage import Quantity

MAX_INTEGER = 2**62  # every database stores it exactly, with headroom for sums
MAX_TAGS = 32
MAX_TEXT = 256

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class EntryKind(StrEnum):
    """The kind of an entry. `COMPLETED` and `ABANDONED` close a session and count nothing."""

    USAGE = "usage"  # charges for one result, before it leaves
    COMPLETED = "completed"  # everything charged in this session was delivered
    ABANDONED = "abandoned"  # everything but its last result was delivered; that one may not have been
    CORRECTION = "correction"  # changes the amount of an earlier entry


CLOSING = frozenset({EntryKind.COMPLETED, EntryKind.ABANDONED})


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference to the corrected entry, which is of the same project."""

    session: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Who used what, how much, when.

    `session` is a UUID in its canonical text form, `sequence` counts from 0 within it. `channel` is the audio channel
    that was measured. Only a correction may be negative. Raises `ValueError` if a field is invalid.
    """

    project: str
    key_id: str
    session: str
    sequence: int
    at_unix_ms: int
    surface: str
    model: str
    quantity: Quantity
    channel: int = 0
    feature: str = ""
    kind: EntryKind = EntryKind.USAGE
    corrects: Reference | None = None
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _UUID.fullmatch(self.session):
            raise ValueError("session is not a UUID in canonical form")
        lowest = -MAX_INTEGER if self.kind is EntryKind.CORRECTION else 0
        _check_integers((self.sequence, self.at_unix_ms, self.channel), lowest=0)
        _check_integers((self.quantity.amount,), lowest)
        if self.kind in CLOSING and self.quantity.amount:
            raise ValueError("a closing entry counts nothing")
        if (self.kind is EntryKind.CORRECTION) != (self.corrects is not None):
            raise ValueError("a correction, and only that, refers to another entry")
        if len(self.tags) > MAX_TAGS:
            raise ValueError(f"an entry has at most {MAX_TAGS} tags")
        names = (self.project, self.key_id, self.surface, self.model)
        if not all(names):
            raise ValueError("a text in an entry is empty")
        texts = (*names, self.feature, *self.tags)
        if max(map(len, texts)) > MAX_TEXT:
            raise ValueError(f"a text in an entry has more than {MAX_TEXT} characters")
        "".join(texts).encode()  # half a surrogate pair is no text, and would fail only in the database

    @property
    def key(self) -> tuple[str, str, int]:
        return self.project, self.session, self.sequence


def _check_integers(values: tuple[object, ...], lowest: int) -> None:
    for value in values:
        if type(value) is not int:
            raise ValueError(f"{value!r} is not an integer")
        if not lowest <= value <= MAX_INTEGER:
            raise ValueError(f"{value} is out of range")
