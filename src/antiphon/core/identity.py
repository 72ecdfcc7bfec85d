"""Who calls."""

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What a key may do."""

    TRANSCRIBE = "transcribe"
    USAGE = "usage"  # read its own project's usage
    ADMIN = "admin"  # the management API, every project


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose key held when it was checked."""

    project: str
    key_id: str
    scopes: frozenset[Scope]
