"""Validity of keys and policies of projects: the same on every transport, from a view in memory.

The view follows the directory within `POLL_INTERVAL_NS` of `refresh`, which the server calls from its ticker, so a
revocation in any process reaches open streams (they call `holds`) and new calls within a second. If it cannot follow,
because the database is gone, replaced or unreadable, no key is accepted: it could have been revoked meanwhile. Digests
are compared in constant time; only a caller with the whole key learns why it is not accepted.
"""

import hmac
from collections.abc import Container, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from antiphon.core.errors import (
    AddressNotAllowed,
    Busy,
    InternalError,
    KeysUnavailable,
    PolicyError,
    Unauthenticated,
)
from antiphon.core.identity import (
    ENVIRONMENT_KEY_ID,
    NO_LIMITS,
    NO_ORGANISATION,
    Key,
    Organisation,
    Principal,
    Project,
    Scope,
    Webhook,
)
from antiphon.core.labels import labels_of
from antiphon.core.policy import STRICTEST, UNREADABLE, Policy
from antiphon.core.ports import Clock
from antiphon.core.stores import Directory, DirectoryView
from antiphon.core.units import NS_PER_S
from antiphon.trust import keys as form
from antiphon.trust.profiles import Profiles

POLL_INTERVAL_NS = 250_000_000
MAX_BUSY_NS = 5 * NS_PER_S  # for which a writer's lock may prevent reading
MAX_UNREAD_NS = 60 * NS_PER_S  # for which open calls continue while keys cannot be read
RETRY_AFTER_S = 5
WEBHOOKS = b"antiphon webhooks"
_NO_DIGEST = bytes(32)
_UNREADABLE = Organisation(UNREADABLE, STRICTEST.budgets, STRICTEST.limits)


