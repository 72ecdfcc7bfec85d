"""Sign-in to the management API with ID tokens of an OpenID provider (OpenID Connect Core 1.0, 3.1.3.7).

The provider's keys are found by discovery and read again every `REFRESH_S`, and soon after a token has named an unknown
one. A token is valid if a key of the provider signed it with an asymmetric algorithm, for this server (`aud`), and
`iss`, `exp`, `iat` and `nbf` hold by the server's clock, which never goes back. A claim of it names roles, which the
configuration maps to ours. Tokens call no model: vendors' APIs take keys only.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from antiphon.core.errors import AntiphonError, KeysUnavailable, PolicyError, Unauthenticated
from antiphon.core.identity import DEFAULT_PROJECT, ROLES, AccessRole, Principal
from antiphon.core.ports import Clock
from antiphon.core.units import NS_PER_S

if TYPE_CHECKING:
    from jwt import PyJWK

DISCOVERY = "/.well-known/openid-configuration"
ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "EdDSA")  # asymmetric ones only
KEY_TYPES = frozenset(("RSA", "EC", "OKP"))
REFRESH_S = 600.0
SOON_NS = 10 * NS_PER_S  # between two readings because of an unknown key
LOOK_S = 1.0
STALE_NS = 24 * 3_600 * NS_PER_S  # after which keys that cannot be read again are not used any more
LEEWAY_S = 60  # by which the provider's clock may differ
MAX_TOKEN_CHARS = 16 * 1024
MAX_KEYS = 64
PREFIX = "oidc:"  # of the id of a caller without a key, for the audit log

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_SUBJECT = re.compile(r"[A-Za-z0-9._@|:+-]{1,128}")

log = logging.getLogger(__name__)

Fetch = Callable[[str], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The provider's addresses for signing people in, as discovery says; `by_form` is whether the token endpoint takes
    a client secret in the form only, `names_issuer` whether its answers name the issuer (RFC 9207).
    """

    authorization: str
    token: str
    by_form: bool = False
    names_issuer: bool = False


@dataclass(frozen=True, slots=True)
class Provider:
    """An OpenID provider: its issuer URL, our id there (`audience`), the `claim` that names roles (`a.b` is `b` in `a`,
    unless there is a claim `a.b`), what its values mean, and the project that those who sign in belong to.
    """

    issuer: str
    audience: str
    claim: str = "roles"
    roles: Mapping[str, AccessRole] = field(default_factory=dict)
    project: str = DEFAULT_PROJECT


def is_token(secret: str) -> bool:
    """Return whether this is a signed token (JWS) by its form, and no key."""
    return len(secret) <= MAX_TOKEN_CHARS and _FORM.fullmatch(secret) is not None


