"""The process's own side of `engines/process.py`: commands in, reports out, until the server is gone."""

import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import msgspec

from antiphon.children import NICENESS, be_nice
from antiphon.engines.process import BEAT, Frames, frame

Command = TypeVar("Command")


class Link(Generic[Command]):
    """The process's end of the socket. `decode` turns a message into a command."""

    def __init__(self, sock: socket.socket, decode: Callable[[bytes], Command]) -> None:
        self.socket = sock
        self._decode = decode
        self._frames = Frames()
        self._sending = threading.Lock()

    def send(self, report: msgspec.Struct) -> None:
        self.beat(frame(report))

    def beat(self, sign: bytes = BEAT) -> None:
        with self._sending:
            self.socket.sendall(sign)

    def commands(self) -> Iterator[Command]:
        """Yield commands until the server is gone."""
        while data := self.socket.recv(1 << 16):
            yield from self.decoded(data)

    def decoded(self, data: bytes) -> Iterator[Command]:
        """Yield the commands that `data` completes. Requests for a sign of life are answered here."""
        for body in self._frames.bodies(data):
            if body:
                yield self._decode(body)
            else:
                self.beat()


def run(serve: Callable[[socket.socket], None]) -> None:
    """Run the process, on the socket whose descriptor is its argument."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a draining server still needs its engine
        signal.signal(number, signal.SIG_IGN)
    be_nice(NICENESS)
    try:
        serve(socket.socket(fileno=int(sys.argv[1])))
    except (EOFError, OSError):
        pass  # the server is gone
    except Exception:
        sys.exit(1)


def reason(error: Exception) -> str:
    """Return in one line why a model cannot be loaded."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
