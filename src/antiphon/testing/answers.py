"""Kept answers, in memory."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from antiphon.core import stores
from antiphon.core.errors import NotFound
from antiphon.core.ports import Clock
from antiphon.core.wire import Keep


class FakeAnswers:
    """An in-memory fake of `core.stores.Answers` with the same rules."""

    trouble: str | None = None

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[tuple[str, str], tuple[int, int, Keep]] = {}  # the times of its creation and of its end

    async def put(self, project: str, keep: Keep, keep_s: int) -> None:
        now = self._clock.unix_ms()
        made, ends, _ = self._kept.get((project, keep.id), (now, now + keep_s * 1000, keep))
        self._kept[project, keep.id] = made, ends, keep

    async def get(self, project: str, id: str, keep_s: int) -> Keep:
        now = self._clock.unix_ms()
        made, ends, keep = self._kept.get((project, id), (0, 0, Keep(id, b"")))
        if ends <= now or made <= now - keep_s * 1000:
            raise NotFound("Stored answer not found.")
        return keep

    async def delete(self, project: str, id: str) -> None:
        self._kept.pop((project, id), None)

    async def of_subject(self, project: str, subject: str, keep_s: int, after: str = "") -> Keep | None:
        for (whose, id), (_, _, keep) in sorted(self._kept.items()):
            if whose == project and id > after and subject in keep.subjects:
                with suppress(NotFound):
                    return await self.get(project, id, keep_s)
        return None

    async def erase(self, project: str, subject: str | None = None) -> int:
        every = [key for key in self._kept if key[0] == project]
        erased = [key for key in every if subject is None or subject in self._kept[key][2].subjects]
        for key in erased:
            del self._kept[key]
        return len(erased)

    async def purge(self, keep_s: Callable[[str], int]) -> Counter[str]:
        now, wiped = self._clock.unix_ms(), Counter[str]()
        for (project, id), (made, ends, _) in list(self._kept.items()):
            if ends <= now or made <= now - keep_s(project) * 1000:
                del self._kept[project, id]
                wiped[project] += 1
        return wiped

    async def close(self) -> None:
        pass


if TYPE_CHECKING:  # makes mypy check that the fake implements its port
    _ANSWERS: type[stores.Answers] = FakeAnswers
