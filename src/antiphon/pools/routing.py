"""Which backend of a model takes a request: the pure choice. No I/O, no clock, bounded by the number of backends.

1. Only a trusted backend with room is chosen; one on trial takes one request at a time. One that said it is full is
   left alone for a while, unless all are; so is one without a place within its present limit, while another has one.
2. A conversation stays where its prefix is, so that the backend's KV cache is used again: backends are ranked for each
   prefix by weighted rendezvous hashing (Schindelhauer and Schomaker, 2005), and the first is taken. A backend that is
   added or removed moves no conversations but its own.
3. If that one has clearly more work than the least busy one (after consistent hashing with bounded loads, Mirrokni et
   al., 2018), the next in rank is taken, so that overflow stays together too.
4. Without a prefix, the one with the least work for its weight; among equals, the fastest to answer.
"""

from collections.abc import Sequence
from hashlib import blake2b
from math import log
from typing import Protocol, TypeVar

from antiphon.core.specs import Message, Role
from antiphon.pools.breaker import State

SPREAD = 1.25  # times the work of the least busy, and
SLACK = 4  # requests on top, are not clearly more
PREFIX_CHARACTERS = 1024  # of each message, to identify a conversation


class Candidate(Protocol):
    """A backend, as the choice sees it. `most` is how many it may run in all, `free` how many more its present limit
    allows. `trials` are running requests that test a half-open one; `latency_ms` estimates its time to the first token.
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
    """Return a key that is the same for every turn of a conversation: of the system's messages and the first other
    one.
    """
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
    """Return whether it may take one more request."""
    state = candidate.state
    trusted = state is State.CLOSED or (state is State.HALF_OPEN and not candidate.trials)
    return trusted and candidate.outstanding < candidate.most


def choose(candidates: Sequence[Chosen], key: bytes | None, now_ns: int) -> tuple[Chosen, bool] | None:
    """Return the backend for a request with the prefix `key` (`None`: any), and whether the prefix belongs there;
    `None` if no backend has room.
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
