"""The answers that are remembered, so that the next call can go on from them, whatever is kept.

They are in memory only, and only calls with the same key go on from them. An answer over HTTP is remembered for
`CALL_S` where the caller left open whether it is stored, and it is not: SDKs take it for stored, and refer to it in
the next turn. Others are those of a connection. Some clients hang up to end an answer, and go on from the one before it
over another connection: so what a connection remembered lasts for `LINGER_S` after its end, but for answers that the
caller wanted not stored. They are bounded for one connection, by number and by bytes, and in bytes all together: where
those are more, the project that has most of them loses its oldest.
"""

import asyncio
from collections import Counter, OrderedDict

from antiphon.core.identity import Principal
from antiphon.core.specs import said_bytes
from antiphon.core.wire import Keep

MOST_ANSWERS = 32  # of one connection
MOST_BYTES = 8 << 20
ALL_BYTES = 256 << 20  # of all connections
LINGER_S = 120.0
CALL_S = 600.0


class Recents:
    """What all connections remember."""

    def __init__(self, most_answers: int = MOST_ANSWERS, most_bytes: int = MOST_BYTES, all_bytes: int = ALL_BYTES):
        self.most_answers = most_answers
        self.most_bytes = most_bytes
        self._all_bytes = all_bytes
        self._held: Counter[str] = Counter()  # bytes, by project
        self._oldest: dict[str, OrderedDict[tuple[Recent, str], None]] = {}  # by project
        self._lingering: dict[tuple[str, str], Recent] = {}  # by key and answer: of connections that have ended

    @property
    def held_bytes(self) -> int:
        return self._held.total()

    def open(self, principal: Principal) -> "Recent":
        """For one connection."""
        return Recent(self, principal)

    def remember(self, principal: Principal, keep: Keep) -> None:
        """An answer that was given over no connection that remembers it."""
        recent = self.open(principal)
        recent.put(keep, passing=False)
        self.linger(recent, CALL_S)

    def linger(self, recent: "Recent", lasts_s: float) -> None:
        """Its connection has ended."""
        self._lingering |= {(recent.key_id, id): recent for id in recent.ids}
        asyncio.get_running_loop().call_later(lasts_s, recent.clear)

    def find(self, key_id: str, id: str) -> Keep | None:
        """What was answered to that key over no connection, or over one that has ended."""
        recent = self._lingering.get((key_id, id))
        return None if recent is None else recent.own(id)

    def drop(self, project: str, id: str) -> Keep | None:
        """Forgets an answer, whichever of the project's keys it was given to. What it was."""
        owner = next((recent for recent, each in self._oldest.get(project, ()) if each == id), None)
        if owner is None:
            return None
        found = owner.own(id)
        owner.forget(id)
        return found

    def add(self, recent: "Recent", id: str, size: int) -> None:
        self._held[recent.project] += size
        self._oldest.setdefault(recent.project, OrderedDict())[recent, id] = None
        while self._held.total() > self._all_bytes:
            most = max(self._held, key=self._held.__getitem__)
            owner, oldest = next(iter(self._oldest[most]))
            owner.forget(oldest)

    def remove(self, recent: "Recent", id: str, size: int) -> None:
        project = recent.project
        self._held[project] -= size
        del self._oldest[project][recent, id]
        self._lingering.pop((recent.key_id, id), None)
        if not self._oldest[project]:
            del self._oldest[project], self._held[project]


class Recent:
    """What one connection remembers."""

    def __init__(self, all: Recents, principal: Principal) -> None:
        self.project, self.key_id = principal.project, principal.key_id
        self._all = all
        self._answers: OrderedDict[str, tuple[Keep, int]] = OrderedDict()
        self._held = 0
        self._passing: set[str] = set()  # not to be remembered beyond the connection

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self._answers)

    def put(self, keep: Keep, passing: bool) -> None:
        """Remembers an answer; older ones make room for it. One that is too large alone is not remembered; one that is
        `passing` is forgotten with the connection.
        """
        size = len(keep.body) + said_bytes(keep.conversation)
        if size > self._all.most_bytes:
            return
        self._answers[keep.id] = keep, size
        if passing:
            self._passing.add(keep.id)
        self._held += size
        self._all.add(self, keep.id, size)
        while len(self._answers) > self._all.most_answers or self._held > self._all.most_bytes:
            self.forget(next(iter(self._answers)))

    def get(self, id: str) -> Keep | None:
        return self.own(id) or self._all.find(self.key_id, id)

    def own(self, id: str) -> Keep | None:
        found = self._answers.get(id)
        return found and found[0]

    def forget(self, id: str) -> None:
        _, size = self._answers.pop(id)
        self._passing.discard(id)
        self._held -= size
        self._all.remove(self, id, size)

    def close(self) -> None:
        """The connection has ended."""
        for id in tuple(self._passing):
            self.forget(id)
        if self._answers:
            self._all.linger(self, LINGER_S)

    def clear(self) -> None:
        for id in self.ids:
            self.forget(id)
