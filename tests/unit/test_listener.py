"""However long the turns of the event loop, who connects does not wait for a turn of each who came before."""

import asyncio
import socket

import uvicorn
from uvloop import Loop

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
