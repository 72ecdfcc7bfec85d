import os
import socket

from antiphon.transports.tls import TlsProtocol


async def test_a_connection_for_which_no_descriptor_is_left_is_closed(monkeypatch):
    """Else it would take one for ever: nobody reads from it, and none of its bounds is checked."""
    here, there = socket.socketpair()

    class Accepted:
        def get_extra_info(self, name):
            return here if name == "socket" else None

        def abort(self):
            here.close()

    def fail(descriptor):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "dup", fail)
    TlsProtocol().connection_made(Accepted())
    assert there.recv(1) == b""
    there.close()
