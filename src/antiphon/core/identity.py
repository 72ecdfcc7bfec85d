"""Who calls."""

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What a key may do."""

    TRANSCRIBE = "transcribe"
    GENERATE = "generate"  # language models, embeddings, general inference
    SPEAK = "speak"
    USAGE = "usage"  # read its own project's usage
    ADMIN = "admin"  # the management API, every project


USUAL_SCOPES = frozenset({Scope.TRANSCRIBE, Scope.GENERATE, Scope.SPEAK})  # of a key that nobody said anything about


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose key held when it was checked."""

    project: str
    key_id: str
    scopes: frozenset[Scope]
