"""Sign-in of people in a browser: the authorization code flow of OpenID Connect, with PKCE, state and nonce.

What a sign-in needs until the provider sends the browser back is in a cookie of that browser, sealed by a key of this
process: a flood of beginnings takes no memory. An answer of the provider is taken once, within `PENDING_S`, from the
browser that asked. A session is a random secret, held here as a SHA-256 for at most `SESSION_S` and lost at a restart.
What the provider said last of a person's roles holds for all of their sessions.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import quote, urlencode, urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from antiphon.core.errors import CallerError, CapacityError, KeysUnavailable, PolicyError, Unauthenticated
from antiphon.core.identity import Principal
from antiphon.core.ports import Clock
from antiphon.trust.fetch import Answer
from antiphon.trust.oidc import Endpoints, Oidc, is_token

PREFIX = "si_"  # of a session's secret
CALLBACK = "/admin/v1/callback"
PENDING_S = 600  # between the beginning and the provider's answer
SESSION_S = 3_600
MAX_SESSIONS = 1_024
MAX_OF_PERSON = 16  # the oldest one ends when there is another
MAX_USED = 10_000  # answers that are remembered, to be taken once
MAX_PARAMETER_CHARS = 4_096  # of the provider's answer
MAX_ANSWER_BYTES = 64 * 1024
RETRY_AFTER_S = 5

_SECRET_BYTES, _NONCE_BYTES = 32, 12
_PLACE = b"antiphon: a sign-in"


class Exchange(Protocol):
    """How the provider is asked: a post by the guarded client."""

    def __call__(self, url: str, body: bytes, headers: Mapping[str, str], max_bytes: int, /) -> Awaitable[Answer]: ...


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where the browser goes, and the sealed cookie with which it must come back."""

    location: str
    pending: str


@dataclass(frozen=True, slots=True)
class Session:
    """A person who signed in, until a time."""

    principal: Principal
    expires_unix_ms: int


