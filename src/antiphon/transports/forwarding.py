"""The address of a caller behind proxies. `X-Forwarded-For` is believed from configured proxies only, since anybody can
send it: each proxy appends whom it heard from, so the last address that is not a proxy's own is the caller's.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

HEADER = "x-forwarded-for"
MAX_HOPS = 16


class Proxies:
    """The networks of the proxies that this server trusts."""

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        self._networks = tuple(networks)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def address(self, peer: str, forwarded: str) -> str:
        """Return the caller's address, given the peer's and the values of the header, joined by commas. It is empty,
        which no network includes, if a trusted proxy says something that is no address.
        """
        address = peer
        hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()][-MAX_HOPS:]
        while hops and self._trusts(address):
            address = _plain(hops.pop())
        return address

    def _trusts(self, address: str) -> bool:
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._networks)


NO_PROXIES = Proxies()


def _plain(hop: str) -> str:
    """Return the address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`; empty for others."""
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    return hop if _parsed(hop) else ""


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        return parsed.ipv4_mapped
    return parsed
