"""Who may read the operators' pages: metrics, and the document of the management API."""

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

from antiphon.core.errors import PolicyError
from antiphon.core.identity import Principal
from antiphon.core.identity import Scope as Permission
from antiphon.transports.opening import address_of

_PASSED_ON = ("forwarded", "x-forwarded-for", "x-real-ip", "via")  # behind a proxy the caller's address is unknown


class Inspectors:
    """Callers on the networks `open_to` without a proxy, and keys with the scope `usage` or `admin`."""

    def __init__(
        self,
        authenticate: Callable[[str | None, Permission | None, str], Principal],
        open_to: Sequence[IPv4Network | IPv6Network],
    ) -> None:
        self._authenticate = authenticate
        self._open_to = open_to

    def check(self, scope: Scope) -> None:
        """Check the caller. Raises `Unauthenticated` or `PolicyError`."""
        headers = Headers(scope=scope)
        if self._is_open(scope, headers):
            return
        kind, _, secret = headers.get("authorization", "").partition(" ")
        principal = self._authenticate(secret.strip() if kind.lower() == "bearer" else None, None, address_of(scope))
        if not principal.scopes & {Permission.USAGE, Permission.ADMIN}:
            raise PolicyError(f"the API key has neither the scope '{Permission.USAGE}' nor '{Permission.ADMIN}'")

    def _is_open(self, scope: Scope, headers: Headers) -> bool:
        client = scope.get("client")
        if not client or any(name in headers for name in _PASSED_ON):
            return False
        try:
            address = ip_address(client[0].partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._open_to)
