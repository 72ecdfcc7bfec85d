"""Which backend of a model takes a request: the pure choice. No I/O, no clock, bounded by the number of backends.

1. Only a backend that is trusted and has room is chosen; one that is on trial takes one request at a time. One that
   said itself that it is full is left alone for a while, unless all are; and so is one that has no place within its
   present limit, for as long as another has.
2. A conversation stays where its prefix is, so that the backend's KV cache is used again: backends are ranked for each
   prefix by weighted rendezvous hashing (Schindelhauer and Schomaker, 2005), and the first in rank is taken. A backend
   that comes or goes moves no conversation but its own.
3. Unless that one has clearly more to do than the least busy one (after consistent hashing with bounded loads, Mirrokni
   et al., 2018): then the next in rank, so that what overflows stays together too.
4. Without a prefix, the one with least to do for its weight; among equals the one that answered fastest.
"""

from collections.abc import Sequence
from hashlib import blake2b
from math import log
from typing import Protocol, TypeVar

from antiphon.core.specs import Message, Role
from antiphon.pools.breaker import State

SPREAD = 1.25  # times the outstanding work of the least busy, and
SLACK = 4  # requests on top, are not clearly more
PREFIX_CHARACTERS = 1024  # of each message, to tell conversations apart by


class Candidate(Protocol):
    """What the choice looks at in a backend. `most` is all it may ever run, `free` how many more its present limit lets
    it have. `trials` are requests under way that test a half-open one; `latency_ms` is
    an estimate of its time to the first token.
    """

    @property
    def name(self) -> str: ...

    @property
    def weight(self) -> int: ...

    @property
    def outstanding(self) -> int: ...

    @property
    def most(self) -> int: ...

    @property
    def free(self) -> int: ...

    @property
    def state(self) -> State: ...

    @property
    def trials(self) -> int: ...

    @property
    def rests_until_ns(self) -> int: ...

    @property
    def latency_ms(self) -> float: ...


Chosen = TypeVar("Chosen", bound=Candidate)


def prefix_key(prompt: Sequence[Message] | str) -> bytes:
    """The same for every turn of a conversation: what the system says and the first that is said to it."""
    digest = blake2b(digest_size=16)
    if isinstance(prompt, str):
        digest.update(prompt[:PREFIX_CHARACTERS].encode(errors="surrogatepass"))
        return digest.digest()
    for message in prompt:
        text = message.text[:PREFIX_CHARACTERS]
        digest.update(f"{message.role}\0{text}\0".encode(errors="surrogatepass"))
        if message.role is not Role.SYSTEM:
            break
    return digest.digest()


def has_room(candidate: Candidate) -> bool:
    """Whether it may take one more request."""
    state = candidate.state
    trusted = state is State.CLOSED or (state is State.HALF_OPEN and not candidate.trials)
    return trusted and candidate.outstanding < candidate.most


def choose(candidates: Sequence[Chosen], key: bytes | None, now_ns: int) -> tuple[Chosen, bool] | None:
    """The backend for a request with that prefix (`None`: any will do), and whether the prefix belongs there; `None` if
    there is none now.
    """
    roomy = [c for c in candidates if has_room(c)]
    rested = [c for c in roomy if c.rests_until_ns <= now_ns] or roomy
    open_to = [c for c in rested if c.free] or rested
    if not open_to:
        return None
    least = min(open_to, key=_burden)
    if key is None:
        return least, False
    ranked = sorted(candidates, key=lambda c: _score(c, key), reverse=True)
    chosen = next(c for c in ranked if c is least or (c in open_to and not _crowded(c, least)))
    return chosen, chosen is ranked[0]


def _burden(candidate: Candidate) -> tuple[float, float]:
    return candidate.outstanding / candidate.weight, candidate.latency_ms


def _crowded(candidate: Candidate, least: Candidate) -> bool:
    fair = least.outstanding * candidate.weight / least.weight
    return candidate.outstanding > SPREAD * fair + SLACK


def _score(candidate: Candidate, key: bytes) -> float:
    drawn = int.from_bytes(blake2b(key, key=candidate.name.encode()[:64], digest_size=8).digest())
    return -candidate.weight / log((drawn + 0.5) / 2**64)
