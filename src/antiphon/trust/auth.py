"""Whether a key holds, and what its project's policy is: the same on every transport, from a view in memory.

The view follows `control.db` within `POLL_INTERVAL_NS` of `refresh`, which the server calls from its ticker, so a
revocation in any process reaches open streams (they ask `holds`) and new calls within a second. Digests are compared
in constant time; what was wrong with a key is told only to whoever had the whole of it.
"""

import hmac
import sqlite3
from pathlib import Path

from antiphon.core.errors import InternalError, PolicyError, Unauthenticated
from antiphon.core.identity import Principal, Scope
from antiphon.core.ports import Clock
from antiphon.trust import keys as form
from antiphon.trust.control import ENVIRONMENT_KEY_ID, Key, Marking, Project, connect, read_keys, read_projects

POLL_INTERVAL_NS = 250_000_000
_NO_DIGEST = bytes(32)


class KeyRing:
    """The server's view of the keys at `path`, which exists already. For one thread; nothing here waits for a lock."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        try:
            self._connection = connect(path, timeout_s=0.0)
        except sqlite3.Error as error:
            raise InternalError("the keys cannot be read") from error
        self._version: int | None = None
        self._polled_ns = 0
        self._keys: dict[str, tuple[Key, bytes]] = {}
        self._projects: dict[str, Project] = {}
        self._poll()

    def authenticate(self, secret: str | None, scope: Scope | None) -> Principal:
        """Who calls, if the key they sent holds and may do that.

        Raises `Unauthenticated` for no key or one that does not hold, `PolicyError` for one without the scope.
        """
        if not secret:
            raise Unauthenticated("no API key was sent")
        found = self._find(secret)
        if found is None:
            self._poll()  # it may have been made a moment ago
            found = self._find(secret)
        if found is None:
            parsed = form.parse(secret)
            if parsed is not None and not parsed.intact:
                raise Unauthenticated("the API key is mistyped: its checksum does not match")
            raise Unauthenticated("the API key is not valid")
        if not found.holds(self._clock.unix_ms()):
            raise Unauthenticated("the API key was revoked" if found.revoked_unix_ms else "the API key has expired")
        if scope is not None and scope not in found.scopes:
            raise PolicyError(f"the API key does not have the scope '{scope}'")
        return Principal(found.project, found.id, found.scopes)

    def holds(self, key_id: str) -> bool:
        """Whether a key that was authenticated before still holds."""
        found = self._keys.get(key_id)
        return found is not None and found[0].holds(self._clock.unix_ms())

    def keep_answers_s(self, project: str) -> int:
        """For how long that project's answers are kept; 0 is not at all."""
        found = self._projects.get(project)
        return found.keep_answers_s if found else 0

    def marking(self, project: str) -> Marking:
        """What that project requires of synthetic speech."""
        found = self._projects.get(project)
        return found.marking if found else Marking.MARKED

    def refresh(self) -> None:
        """Follows the database. Cheap enough to be called on every tick. Raises `InternalError`."""
        if self._clock.now_ns() - self._polled_ns >= POLL_INTERVAL_NS:
            self._poll()

    def close(self) -> None:
        self._connection.close()

    def _find(self, secret: str) -> Key | None:
        if len(secret) > form.MAX_LENGTH:
            return None
        digest = form.digest(secret)
        parsed = form.parse(secret)
        # A key from the environment may have any form, that of a minted one included.
        for key_id in (parsed.id if parsed else "", ENVIRONMENT_KEY_ID):
            key, expected = self._keys.get(key_id, (None, _NO_DIGEST))
            if hmac.compare_digest(digest, expected) and key is not None:
                return key
        return None

    def _poll(self) -> None:
        self._polled_ns = self._clock.now_ns()
        try:
            # Read before the keys: a change between the two is then seen by the next poll.
            version = self._connection.execute("PRAGMA data_version").fetchone()[0]
            if version != self._version:
                self._keys = read_keys(self._connection)
                self._projects = read_projects(self._connection)
                self._version = version
        except sqlite3.Error as error:
            busy = error.sqlite_errorcode == sqlite3.SQLITE_BUSY
            if not busy or self._version is None:
                raise InternalError("the keys cannot be read") from error
