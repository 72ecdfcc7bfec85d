"""The port of resources that calls refer to."""

from typing import Protocol

from antiphon.core.resources import Change, Resource

MAX_RESOURCES, MAX_RESOURCE_BYTES = 100, 256 << 10  # of a project, and of one resource


class Resources(Protocol):
    """Resources by project, kind and name. Everything raises `InternalError`. One past its end does not exist."""

    async def get(self, project: str, kind: str, name: str) -> Resource:
        """Return a resource, even a deleted one. Raises `NotFound`, also for another project's."""

    async def listed(
        self, project: str, kind: str, prefix: str, after: str, limit: int, deleted: bool
    ) -> tuple[list[Resource], bool]:
        """Return a page by name, with or without deleted ones, and whether more follow."""

    async def change(self, project: str, kind: str, name: str, change: Change, preview: bool) -> Resource | None:
        """Change a resource, and return it; durable on return unless it is a `preview`, without concurrent changes.
        `change` may be called on any thread. Raises what that does, `CapacityError` if the project has `MAX_RESOURCES`,
        `TooLarge`.
        """

    async def erase(self, project: str) -> int:
        """Erase a project's resources; return how many."""
