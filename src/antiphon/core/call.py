"""An admitted call: who asks for what, and the session that is charged."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from antiphon.core.identity import Principal
from antiphon.core.stores import Claim

S = TypeVar("S", covariant=True)


@dataclass(frozen=True, slots=True)
class Call(Generic[S]):
    """`id`, a UUID, is the session's. `surface` is the vendor's protocol. `claim` belongs to an idempotency key or an
    SDK's retry, if the caller sent one. An `item` of a job uses only capacity that interactive calls leave. `tags` came
    with the opening, beside those of the spec.
    """

    id: str
    principal: Principal
    surface: str
    spec: S
    claim: Claim | None = None
    item: bool = False
    tags: tuple[str, ...] = ()