class KeyRing:
    """The server's view of the directory. For one thread; no method waits for a lock."""

    def __init__(self, directory: Directory, clock: Clock, profiles: Profiles | None = None) -> None:
        """Read the directory. Policies are at least as strict as `profiles` say. Raises `InternalError` if it cannot be
        read.
        """
        self._clock = clock
        self._profiles = profiles or Profiles()
        self._uses: dict[str, int] = {}
        self._follower = directory.follow()
        self._polled_ns = 0
        self._followed_ns = clock.now_ns()
        self._trouble: str | None = None
        self._busy = False  # the last poll found the directory locked by a writer
        self._view: DirectoryView | None = None
        self._policies: dict[str, Policy] = {}  # in force, as every call asks for them several times
        self._poll()
        if self._view is None:
            raise InternalError("the keys cannot be read")

    @property
    def trouble(self) -> str | None:
        """The reason why no key is accepted, without secrets; `None` if the keys are known."""
        return self._trouble

    @property
    def unknown_for_long(self) -> bool:
        """Whether open calls must end, too, since a revocation would not have been seen."""
        return self._trouble is not None and self._clock.now_ns() - self._followed_ns > MAX_UNREAD_NS

    def unix_ms(self) -> int:
        """Return the time against which keys expire."""
        return self._clock.unix_ms()

    def authenticate(self, secret: str | None, scope: Scope | None) -> Principal:
        """Return the caller of a valid key with this scope.

        Raises `Unauthenticated` without a valid key, `PolicyError` without the scope, `KeysUnavailable` if the keys are
        not known.
        """
        if not secret:
            raise Unauthenticated("no API key was sent")
        self.check()
        found = self._find(secret)
        if found is None:
            self._poll()  # it may be new
            self.check()
            found = self._find(secret)
        if found is None:
            parsed = form.parse(secret)
            if parsed is not None and not parsed.intact:
                raise Unauthenticated("the API key is mistyped: its checksum does not match")
            if self._busy:  # it may be among what could not be read
                raise KeysUnavailable("API keys cannot be checked at the moment.", retry_after_s=1)
            raise Unauthenticated("the API key is not valid")
        return self._admit(found, scope)

    def identify(self, key_id: str, scope: Scope | None) -> Principal:
        """Return the caller who proved possession of a key by other means, such as a signature. Raises as
        `authenticate`.
        """
        self.check()
        if key_id not in self._known.keys:
            self._poll()
            self.check()
        if key_id not in self._known.keys:
            raise Unauthenticated("the API key is not valid")
        return self._admit(self._known.keys[key_id][0], scope)

    def _admit(self, found: Key, scope: Scope | None) -> Principal:
        """Return the caller. Raises `Unauthenticated` for a key that is not valid now, `PolicyError` for one without
        the scope.
        """
        if not found.holds(self._clock.unix_ms()):
            revoked = found.revoked_unix_ms is not None
            raise _of(found, Unauthenticated("the API key was revoked" if revoked else "the API key has expired"))
        if scope is not None and scope not in found.scopes:
            raise _of(found, PolicyError(f"the API key does not have the scope '{scope}'"))
        self._uses[found.id] = self._clock.unix_ms()
        models = found.limits.models
        return Principal(found.project, found.id, found.scopes, self.policy(found.project).weight, models)

    def check_limits(self, key_id: str, address: str, surface: str = "") -> None:
        """Raise `PolicyError` if a key may not be used from this address, or on this surface (if one is given). This
        holds for everything that stands for the key, too.
        """
        found = self._known.keys.get(key_id)
        if found is None or found[0].limits == NO_LIMITS:
            return
        key = found[0]
        if key.limits.networks and not within(address, key.limits.networks):
            raise _of(key, AddressNotAllowed("the API key may not be used from this address"))
        if surface and key.limits.surfaces and surface not in key.limits.surfaces:
            raise _of(
                key, PolicyError(f"the API key may not be used on this API; it may on {', '.join(key.limits.surfaces)}")
            )

    def models(self, key_id: str) -> tuple[str, ...]:
        """Return patterns of the models that a key may use; empty for all."""
        found = self._known.keys.get(key_id)
        return found[0].limits.models if found else ()

    def ids(self) -> Container[str]:
        """Return the ids of all keys, including those that are not valid any more."""
        return self._known.keys

    def take_uses(self) -> dict[str, int]:
        """Return the time of the last use of each key that was used since the last time, and forget it."""
        uses, self._uses = self._uses, {}
        return uses

    def check(self) -> None:
        """Raise `KeysUnavailable` if the valid keys are not known."""
        if self._trouble is not None:
            raise KeysUnavailable("API keys cannot be checked at the moment.", retry_after_s=RETRY_AFTER_S)

    def holds(self, key_id: str) -> bool:
        """Return whether a key that was authenticated before is still valid."""
        found = self._known.keys.get(key_id)
        return found is not None and found[0].holds(self._clock.unix_ms())

    def policy(self, project: str) -> Policy:
        """Return the project's policy, with what its profile requires; the strictest if the project is not known."""
        policy = self._policies.get(project)
        if policy is None:
            found = self._known.projects.get(project)
            if found is None:
                return STRICTEST
            policy = self._policies[project] = self._profiles.effective(project, found.policy)
        return policy

    def projects(self) -> Mapping[str, Project]:
        """Return all projects by id: the same object until the directory changes."""
        return self._known.projects

    def organisation(self, organisation: str) -> Organisation:
        """Return an organisation: the same object until the directory changes; the strictest if it is not readable."""
        if organisation == UNREADABLE:
            return _UNREADABLE
        return self._known.organisations.get(organisation, NO_ORGANISATION)

    def labels(self, project: str, tags: tuple[str, ...]) -> tuple[str, ...]:
        """Return what the ledger may keep of a caller's tags."""
        return labels_of(tags, self.policy(project).tags, self._known.tag_keys.get(project)) if tags else ()

    def webhook_secret(self, key_id: str) -> bytes:
        """Return the secret that signs messages to the owner of a key, who can derive it, too: HMAC-SHA256 with the
        SHA-256 of the key, over `WEBHOOKS`. Empty for an invalid key.
        """
        found = self._known.keys.get(key_id)
        return hmac.digest(found[1], WEBHOOKS, "sha256") if found and self.holds(key_id) else b""

    def webhooks(self, project: str) -> Sequence[Webhook]:
        """Return the project's webhooks that are not disabled, oldest first."""
        known = self._known.webhooks.values()
        return [each for each in known if each.project == project and not each.disabled]

    def refresh(self) -> None:
        """Update the view from the database; `trouble` reports a failure. Fast enough for every tick."""
        if self._clock.now_ns() - self._polled_ns >= POLL_INTERVAL_NS:
            self._poll()

    def reread(self) -> None:
        """Update the view now, after a change by this server."""
        self._poll()

    def close(self) -> None:
        self._follower.close()

    def _find(self, secret: str) -> Key | None:
        if len(secret) > form.MAX_LENGTH:
            return None
        digest = form.digest(secret)
        parsed = form.parse(secret)
        # A key from the environment may have any form, also that of a minted one.
        for key_id in (parsed.id if parsed else "", ENVIRONMENT_KEY_ID):
            key, expected = self._known.keys.get(key_id, (None, _NO_DIGEST))
            if hmac.compare_digest(digest, expected) and key is not None:
                return key
        return None

    @property
    def _known(self) -> DirectoryView:
        assert self._view is not None  # else the constructor would have raised
        return self._view

    def _poll(self) -> None:
        self._polled_ns = now_ns = self._clock.now_ns()
        self._busy = False
        try:
            if (changed := self._follower.poll()) is not None:
                self._view, self._policies = changed, {}
        except Exception as error:
            self._busy = isinstance(error, Busy)
            if not self._busy or now_ns - self._followed_ns > MAX_BUSY_NS:
                known = isinstance(error, KeysUnavailable)
                self._trouble = str(error) if known else "the keys cannot be read: a defect"
        else:
            self._followed_ns, self._trouble = now_ns, None


@lru_cache(1024)
def _parsed(networks: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(map(ip_network, networks))


def within(address: str, networks: tuple[str, ...]) -> bool:
    """Return whether an address is in one of the networks (CIDR). One that is not known is in none."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in _parsed(networks))


def _of(key: Key, error: PolicyError) -> PolicyError:
    """Return an error about a known key, with its id and project."""
    error.key_id, error.project = key.id, key.project
    return error
