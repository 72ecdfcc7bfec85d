"""Short-lived secrets in place of a key: for one call, or, as a token, for every call until it expires, or of one path.

A browser or a device gets one instead of the key. It has the caller's settings for the call, and the call is the key's:
charged to it, ended when it is revoked. It is valid on one vendor's paths only. The secrets are in memory only, as a
SHA-256 of at least 160 random bits, compared in constant time; they are lost at a restart, which ends all calls anyway.
Their number and size are bounded, for each project and in all.
"""

import hmac
import secrets
from collections import Counter
from dataclasses import dataclass

from antiphon.core.errors import CapacityError, Unauthenticated
from antiphon.core.identity import Principal
from antiphon.core.ports import Clock
from antiphon.core.units import NS_PER_S
from antiphon.trust import keys as form

PREFIX = "ek_"
TOKEN_PREFIX = "tk_"
PATH_PREFIX = "pt_"
MAX_SECRETS = 10_000
MAX_OF_PROJECT = 1_000
MAX_HELD_BYTES = 64 << 20  # of settings
MAX_BYTES_OF_PROJECT = 8 << 20
RETRY_AFTER_S = 10

_ID_BYTES, _SECRET_BYTES = 8, 24
_ID_START, _ID_END = len(PREFIX), len(PREFIX) + 2 * _ID_BYTES
_NO_DIGEST = bytes(32)


@dataclass(frozen=True, slots=True)
class Minted:
    """A new secret, to be shown once. `expires_unix_s` is when it can no longer be used."""

    secret: str
    expires_unix_s: int


@dataclass(frozen=True, slots=True)
class _Held:
    digest: bytes
    principal: Principal
    surface: str
    settled: bytes
    expires_ns: int
    once: bool
    path: str  # where alone it is valid, if set


def stands_for_a_key(secret: str | None) -> bool:
    """Return whether a secret has the form of one of these."""
    return secret is not None and secret.startswith((PREFIX, TOKEN_PREFIX, PATH_PREFIX))


class EphemeralSecrets:
    """The secrets that can still be used. For one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: dict[str, _Held] = {}  # oldest first
        self._of_project: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()  # of settings, by project

    def mint(
        self,
        principal: Principal,
        surface: str,
        settled: bytes,
        lifetime_s: int,
        once: bool = True,
        path: str = "",
    ) -> Minted:
        """Create a secret for one call of that surface, or for all, or for those of a path. Raises `CapacityError` if
        there are too many.
        """
        self._sweep()
        project, more = principal.project, len(settled)
        if (
            len(self._held) >= MAX_SECRETS
            or self._of_project[project] >= MAX_OF_PROJECT
            or self._bytes.total() + more > MAX_HELD_BYTES
            or self._bytes[project] + more > MAX_BYTES_OF_PROJECT
        ):
            raise CapacityError("Too many client secrets are unused.", retry_after_s=RETRY_AFTER_S)
        identity = secrets.token_hex(_ID_BYTES)
        prefix = PATH_PREFIX if path else PREFIX if once else TOKEN_PREFIX
        secret = f"{prefix}{identity}{secrets.token_hex(_SECRET_BYTES)}"
        expires_ns = self._clock.now_ns() + lifetime_s * NS_PER_S
        self._held[identity] = _Held(form.digest(secret), principal, surface, settled, expires_ns, once, path)
        self._of_project[project] += 1
        self._bytes[project] += more
        return Minted(secret, self._clock.unix_ms() // 1000 + lifetime_s)

    def redeem(self, surface: str, secret: str) -> tuple[Principal, bytes]:
        """Return the caller and the settings; a secret for one call is used up. The caller of this method must check
        that the key is still valid. Raises `Unauthenticated`.
        """
        identity, held = self._find(surface, secret)
        if held.once:
            self._drop(identity)
        if held.expires_ns <= self._clock.now_ns():
            raise _invalid()
        return held.principal, held.settled

    def holder(self, surface: str, secret: str) -> Principal:
        """Return the caller of a token. Raises `Unauthenticated`, also for a secret for one call, which is not used
        up.
        """
        if not secret.startswith(TOKEN_PREFIX):
            raise _invalid()
        return self.redeem(surface, secret)[0]

    def visitor(self, surface: str, secret: str, path: str) -> Principal:
        """Return the caller of a token for that path. Raises `Unauthenticated`."""
        _, held = self._find(surface, secret, path)
        if held.expires_ns <= self._clock.now_ns():
            raise _invalid()
        return held.principal

    def _find(self, surface: str, secret: str, path: str = "") -> tuple[str, _Held]:
        if len(secret) > form.MAX_LENGTH:
            raise _invalid()
        identity = secret[_ID_START:_ID_END]
        held = self._held.get(identity)
        right = hmac.compare_digest(form.digest(secret), held.digest if held else _NO_DIGEST)
        if held is None or not right or (held.surface, held.path) != (surface, path):
            raise _invalid()
        return identity, held

    def _sweep(self) -> None:
        now_ns = self._clock.now_ns()
        for identity in [each for each, held in self._held.items() if held.expires_ns <= now_ns]:
            self._drop(identity)

    def _drop(self, identity: str) -> None:
        held = self._held.pop(identity)
        project = held.principal.project
        self._bytes[project] -= len(held.settled)
        self._of_project[project] -= 1
        if not self._of_project[project]:
            del self._of_project[project], self._bytes[project]


def _invalid() -> Unauthenticated:
    return Unauthenticated("the temporary key is not valid: it was already used, or it has expired")
