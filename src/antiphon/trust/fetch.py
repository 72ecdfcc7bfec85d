"""The only way to fetch a caller's URL, or to post to it.

Only http and https; only public internet addresses, checked after resolution and then connected to, so that a name that
resolves differently the second time gains nothing; redirects followed here and checked again; no proxy, cookie or
stored credential of this machine; size and time bounded; no compressed answers, which could expand. Messages never
repeat the URL: it may contain a secret.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeVar

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from antiphon.core.errors import CallerError, CapacityError, TooLarge

Network = IPv4Network | IPv6Network
T = TypeVar("T")

RESOLVE_S = 10.0  # the timeout of name resolution

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# In the public range, but not for public use (RFC 6890, RFC 7526), and the metadata address of a cloud in that range.
_NOT_PUBLIC_V4 = tuple(map(IPv4Network, ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32")))
_GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")  # RFC 4291, as far as it is allocated
_SIX_TO_FOUR = IPv6Network("2002::/16")
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Limits; `total_s` bounds a whole fetch, redirects included; `at_once` is the number of concurrent ones."""

    max_bytes: int = 128 * 1024 * 1024
    total_s: int = 60
    max_redirects: int = 5
    at_once: int = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered to a post."""

    status: int
    content_type: str
    body: bytes


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address, and any IPv4 address inside it, is of the public internet."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
        return address in _GLOBAL_UNICAST_V6 and address.is_global and address not in _SIX_TO_FOUR
    return address.is_global and not address.is_multicast and not any(address in net for net in _NOT_PUBLIC_V4)


class Fetcher:
    """Fetches under `limits`, also from the networks of `allow_private`, although they are not public."""

    def __init__(self, limits: FetchLimits | None = None, *, allow_private: tuple[Network, ...] = ()) -> None:
        self._limits = limits or FetchLimits()
        self._resolver = _CheckedResolver(allow_private, self._limits.at_once)
        self._under_way = 0

    async def fetch(self, url: str, max_bytes: int | None = None) -> bytes:
        """Return the body at `url`, of at most `max_bytes` if that is below the limit. Raises `CallerError`, `TooLarge`
        or `CapacityError`.
        """
        most_bytes = min(self._limits.max_bytes, max_bytes or self._limits.max_bytes)
        return await self._guarded(lambda: self._follow(_parsed(url), most_bytes))

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Post `body`; return the answer's status, without reading its body. Redirects are not followed. Raises as
        `fetch`.
        """
        return await self._guarded(lambda: self._send("POST", _parsed(url), body, headers))

    async def put(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Put `body`, as `post` does."""
        return await self._guarded(lambda: self._send("PUT", _parsed(url), body, headers))

    async def exchange(self, url: str, body: bytes, headers: Mapping[str, str], max_bytes: int) -> Answer:
        """Post as `post` does, and return the answer with a body of at most `max_bytes`."""
        return await self._guarded(lambda: self._exchange(_parsed(url), body, headers, max_bytes))

    async def _guarded(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` within the limits. Raises `CallerError`, `TooLarge` or `CapacityError`."""
        if self._under_way >= self._limits.at_once:
            raise CapacityError("Too many URLs are being fetched.", retry_after_s=5)
        self._under_way += 1
        try:
            async with asyncio.timeout(self._limits.total_s):
                return await work()
        except TimeoutError:
            raise _refused(f"The URL took longer than {self._limits.total_s} s to fetch.") from None
        except CallerError:
            raise
        except aiohttp.ClientConnectorCertificateError:
            raise _refused("The URL's host has no valid certificate.") from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise _refused("The URL could not be fetched: its host could not be reached or broke off.") from None
        finally:
            self._under_way -= 1

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(resolver=self._resolver, use_dns_cache=False, force_close=True)
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "antiphon"},
        )

    async def _send(self, method: str, url: URL, body: bytes, headers: Mapping[str, str]) -> int:
        async with self._session() as session:
            self._resolver.check_literal(url)
            async with session.request(method, url, data=body, headers=headers, allow_redirects=False) as response:
                return response.status

    async def _exchange(self, url: URL, body: bytes, headers: Mapping[str, str], max_bytes: int) -> Answer:
        async with self._session() as session:
            self._resolver.check_literal(url)
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                content = await response.content.read(max_bytes + 1)
                while len(content) <= max_bytes and (more := await response.content.read(max_bytes + 1)):
                    content += more
                if len(content) > max_bytes:
                    raise TooLarge(f"The answer of the URL is larger than {max_bytes} bytes.", param="url")
                return Answer(response.status, response.content_type, content)

    async def _follow(self, url: URL, max_bytes: int) -> bytes:
        async with self._session() as session:
            for _ in range(self._limits.max_redirects + 1):
                self._resolver.check_literal(url)
                async with session.get(url, allow_redirects=False) as response:
                    if response.status not in _REDIRECTS:
                        return await self._body(response, max_bytes)
                    location = response.headers.get("Location", "")
                url = _parsed(str(url.join(URL(location))))
        raise _refused(f"The URL redirects more than {self._limits.max_redirects} times.")

    async def _body(self, response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
        if response.status != 200:
            raise _refused(f"The URL answers with status {response.status}.")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise _refused("The URL answers with compressed content, though it was asked not to.")
        body = bytearray()
        if (response.content_length or 0) <= max_bytes:
            async for part in response.content.iter_any():
                body += part
                if len(body) > max_bytes:
                    break
            else:
                return bytes(body)
        raise TooLarge(f"The content of the URL is larger than the {max_bytes} bytes that are allowed.", param="url")


class _CheckedResolver(AbstractResolver):
    """Resolves names to allowed addresses, or raises `CallerError`.

    One forbidden address among several is enough to refuse: no honest name has one. Name servers may be slow, so the
    resolution has its own threads.
    """

    def __init__(self, allow_private: tuple[Network, ...], threads: int) -> None:
        self._allow_private = allow_private
        self._pool = ThreadPoolExecutor(threads, "names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        async with asyncio.timeout(RESOLVE_S):
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._pool, _look_up, host, port, family)
        for result in found:
            self._check(result["host"])
        return found

    def check_literal(self, url: URL) -> None:
        """Check a URL's literal address, which is connected to without resolution. As in aiohttp, numbers such as 127.1
        count, which only the system's own parser understands.
        """
        host = url.host or ""
        if ":" in host or host.replace(".", "").isdigit():
            self._check(host)

    async def close(self) -> None:
        """Do nothing: there are no resources, and the session that calls this is not the only user."""

    def _check(self, text: str) -> None:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise _refused("The URL's host is neither a name nor an address in its usual form.") from None
        if not is_public(address) and not any(address in network for network in self._allow_private):
            raise _refused("The URL leads to an address that is not on the public internet.")


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return [
        ResolveResult(hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=flags)
        for kind, _, proto, _, address in found
    ]


def _parsed(text: str) -> URL:
    try:
        url = URL(text)
    except ValueError:
        raise _refused("The URL is malformed.") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise _refused("The URL must begin with http:// or https:// and name a host.")
    return url


def _refused(message: str) -> CallerError:
    return CallerError(message, param="url")
