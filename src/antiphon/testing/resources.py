"""A fake of the store of resources."""

from typing import TYPE_CHECKING

from antiphon.core import stores
from antiphon.core.errors import CapacityError, NotFound, TooLarge
from antiphon.core.ports import Clock
from antiphon.core.resources import Change, Resource
from antiphon.core.stores import MAX_RESOURCE_BYTES, MAX_RESOURCES


class FakeResources:
    """An in-memory fake of `core.stores.Resources` with the same rules."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: dict[tuple[str, str, str], Resource] = {}

    async def get(self, project: str, kind: str, name: str) -> Resource:
        found = self._get(project, kind, name)
        if found is None:
            raise NotFound(f"{name!r} not found.", param="name")
        return found

    async def listed(
        self, project: str, kind: str, prefix: str, after: str, limit: int, deleted: bool
    ) -> tuple[list[Resource], bool]:
        keys = sorted(key for key in self._held if key[:2] == (project, kind) and key[2] > after)
        found = [self._get(*key) for key in keys if key[2].startswith(prefix)]
        shown = [each for each in found if each is not None and (deleted or not each.deleted)]
        return shown[:limit], len(shown) > limit

    async def change(self, project: str, kind: str, name: str, change: Change, preview: bool) -> Resource | None:
        before = self._get(project, kind, name)
        after = change(before, self._clock.unix_ms())
        if after is None or after == before or preview:
            return after
        if len(after.body) > MAX_RESOURCE_BYTES:
            raise TooLarge(f"This would be larger than {MAX_RESOURCE_BYTES} bytes.")
        if before is None and sum(key[0] == project and bool(self._get(*key)) for key in self._held) >= MAX_RESOURCES:
            raise CapacityError("The project has too many of these.")
        self._held[project, kind, name] = after
        return after

    async def erase(self, project: str) -> int:
        erased = [key for key in self._held if key[0] == project]
        for key in erased:
            del self._held[key]
        return len(erased)

    def _get(self, project: str, kind: str, name: str) -> Resource | None:
        found = self._held.get((project, kind, name))
        if found is None or 0 < found.ends_unix_ms <= self._clock.unix_ms():
            return None
        return found


if TYPE_CHECKING:  # makes mypy check that the fake implements its port
    _RESOURCES: type[stores.Resources] = FakeResources
