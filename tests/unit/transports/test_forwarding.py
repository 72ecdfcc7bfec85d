"""Whose address a caller behind proxies has."""

from ipaddress import ip_network

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from antiphon.transports.entrance import Entrance
from antiphon.transports.forwarding import NO_PROXIES, Proxies
from antiphon.transports.opening import address_of

TRUSTED = Proxies((ip_network("10.0.0.0/8"), ip_network("fd00::/8")))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("198.51.100.1", "192.0.2.1", "198.51.100.1"),  # anybody can send the header
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "203.0.113.9, 192.0.2.1", "192.0.2.1"),  # the first was the caller's own invention
        ("10.0.0.1", "192.0.2.1, 10.0.0.2", "192.0.2.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "192.0.2.1:4711", "192.0.2.1"),
        ("::ffff:10.0.0.1", "[2001:db8::7]:80", "2001:db8::7"),
        ("fd00::1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.1", "unknown", ""),
        ("10.0.0.1", "192.0.2.1, _hidden", ""),
        ("10.0.0.1", ",".join(["10.0.0.2"] * 20), "10.0.0.2"),
    ],
)
def test_the_address(peer, forwarded, expected):
    assert TRUSTED.address(peer, forwarded) == expected


def test_without_proxies_nothing_is_believed():
    assert not NO_PROXIES
    assert NO_PROXIES.address("10.0.0.1", "192.0.2.1") == "10.0.0.1"


@pytest.mark.parametrize(("proxies", "expected"), [(TRUSTED, "192.0.2.1"), (NO_PROXIES, "10.1.1.1")])
def test_every_request_has_the_address_of_its_caller(proxies, expected):
    async def app(scope, receive, send):
        await PlainTextResponse(address_of(scope))(scope, receive, send)

    client = TestClient(Entrance(app, proxies), client=("10.1.1.1", 5))
    headers = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "192.0.2.1, 10.0.0.2")]
    assert client.get("/", headers=headers).text == expected


def test_calls_by_grpc_have_it_too():
    pytest.importorskip("grpc")
    from antiphon.transports.grpc import _opening

    class Context:
        def peer(self):
            return "ipv4:10.1.1.1:4711"

        def invocation_metadata(self):
            return (("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "192.0.2.1"))

    assert _opening("/m", Context(), TRUSTED).address == "192.0.2.1"
    assert _opening("/m", Context(), NO_PROXIES).address == "10.1.1.1"
