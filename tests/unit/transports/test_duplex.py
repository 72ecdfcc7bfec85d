import asyncio

import pytest
from vendor import Caller

from antiphon.core.wire import Close, Head
from antiphon.transports import duplex
from antiphon.transports.connection import Gone
from antiphon.transports.duplex import Duplex


@pytest.fixture
def caller():
    return Caller()


@pytest.fixture
def carrier(caller):
    return Duplex(caller.receive, caller.send)


async def test_both_sides_at_once(carrier, caller):
    await carrier.accept((("a", "b"),), None)
    assert caller.sent == [{"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]}]
    caller.body(b"one", b"", b"two")
    assert await carrier.receive() == b"one"
    await carrier.send([b"x", "y"])
    assert await carrier.receive() == b"two"
    assert await carrier.receive() == b""  # the end, once
    await carrier.send([b"z"])
    await carrier.close(Close())
    assert caller.answer == (200, b"xyz")
    assert caller.sent[-1]["more_body"] is False
    with pytest.raises(Gone):
        await carrier.send([b"late"])


async def test_one_who_leaves(carrier, caller):
    await carrier.accept((), None)
    caller.leave()
    with pytest.raises(Gone):
        await carrier.receive()
    await carrier.close(Close())
    assert caller.types == ["start"]


async def test_a_refusal(carrier, caller):
    await carrier.send([Head(403, (("x", "y"),)), b"no"])
    await carrier.close(Close())
    assert caller.answer == (403, b"no")
    assert caller.sent[0]["headers"] == [(b"x", b"y"), (b"content-length", b"2")]
    assert [message.get("more_body") for message in caller.sent] == [None, False]


async def test_one_who_does_not_read(carrier, caller, monkeypatch):
    monkeypatch.setattr(duplex, "SEND_TIMEOUT_S", 0.01)
    await carrier.accept((), None)
    caller.reads.clear()
    async with asyncio.timeout(60):
        with pytest.raises(Gone):
            await carrier.send([b"x"])
