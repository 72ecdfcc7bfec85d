"""Who calls: the check of a credential, whatever its kind is."""

from dataclasses import replace

from antiphon.core.errors import InvalidSignature, PolicyError, Unauthenticated
from antiphon.core.identity import Principal, Scope
from antiphon.core.ports import Clock
from antiphon.core.routing import CallRow, DialogueRow, Row
from antiphon.core.wire import Bearer, Credential, Opening, Pending, Signed
from antiphon.trust.auth import KeyRing
from antiphon.trust.ephemeral import PATH_PREFIX, EphemeralSecrets, stands_for_a_key
from antiphon.trust.oidc import Oidc, is_token
from antiphon.trust.pairs import Pairs
from antiphon.trust.sign_in import SignIns, is_session
from antiphon.trust.signatures import Replays, holds


class Callers:
    """The callers of this server: by keys, by `secrets` that stand for them for a while, by signatures with a key or
    one of the `pairs`, and for its management by tokens of an OpenID provider (`oidc`) or sessions of people who signed
    in with it (`sign_ins`).
    """

    def __init__(
        self,
        keys: KeyRing,
        secrets: EphemeralSecrets,
        clock: Clock,
        pairs: Pairs | None = None,
        oidc: Oidc | None = None,
        sign_ins: SignIns | None = None,
    ) -> None:
        self._keys = keys
        self._secrets = secrets
        self._clock = clock
        self._pairs = pairs
        self._oidc = oidc
        self._sign_ins = sign_ins
        self._replays = Replays()

    def identify(
        self, row: Row, opening: Opening, credential: Credential | Pending | None, scope: Scope | None
    ) -> tuple[Principal, Opening]:
        """Return the caller, and the opening with the settings of a one-call secret. Raises `Unauthenticated`,
        `PolicyError`, `KeysUnavailable`.
        """
        if isinstance(credential, Bearer):
            secret = credential.secret
            if not stands_for_a_key(secret):
                return self._keys.authenticate(secret, scope), opening
            self._keys.check()
            if secret.startswith(PATH_PREFIX):
                visitor = self._secrets.visitor(row.surface, secret, opening.path)
                return self.owner(visitor, scope), opening
            if isinstance(row, DialogueRow) or (isinstance(row, CallRow) and row.by_secret):
                principal, settled = self._secrets.redeem(row.surface, secret)
                return self.owner(principal, scope), replace(opening, settled=settled)
            return self.owner(self._secrets.holder(row.surface, secret), scope), opening
        if isinstance(credential, Signed):
            principal, secret = self._signer(credential, scope)
            self._replays.admit(principal.key_id, credential.signature, self._clock.now_ns())
            return principal, replace(opening, signed_with=secret)
        return self._keys.authenticate(None, scope), opening

    def _signer(self, credential: Signed, scope: Scope | None) -> tuple[Principal, str]:
        """Return who signed, and with which key or pair. Nothing about a pair is revealed before its signature is
        verified. Raises `Unauthenticated`, `PolicyError`, `KeysUnavailable`.
        """
        if credential.secret:
            principal = self._keys.authenticate(credential.secret, scope)
            if not holds(credential, credential.secret):
                raise InvalidSignature("the request's signature is not valid")
            return principal, credential.secret
        pair = self._pairs.find(credential.id) if self._pairs else None
        if pair is None:
            raise Unauthenticated("the access key id is of no API key, and no API key was sent with the signature")
        key_id, secret = pair
        if not holds(credential, secret):
            raise InvalidSignature("the request's signature is not valid")
        return self._keys.identify(key_id, scope), secret

    def administrator(self, secret: str | None, scope: Scope | None, address: str) -> Principal:
        """Return who manages or inspects the server from an address: with the key itself, not a secret that stands for
        it, with a token of the OpenID provider, or in a session of a browser. Without a scope, any key may. Raises
        `Unauthenticated`, `PolicyError`, `KeysUnavailable`.
        """
        principal = self._vouched(secret) if secret else None
        if principal is None:
            return self.with_key(secret, scope, address)
        if scope is not None and scope not in principal.scopes:
            error = PolicyError(f"the caller has no role with the scope '{scope}'")
            error.key_id, error.project = principal.key_id, principal.project
            raise error
        return principal

    def _vouched(self, secret: str) -> Principal | None:
        """Return for whom the OpenID provider vouches; `None` if the secret is neither a token nor a session's."""
        if self._sign_ins is not None and is_session(secret):
            return self._sign_ins.holder(secret).principal
        return self._oidc.authenticate(secret) if self._oidc is not None and is_token(secret) else None

    def with_key(self, secret: str | None, scope: Scope | None, address: str) -> Principal:
        """Return who has a key, and nothing that stands for one, at an address. Raises as `administrator`."""
        principal = self._keys.authenticate(secret, scope)
        self._keys.check_limits(principal.key_id, address)
        return principal

    def owner(self, principal: Principal, scope: Scope | None) -> Principal:
        """Return the owner of a secret that replaces a key, with the limits that the key has now. Raises
        `Unauthenticated`, `PolicyError`.
        """
        if not self._keys.holds(principal.key_id):
            raise Unauthenticated("the API key that the client secret was made for is no longer valid")
        if scope is not None and scope not in principal.scopes:
            raise PolicyError(f"the API key does not have the scope '{scope}'")
        weight = self._keys.policy(principal.project).weight
        return replace(principal, weight=weight, models=self._keys.models(principal.key_id))
