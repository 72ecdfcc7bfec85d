"""Encryption of what is stored: each project's content by a key of its own, which is destroyed to erase the content.

What is sealed is bound to its project and its place, a table with column and id: moved to another row, or to another
project, it cannot be opened.
"""

from typing import Protocol

from antiphon.core.errors import InternalError

THE_SERVER = ""  # as a project: what is sealed is the server's own


class Unreadable(InternalError):
    """What is stored was changed, or is at another place than the one it was sealed for."""


class Sealer(Protocol):
    """Seals and opens the content of projects. Blocking; for any thread. Every method raises `InternalError` if the
    keys cannot be read or written.
    """

    def seal(self, project: str, place: str, data: bytes) -> bytes:
        """Return the data, sealed with the project's present key, which is made if there is none."""

    def unseal(self, project: str, place: str, sealed: bytes) -> bytes:
        """Return what was sealed at this place. Raises `NotFound` if its key was destroyed, `Unreadable`."""

    def pseudonym(self, project: str, subject: str) -> str:
        """Return the stored form of a data subject's name: an HMAC-SHA256 by a key of the project, in hexadecimal
        digits.
        """


class Plain:
    """A sealer that seals nothing: for what is in memory only, and for tests."""

    def seal(self, project: str, place: str, data: bytes) -> bytes:
        return data

    def unseal(self, project: str, place: str, sealed: bytes) -> bytes:
        return sealed

    def pseudonym(self, project: str, subject: str) -> str:
        return subject


PLAIN = Plain()