class SignIns:
    """The sign-ins and sessions of one server, which browsers reach at `url`. For one event loop."""

    def __init__(self, oidc: Oidc, exchange: Exchange, clock: Clock, url: str, secret: str = "") -> None:
        """Create it; `secret` is the client's at the provider, if that demands one."""
        self._oidc = oidc
        self._exchange = exchange
        self._clock = clock
        self._secret = secret
        self._sealer = AESGCM(AESGCM.generate_key(256))
        self._used: OrderedDict[str, int] = OrderedDict()  # states, with the time from which they are refused anyway
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()  # by digest, the oldest first
        parts = urlsplit(url)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.secure = parts.scheme == "https"
        self._returns = url.rstrip("/") + CALLBACK

    # -- the sign-in ---------------------------------------------------------------------------------------------------

    def begin(self) -> Beginning:
        """Begin a sign-in. Raises `KeysUnavailable` if the provider's addresses are not known."""
        endpoints = self._endpoints()
        state, nonce, verifier = (secrets.token_urlsafe(_SECRET_BYTES) for _ in range(3))
        query = {
            "response_type": "code",
            "client_id": self._oidc.provider.audience,
            "redirect_uri": self._returns,
            "scope": "openid",
            "state": state,
            "nonce": nonce,
            "code_challenge": _coded(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        joint = "&" if urlsplit(endpoints.authorization).query else "?"
        pending: list[str | int] = [state, nonce, verifier, self._clock.unix_ms() + 1000 * PENDING_S]
        return Beginning(f"{endpoints.authorization}{joint}{urlencode(query)}", self._seal(pending))

    async def finish(self, query: Mapping[str, str], pending: str) -> tuple[str, Session]:
        """Return a new session and its secret for the provider's answer and the browser's cookie. Raises
        `Unauthenticated`, `PolicyError` for a person without a role, `KeysUnavailable`, `CapacityError`.
        """
        state, nonce, verifier, expires_ms = self._unseal(pending)
        if not hmac.compare_digest(query.get("state", "").encode(), state.encode()):
            raise Unauthenticated("the sign-in was begun elsewhere: its state is another one")
        self._use(state, expires_ms)
        endpoints, issuer = self._endpoints(), self._oidc.provider.issuer
        if query.get("iss", "" if endpoints.names_issuer else issuer) != issuer:
            raise Unauthenticated("the answer is of another issuer")
        code = query.get("code", "")
        if "error" in query or not code:
            raise Unauthenticated("the provider did not sign in")
        if len(code) > MAX_PARAMETER_CHARS:
            raise Unauthenticated("the provider's code is too long")
        token = await self._redeem(endpoints, code, verifier)
        try:
            principal = await self._verified(token, nonce)
        except PolicyError as error:  # the provider says that they have no role any more
            self._end_all(error.key_id)
            raise
        return self._open(principal)

    async def _verified(self, token: str, nonce: str) -> Principal:
        try:
            return self._oidc.authenticate(token, nonce)
        except Unauthenticated:
            await self._oidc.look()  # the key may be a new one
            return self._oidc.authenticate(token, nonce)

    async def _redeem(self, endpoints: Endpoints, code: str, verifier: str) -> str:
        """Return the ID token for a code. Raises `Unauthenticated`, `KeysUnavailable`."""
        id = self._oidc.provider.audience
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self._returns}
        form |= {"client_id": id, "code_verifier": verifier}
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        if self._secret and endpoints.by_form:
            form["client_secret"] = self._secret
        elif self._secret:  # RFC 6749, 2.3.1
            pair = f"{quote(id, safe='')}:{quote(self._secret, safe='')}".encode()
            headers["authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        try:
            answer = await self._exchange(endpoints.token, urlencode(form).encode(), headers, MAX_ANSWER_BYTES)
        except (CallerError, CapacityError):
            raise KeysUnavailable("The OpenID provider cannot be reached.", retry_after_s=RETRY_AFTER_S) from None
        if answer.status >= 500:
            raise KeysUnavailable("The OpenID provider has failed.", retry_after_s=RETRY_AFTER_S)
        try:
            fields = json.loads(answer.body) if answer.status == 200 else {}
        except ValueError:
            fields = {}
        token = fields.get("id_token") if isinstance(fields, dict) else None
        if not isinstance(token, str) or not is_token(token):
            raise Unauthenticated("the provider gave no ID token for the code")
        return token

    def _use(self, state: str, expires_ms: int) -> None:
        """Take a state, once. Raises `Unauthenticated`."""
        now_ms = self._clock.unix_ms()
        while self._used and (next(iter(self._used.values())) <= now_ms or len(self._used) >= MAX_USED):
            self._used.popitem(last=False)
        if state in self._used:
            raise Unauthenticated("the sign-in was used already")
        self._used[state] = expires_ms

    def _endpoints(self) -> Endpoints:
        if self._oidc.endpoints is None:
            raise KeysUnavailable("The OpenID provider's addresses are not known.", retry_after_s=RETRY_AFTER_S)
        return self._oidc.endpoints

    def _seal(self, pending: list[str | int]) -> str:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _coded(nonce + self._sealer.encrypt(nonce, json.dumps(pending).encode(), _PLACE))

    def _unseal(self, sealed: str) -> tuple[str, str, str, int]:
        """Return state, nonce, verifier and end of a sign-in. Raises `Unauthenticated`."""
        try:
            raw = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
            opened = self._sealer.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _PLACE)
        except (ValueError, InvalidTag):
            raise Unauthenticated("no sign-in was begun in this browser, or the server was restarted") from None
        state, nonce, verifier, expires_ms = json.loads(opened)
        if self._clock.unix_ms() >= expires_ms:
            raise Unauthenticated("the sign-in took too long")
        return state, nonce, verifier, expires_ms

    # -- sessions ------------------------------------------------------------------------------------------------------

    def holder(self, secret: str) -> Session:
        """Return the session with this secret. Raises `Unauthenticated`."""
        session = self._sessions.get(_digest(secret))
        if session is None or self._clock.unix_ms() >= session.expires_unix_ms:
            raise Unauthenticated("the session has ended: sign in again")
        return session

    def end(self, secret: str) -> None:
        """End a session, if there is one."""
        self._sessions.pop(_digest(secret), None)

    def _open(self, principal: Principal) -> tuple[str, Session]:
        now_ms = self._clock.unix_ms()
        held = [(key, each) for key, each in self._sessions.items() if each.expires_unix_ms > now_ms]
        self._sessions = OrderedDict(
            (key, replace(each, principal=principal) if each.principal.key_id == principal.key_id else each)
            for key, each in held
        )
        own = [key for key, each in self._sessions.items() if each.principal.key_id == principal.key_id]
        for key in own[: max(0, len(own) - MAX_OF_PERSON + 1)]:
            del self._sessions[key]
        if len(self._sessions) >= MAX_SESSIONS:
            raise CapacityError("Too many people are signed in.", retry_after_s=RETRY_AFTER_S)
        secret = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        session = self._sessions[_digest(secret)] = Session(principal, now_ms + 1000 * SESSION_S)
        return secret, session

    def _end_all(self, person: str) -> None:
        for key in [key for key, each in self._sessions.items() if each.principal.key_id == person]:
            del self._sessions[key]


def is_session(secret: str) -> bool:
    """Return whether a secret has the form of a session's."""
    return secret.startswith(PREFIX)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def _coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
