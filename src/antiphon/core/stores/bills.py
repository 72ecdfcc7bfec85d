"""The port of issued statements."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class IssuedStatement:
    """An issued statement of a project for a period. It covers the ledger up to `cursor`; later entries belong to later
    statements. `sha256` is of its bytes.
    """

    project: str
    since_unix_ms: int
    until_unix_ms: int
    cursor: str
    currency: str
    total_nano: int
    sha256: str
    at_unix_ms: int


class Bills(Protocol):
    """The issued statements, and their price books. Blocking; for any thread. Raises `InternalError`."""

    def pin(self, book: str, version: str, sha256: str, now_unix_ms: int) -> None:
        """Record that a version of a price book is in use. Raises `Conflict` if it had other contents before."""

    def issued(self, project: str) -> list[IssuedStatement]:
        """Return the project's statements, by time."""

    def issue(self, statement: IssuedStatement) -> None:
        """Record a statement. Raises `Conflict` if this or a later period of the project was issued before."""
