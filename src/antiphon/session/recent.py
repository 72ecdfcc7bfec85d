"""Recent answers in memory, which the next call can continue even if they are not stored.

Only calls with the same key can continue them. An answer over HTTP is remembered for `CALL_S` if the caller left
storing open and it is not stored: SDKs assume that it is, and refer to it in the next turn. The others belong to a
connection. Some clients disconnect to end an answer, and continue from the one before it over another connection: so a
connection's answers last for `LINGER_S` after its end, except those that the caller wanted not stored. Each connection
is bounded in number and bytes, and all together in bytes: above that, the project with the most bytes loses its oldest
answer.
"""

import asyncio
from collections import Counter, OrderedDict

from antiphon.core.identity import Principal
from antiphon.core.specs import messages_bytes
from antiphon.core.wire import Keep

MOST_ANSWERS = 32  # of one connection
MOST_BYTES = 8 << 20
ALL_BYTES = 256 << 20  # of all connections
LINGER_S = 120.0
CALL_S = 600.0


class Recents:
    """The answers that all connections remember."""

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
        """Return the memory of one connection."""
        return Recent(self, principal)

    def remember(self, principal: Principal, keep: Keep) -> None:
        """Remember an answer that belongs to no connection."""
        recent = self.open(principal)
        recent.put(keep, passing=False)
        self.linger(recent, CALL_S)

    def linger(self, recent: "Recent", lasts_s: float) -> None:
        """Keep a connection's answers for `lasts_s` seconds after its end."""
        self._lingering |= {(recent.key_id, id): recent for id in recent.ids}
        asyncio.get_running_loop().call_later(lasts_s, recent.clear)

    def find(self, key_id: str, id: str) -> Keep | None:
        """Return an answer to that key that belongs to no connection, or to one that has ended."""
        recent = self._lingering.get((key_id, id))
        return None if recent is None else recent.own(id)

    def drop(self, project: str, id: str) -> Keep | None:
        """Forget an answer, whichever of the project's keys it was given to, and return it."""
        owner = next((recent for recent, each in self._oldest.get(project, ()) if each == id), None)
        if owner is None:
            return None
        found = owner.own(id)
        owner.forget(id)
        return found

    def of_subject(self, project: str, subject: str) -> list[Keep]:
        """Return the answers about a subject; with an empty one, all of the project."""
        return [keep for _, keep in self._about(project, subject)]

    def erase(self, project: str, subject: str) -> int:
        """Forget the answers about a subject; with an empty one, all of the project. Return how many."""
        found = self._about(project, subject)
        for owner, keep in found:
            owner.forget(keep.id)
        return len(found)

    def _about(self, project: str, subject: str) -> "list[tuple[Recent, Keep]]":
        held = ((recent, recent.own(id)) for recent, id in self._oldest.get(project, ()))
        return [(recent, keep) for recent, keep in held if keep and (not subject or subject in keep.subjects)]

    def add(self, recent: "Recent", id: str, size: int) -> None:
        """Count an answer of this many bytes that a connection holds now, and forget others if it is too much."""
        self._held[recent.project] += size
        self._oldest.setdefault(recent.project, OrderedDict())[recent, id] = None
        while self._held.total() > self._all_bytes:
            most = max(self._held, key=self._held.__getitem__)
            owner, oldest = next(iter(self._oldest[most]))
            owner.forget(oldest)

    def remove(self, recent: "Recent", id: str, size: int) -> None:
        """Count an answer no more, which its connection has forgotten."""
        project = recent.project
        self._held[project] -= size
        del self._oldest[project][recent, id]
        self._lingering.pop((recent.key_id, id), None)
        if not self._oldest[project]:
            del self._oldest[project], self._held[project]


class Recent:
    """The answers that one connection remembers."""

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
        """Remember an answer, and forget older ones if necessary. One that is too large alone is not remembered; a
        `passing` one is forgotten with the connection.
        """
        size = len(keep.body) + messages_bytes(keep.conversation)
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
        """Return an answer of this connection, or of an earlier one with the same key."""
        return self.own(id) or self._all.find(self.key_id, id)

    def own(self, id: str) -> Keep | None:
        """Return an answer of this connection."""
        found = self._answers.get(id)
        return found and found[0]

    def forget(self, id: str) -> None:
        _, size = self._answers.pop(id)
        self._passing.discard(id)
        self._held -= size
        self._all.remove(self, id, size)

    def close(self) -> None:
        """Forget the passing answers, and keep the others for a while: the connection has ended."""
        for id in tuple(self._passing):
            self.forget(id)
        if self._answers:
            self._all.linger(self, LINGER_S)

    def clear(self) -> None:
        for id in self.ids:
            self.forget(id)
