"""The port of kept answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from antiphon.core.wire import Keep


@dataclass(frozen=True, slots=True)
class AnswerBounds:
    """The most bytes that kept answers take: of one project, and of all."""

    project: int = 4 << 30
    all: int = 16 << 30


class Answers(Protocol):
    """Models' answers that are kept for a time, by project and id. Every method raises `InternalError`."""

    async def put(self, project: str, keep: Keep, keep_s: int) -> None:
        """Store an answer; durable on return. One stored again keeps its end. If cancelled, it may be stored or not.
        Raises `StorageFull`.
        """

    async def get(self, project: str, id: str, keep_s: int) -> Keep:
        """Return an answer; `keep_s` is the policy's current value. Raises `NotFound`, also for another project's."""

    async def delete(self, project: str, id: str) -> None: ...

    async def of_subject(self, project: str, subject: str, keep_s: int, after: str = "") -> Keep | None:
        """Return the next answer about a subject, in the order of ids, after that one; `None` after the last."""

    async def erase(self, project: str, subject: str | None = None) -> int:
        """Erase a project's answers, or those about one subject; return how many."""

    async def purge(self, keep_s: Callable[[str], int]) -> Mapping[str, int]:
        """Erase answers that are expired, or older than their project's policy now allows; return how many,
        by project.
        """

    async def close(self) -> None:
        """Finish what was begun, then close. Closing again does nothing."""

    @property
    def trouble(self) -> str | None:
        """Why nothing can be stored; `None` if it can."""