class Oidc:
    """The callers that a provider vouches for. For one event loop; `watch` must run beside it."""

    def __init__(self, provider: Provider, fetch: Fetch, clock: Clock) -> None:
        self._provider = provider
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, PyJWK] = {}
        self.endpoints: Endpoints | None = None  # for signing in, once they are known
        self._read_ns: int | None = None  # when the keys were read last
        self._tried_ns = clock.now_ns() - SOON_NS
        self._wanted = asyncio.Event()
        self._wanted.set()

    @property
    def provider(self) -> Provider:
        return self._provider

    def authenticate(self, token: str, nonce: str | None = None) -> Principal:
        """Return the caller of a valid token; with a nonce, of one that was issued to us for the request with it.
        Raises `Unauthenticated`, `PolicyError` if it names no role, and `KeysUnavailable` if the provider's keys are
        not known.
        """
        claims = self._verified(token)
        if nonce is not None:
            if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
                raise Unauthenticated("the token was issued for another sign-in")
            if claims.get("azp", self._provider.audience) != self._provider.audience:
                raise Unauthenticated("the token was issued to another client")
        known = self._provider.roles
        roles = {known[each] for each in _values(claims, self._provider.claim) if each in known}
        id = _id(claims["sub"])
        if not roles:
            error = PolicyError(f"the token names no role for this server in {self._provider.claim!r}")
            error.key_id, error.project = id, self._provider.project
            raise error
        return Principal(self._provider.project, id, frozenset().union(*(ROLES[role] for role in roles)))

    def _verified(self, token: str) -> dict[str, Any]:
        import jwt

        now_ns = self._clock.now_ns()
        if self._read_ns is None or now_ns - self._read_ns > STALE_NS:
            self._wanted.set()
            raise KeysUnavailable("The provider's keys are not known at the moment.", retry_after_s=1)
        try:
            key = self._keys.get(str(jwt.get_unverified_header(token).get("kid", "")))
            if key is None:
                self._wanted.set()
                raise Unauthenticated("the token is signed with a key that the provider does not list")
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name] if key.algorithm_name in ALGORITHMS else [],
                audience=self._provider.audience,
                issuer=self._provider.issuer,
                # Times are checked by our own clock.
                options={
                    "require": ["exp", "iat", "aud", "iss", "sub"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except jwt.PyJWTError:
            raise Unauthenticated("the token is not valid") from None
        self._check_times(claims)
        audiences = claims["aud"]
        if isinstance(audiences, list) and len(audiences) > 1 and claims.get("azp") != self._provider.audience:
            raise Unauthenticated("the token was issued to another client")
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now_s = self._clock.unix_ms() // 1000
        times = [claims["exp"], claims["iat"], claims.get("nbf", 0)]
        if not all(isinstance(each, int | float) for each in times):
            raise Unauthenticated("the token is not valid")
        expires, issued, begins = times
        if now_s >= expires + LEEWAY_S:
            raise Unauthenticated("the token has expired")
        if max(issued, begins) > now_s + LEEWAY_S:
            raise Unauthenticated("the token is not valid yet")

    async def watch(self) -> None:
        """Read the provider's keys when they are due, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Read the keys if they are due. A failure is logged, and earlier keys stay for `STALE_NS`."""
        now_ns = self._clock.now_ns()
        due = self._read_ns is None or now_ns - self._read_ns >= REFRESH_S * NS_PER_S
        if not (due or self._wanted.is_set()) or now_ns - self._tried_ns < SOON_NS:
            return
        self._tried_ns = now_ns
        self._wanted.clear()
        try:
            self._keys = await self._read()
        except (AntiphonError, ValueError) as error:
            log.error("the keys of the OpenID provider cannot be read", extra={"reason": str(error)})
            return
        self._read_ns = now_ns

    async def _read(self) -> "dict[str, PyJWK]":
        """Return the provider's keys by their ids. Raises `AntiphonError`, `ValueError`."""
        import jwt

        found = json.loads(await self._fetch(self._provider.issuer.rstrip("/") + DISCOVERY))
        if not isinstance(found, dict) or found.get("issuer") != self._provider.issuer:
            raise ValueError("the document at its address is of another issuer")
        address = found.get("jwks_uri")
        if not isinstance(address, str) or not is_safe(address):
            raise ValueError("its jwks_uri is not an https URL")
        self.endpoints = _endpoints(found)
        listed = json.loads(await self._fetch(address))
        keys = listed.get("keys") if isinstance(listed, dict) else None
        if not isinstance(keys, list):
            raise ValueError("its keys are not a JSON Web Key Set")
        known: dict[str, PyJWK] = {}
        for each in keys[:MAX_KEYS]:
            usable = isinstance(each, dict) and each.get("kty") in KEY_TYPES and each.get("use", "sig") == "sig"
            if usable and isinstance(each.get("kid"), str):
                try:
                    known[each["kid"]] = jwt.PyJWK.from_dict(each)
                except jwt.PyJWTError:  # of a kind that is not known here
                    continue
        return known


def _endpoints(document: Mapping[str, Any]) -> Endpoints | None:
    """Return the addresses for signing in; `None` if the provider's document has no safe ones."""
    authorization, token = document.get("authorization_endpoint"), document.get("token_endpoint")
    if not all(isinstance(each, str) and is_safe(each) for each in (authorization, token)):
        return None
    methods = document.get("token_endpoint_auth_methods_supported")
    by_form = isinstance(methods, list) and "client_secret_basic" not in methods and "client_secret_post" in methods
    named = document.get("authorization_response_iss_parameter_supported") is True
    return Endpoints(str(authorization), str(token), by_form, named)


def is_safe(url: str) -> bool:
    """Return whether what is read from this URL can be trusted: over TLS, or from this machine."""
    return url.startswith("https://") or re.match(r"http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?/", url) is not None


def _values(claims: Mapping[str, Any], claim: str) -> list[str]:
    """Return the texts in a claim, which is one or a list of them."""
    found: Any = claims.get(claim)
    if found is None:
        found = claims
        for part in claim.split("."):
            found = found.get(part) if isinstance(found, dict) else None
    return [each for each in (found if isinstance(found, list) else [found]) if isinstance(each, str)]


def _id(subject: object) -> str:
    """Return the id of a subject for the audit log; a hash for one that is not plain."""
    text = str(subject)
    if not _SUBJECT.fullmatch(text):
        text = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]
    return PREFIX + text
