"""Resources: named settings of a project, in the vendor's own form, to which its calls refer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from antiphon.core.wire import Step


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource. If it is `deleted`, it ends at `ends_unix_ms`, and can be restored until then."""

    name: str
    body: bytes = field(repr=False)
    deleted: bool = False
    ends_unix_ms: int = 0


# A function from the present resource, if any, and the time in Unix milliseconds to the new one. Raises
# `AntiphonError` if the change is not allowed.
Change = Callable[[Resource | None, int], Resource | None]


@dataclass(frozen=True, slots=True)
class OneResource:
    """A question about one resource, which `tell` gets."""

    kind: str
    name: str
    tell: Callable[[Resource], Step]


@dataclass(frozen=True, slots=True)
class ManyResources:
    """A question about a page of resources whose names begin with `prefix`: at most `limit` after the name `after`.
    `tell` also gets whether more follow.
    """

    kind: str
    prefix: str
    after: str
    limit: int
    deleted: bool
    tell: Callable[[Sequence[Resource], bool], Step]


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """A change of a resource by `change`; for a `preview` nothing is stored. `tell` gets the result."""

    kind: str
    name: str
    change: Change
    preview: bool
    tell: Callable[[Resource | None], Step]


ResourceQuestion = OneResource | ManyResources | ResourceChange
