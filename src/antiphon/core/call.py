"""A call that was let in: who asks for what, and under which name it is charged."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from antiphon.core.identity import Principal
from antiphon.core.stores import Claim

S = TypeVar("S", covariant=True)


@dataclass(frozen=True, slots=True)
class Call(Generic[S]):
    """`id`, a UUID, names the session. `surface` is the vendor's protocol by which the caller came. `claim` is of an
    idempotency key or an SDK's retry, where the caller sent one. Nobody waits for one that is an `item` of a job: it
    fills what the others leave.
    """

    id: str
    principal: Principal
    surface: str
    spec: S
    claim: Claim | None = None
    item: bool = False
