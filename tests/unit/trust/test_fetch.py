"""The guarded fetcher against servers on the loopback, which it must be told to allow, and against what it must not.

Names are resolved by a stand-in, so nothing leaves the machine.
"""

import asyncio
import gzip
import socket
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from event_loop import later, settle

from antiphon.core.errors import CallerError, CapacityError, TooLarge
from antiphon.trust import fetch
from antiphon.trust.fetch import Fetcher, FetchLimits, is_public

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "169.254.169.254"),
        *("172.16.0.1", "192.168.1.1", "192.0.0.192", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
        *("255.255.255.255", "168.63.129.16", "192.88.99.1", "198.51.100.1", "203.0.113.1"),
        *("::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "100::1"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"),
        *("2002:7f00:1::", "2002:0808:0808::", "2001:0:1::1", "::127.0.0.1", "fe80::1%eth0"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_that_are(address: str) -> None:
    assert is_public(ip_address(address))


class Site:
    """A server whose answers a test writes, and the names that lead somewhere."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.requests: list[web.Request] = []
        self.answer: object = web.Response(body=b"sound")
        app = web.Application()
        app.router.add_get("/{path:.*}", self._handle)
        app.router.add_post("/{path:.*}", self._handle)
        self.server = TestServer(app, host="127.0.0.1")

        def look_up(host: str, port: int = 0, family: int = 0) -> list[dict[str, object]]:
            self.asked.append(host)
            addresses = self.names[host]
            kinds = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]
            return [
                {"hostname": host, "host": address, "port": port, "family": kind, "proto": 0, "flags": 0}
                for address, kind in zip(addresses, kinds, strict=True)
            ]

        monkeypatch.setattr(fetch, "_look_up", look_up)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        answer = self.answer(request) if callable(self.answer) else self.answer
        return await answer if asyncio.iscoroutine(answer) else answer  # type: ignore[return-value]

    def url(self, path: str = "/a.wav", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server.port}{path}"


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    made = Site(monkeypatch)
    await made.server.start_server()
    yield made
    await made.server.close()


def _redirect(to: str, status: int = 302) -> web.Response:
    return web.Response(status=status, headers={"Location": to})


async def test_a_body_comes_back(site: Site) -> None:
    assert await Fetcher(allow_private=LOOPBACK).fetch(site.url()) == b"sound"
    headers = site.requests[0].headers
    assert headers["Accept-Encoding"] == "identity"
    assert "Cookie" not in headers
    assert "Authorization" not in headers


async def test_the_loopback_is_refused_by_number_and_by_name(site: Site) -> None:
    site.names = {"inside.example": ["127.0.0.1"], "mixed.example": ["8.8.8.8", "127.0.0.1"]}
    literals = ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "[fe80::1%25lo]", "0.0.0.0")
    for host in (*literals, *site.names):
        with pytest.raises(CallerError, match="public internet") as caught:
            await Fetcher().fetch(site.url(host=host))
        assert caught.value.param == "url"
    assert site.requests == []


async def test_the_checked_address_is_the_one_connected_to(site: Site) -> None:
    site.names = {"rebound.example": ["127.0.0.1"]}
    assert await Fetcher(allow_private=LOOPBACK).fetch(site.url(host="rebound.example")) == b"sound"
    assert site.asked == ["rebound.example"]
    assert site.requests[0].headers["Host"] == f"rebound.example:{site.server.port}"


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0177.0.0.1", "127.0.0.1."])
async def test_addresses_in_disguise_are_refused(site: Site, host: str) -> None:
    with pytest.raises(CallerError, match="usual form"):
        await Fetcher(allow_private=LOOPBACK).fetch(site.url(host=host))
    assert site.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(site: Site, status: int) -> None:
    site.answer = lambda request: web.Response(body=b"sound") if request.path == "/b" else _redirect("/b", status)
    assert await Fetcher(allow_private=LOOPBACK).fetch(site.url()) == b"sound"


async def test_redirects_are_checked_again(site: Site) -> None:
    site.names = {"inside.example": ["10.0.0.1"]}
    for target in ("http://10.0.0.1/", "http://inside.example/", "http://169.254.169.254/latest/meta-data/"):
        site.answer = _redirect(target)
        with pytest.raises(CallerError, match="public internet"):
            await Fetcher(allow_private=LOOPBACK).fetch(site.url())
    for target in ("file:///etc/passwd", "ftp://example.org/", "", "gopher://x", "http://[::1"):
        site.answer = lambda request, target=target: _redirect(target or "data:,x")
        with pytest.raises(CallerError):
            await Fetcher(allow_private=LOOPBACK).fetch(site.url())


async def test_redirects_end(site: Site) -> None:
    site.answer = lambda request: _redirect(request.path + "x")
    with pytest.raises(CallerError, match="redirects more than 3"):
        await Fetcher(FetchLimits(max_redirects=3), allow_private=LOOPBACK).fetch(site.url())
    assert len(site.requests) == 4


@pytest.mark.parametrize(
    "url", ["", "a.wav", "ftp://example.org/a", "file:///etc/passwd", "http://", "http://[::1", "//x"]
)
async def test_what_is_not_a_url_of_ours(url: str) -> None:
    with pytest.raises(CallerError) as caught:
        await Fetcher().fetch(url)
    assert caught.value.param == "url"


async def test_size_is_bounded_announced_or_not(site: Site) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1_000):
            await response.write(bytes(10_000))
        return response

    fetcher = Fetcher(FetchLimits(max_bytes=20_000), allow_private=LOOPBACK)
    for answer in (web.Response(body=bytes(20_001)), endless):
        site.answer = answer
        with pytest.raises(TooLarge):
            await fetcher.fetch(site.url())
    site.answer = web.Response(body=bytes(20_000))
    assert len(await fetcher.fetch(site.url())) == 20_000


async def test_time_is_bounded(site: Site) -> None:
    async def never(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    site.answer = never
    with pytest.raises(CallerError, match="longer than 0 s"):
        await Fetcher(FetchLimits(total_s=0), allow_private=LOOPBACK).fetch(site.url())


async def test_how_many_at_once_is_bounded(site: Site) -> None:
    entered = asyncio.Event()

    async def never(request: web.Request) -> web.StreamResponse:
        entered.set()
        await asyncio.Event().wait()
        raise AssertionError

    site.answer = never
    fetcher = Fetcher(FetchLimits(at_once=1), allow_private=LOOPBACK)
    first = asyncio.create_task(fetcher.fetch(site.url()))
    await entered.wait()
    with pytest.raises(CapacityError):
        await fetcher.fetch(site.url())
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    site.answer = web.Response(body=b"sound")
    assert await fetcher.fetch(site.url()) == b"sound"


async def test_compressed_answers_are_refused(site: Site) -> None:
    bomb = gzip.compress(bytes(1_000_000))
    site.answer = web.Response(body=bomb, headers={"Content-Encoding": "gzip"})
    with pytest.raises(CallerError, match="compressed"):
        await Fetcher(allow_private=LOOPBACK).fetch(site.url())


async def test_messages_keep_the_urls_secrets(site: Site) -> None:
    site.answer = lambda request: web.Response(status=404)
    with pytest.raises(CallerError, match="status 404") as caught:
        await Fetcher(allow_private=LOOPBACK).fetch(
            site.url("/a.wav?signature=hush").replace("http://", "http://me:hush@")
        )
    assert "hush" not in str(caught.value)
    lost = site.url("/a.wav?signature=hush")
    await site.server.close()
    with pytest.raises(CallerError, match="reached") as gone:
        await Fetcher(allow_private=LOOPBACK).fetch(lost)
    assert "hush" not in str(gone.value)


async def test_names_that_are_long_in_coming_keep_nobody_else_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    answered, asked = threading.Event(), threading.Semaphore(0)

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        asked.release()
        answered.wait(60)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    fetcher = Fetcher()
    slow = [asyncio.create_task(fetcher.fetch("http://slow.example/")) for _ in range(4)]
    await settle()
    for _ in slow:
        assert await asyncio.to_thread(asked.acquire, timeout=50)
    await later(monkeypatch, fetch.RESOLVE_S)
    async with asyncio.timeout(50):
        errors = await asyncio.gather(*slow, return_exceptions=True)  # though none was answered
    assert all(isinstance(error, CallerError) for error in errors)
    answered.set()


# -- posts -------------------------------------------------------------------------------------------------------------


async def test_a_post_is_sent_as_it_is_and_a_redirect_not_followed(site: Site) -> None:
    got: list[tuple[str | None, bytes]] = []

    async def take(request: web.Request) -> web.Response:
        got.append((request.headers.get("x-mine"), await request.read()))
        return _redirect(site.url("/elsewhere"), 307) if len(got) == 1 else web.Response(status=204)

    site.answer = take
    fetcher = Fetcher(allow_private=LOOPBACK)
    assert [await fetcher.post(site.url("/hook"), b"{}", {"x-mine": "a"}) for _ in range(2)] == [307, 204]
    assert got == [("a", b"{}")] * 2
    assert [request.path for request in site.requests] == ["/hook"] * 2


async def test_a_post_goes_to_public_addresses_only(site: Site) -> None:
    site.names["mixed.example"] = ["8.8.8.8", "127.0.0.1"]
    for url in (site.url(), site.url(host="mixed.example"), "ftp://example.com", "http://127.1/"):
        with pytest.raises(CallerError):
            await Fetcher().post(url, b"{}", {})
    assert site.requests == []


async def test_a_post_is_bounded_in_time(site: Site) -> None:
    async def wait(request: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    site.answer = wait
    with pytest.raises(CallerError, match="took longer"):
        await Fetcher(FetchLimits(total_s=0.1), allow_private=LOOPBACK).post(site.url(), b"{}", {})  # type: ignore[arg-type]
