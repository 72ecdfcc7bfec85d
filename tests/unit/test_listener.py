"""However long the turns of the event loop, who connects does not wait for a turn of each who came before; and what is
found wrong before the server is built.
"""

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest
import uvicorn
from uvloop import Loop

from antiphon import listener as room
from antiphon.config import Config, Grpc, Invalid
from antiphon.listener import ACCEPTED_AT_ONCE, HttpListener
from antiphon.transports.http1 import HttpProtocol

WAITING = 8 * ACCEPTED_AT_ONCE


async def app(scope, receive, send):
    raise AssertionError("nothing is asked")


async def turns_until_accepted():
    """How many turns of the loop it takes until all who knocked at once are let in."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        settings = uvicorn.Config(app, http=HttpProtocol, lifespan="off", log_config=None)
        listener = HttpListener(settings, listening, None)
        await listener.start()
        callers = [socket.create_connection(listening.getsockname()) for _ in range(WAITING)]
        turns = 0
        while len(listener.server_state.connections) < WAITING:
            await asyncio.sleep(0)
            turns += 1
        for caller in callers:
            caller.close()
        listener.stop_accepting()
        await listener.finish(0)
    return turns


def test_many_connections_are_accepted_in_one_turn():
    loop = Loop()
    try:
        assert loop.run_until_complete(turns_until_accepted()) < WAITING / 4
    finally:
        loop.close()


class Built(Exception):
    """The server is built: from here on a first key may be made."""


@asynccontextmanager
async def build(config, accept_loss):
    raise Built
    yield


async def start(monkeypatch, **settings):
    monkeypatch.setattr(room, "assemble", build)
    await room.serve(Config(**{"port": 0} | settings), lambda house, port, grpc_port: None)


async def test_a_certificate_and_a_port_that_cannot_be_had_cost_no_first_key(monkeypatch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(Invalid, match=r"settings host and grpc\.port"):
            await start(monkeypatch, grpc=Grpc(port=taken))
        with pytest.raises(Invalid, match="settings host and port"):
            await start(monkeypatch, port=taken)
    with pytest.raises(Invalid, match="tls_cert and tls_key"):
        await start(monkeypatch, tls_cert=str(tmp_path / "none.pem"), tls_key=str(tmp_path / "none.pem"))
    with pytest.raises(Built):
        await start(monkeypatch, grpc=Grpc(port=0, reflection=True))


@pytest.mark.parametrize("host", ["", "a..b", "x" * 70, "no.such.host.invalid"])
async def test_a_host_that_is_none_is_said_in_one_line(monkeypatch, host):
    with pytest.raises(Invalid, match="settings host and port"):
        await start(monkeypatch, host=host)
