"""Resources: what a project has set up under a name, in its vendor's own form, for its calls to refer to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from antiphon.core.wire import Step


@dataclass(frozen=True, slots=True)
class Resource:
    """One. Where it is `deleted`, it ends at `ends_unix_ms`, and may be restored until then."""

    name: str
    body: bytes = field(repr=False)
    deleted: bool = False
    ends_unix_ms: int = 0


# What becomes of a resource: from what it is, if there is one, and the time in Unix milliseconds. Raises
# `AntiphonError` where that may not be.
Change = Callable[[Resource | None, int], Resource | None]


@dataclass(frozen=True, slots=True)
class OneResource:
    """`tell` is given it."""

    kind: str
    name: str
    tell: Callable[[Resource], Step]


@dataclass(frozen=True, slots=True)
class ManyResources:
    """A part of the list by name: of those whose names begin with `prefix`, at most `limit` after the name `after`.
    `tell` is told whether more follow.
    """

    kind: str
    prefix: str
    after: str
    limit: int
    deleted: bool
    tell: Callable[[Sequence[Resource], bool], Step]


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """`change` says what becomes of a resource; of a `preview` nothing is stored. `tell` is given what it is then."""

    kind: str
    name: str
    change: Change
    preview: bool
    tell: Callable[[Resource | None], Step]


ResourceQuestion = OneResource | ManyResources | ResourceChange
