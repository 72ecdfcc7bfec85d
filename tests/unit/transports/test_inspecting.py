from ipaddress import ip_network

import pytest

from antiphon.core.errors import PolicyError, Unauthenticated
from antiphon.core.identity import Principal, Scope
from antiphon.transports.inspecting import Inspectors

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


def authenticate(secret, scope, address):
    if secret not in list(Scope):
        raise Unauthenticated("no")
    return Principal("acme", "k", frozenset({Scope(secret)}))


def check(client, open_to=LOOPBACK, **headers):
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    Inspectors(authenticate, open_to).check({"type": "http", "client": client, "headers": named})


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_who_is_here_needs_no_key(address):
    check((address, 1))


@pytest.mark.parametrize("client", [("10.0.0.1", 1), ("2001:db8::1", 1), ("fe80::1%eth0", 1), ("a", 1), None])
def test_who_is_elsewhere_needs_one(client):
    with pytest.raises(Unauthenticated):
        check(client)
    with pytest.raises(Unauthenticated):
        check(client, authorization="Basic usage")
    with pytest.raises(PolicyError):
        check(client, authorization="Bearer speak")
    check(client, authorization="bearer usage")
    check(client, authorization="Bearer admin")


@pytest.mark.parametrize("header", ["forwarded", "x_forwarded_for", "x_real_ip", "via"])
def test_who_was_passed_on_is_elsewhere(header):
    with pytest.raises(Unauthenticated):
        check(("127.0.0.1", 1), **{header: "127.0.0.1"})


def test_it_may_be_closed_to_all():
    with pytest.raises(Unauthenticated):
        check(("127.0.0.1", 1), ())
